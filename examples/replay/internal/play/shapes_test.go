//go:build !race

package play

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

// Options.Balance keeps the prompt cache in all made-up traces. It balances the load in those in
// which that is possible.
func TestNoShapeCollapses(t *testing.T) {
	for _, c := range []struct {
		shape     string
		by        Identity
		imbalance float64 // the greatest that is allowed; 0: the load cannot be balanced
	}{
		{"one", ByID, 0},
		{"one", ByContent, 0},
		{"huge", ByID, 1.5},
		{"huge", ByContent, 1.5},
		{"single", ByID, 1.1},
		{"single", ByContent, 1.1},
		{"burst", ByID, 1.1},
		{"burst", ByContent, 0}, // by their content all sessions look like one conversation
		{"documents", ByID, 1.2},
		{"documents", ByContent, 1.2},
		{"wake", ByID, 1.3},
		{"wake", ByContent, 1.3},
		{"changes", ByID, 1.4},
		{"changes", ByContent, 1.4},
	} {
		t.Run(c.shape+" by "+string(c.by), func(t *testing.T) {
			shape, err := trace.ShapeOf(c.shape)
			require.NoError(t, err)
			all := config
			all.Auths, all.Identity, all.Histories = 8, c.by, 2
			results, err := Run(t, shape.Make(all.Auths), policies(t, "balance"), all)
			require.NoError(t, err)
			for _, r := range results[0] {
				t.Logf("quality %.4f, max/mean %.3f", r.Quality, r.Imbalance)
				require.GreaterOrEqual(t, r.Quality, 0.98)
				if c.imbalance > 0 {
					require.LessOrEqual(t, r.Imbalance, c.imbalance)
				}
			}
		})
	}
}
