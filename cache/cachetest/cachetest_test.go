package cachetest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
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
			return cache.New(cache.Options{TTL: ttl, MaxSessions: size})
		}), size)
	}
}

// Each of these stores has one fault, and is caught by the check of that name.
func TestBrokenStoresAreCaught(t *testing.T) {
	for name, c := range map[string]struct {
		by  string
		bad func(*cache.Memory, time.Duration) cache.Store
	}{
		"last writer wins":       {"first-wins", func(m *cache.Memory, _ time.Duration) cache.Store { return &lastWriterWins{m} }},
		"racy bind":              {"a-burst-ends-on-one-auth", func(m *cache.Memory, _ time.Duration) cache.Store { return &racyBind{Memory: m} }},
		"admission filter":       {"read-your-write", func(m *cache.Memory, _ time.Duration) cache.Store { return &choosy{Memory: m} }},
		"lost alias":             {"aliases-lead-to-one-binding", func(m *cache.Memory, _ time.Duration) cache.Store { return &lostAlias{m} }},
		"deaf to new names":      {"aliases-are-learned", func(m *cache.Memory, _ time.Duration) cache.Store { return &deaf{m} }},
		"weak as strong":         {"a-weak-key-merges-nobody", func(m *cache.Memory, _ time.Duration) cache.Store { return &weakAsStrong{m} }},
		"no fallbacks":           {"content-is-found-by-its-earlier-ends", func(m *cache.Memory, _ time.Duration) cache.Store { return &noFallbacks{m} }},
		"ends as names":          {"content-tells-a-retry-from-a-twin", func(m *cache.Memory, _ time.Duration) cache.Store { return &endsAsNames{m} }},
		"no tails":               {"content-is-found-by-its-tail", func(m *cache.Memory, _ time.Duration) cache.Store { return &noTails{m} }},
		"swap keeps generation":  {"generations-are-new", func(m *cache.Memory, _ time.Duration) cache.Store { return &oneGeneration{Memory: m} }},
		"any generation deletes": {"late-results-change-nothing", func(m *cache.Memory, _ time.Duration) cache.Store { return &anyGeneration{m, sync.Map{}} }},
		"release forgets served": {"provisional-until-served", func(m *cache.Memory, _ time.Duration) cache.Store { return &releaseAll{m} }},
		"served is used":         {"knows-when-it-was-served", func(m *cache.Memory, _ time.Duration) cache.Store { return &servedIsUsed{m} }},
		"resurrecting touch":     {"touch-does-not-resurrect", func(m *cache.Memory, _ time.Duration) cache.Store { return &resurrecting{m, sync.Map{}} }},
		"fixed expiry":           {"idle-expires-not-age", func(m *cache.Memory, ttl time.Duration) cache.Store { return &fixedExpiry{m, ttl, sync.Map{}} }},
		"peek touches":           {"peek-changes-nothing", func(m *cache.Memory, _ time.Duration) cache.Store { return &peekTouches{m} }},
		"leaking tenant":         {"tenants-never-meet", func(m *cache.Memory, _ time.Duration) cache.Store { return &leakingTenant{m} }},
		"joined scope":           {"tenants-never-meet", func(m *cache.Memory, _ time.Duration) cache.Store { return &joinedScope{m} }},
		"auth of all tenants":    {"invalidate-tenant", func(m *cache.Memory, _ time.Duration) cache.Store { return &allTenants{m} }},
		"open after close":       {"closed", func(m *cache.Memory, _ time.Duration) cache.Store { return &neverCloses{m} }},
	} {
		got := failed(t, func(ttl time.Duration) (cache.Store, error) {
			m, err := cache.New(cache.Options{TTL: ttl, MaxSessions: 1000})
			return c.bad(m, ttl), err
		})
		require.Contains(t, got, c.by, "%s: caught by %v only", name, got)
	}
}

type (
	ctx      = context.Context
	lostPair struct {
		scope cache.Scope
		keys  cache.Keys
	}

	lastWriterWins struct{ *cache.Memory }
	racyBind       struct {
		*cache.Memory
		mu    sync.Mutex
		first map[cache.Key]bool
	}
	choosy struct {
		*cache.Memory
		n atomic.Int64
	}
	lostAlias     struct{ *cache.Memory }
	deaf          struct{ *cache.Memory }
	weakAsStrong  struct{ *cache.Memory }
	noFallbacks   struct{ *cache.Memory }
	endsAsNames   struct{ *cache.Memory }
	noTails       struct{ *cache.Memory }
	oneGeneration struct {
		*cache.Memory
	}
	anyGeneration struct {
		*cache.Memory
		keys sync.Map // session -> lostPair
	}
	releaseAll   struct{ *cache.Memory }
	servedIsUsed struct{ *cache.Memory }
	resurrecting struct {
		*cache.Memory
		keys sync.Map // session -> lostPair
	}
	fixedExpiry struct {
		*cache.Memory
		ttl  time.Duration
		born sync.Map // session -> time
	}
	peekTouches   struct{ *cache.Memory }
	leakingTenant struct{ *cache.Memory }
	joinedScope   struct{ *cache.Memory }
	allTenants    struct{ *cache.Memory }
	neverCloses   struct{ *cache.Memory }
)

func (s *lastWriterWins) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if _, err := s.InvalidateSession(c, sc, k); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Memory.Bind(c, sc, k, auth)
}

