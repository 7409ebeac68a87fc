//go:build !race

// The race detector makes these tests ten times slower. The other tests run the same code with it.

package play

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/field"
	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

// shared reads a trace of ../shared, which is not part of the project.
func shared(t *testing.T, name string) *trace.Trace {
	t.Helper()
	tr, err := trace.ReadFile(field.Shared(t, "traces/"+name))
	require.NoError(t, err)
	return tr
}

// With real traces, the policies keep these bounds of quality and balance. The README has the whole
// table, over more histories.
func TestTheBars(t *testing.T) {
	// bar has bounds of medians: quality is the least, worse the greatest allowed quality (for
	// policies without affinity), and imbalance the greatest imbalance. 0 is no bound.
	type bar struct {
		policy                    string
		quality, worse, imbalance float64
	}
	for _, c := range []struct {
		file  string
		by    Identity
		auths int
		bars  []bar
	}{
		{"claude_code_100_pauses.jsonl.gz", ByID, 8, []bar{
			{"roundrobin", 0, 0.62, 1.06}, {"stay", 0.995, 0, 0}, {"coldanew", 0.995, 0, 0}, {"balance", 0.994, 0, 1.09},
		}},
		{"claude_code_100.jsonl.gz", ByID, 8, []bar{
			{"roundrobin", 0, 0.72, 1.06}, {"stay", 0.997, 0, 0}, {"balance", 0.993, 0, 1.12},
		}},
		{"claude_code_100.jsonl.gz", ByID, 2, []bar{{"balance", 0.997, 0, 1.04}}},
		{"claude_code_100.jsonl.gz", ByID, 32, []bar{{"balance", 0.984, 0, 1.23}}},
		{"claude_code_100.jsonl.gz", ByContent, 8, []bar{
			{"stay", 0.990, 0, 0}, {"balance", 0.990, 0, 1.08},
		}},
		{"tau_airline.jsonl.gz", ByContent, 8, []bar{
			{"roundrobin", 0, 0.80, 1.06}, {"stay", 0.995, 0, 0}, {"balance", 0.990, 0, 1.10},
		}},
		{"mooncake_conversation.jsonl.gz", ByContent, 8, []bar{
			{"roundrobin", 0, 0.33, 1.10}, {"stay", 0.92, 0, 1.25}, {"least", 0.92, 0, 1.03}, {"balance", 0.99, 0, 1.03},
		}},
	} {
		t.Run(c.file+" by "+string(c.by), func(t *testing.T) {
			tr := shared(t, c.file)
			var names []string
			for _, b := range c.bars {
				names = append(names, b.policy)
			}
			all := config
			all.Auths, all.Identity, all.Histories = c.auths, c.by, 3
			results, err := Run(t, tr, policies(t, names...), all)
			require.NoError(t, err)
			for i, b := range c.bars {
				var quality, imbalance []float64
				for _, r := range results[i] {
					require.Equal(t, len(tr.Requests), r.Requests)
					quality, imbalance = append(quality, r.Quality), append(imbalance, r.Imbalance)
				}
				t.Logf("%s: quality %.4f, max/mean %.3f", b.policy, Median(quality), Median(imbalance))
				require.GreaterOrEqual(t, Median(quality), b.quality, b.policy)
				if b.worse > 0 {
					require.LessOrEqual(t, Median(quality), b.worse, b.policy)
				}
				if b.imbalance > 0 {
					require.LessOrEqual(t, Median(imbalance), b.imbalance, b.policy)
				}
			}
		})
	}
}
