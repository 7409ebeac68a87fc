#include "textflag.h"
#include "masks_amd64.h"

// These scanners find where an object or a list ends, and nothing else. Most
// blocks of a request are the inside of a text: a loop of its own looks there for
// a quote only. See vector_amd64.s for the masks.

DATA passQuotes<>+0(SB)/8, $0x2222222222222222
GLOBL passQuotes<>(SB), RODATA|NOPTR, $8
DATA passBackslashes<>+0(SB)/8, $0x5c5c5c5c5c5c5c5c
GLOBL passBackslashes<>(SB), RODATA|NOPTR, $8
DATA passBlanks<>+0(SB)/8, $0x2020202020202020
GLOBL passBlanks<>(SB), RODATA|NOPTR, $8
DATA passOpening<>+0(SB)/8, $0x7b7b7b7b7b7b7b7b
GLOBL passOpening<>(SB), RODATA|NOPTR, $8
DATA passClosing<>+0(SB)/8, $0x7d7d7d7d7d7d7d7d
GLOBL passClosing<>(SB), RODATA|NOPTR, $8
DATA passOnes<>+0(SB)/8, $0xffffffffffffffff
DATA passOnes<>+8(SB)/8, $0
GLOBL passOnes<>(SB), RODATA|NOPTR, $16

// OUTSIDE takes the quotes in AX, and all ones in R9 if the block begins inside a
// string. It sets AX to the bytes outside strings, and R9 for the next block.
#define OUTSIDE \
	VMOVQ AX, X4               \
	VPCLMULQDQ $0, X13, X4, X4 \
	VMOVQ X4, AX               \
	XORQ R9, AX                \
	MOVQ AX, R9                \
	SARQ $63, R9               \
	NOTQ AX

DATA passFives<>+0(SB)/8, $0x5555555555555555
GLOBL passFives<>(SB), RODATA|NOPTR, $8
DATA passThrees<>+0(SB)/8, $0x3333333333333333
GLOBL passThrees<>(SB), RODATA|NOPTR, $8
DATA passFifteens<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL passFifteens<>(SB), RODATA|NOPTR, $8
DATA passEach<>+0(SB)/8, $0x0101010101010101
GLOBL passEach<>(SB), RODATA|NOPTR, $8
DATA passHighs<>+0(SB)/8, $0x8080808080808080
GLOBL passHighs<>(SB), RODATA|NOPTR, $8

// COUNTS sets each byte of dst to the number of bits in that byte of src and the
// bytes below.
#define COUNTS(src, dst) \
	MOVQ src, dst               \
	SHRQ $1, dst                \
	ANDQ passFives<>(SB), dst   \
	MOVQ src, R15               \
	SUBQ dst, R15               \
	MOVQ R15, dst               \
	SHRQ $2, R15                \
	ANDQ passThrees<>(SB), R15  \
	ANDQ passThrees<>(SB), dst  \
	ADDQ R15, dst               \
	MOVQ dst, R15               \
	SHRQ $4, R15                \
	ADDQ R15, dst               \
	ANDQ passFifteens<>(SB), dst \
	IMULQ passEach<>(SB), dst

// CLOSES sets the flag ZF if no bracket closes that was open before the block:
// then in each 8 bytes there are fewer closing ones than are open before these
// bytes. CX and DX are the opening and the closing brackets, and the depth in R10
// is at most 64. It changes AX, R13 and R15.
#define CLOSES \
	COUNTS(CX, R13)          \
	COUNTS(DX, AX)           \
	SHLQ $8, R13             \
	LEAQ 63(R10), R15        \
	IMULQ passEach<>(SB), R15 \
	ADDQ R13, R15            \
	SUBQ AX, R15             \
	MOVQ R15, AX             \
	SHLQ $1, AX              \
	ORQ  R15, AX             \
	ANDQ passHighs<>(SB), AX \
	CMPQ AX, passHighs<>(SB)

// func passNestedWide(p *byte, n int) (pos int, state uint64, depth int)
TEXT ·passNestedWide(SB), NOSPLIT, $0-40
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), DI
	SUBQ $64, DI
	VPBROADCASTQ passQuotes<>(SB), Z8
	VPBROADCASTQ passBackslashes<>(SB), Z9
	VPBROADCASTQ passBlanks<>(SB), Z10
	VPBROADCASTQ passOpening<>(SB), Z11
	VPBROADCASTQ passClosing<>(SB), Z12
	VMOVDQU passOnes<>(SB), X13
	XORL BX, BX // position
	XORL R8, R8 // escape carry
	XORL R9, R9 // in a string: all ones
	XORL R10, R10 // depth
	LEAQ -64(DI), R11 // the last place of two blocks

block:
	CMPQ BX, DI
	JGT  rest
	VMOVDQU64 (SI)(BX*1), Z0
	VPCMPEQB Z8, Z0, K1

