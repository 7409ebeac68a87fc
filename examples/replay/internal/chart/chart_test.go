package chart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/play"
)

// A load over many minutes is drawn as means over several minutes each. Their sum is the whole
// load.
func TestBinsAreMeans(t *testing.T) {
	var minutes [][]float64
	var sum float64
	for i := range 101 {
		minutes = append(minutes, []float64{float64(i), 1})
		sum += float64(i)
	}
	out, each := bins(minutes)
	require.Equal(t, 3, each)
	require.Len(t, out, 34)
	require.Equal(t, []float64{1, 1}, out[0])
	var drawn float64
	for i, b := range out {
		drawn += b[0] * float64(min(each, len(minutes)-i*each))
		require.InDelta(t, 1, b[1], 1e-9)
	}
	require.InDelta(t, sum, drawn, 1e-6)
	few, each := bins(minutes[:5])
	require.Equal(t, minutes[:5], few)
	require.Equal(t, 1, each)
}

// Plots are made for a single history, for a name that cannot be a file name, and without any load.
func TestPlotsOfLittle(t *testing.T) {
	dir := t.TempDir()
	results := [][]play.Result{{{Quality: 1, Imbalance: 1, Load: [][]float64{{1, 2}}}}}
	files, err := Balance(dir, "a/b c", "title", play.Policies()[:1], results)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "a-b-c-balance.svg"), filepath.Join(dir, "a-b-c-balance.png")}, files)
	for _, load := range [][][]float64{results[0][0].Load, nil} {
		files, err = Load(dir, "load", "title", load)
		require.NoError(t, err)
		for _, f := range files {
			info, err := os.Stat(f)
			require.NoError(t, err)
			require.NotZero(t, info.Size())
		}
	}
	_, err = Load(filepath.Join(dir, "missing"), "load", "title", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}
