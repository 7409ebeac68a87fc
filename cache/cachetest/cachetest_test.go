package cachetest_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/cachetest"
)

// failed are the names of the checks that a store does not pass.
func failed(t *testing.T, make func(ttl time.Duration) (cache.Store, error)) map[string]string {
	got := map[string]string{}
	synctest.Test(t, func(t *testing.T) {
		for _, c := range cachetest.Checks() {
			if err := c.Run(cachetest.Harness{New: make, Sleep: time.Sleep}); err != nil {
				got[c.Name] = err.Error()
			}
		}
	})
	return got
}

func TestMemoryKeepsTheContract(t *testing.T) {
	for _, size := range []int{1000, 100_000} { // few parts, and many
		require.Empty(t, failed(t, func(ttl time.Duration) (cache.Store, error) {
			return cache.New(&cache.Options{TTL: ttl, MaxSessions: size})
		}), size)
	}
}

// A store that is neither an Admin nor an io.Closer keeps the contract, too.
func TestAStoreWithoutAdminAndCloseKeepsTheContract(t *testing.T) {
	require.Empty(t, failed(t, func(ttl time.Duration) (cache.Store, error) {
		m, err := cache.New(&cache.Options{TTL: ttl})
		return struct{ cache.Store }{m}, err
	}))
}

// Each broken store has one fault, and is caught by the check of that name.
func TestBrokenStoresAreCaught(t *testing.T) {
	caught := map[string]bool{}
	for name, c := range broken {
		got := failed(t, func(ttl time.Duration) (cache.Store, error) {
			m, err := cache.New(&cache.Options{TTL: ttl, MaxSessions: 1000})
			return c.bad(m, ttl), err
		})
		require.Contains(t, got, c.by, "%s: caught by %v only", name, got)
		caught[c.by] = true
	}
	for _, c := range cachetest.Checks() {
		require.True(t, caught[c.Name], "no broken store is caught by %s", c.Name)
	}
}

func TestAnErrorOfNewIsReported(t *testing.T) {
	got := failed(t, func(time.Duration) (cache.Store, error) { return nil, fmt.Errorf("no room") })
	require.Len(t, got, len(cachetest.Checks()))
	require.Equal(t, "first-wins: New: no room", got["first-wins"])
}

func ExampleTest() {
	_ = func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, c := range cachetest.Checks() { // or cachetest.Test outside of a bubble
				if err := c.Run(cachetest.Harness{
					New:   func(ttl time.Duration) (cache.Store, error) { return cache.New(&cache.Options{TTL: ttl}) },
					Sleep: time.Sleep,
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	fmt.Println(len(cachetest.Checks()) > 20)
	// Output: true
}

// pair is what finds a session again.
type pair struct {
	scope cache.Scope
	keys  cache.Keys
}

// remembering knows by what each session was bound.
type remembering struct {
	*cache.Memory
	pairs sync.Map // session -> pair
}

func (s *remembering) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Memory.Bind(c, sc, k, auth)
	s.pairs.Store(b.Session, pair{sc, k})
	return b, existed, err
}

func (s *remembering) pair(b cache.Binding) (pair, bool) {
	p, ok := s.pairs.Load(b.Session)
	if !ok {
		return pair{}, false
	}
	return p.(pair), true
}
