package affinity_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
	"github.com/llmaffinity/llmaffinity/selector"
)

// alone is a replica that cannot reach the shared store.
func alone(t *testing.T) *host {
	t.Helper()
	s, err := fallback.New(&broken{}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return newHost(t, affinity.Options[string]{Store: s})
}

// Replicas without their store send a new session to the same auth, and on the same
// detour, without talking. Their balancers would not.
func TestReplicasAgreeWithoutTheirStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := alone(t), alone(t)
		_, err := two.Selector.Pick(t.Context(), affinity.Request{}, abc) // its balancer is a turn ahead
		require.NoError(t, err)
		used := map[string]bool{}
		for i := range 40 {
			r := session(fmt.Sprint("s", i))
			first, second := one.serve(r), two.serve(r)
			require.Equal(t, []any{affinity.OutcomeNew, first.Auth}, []any{second.Outcome, second.Auth})
			used[first.Auth] = true
			require.Equal(t, []any{affinity.OutcomeHit, first.Auth, first.Session}, func() []any {
				d := one.serve(r)
				return []any{d.Outcome, d.Auth, d.Session}
			}(), "it is bound in this process")
		}
		require.Len(t, used, 3)
		require.Zero(t, one.Stats().StoreFailed)
		for _, h := range []*host{one, two} {
			h.fitness["A"] = affinity.Away
		}
		detours := map[string]bool{}
		for i := range 40 {
			r := session(fmt.Sprint("s", i))
			first, second := one.serve(r), two.serve(r)
			require.Equal(t, []any{first.Outcome, first.Auth}, []any{second.Outcome, second.Auth})
			detours[first.Auth] = true
		}
		require.Equal(t, map[string]bool{"B": true, "C": true}, detours)
	})
}

// A pick waits for a store that hangs as long as its budget is, once.
func TestAPickWaitsOneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := fallback.New(&broken{hanging: true}, &fallback.Options{Budget: 5 * time.Millisecond})
		require.NoError(t, err)
		defer store.Close()
		s, err := affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{Store: store})
		require.NoError(t, err)
		begin := time.Now()
		pick(t, s, session("x"), abc).Report(affinity.Served)
		require.Equal(t, 5*time.Millisecond, time.Since(begin))
		for i := range 50 {
			pick(t, s, session(fmt.Sprint(i)), abc).Report(affinity.Served)
		}
		require.Equal(t, 5*time.Millisecond, time.Since(begin))
	})
}
