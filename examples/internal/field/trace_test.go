package field

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// outcome is how well a policy does on a trace. The measure is described beside
// the traces.
type outcome struct {
	quality   float64 // cached tokens, as a share of those with perfect placement
	uncached  float64 // uncached tokens, in multiples of those with perfect placement
	imbalance float64 // the most loaded auth's load, in multiples of the mean
	moved     uint64  // sessions that changed their auth
}

const (
	traceAuths = 8
	traceTTL   = 300 * time.Second
	blockSize  = 512 // tokens
)

// promptCache holds blocks for traceTTL after their last use.
type promptCache map[int]time.Time

// hit returns how many tokens of a prompt are cached, and caches the prompt.
func (c promptCache) hit(r TraceRequest) (tokens int) {
	now, leading := time.Now(), true
	for i, block := range r.Blocks {
		last, ok := c[block]
		if leading = leading && ok && now.Sub(last) <= traceTTL; leading {
			tokens += min(blockSize, r.Input-i*blockSize)
		}
		c[block] = now
	}
	return tokens
}

// play runs a trace in its own time. load is how many prompt tokens each auth has
// been sent.
func play(t *testing.T, trace []TraceRequest, choose func(load []float64, r TraceRequest) (auth int, served func())) outcome {
	caches, shared := make([]promptCache, traceAuths), promptCache{}
	for i := range caches {
		caches[i] = promptCache{}
	}
	load := make([]float64, traceAuths)
	begun := time.Now()
	var total, hit, oracle float64
	for _, r := range trace {
		time.Sleep(time.Duration(r.Millis*float64(time.Millisecond)) - time.Since(begun))
		auth, served := choose(load, r)
		n := caches[auth].hit(r)
		served()
		total += float64(r.Input)
		hit += float64(n)
		oracle += float64(shared.hit(r))
		load[auth] += float64(r.Input)
	}
	return outcome{
		quality: hit / oracle, uncached: (total - hit) / (total - oracle),
		imbalance: slices.Max(load) / (total / traceAuths),
	}
}

// withPauses puts long pauses into the trace. Long pauses were cut from the file:
// none inside a session is longer than a few minutes, so no prompt cache is ever
// cold. withPauses makes each pause of more than half a minute, in which a person
// may have thought, ten minutes long, and the rest of the session comes later by
// as much. The real pauses are not known.
func withPauses(trace []TraceRequest) (out []TraceRequest, pauses int) {
	last, later := map[int]float64{}, map[int]float64{}
	for _, r := range trace {
		at, ok := last[r.Session]
		last[r.Session] = r.Millis
		if ok && r.Millis-at > 30_000 {
			later[r.Session] += 600_000 - (r.Millis - at)
			pauses++
		}
		r.Millis += later[r.Session]
		out = append(out, r)
	}
	inTime(out)
	return out, pauses
}

// inTime sorts a trace by time.
func inTime(trace []TraceRequest) {
	slices.SortStableFunc(trace, func(a, b TraceRequest) int { return cmp.Compare(a.Millis, b.Millis) })
}

// Placing cold sessions anew balances the load and costs nothing: the same share
// of the prompts is cached.
func TestColdSessionsBalanceARealTrace(t *testing.T) {
	trace := ClaudeCode(t)
	inTime(trace)
	run := func(name string, o *affinity.Options[int], sessions bool) (out outcome) {
		synctest.Test(t, func(t *testing.T) {
			var load []float64
			least := selector.Func[int](func(_ context.Context, candidates []int) (int, error) {
				return slices.MinFunc(candidates, func(a, b int) int { return cmp.Compare(load[a], load[b]) }), nil
			})
			if o.ColdAnew {
				o.State = func(auth int, _ affinity.Request) affinity.State { return affinity.State{Load: load[auth]} }
				o.Load.Bound = 1000 // the balancer knows the load already
			}
			turn := 0
			auths := make([]int, traceAuths)
			for i := range auths {
				auths[i] = i
			}
			s, err := affinity.Wrap(least, func(i int) string { return fmt.Sprint(i) }, o)
			require.NoError(t, err)
			defer s.Close()
			out = play(t, trace, func(now []float64, r TraceRequest) (int, func()) {
				if load = now; !sessions {
					turn++
					return turn % traceAuths, func() {}
				}
				p, err := s.Pick(t.Context(), affinity.Request{Header: http.Header{"X-Session-Id": {fmt.Sprint("session-", r.Session)}}}, auths)
				require.NoError(t, err)
				return p.Auth, func() { p.Report(affinity.Served) }
			})
			out.moved = s.Stats().Outcome(affinity.OutcomeMoved)
		})
		t.Logf("%-28s quality %.3f, %.2f times the uncached tokens, max/mean %.3f, %d moves", name, out.quality, out.uncached, out.imbalance, out.moved)
		return out
	}
	plain := run("round robin", &affinity.Options[int]{}, false)
	stay := run("sessions stay", &affinity.Options[int]{}, true)
	require.Less(t, plain.quality, 0.8)
	require.Greater(t, stay.quality, 0.99)
	require.Less(t, stay.uncached, 1.1)

	var pauses int
	trace, pauses = withPauses(trace)
	t.Logf("with %d pauses of ten minutes:", pauses)
	stay = run("sessions stay", &affinity.Options[int]{}, true)
	anew := run("cold sessions anew", &affinity.Options[int]{ColdAnew: true}, true)
	require.InDelta(t, stay.quality, anew.quality, 0.005, "nothing is lost by it")
	require.Less(t, anew.imbalance, stay.imbalance)
	require.NotZero(t, anew.moved)
}