loaded:
	VPCMPEQB Z9, Z0, K2
	KMOVQ K1, AX
	KMOVQ K2, CX
	MOVQ CX, DX
	ORQ  R8, DX
	JZ   unescaped
	ESCAPED
	NOTQ DX
	ANDQ DX, AX

unescaped:
	TESTQ AX, AX
	JNZ  strings
	TESTQ R9, R9
	JZ   strings
	ADDQ $64, BX // all inside a string
	JMP  text

strings:
	OUTSIDE
	VPORQ Z10, Z0, Z1
	VPCMPEQB Z11, Z1, K3
	VPCMPEQB Z12, Z1, K4
	KMOVQ K3, CX
	KMOVQ K4, DX
	ANDQ AX, CX
	ANDQ AX, DX
	POPCNTQ CX, R12
	POPCNTQ DX, R14
	CMPQ R10, R14
	JLE  closes

next:
	ADDQ R12, R10
	SUBQ R14, R10
	ADDQ $64, BX
	TESTQ R9, R9
	JZ   block

text:
	// Inside a string, two blocks at once as long as no quote is in them.
	CMPQ BX, R11
	JGT  block
	VMOVDQU64 (SI)(BX*1), Z0
	VMOVDQU64 64(SI)(BX*1), Z1
	VPCMPEQB Z8, Z0, K1
	VPCMPEQB Z8, Z1, K2
	KORTESTQ K1, K2
	JNZ  loaded
	CMPB 127(SI)(BX*1), $0x5c
	JE   loaded // the next block may begin with an escaped byte
	XORL R8, R8
	ADDQ $128, BX
	JMP  text

closes:
	// Brackets that close just behind their opening one cannot be the outermost.
	MOVQ CX, AX
	SHLQ $1, AX
	ANDQ DX, AX
	POPCNTQ AX, AX
	MOVQ R14, R15
	SUBQ AX, R15
	CMPQ R10, R15
	JGT  next

	CLOSES
	JEQ  next

	// The outermost bracket may close in this block: look at each closing one.
	MOVQ DX, AX
	MOVQ R10, R15

close:
	TESTQ AX, AX
	JZ   next
	DECQ R15
	MOVQ AX, R13
	NEGQ R13
	ANDQ AX, R13 // the lowest closing bracket
	XORQ R13, AX
	DECQ R13
	MOVQ R13, DX
	ANDQ CX, DX
	POPCNTQ DX, DX // openings before it
	ADDQ R15, DX
	JG   close
	POPCNTQ R13, R13
	LEAQ 1(BX)(R13*1), BX
	MOVQ $1, AX
	JMP  done

rest:
	SHLQ $2, R8
	ANDQ $8, R9
	MOVQ R8, AX
	ORQ  R9, AX

done:
	VZEROUPPER
	MOVQ BX, pos+16(FP)
	MOVQ AX, state+24(FP)
	MOVQ R10, depth+32(FP)
	RET

// func passNested(p *byte, n int) (pos int, state uint64, depth int)
TEXT ·passNested(SB), NOSPLIT, $0-40
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), DI
	SUBQ $64, DI
	VPBROADCASTQ passQuotes<>(SB), Y8
	VPBROADCASTQ passBackslashes<>(SB), Y9
	VPBROADCASTQ passBlanks<>(SB), Y10
	VPBROADCASTQ passOpening<>(SB), Y11
	VPBROADCASTQ passClosing<>(SB), Y12
	VMOVDQU passOnes<>(SB), X13
	XORL BX, BX
	XORL R8, R8
	XORL R9, R9
	XORL R10, R10
	LEAQ -64(DI), R11

block2:
	CMPQ BX, DI
	JGT  rest2
	VMOVDQU (SI)(BX*1), Y0
	VMOVDQU 32(SI)(BX*1), Y1

loaded2:
	MASK(Y8, AX)
	MASK(Y9, CX)
	MOVQ CX, DX
	ORQ  R8, DX
	JZ   unescaped2
	ESCAPED
	NOTQ DX
	ANDQ DX, AX

unescaped2:
	TESTQ AX, AX
	JNZ  strings2
	TESTQ R9, R9
	JZ   strings2
	ADDQ $64, BX
	JMP  text2

strings2:
	OUTSIDE
	VPOR Y0, Y10, Y0
	VPOR Y1, Y10, Y1
	MASK(Y11, CX)
	MASK(Y12, DX)
	ANDQ AX, CX
	ANDQ AX, DX
	POPCNTQ CX, R12
	POPCNTQ DX, R14
	CMPQ R10, R14
	JLE  closes2

next2:
	ADDQ R12, R10
	SUBQ R14, R10
	ADDQ $64, BX
	TESTQ R9, R9
	JZ   block2

