#include "textflag.h"
#include "masks_amd64.h"

// Each block of 64 bytes becomes bit masks: one for its quotes, one for its
// backslashes, one for its brackets. An addition finds the backslashes that
// escape: its carry runs through each run of backslashes. A carry-less
// multiplication, which is a prefix xor, finds the bytes inside strings.

DATA quotes<>+0(SB)/8, $0x2222222222222222
DATA quotes<>+8(SB)/8, $0x2222222222222222
DATA quotes<>+16(SB)/8, $0x2222222222222222
DATA quotes<>+24(SB)/8, $0x2222222222222222
GLOBL quotes<>(SB), RODATA|NOPTR, $32
DATA backslashes<>+0(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA backslashes<>+8(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA backslashes<>+16(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA backslashes<>+24(SB)/8, $0x5c5c5c5c5c5c5c5c
GLOBL backslashes<>(SB), RODATA|NOPTR, $32
DATA letterU<>+0(SB)/8, $0x7575757575757575
DATA letterU<>+8(SB)/8, $0x7575757575757575
DATA letterU<>+16(SB)/8, $0x7575757575757575
DATA letterU<>+24(SB)/8, $0x7575757575757575
GLOBL letterU<>(SB), RODATA|NOPTR, $32
DATA slashes<>+0(SB)/8, $0x2f2f2f2f2f2f2f2f
DATA slashes<>+8(SB)/8, $0x2f2f2f2f2f2f2f2f
DATA slashes<>+16(SB)/8, $0x2f2f2f2f2f2f2f2f
DATA slashes<>+24(SB)/8, $0x2f2f2f2f2f2f2f2f
GLOBL slashes<>(SB), RODATA|NOPTR, $32
DATA blanks<>+0(SB)/8, $0x2020202020202020
DATA blanks<>+8(SB)/8, $0x2020202020202020
DATA blanks<>+16(SB)/8, $0x2020202020202020
DATA blanks<>+24(SB)/8, $0x2020202020202020
GLOBL blanks<>(SB), RODATA|NOPTR, $32
DATA opening<>+0(SB)/8, $0x7b7b7b7b7b7b7b7b
DATA opening<>+8(SB)/8, $0x7b7b7b7b7b7b7b7b
DATA opening<>+16(SB)/8, $0x7b7b7b7b7b7b7b7b
DATA opening<>+24(SB)/8, $0x7b7b7b7b7b7b7b7b
GLOBL opening<>(SB), RODATA|NOPTR, $32
DATA closing<>+0(SB)/8, $0x7d7d7d7d7d7d7d7d
DATA closing<>+8(SB)/8, $0x7d7d7d7d7d7d7d7d
DATA closing<>+16(SB)/8, $0x7d7d7d7d7d7d7d7d
DATA closing<>+24(SB)/8, $0x7d7d7d7d7d7d7d7d
GLOBL closing<>(SB), RODATA|NOPTR, $32
DATA allOnes<>+0(SB)/8, $0xffffffffffffffff
DATA allOnes<>+8(SB)/8, $0
GLOBL allOnes<>(SB), RODATA|NOPTR, $16

// SPELLED sets R13 to the escaped bytes that are u or /: such an escape has a
// second spelling.
#define SPELLED \
	VMOVDQU letterU<>(SB), Y4 \
	MASK(Y4, R13)             \
	VMOVDQU slashes<>(SB), Y4 \
	MASK(Y4, R14)             \
	ORQ     R14, R13          \
	ANDQ    DX, R13

// func scanString(p *byte, n int) (pos int, state uint64)
TEXT ·scanString(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), DI
	VMOVDQU quotes<>(SB), Y8
	VMOVDQU backslashes<>(SB), Y9
	XORL BX, BX // position
	XORL R8, R8 // escape carry
	XORL R11, R11 // not plain
	SUBQ $64, DI

block:
	CMPQ BX, DI
	JGT  rest
	VMOVDQU (SI)(BX*1), Y0
	VMOVDQU 32(SI)(BX*1), Y1
	MASK(Y8, AX)
	MASK(Y9, CX)
	MOVQ CX, DX
	ORQ  R8, DX
	JNZ  escapes
	TESTQ AX, AX
	JNZ  found
	ADDQ $64, BX
	JMP  block

escapes:
	ESCAPED
	SPELLED
	NOTQ DX
	ANDQ DX, AX
	JNZ  foundEscapes
	ORQ  R13, R11
	ADDQ $64, BX
	JMP  block

foundEscapes:
	MOVQ AX, R15
	NEGQ R15
	ANDQ AX, R15
	DECQ R15 // the bits below the quote
	ANDQ R15, R13
	ORQ  R13, R11

found:
	BSFQ AX, AX
	LEAQ 1(BX)(AX*1), BX
	MOVQ $1, AX
	TESTQ R11, R11
	JZ   done
	MOVQ $3, AX
	JMP  done

rest:
	XORL AX, AX
	TESTQ R11, R11
	JZ   restCarry
	MOVQ $2, AX

restCarry:
	SHLQ $2, R8
	ORQ  R8, AX

done:
	VZEROUPPER
	MOVQ BX, pos+16(FP)
	MOVQ AX, state+24(FP)
	RET

// func scanNested(p *byte, n int) (pos int, state uint64, depth int)
TEXT ·scanNested(SB), NOSPLIT, $0-40
	MOVQ p+0(FP), SI
	VMOVDQU quotes<>(SB), Y8
	VMOVDQU backslashes<>(SB), Y9
	VMOVDQU blanks<>(SB), Y10
	VMOVDQU opening<>(SB), Y11
	VMOVDQU closing<>(SB), Y12
	VMOVDQU allOnes<>(SB), X13
	XORL BX, BX // position
	XORL R8, R8 // escape carry
	XORL R9, R9 // in a string: all ones
	XORL R10, R10 // depth
	XORL R11, R11 // not plain

nestedBlock:
	MOVQ n+8(FP), DI
	SUBQ $64, DI
	CMPQ BX, DI
	JGT  nestedRest
	VMOVDQU (SI)(BX*1), Y0
	VMOVDQU 32(SI)(BX*1), Y1
	MASK(Y8, AX)
	MASK(Y9, CX)
	XORL R13, R13
	MOVQ CX, DX
	ORQ  R8, DX
	JZ   nestedStrings
	ESCAPED
	SPELLED
	NOTQ DX
	ANDQ DX, AX

nestedStrings:
	// AX becomes the bytes inside strings, opening quotes included.
	VMOVQ AX, X4
	VPCLMULQDQ $0, X13, X4, X4
	VMOVQ X4, AX
	XORQ R9, AX
	MOVQ AX, R9
	SARQ $63, R9
	NOTQ AX

	// Blanks and brackets outside strings.
	VPMINUB Y0, Y10, Y4
	VPMINUB Y1, Y10, Y5
	VPCMPEQB Y4, Y0, Y4
	VPCMPEQB Y5, Y1, Y5
	VPMOVMSKB Y4, R14
	VPMOVMSKB Y5, R15
	SHLQ $32, R15
	ORQ  R15, R14
	ANDQ AX, R14
	ORQ  R14, R13 // R13: not plain, by byte

	VPOR Y0, Y10, Y0
	VPOR Y1, Y10, Y1
	MASK(Y11, CX)
	MASK(Y12, DX)
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
	JZ   nestedNext
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

// func markQuotes(p *byte, blocks int, escaped uint64, marks *uint64)
TEXT ·markQuotes(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ blocks+8(FP), DI
	MOVQ escaped+16(FP), R8
	MOVQ marks+24(FP), BX
	VMOVDQU quotes<>(SB), Y8
	VMOVDQU backslashes<>(SB), Y9

markBlock:
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1
	MASK(Y8, AX)
	MASK(Y9, CX)
	ESCAPED
	NOTQ DX
	ANDQ DX, AX
	MOVQ AX, (BX)
	ADDQ $64, SI
	ADDQ $8, BX
	DECQ DI
	JNZ  markBlock
	VZEROUPPER
	RET

// func cpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL sub+4(FP), CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	MOVL DX, d+20(FP)
	RET

// func xgetbv() (low uint32)
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, low+0(FP)
	RET
