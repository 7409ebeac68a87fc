package jsontext

// vector reports whether this machine can run the scanners in vector_amd64.s.
// They need AVX2, POPCNT, PCLMULQDQ, and an operating system that saves the
// registers. wide reports whether it can run those with AVX-512BW too.
var vector, wide = func() (vector, wide bool) {
	const (
		pclmulqdq = 1 << 1
		popcnt    = 1 << 23
		osxsave   = 1 << 27
		avx       = 1 << 28
		avx2      = 1 << 5 // leaf 7
		avx512f   = 1 << 16
		avx512bw  = 1 << 30
		saves     = 6    // XMM and YMM state
		savesWide = 0xe6 // and the state of masks and ZMM
	)
	if most, _, _, _ := cpuid(0, 0); most < 7 {
		return false, false
	}
	const need = pclmulqdq | popcnt | osxsave | avx
	if _, _, c, _ := cpuid(1, 0); c&need != need || xgetbv()&saves != saves {
		return false, false
	}
	_, b, _, _ := cpuid(7, 0)
	vector = b&avx2 != 0
	const needWide = avx512f | avx512bw
	return vector, vector && b&needWide == needWide && xgetbv()&savesWide == savesWide
}()

// scanString reads whole blocks of 64 bytes of the n bytes at p, which begin
// after the opening quote of a string. pos is after the closing quote if state has
// stateFound, otherwise after the last whole block.
//
//go:noescape
func scanString(p *byte, n int) (pos int, state uint64)

// scanStringWide is scanString with AVX-512. It reads all n bytes, at least one.
//
//go:noescape
func scanStringWide(p *byte, n int) (pos int, state uint64)

// scanNested reads blocks in the same way, from an opening bracket to the end of the
// bracket that closes it. depth is how many brackets are open at pos.
//
//go:noescape
func scanNested(p *byte, n int) (pos int, state uint64, depth int)

// scanNestedWide is scanNested with AVX-512.
//
//go:noescape
func scanNestedWide(p *byte, n int) (pos int, state uint64, depth int)

// passNested does what scanNested does, but does not check the spelling.
// passNestedWide is passNested with AVX-512.
//
//go:noescape
func passNested(p *byte, n int) (pos int, state uint64, depth int)

//go:noescape
func passNestedWide(p *byte, n int) (pos int, state uint64, depth int)

// markQuotes finds the quotes that no backslash escapes in the blocks of 64 bytes
// at p, and sets a bit for each in marks. escaped is 1 if the first byte is
// escaped. blocks is at least 1.
//
//go:noescape
func markQuotes(p *byte, blocks int, escaped uint64, marks *uint64)

func cpuid(leaf, sub uint32) (a, b, c, d uint32)

func xgetbv() (low uint32)