text2:
	CMPQ BX, R11
	JGT  block2
	VMOVDQU (SI)(BX*1), Y0
	VMOVDQU 32(SI)(BX*1), Y1
	VPCMPEQB Y0, Y8, Y2
	VPCMPEQB Y1, Y8, Y3
	VPOR Y2, Y3, Y2
	VPCMPEQB 64(SI)(BX*1), Y8, Y4
	VPCMPEQB 96(SI)(BX*1), Y8, Y5
	VPOR Y4, Y5, Y4
	VPOR Y2, Y4, Y2
	VPTEST Y2, Y2
	JNZ  loaded2
	CMPB 127(SI)(BX*1), $0x5c
	JE   loaded2
	XORL R8, R8
	ADDQ $128, BX
	JMP  text2

closes2:
	// Brackets that close just behind their opening one cannot be the outermost.
	MOVQ CX, AX
	SHLQ $1, AX
	ANDQ DX, AX
	POPCNTQ AX, AX
	MOVQ R14, R15
	SUBQ AX, R15
	CMPQ R10, R15
	JGT  next2

	CLOSES
	JEQ  next2

	MOVQ DX, AX
	MOVQ R10, R15

close2:
	TESTQ AX, AX
	JZ   next2
	DECQ R15
	MOVQ AX, R13
	NEGQ R13
	ANDQ AX, R13
	XORQ R13, AX
	DECQ R13
	MOVQ R13, DX
	ANDQ CX, DX
	POPCNTQ DX, DX
	ADDQ R15, DX
	JG   close2
	POPCNTQ R13, R13
	LEAQ 1(BX)(R13*1), BX
	MOVQ $1, AX
	JMP  done2

rest2:
	SHLQ $2, R8
	ANDQ $8, R9
	MOVQ R8, AX
	ORQ  R9, AX

done2:
	VZEROUPPER
	MOVQ BX, pos+16(FP)
	MOVQ AX, state+24(FP)
	MOVQ R10, depth+32(FP)
	RET

DATA passLetterU<>+0(SB)/8, $0x7575757575757575
GLOBL passLetterU<>(SB), RODATA|NOPTR, $8
DATA passSlashes<>+0(SB)/8, $0x2f2f2f2f2f2f2f2f
GLOBL passSlashes<>(SB), RODATA|NOPTR, $8

// func scanNestedWide(p *byte, n int) (pos int, state uint64, depth int)
TEXT ·scanNestedWide(SB), NOSPLIT, $0-40
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), DI
	SUBQ $64, DI
	VPBROADCASTQ passQuotes<>(SB), Z8
	VPBROADCASTQ passBackslashes<>(SB), Z9
	VPBROADCASTQ passBlanks<>(SB), Z10
	VPBROADCASTQ passOpening<>(SB), Z11
	VPBROADCASTQ passClosing<>(SB), Z12
	VMOVDQU passOnes<>(SB), X13
	VPBROADCASTQ passLetterU<>(SB), Z14
	VPBROADCASTQ passSlashes<>(SB), Z15
	XORL BX, BX // position
	XORL R8, R8 // escape carry
	XORL R9, R9 // in a string: all ones
	XORL R10, R10 // depth
	XORL R11, R11 // not plain

nestedBlock:
	CMPQ BX, DI
	JGT  nestedRest
	VMOVDQU64 (SI)(BX*1), Z0
	VPCMPEQB Z8, Z0, K1
	VPCMPEQB Z9, Z0, K2
	KMOVQ K1, AX
	KMOVQ K2, CX
	XORL R13, R13 // not plain, by byte
	MOVQ CX, DX
	ORQ  R8, DX
	JZ   nestedUnescaped
	VPCMPEQB Z14, Z0, K3
	VPCMPEQB Z15, Z0, K4
	KORQ K3, K4, K3
	ESCAPED
	KMOVQ K3, R13
	ANDQ DX, R13 // escapes that have a second spelling
	NOTQ DX
	ANDQ DX, AX

nestedUnescaped:
	TESTQ AX, AX
	JNZ  nestedStrings
	TESTQ R9, R9
	JZ   nestedStrings
	ORQ  R13, R11 // all inside a string
	ADDQ $64, BX
	JMP  nestedBlock

nestedStrings:
	OUTSIDE
	VPCMPUB $2, Z10, Z0, K5 // at most a blank
	VPORQ Z10, Z0, Z1
	VPCMPEQB Z11, Z1, K3
	VPCMPEQB Z12, Z1, K4
	KMOVQ K5, R14
	KMOVQ K3, CX
	KMOVQ K4, DX
	ANDQ AX, R14
	ORQ  R14, R13
	ANDQ AX, CX
	ANDQ AX, DX
	POPCNTQ CX, R12
	POPCNTQ DX, R14
	CMPQ R10, R14
	JLE  nestedCloses

