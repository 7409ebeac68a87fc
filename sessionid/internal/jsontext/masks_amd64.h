// What the scanners do with each block of 64 bytes, which is in Y0 and Y1.
//
// All instructions on vectors are V…, also those that move a word, as VMOVQ. One of the
// older form stands still for as long as a whole block takes, because the upper halves of
// the registers are in use.

// MASK sets dst to the bits of Y0 and Y1 that equal the constant in Y reg c.
#define MASK(c, dst) \
	VPCMPEQB  Y0, c, Y2   \
	VPCMPEQB  Y1, c, Y3   \
	VPMOVMSKB Y2, dst     \
	VPMOVMSKB Y3, R15     \
	SHLQ      $32, R15    \
	ORQ       R15, dst

// ESCAPED takes the backslashes in CX, and 1 in R8 if the block's first byte is
// escaped. It sets DX to the escaped bytes, and R8 for the next block. Every
// second byte of a run of backslashes is escaped, and the byte behind a run of
// odd length. Where a run begins, at an odd or an even place, decides which.
#define ESCAPED \
	MOVQ R8, R15                  \
	NOTQ R15                      \
	ANDQ R15, CX                  \
	LEAQ (R8)(CX*2), DX           \
	MOVQ DX, R15                  \
	NOTQ R15                      \
	ANDQ CX, R15                  \
	MOVQ $0xaaaaaaaaaaaaaaaa, R14 \
	ANDQ R14, R15                 \
	XORL R8, R8                   \
	ADDQ CX, R15                  \
	SETCS R8                      \
	SHLQ $1, R15                  \
	NOTQ R14                      \
	XORQ R14, R15                 \
	ANDQ R15, DX
