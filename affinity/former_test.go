package affinity_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

// replicas returns gateways with one store.
func replicas(t *testing.T, n int) (all []*host) {
	store, err := cache.New(nil)
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	for range n {
		all = append(all, newHost(t, affinity.Options[string]{Store: store}))
	}
	return all
}

// When an auth is back, one replica knows it earlier than another. A replica that does not know
// it yet sends the session to the auth of its detour, and not to a third auth.
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

// A session that must leave its auth again goes to its former detour while the prompt cache
// there is warm. Later the former detour is forgotten.
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

// If an auth is full or slow for one request, that request goes to the auth that is best then.
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

// amending is a store that counts its Amends.
type amending struct {
	cache.Store
	n int
}

func (s *amending) Amend(ctx context.Context, b cache.Binding, memo string) (cache.Binding, bool, error) {
	s.n++
	return s.Store.Amend(ctx, b, memo)
}

// A session that has come back from a detour is served like any other: its memo is not written
// again with each answer.
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
		require.Equal(t, before+1, store.n, "the former detour is removed from the memo, with one Amend")
	})
}

// A request that finds its own auth and the remembered detour full goes to a third auth.
// That does not become the detour.
func TestASpillDoesNotForgetTheDetour(t *testing.T) {
	for others := range 4 {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t, affinity.Options[string]{})
			r, detour := afterADetour(t, h)
			h.fitness["A"], h.fitness[detour] = affinity.Full, affinity.Full
			third := h.serve(r).Auth
			require.NotContains(t, []string{"A", detour}, third)
			require.Equal(t, third, h.serve(r).Auth, "the next request goes to the same third auth")
			clear(h.fitness)
			require.Equal(t, "A", h.serve(r).Auth)
			for range others { // they turn the balancer
				pick(t, h.Selector, affinity.Request{}, []string{"B", "C"})
			}
			h.asked = nil
			h.fitness["A"] = affinity.Away
			require.Equal(t, detour, h.serve(r).Auth)
			require.Empty(t, h.asked)
		})
	}
}

// The same while another replica still takes the session's auth for away.
func TestASpillOfOneReplicaDoesNotMoveTheOthersDetour(t *testing.T) {
	for others := range 4 {
		synctest.Test(t, func(t *testing.T) {
			all := replicas(t, 2)
			one, two := all[0], all[1]
			r := one.bound("s")
			two.fitness["A"] = affinity.Away
			detour := two.serve(r).Auth
			one.serve(r)
			one.fitness["A"], one.fitness[detour] = affinity.Full, affinity.Full
			require.NotEqual(t, detour, one.serve(r).Auth)
			clear(one.fitness)
			for range others {
				pick(t, two.Selector, affinity.Request{}, []string{"B", "C"})
			}
			require.Equal(t, detour, two.serve(r).Auth)
			require.Equal(t, "A", one.serve(r).Auth)
			require.Equal(t, detour, two.serve(r).Auth)
		})
	}
}

// An auth that was invalidated or renamed is no detour under its old name.
func TestAnInvalidatedDetourIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r, detour := afterADetour(t, h)
		_, err := h.InvalidateAuth(t.Context(), detour)
		require.NoError(t, err)
		h.asked = nil
		h.fitness["A"] = affinity.Away
		h.serve(r)
		require.Len(t, h.asked, 1, "the balancer chooses anew")
	})
}

// afterADetour returns a session that is back at A after a detour a moment ago.
func afterADetour(t *testing.T, h *host) (r affinity.Request, detour string) {
	t.Helper()
	r = h.bound("s")
	h.fitness["A"] = affinity.Away
	detour = h.serve(r).Auth
	h.fitness["A"] = affinity.Fit
	require.Equal(t, "A", h.serve(r).Auth)
	return r, detour
}

// absent is a store that is away when it is told to be.
type absent struct {
	*cache.Memory
	away atomic.Bool
}

func (s *absent) Get(ctx context.Context, scope cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	if s.away.Load() {
		return cache.Binding{}, false, cache.ErrClosed
	}
	return s.Memory.Get(ctx, scope, k)
}

func (s *absent) RenameAuth(ctx context.Context, from, to string) (int, error) {
	if s.away.Load() {
		return 0, cache.ErrClosed
	}
	return s.Memory.RenameAuth(ctx, from, to)
}

func (s *absent) Peek(ctx context.Context, scope cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	if s.away.Load() {
		return cache.Binding{}, false, cache.ErrClosed
	}
	return s.Memory.Peek(ctx, scope, k)
}

// An auth is renamed while the store is away: the detours to it have the new name.
func TestADetourIsRenamedInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := cache.New(nil)
		require.NoError(t, err)
		remote := &absent{Memory: memory}
		store, err := fallback.New(remote, nil)
		require.NoError(t, err)
		defer store.Close()
		h := newHost(t, affinity.Options[string]{Store: store})
		r, detour := afterADetour(t, h)
		remote.away.Store(true)
		h.serve(session("another"))
		require.Equal(t, fallback.Away, store.State())
		_, err = h.RenameAuth(t.Context(), detour, "new")
		require.ErrorIs(t, err, fallback.ErrAway)
		remote.away.Store(false)
		time.Sleep(3 * time.Second)
		require.Equal(t, fallback.Present, store.State())
		h.fitness["A"] = affinity.Away
		h.asked = nil
		p := pick(t, h.Selector, r, []string{"A", "new", map[string]string{"B": "C", "C": "B"}[detour]})
		require.Equal(t, "new", p.Decision.Auth)
		require.Empty(t, h.asked, "the session is at the renamed auth without the balancer")
	})
}
