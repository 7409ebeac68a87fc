package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// flaky is a store that fails in a share of its operations.
type flaky struct {
	cache.Store
	share float64
	rng   *rand.Rand
}

var errAway = errors.New("the store is away")

func (s *flaky) away() error {
	if s.rng.Float64() < s.share {
		return errAway
	}
	return nil
}

func (s *flaky) Get(ctx context.Context, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	if err := s.away(); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Store.Get(ctx, sc, k)
}

func (s *flaky) Peek(ctx context.Context, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	if err := s.away(); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Store.Peek(ctx, sc, k)
}

func (s *flaky) Bind(ctx context.Context, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if err := s.away(); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Store.Bind(ctx, sc, k, auth)
}

func (s *flaky) Move(ctx context.Context, b cache.Binding, auth string) (cache.Binding, bool, error) {
	if err := s.away(); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Store.Move(ctx, b, auth)
}

func (s *flaky) Amend(ctx context.Context, b cache.Binding, memo string) (cache.Binding, bool, error) {
	if err := s.away(); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Store.Amend(ctx, b, memo)
}

func (s *flaky) Confirm(ctx context.Context, b cache.Binding) (string, bool, error) {
	if err := s.away(); err != nil {
		return "", false, err
	}
	return s.Store.Confirm(ctx, b)
}

func (s *flaky) Touch(ctx context.Context, b cache.Binding) (bool, error) {
	if err := s.away(); err != nil {
		return false, err
	}
	return s.Store.Touch(ctx, b)
}

func (s *flaky) Unbind(ctx context.Context, b cache.Binding) (bool, error) {
	if err := s.away(); err != nil {
		return false, err
	}
	return s.Store.Unbind(ctx, b)
}

func (s *flaky) Release(ctx context.Context, b cache.Binding, failed bool) (bool, error) {
	if err := s.away(); err != nil {
		return false, err
	}
	return s.Store.Release(ctx, b, failed)
}

func (s *flaky) Remember(ctx context.Context, sc cache.Scope, k cache.Key, auth string) error {
	if err := s.away(); err != nil {
		return err
	}
	return s.Store.Remember(ctx, sc, k, auth)
}

func (s *flaky) Recall(ctx context.Context, sc cache.Scope, k cache.Key) (string, bool, error) {
	if err := s.away(); err != nil {
		return "", false, err
	}
	return s.Store.Recall(ctx, sc, k)
}

// If the store fails, sessions may lose their affinity, but no request fails.
func TestAStoreThatIsAwayFailsNoRequest(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 5))
			m, err := cache.New(nil)
			require.NoError(t, err)
			defer m.Close()
			store := &flaky{Store: m, share: 0.3, rng: rng}
			h := newHost(t, affinity.Options[string]{
				Store: store, AllModels: seed%2 == 0, ColdAnew: seed%3 == 0,
				Failback: affinity.Failback(seed % 3), Slow: affinity.SlowPolicy{Above: time.Second},
			})
			h.tier = tiers
			for i := range 150 {
				for _, a := range abc[1:] { // A is always well
					h.fitness[a] = affinity.Fitness(rng.IntN(6))
				}
				r := session(fmt.Sprint("s", rng.IntN(4)))
				r.Model = fmt.Sprint("m", rng.IntN(2))
				r.Side = rng.IntN(6) == 0
				if rng.IntN(4) == 0 {
					r = content(`{"previous_response_id":"resp_1","input":"go on"}`)
				}
				p := h.pick(r)
				require.Contains(t, abc, p.Auth)
				p.FirstToken(time.Duration(rng.IntN(3000)) * time.Millisecond)
				if err := p.Owns(t.Context(), "previous_response_id", "resp_1"); err != nil {
					require.ErrorIs(t, err, errAway)
				}
				p.Report([]affinity.Result{affinity.Served, affinity.Served, affinity.Transient, affinity.Terminal, affinity.Unlisted}[rng.IntN(5)])
				time.Sleep(time.Duration(rng.IntN(200)) * time.Second)
				if i == 100 {
					store.share = 1
				}
			}
			require.NotZero(t, h.Stats().StoreFailed)
			// It is back, and so is affinity.
			store.share = 0
			clear(h.fitness)
			d := h.serve(session("again"))
			require.Equal(t, d.Auth, h.serve(session("again")).Auth)
			require.Equal(t, d.Auth, look(t, h.Selector, session("again")))
		})
	}
}
