package affinity_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
	"github.com/llmaffinity/llmaffinity/selector"
)

// alone returns a replica that cannot reach the shared store.
func alone(t *testing.T) *host {
	t.Helper()
	s, err := fallback.New(&broken{}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return newHost(t, affinity.Options[string]{Store: s})
}

// Replicas without their store choose the same auth for a new session, and the same auth for
// its detour, without communication. Their balancers would choose different ones.
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

// They also agree on conversations that only their content names, whichever replica gets each
// turn.
func TestReplicasAgreeOnContentWithoutTheirStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := []*host{alone(t), alone(t), alone(t)}
		used := map[string]bool{}
		for i := range 30 {
			auths := map[string]bool{}
			said := []string{fmt.Sprintf(`{"role":"user","content":"a task of its own, number %d"}`, i)}
			for turn := range 12 {
				r := messages(said...)
				auths[replicas[(i+turn)%len(replicas)].serve(r).Auth] = true
				said = append(said,
					fmt.Sprintf(`{"role":"assistant","content":"%s %d %d"}`, strings.Repeat("an answer of some length ", 4), i, turn),
					fmt.Sprintf(`{"role":"user","content":"go on with %d of %d"}`, turn, i))
			}
			require.Len(t, auths, 1, "conversation %d", i)
			for auth := range auths {
				used[auth] = true
			}
		}
		require.Len(t, used, 3)
	})
}

// A pick waits for a store that hangs for the time of its budget, and only once.
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