nestedNext:
	ADDQ R12, R10
	SUBQ R14, R10
	ORQ  R13, R11
	ADDQ $64, BX
	JMP  nestedBlock

nestedCloses:
	// Brackets that close just behind their opening one cannot be the outermost.
	MOVQ CX, AX
	SHLQ $1, AX
	ANDQ DX, AX
	POPCNTQ AX, AX
	MOVQ R14, R15
	SUBQ AX, R15
	CMPQ R10, R15
	JGT  nestedNext

	// The outermost bracket may close in this block: look at each closing one.
	MOVQ DX, AX
	MOVQ R10, R15

nestedClose:
	TESTQ AX, AX
	JZ   nestedOn
	DECQ R15
	MOVQ AX, DI
	NEGQ DI
	ANDQ AX, DI // the lowest closing bracket
	XORQ DI, AX
	DECQ DI
	MOVQ DI, DX
	ANDQ CX, DX
	POPCNTQ DX, DX // openings before it
	ADDQ R15, DX
	JG   nestedClose
	ANDQ DI, R13
	ORQ  R13, R11
	POPCNTQ DI, DI
	LEAQ 1(BX)(DI*1), BX
	MOVQ $1, AX
	TESTQ R11, R11
	JZ   nestedDone
	MOVQ $3, AX
	JMP  nestedDone

nestedOn:
	MOVQ n+8(FP), DI
	SUBQ $64, DI
	JMP  nestedNext

nestedRest:
	XORL AX, AX
	TESTQ R11, R11
	JZ   nestedCarry
	MOVQ $2, AX

nestedCarry:
	SHLQ $2, R8
	ORQ  R8, AX
	ANDQ $8, R9
	ORQ  R9, AX

nestedDone:
	VZEROUPPER
	MOVQ BX, pos+16(FP)
	MOVQ AX, state+24(FP)
	MOVQ R10, depth+32(FP)
	RET

// func scanStringWide(p *byte, n int) (pos int, state uint64)
TEXT ·scanStringWide(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), DI
	VPBROADCASTQ passQuotes<>(SB), Z8
	VPBROADCASTQ passBackslashes<>(SB), Z9
	XORL BX, BX // position
	XORL R8, R8 // escape carry
	XORL R11, R11 // not plain
	SUBQ $64, DI

scanBlock:
	CMPQ BX, DI
	JGT  scanTail
	VMOVDQU64 (SI)(BX*1), Z0

scanLoaded:
	VPCMPEQB Z8, Z0, K1
	VPCMPEQB Z9, Z0, K2
	KMOVQ K2, CX
	KMOVQ K1, AX
	MOVQ CX, DX
	ORQ  R8, DX
	JNZ  scanEscapes
	TESTQ AX, AX
	JNZ  scanFound
	ADDQ $64, BX
	JMP  scanBlock

scanEscapes:
	VPBROADCASTQ passLetterU<>(SB), Z1
	VPBROADCASTQ passSlashes<>(SB), Z2
	VPCMPEQB Z1, Z0, K3
	VPCMPEQB Z2, Z0, K4
	KORQ K3, K4, K3
	ESCAPED
	KMOVQ K3, R13
	ANDQ DX, R13 // escapes that have a second spelling
	NOTQ DX
	ANDQ DX, AX
	JNZ  scanFoundEscapes
	ORQ  R13, R11
	ADDQ $64, BX
	JMP  scanBlock

scanFoundEscapes:
	MOVQ AX, R15
	NEGQ R15
	ANDQ AX, R15
	DECQ R15 // the bits below the quote
	ANDQ R15, R13
	ORQ  R13, R11

scanFound:
	BSFQ AX, AX
	LEAQ 1(BX)(AX*1), BX
	MOVQ $1, AX
	TESTQ R11, R11
	JZ   scanDone
	MOVQ $3, AX
	JMP  scanDone

scanTail:
	// The last block is not whole: the bytes behind the text are read as zeros.
	MOVQ DI, CX
	ADDQ $64, CX
	SUBQ BX, CX // bytes left, less than 64
	JLE  scanRest
	MOVQ $1, AX
	SHLQ CX, AX
	DECQ AX
	KMOVQ AX, K5
	VMOVDQU8.Z (SI)(BX*1), K5, Z0
	JMP  scanLoaded

scanRest:
	MOVQ n+8(FP), BX // the last block went beyond the text
	XORL AX, AX
	TESTQ R11, R11
	JZ   scanCarry
	MOVQ $2, AX

scanCarry:
	SHLQ $2, R8
	ORQ  R8, AX

scanDone:
	VZEROUPPER
	MOVQ BX, pos+16(FP)
	MOVQ AX, state+24(FP)
	RET
