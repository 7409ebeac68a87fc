package affinity

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Requests that are under way when their auth gets another name are counted there, also if another
// auth has that name. What has ended leaves nothing behind.
func TestInFlightOfARenamedAuth(t *testing.T) {
	var f InFlight
	f.Rename("unknown", "b")
	require.Zero(t, f.Load("b"))
	one, two := f.Begin("a"), f.Begin("b")
	f.Rename("a", "b")
	f.Rename("b", "b")
	three := f.Begin("a")
	require.Equal(t, []float64{1, 2}, []float64{f.Load("a"), f.Load("b")})
	f.Rename("a", "b")
	f.Rename("b", "c")
	require.Equal(t, []float64{0, 0, 3}, []float64{f.Load("a"), f.Load("b"), f.Load("c")})
	for _, end := range []func(){one, two, three, one} {
		end()
	}
	require.Zero(t, f.Load("c"))
	for range 1000 {
		f.Begin("x")()
		f.Rename("x", "c")
	}
	counts := 0
	for c := f.count("c"); c != nil; c = c.earlier.Load() {
		counts++
	}
	require.LessOrEqual(t, counts, 2)
}
