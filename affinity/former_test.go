package affinity_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// replicas are gateways on one store.
func replicas(t *testing.T, n int) (all []*host) {
	store, err := cache.New(nil)
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	for range n {
		all = append(all, newHost(t, affinity.Options[string]{Store: store}))
	}
	return all
}

// When an auth is back one replica knows it before another. Those that do not know it yet
// send the session where it was meanwhile, and not to a third auth.
func TestReplicasThatDisagreeHaveOneDetour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 3)
		knows, late := all[0], all[1:]
		r := knows.bound("s")
		home := "A"
		for _, h := range all {
			h.fitness[home] = affinity.Away
		}
		detour := late[0].serve(r).Auth
		require.NotEqual(t, home, detour)
		knows.fitness[home] = affinity.Fit
		for range 4 {
			for _, h := range late {
				time.Sleep(time.Second)
				require.Equal(t, home, knows.serve(r).Auth)
				d := h.serve(r)
				require.Equal(t, []any{affinity.OutcomeDetour, detour}, []any{d.Outcome, d.Auth})
			}
		}
	})
}

// A session that must leave again goes where its prompt cache is, as long as that is
// warm. Then the detour is forgotten.
func TestTheDetourIsRememberedWhileItIsWarm(t *testing.T) {
	for pause, same := range map[time.Duration]bool{4 * time.Minute: true, 6 * time.Minute: false} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t, affinity.Options[string]{})
			r := h.bound("s")
			h.fitness["A"] = affinity.Away
			detour := h.serve(r).Auth
			h.fitness["A"] = affinity.Fit
			for range 4 {
				time.Sleep(pause / 4)
				require.Equal(t, "A", h.serve(r).Auth)
			}
			h.asked = nil
			h.fitness["A"] = affinity.Away
			again := h.serve(r)
			require.Equal(t, affinity.OutcomeDetour, again.Outcome)
			require.Equal(t, same, len(h.asked) == 0, "%v: the balancer is asked", pause)
			require.True(t, !same || again.Auth == detour)
		})
	}
}

// An auth that was full or slow for one request is left for whatever is best then.
func TestWhereOneRequestWasServedIsNoDetour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("s")
		for range 2 {
			h.asked = nil
			h.fitness["A"] = affinity.Full
			require.Equal(t, affinity.OutcomeSpill, h.serve(r).Outcome)
			require.Len(t, h.asked, 1)
			h.fitness["A"] = affinity.Fit
			require.Equal(t, "A", h.serve(r).Auth)
		}
	})
}

// amending counts the amendments of a store.
type amending struct {
	cache.Store
	n int
}

func (s *amending) Amend(ctx context.Context, b cache.Binding, memo string) (cache.Binding, bool, error) {
	s.n++
	return s.Store.Amend(ctx, b, memo)
}

// A session that has come back from a detour is served as any other: what it remembers is
// not written again with each answer.
func TestARememberedDetourCostsTheStoreNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := cache.New(nil)
		require.NoError(t, err)
		defer memory.Close()
		store := &amending{Store: memory}
		h := newHost(t, affinity.Options[string]{Store: store})
		r := h.bound("s")
		h.fitness["A"] = affinity.Away
		h.serve(r)
		h.fitness["A"] = affinity.Fit
		require.Equal(t, "A", h.serve(r).Auth)
		before := store.n
		require.NotZero(t, before)
		for range 20 {
			require.Equal(t, "A", h.serve(r).Auth)
		}
		require.Equal(t, before, store.n)
		time.Sleep(6 * time.Minute)
		h.serve(r)
		require.Equal(t, before+1, store.n, "it is forgotten")
	})
}