// The first two of a session both find it unbound.
func (s *racyBind) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Memory.Bind(c, sc, k, auth)
	s.mu.Lock()
	defer s.mu.Unlock()
	if existed && !s.first[k.Names[0]] {
		if s.first == nil {
			s.first = map[cache.Key]bool{}
		}
		s.first[k.Names[0]] = true
		b.Auth = auth
	}
	return b, existed, err
}

func (s *choosy) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if s.n.Add(1)%100 == 0 {
		return cache.Binding{Auth: auth, Gen: 1}, false, nil
	}
	return s.Memory.Bind(c, sc, k, auth)
}

func (s *lostAlias) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	k.Names = [cache.MaxNames]cache.Key{k.Names[0]}
	return s.Memory.Bind(c, sc, k, auth)
}

func (s *deaf) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Memory.Peek(c, sc, k)
	if ok {
		_, err = s.Memory.Touch(c, b)
	}
	return b, ok, err
}

func strong(k cache.Keys) cache.Keys {
	if k.Weak != (cache.Key{}) {
		k.Names = [cache.MaxNames]cache.Key{k.Weak, k.Names[0], k.Names[1]}
	}
	return k
}

func (s *weakAsStrong) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, sc, strong(k), auth)
}

func (s *weakAsStrong) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Get(c, sc, strong(k))
}

func (s *weakAsStrong) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Peek(c, sc, strong(k))
}

func (s *noFallbacks) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	k.Earlier = nil
	return s.Memory.Get(c, sc, k)
}

func byEnd(k cache.Keys) cache.Keys {
	if k.End != (cache.Key{}) {
		k.Names[0] = k.End
		for i, e := range k.Earlier {
			if i+1 < len(k.Names) {
				k.Names[i+1] = e
			}
		}
	}
	return k
}

func (s *endsAsNames) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, sc, byEnd(k), auth)
}

func (s *endsAsNames) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Get(c, sc, byEnd(k))
}

func (s *endsAsNames) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Peek(c, sc, byEnd(k))
}

func (s *noTails) Get(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	k.EarlierTails = nil
	return s.Memory.Get(c, sc, k)
}

func (s *oneGeneration) Swap(c ctx, b cache.Binding, auth string) (cache.Binding, bool, error) {
	now, swapped, err := s.Memory.Swap(c, b, auth)
	now.Gen = b.Gen
	return now, swapped, err
}

func (s *anyGeneration) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Memory.Bind(c, sc, k, auth)
	s.keys.Store(b.Session, lostPair{sc, k})
	return b, existed, err
}

func (s *anyGeneration) Delete(c ctx, b cache.Binding) (bool, error) {
	if p, ok := s.keys.Load(b.Session); ok {
		return s.InvalidateSession(c, p.(lostPair).scope, p.(lostPair).keys)
	}
	return false, nil
}

func (s *releaseAll) Release(c ctx, b cache.Binding) (bool, error) { return s.Delete(c, b) }

func (s *resurrecting) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Memory.Bind(c, sc, k, auth)
	s.keys.Store(b.Session, lostPair{sc, k})
	return b, existed, err
}

func (s *resurrecting) Confirm(c ctx, b cache.Binding) (bool, error) {
	current, err := s.Memory.Confirm(c, b)
	if p, ok := s.keys.Load(b.Session); ok && !current && err == nil {
		_, _, err = s.Memory.Bind(c, p.(lostPair).scope, p.(lostPair).keys, b.Auth)
		return true, err
	}
	return current, err
}

func (s *fixedExpiry) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Memory.Bind(c, sc, k, auth)
	if !existed {
		s.born.Store(b.Session, time.Now())
	}
	return b, existed, err
}

func (s *fixedExpiry) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Memory.Peek(c, sc, k)
	if born, known := s.born.Load(b.Session); known && time.Since(born.(time.Time)) > s.ttl {
		_, err = s.InvalidateSession(c, sc, k)
		return cache.Binding{}, false, err
	}
	return b, ok, err
}

func (s *servedIsUsed) Touch(c ctx, b cache.Binding) (bool, error) { return s.Confirm(c, b) }

func (s *peekTouches) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Get(c, sc, k)
}

func (s *leakingTenant) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	sc.Tenant = ""
	return s.Memory.Bind(c, sc, k, auth)
}

func (s *leakingTenant) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	sc.Tenant = ""
	return s.Memory.Peek(c, sc, k)
}

func joined(sc cache.Scope) cache.Scope {
	return cache.Scope{Tenant: fmt.Sprint(sc.Tenant, sc.Pool, sc.Model)}
}

func (s *joinedScope) Bind(c ctx, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	return s.Memory.Bind(c, joined(sc), k, auth)
}

func (s *joinedScope) Peek(c ctx, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	return s.Memory.Peek(c, joined(sc), k)
}

func (s *allTenants) InvalidateTenant(c ctx, _, auth string) (int, error) {
	return s.InvalidateAuth(c, auth)
}

func (s *neverCloses) Close() error { return nil }

func ExampleTest() {
	_ = func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, c := range cachetest.Checks() { // or cachetest.Test outside of a bubble
				if err := c.Run(cachetest.Harness{
					New:   func(ttl time.Duration) (cache.Store, error) { return cache.New(cache.Options{TTL: ttl}) },
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
