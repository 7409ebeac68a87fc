package sessionid

// vector says that the scanners in scan_amd64.s can be used: AVX2, POPCNT and
// PCLMULQDQ, and an operating system that keeps the wide registers.
var vector = func() bool {
	const (
		pclmulqdq = 1 << 1
		popcnt    = 1 << 23
		osxsave   = 1 << 27
		avx       = 1 << 28
		avx2      = 1 << 5 // leaf 7
		wide      = 6      // XMM and YMM state
	)
	if most, _, _, _ := cpuid(0, 0); most < 7 {
		return false
	}
	const need = pclmulqdq | popcnt | osxsave | avx
	if _, _, c, _ := cpuid(1, 0); c&need != need || xgetbv()&wide != wide {
		return false
	}
	_, b, _, _ := cpuid(7, 0)
	return b&avx2 != 0
}()

// scanString walks over whole blocks of 64 bytes of the n at p, from behind
// the opening quote of a string. It returns how far it has come: behind the
// closing quote if the state says so.
//
//go:noescape
func scanString(p *byte, n int) (pos int, state uint64)

// scanNested does the same from an opening bracket to behind the bracket that
// closes it; depth is how many are open where it stops.
//
//go:noescape
func scanNested(p *byte, n int) (pos int, state uint64, depth int)

// markQuotes sets the bits of the quotes in the blocks of 64 bytes at p that no
// backslash escapes; escaped is 1 if the first byte is. blocks is at least 1.
//
//go:noescape
func markQuotes(p *byte, blocks int, escaped uint64, marks *uint64)

func cpuid(leaf, sub uint32) (a, b, c, d uint32)

func xgetbv() (low uint32)
