package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func Example() {
	m, err := cache.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	ctx := context.Background()
	scope := cache.Scope{Tenant: "acme", Pool: "anthropic", Model: "claude"}
	session := cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}} // a digest of what the client sent

	b, existed, err := m.Bind(ctx, scope, session, "account-3")
	fmt.Println(b.Auth, existed, err)
	b, existed, err = m.Bind(ctx, scope, session, "account-7")
	fmt.Println(b.Auth, existed, err)
	fmt.Println(m.InvalidateAuth(ctx, "account-3"))
	b, ok, err := m.Get(ctx, scope, session)
	fmt.Println(b.Bound(), b.Lost, ok, err)
	// Output:
	// account-3 false <nil>
	// account-3 true <nil>
	// 1 <nil>
	// false auth-invalidated true <nil>
}

func TestTheFirstBindWins(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, existed := c.Bind(scope, named("s"), "A")
	require.False(t, existed)
	require.Equal(t, "A", b.Auth)
	require.False(t, b.Served)
	again, existed := c.Bind(scope, named("s"), "B")
	require.True(t, existed)
	require.Equal(t, "A", again.Auth)
	require.Equal(t, b.Gen, again.Gen)
	require.Equal(t, b.Session, again.Session)
}

func TestABurstOfBindsEndsOnOneAuth(t *testing.T) {
	c := newCache(t, cache.Options{})
	for round := range 100 {
		k := named(fmt.Sprint("s", round))
		var wg sync.WaitGroup
		start := make(chan struct{})
		got := make([]string, 64)
		for i := range got {
			wg.Go(func() {
				<-start
				b, _ := c.Bind(scope, k, fmt.Sprint("auth-", i))
				got[i] = b.Auth
			})
		}
		close(start)
		wg.Wait()
		for _, auth := range got {
			require.Equal(t, got[0], auth)
		}
	}
}

// The losers wait until all have looked and found nothing.
func TestAThousandBurstsOf64EndOnOneAuthEach(t *testing.T) {
	c := newCache(t, cache.Options{})
	const rounds = 1000 / thorough
	for round := range rounds {
		// In every other round the requests know the session by different names,
		// which lie in different parts of the store.
		k := []*cache.Keys{named(fmt.Sprint("a", round), fmt.Sprint("b", round)), named(fmt.Sprint("a", round), fmt.Sprint("b", round))}
		if round%2 == 1 {
			k[1] = named(fmt.Sprint("b", round), fmt.Sprint("a", round))
		}
		var looked, done sync.WaitGroup
		looked.Add(64)
		got := make([]cache.Binding, 64)
		for i := range got {
			done.Go(func() {
				_, ok := c.Peek(scope, k[i%2])
				if ok {
					t.Error("Get has found a session before any Bind")
				}
				looked.Done()
				looked.Wait()
				got[i], _ = c.Bind(scope, k[i%2], fmt.Sprint("auth-", i))
			})
		}
		done.Wait()
		for _, b := range got {
			require.Equal(t, got[0].Auth, b.Auth)
			require.Equal(t, got[0].Gen, b.Gen)
		}
	}
	require.Equal(t, rounds, c.Len())
}

func TestScopesNeverMeet(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, named("s"), "A")
	for _, other := range []cache.Scope{{Tenant: "t2", Pool: "p", Model: "m"}, {Tenant: "t", Pool: "p2", Model: "m"}, {Tenant: "t", Pool: "p", Model: "m2"}, {Tenant: "tp", Model: "m"}} {
		_, ok := c.Get(other, named("s"))
		require.False(t, ok)
		require.False(t, c.InvalidateSession(other, named("s")))
	}
	require.Equal(t, "A", at(c, named("s")))
}

func TestTenantsWithTheSameIDAreIndependent(t *testing.T) {
	c := newCache(t, cache.Options{})
	one, two := cache.Scope{Tenant: "T1"}, cache.Scope{Tenant: "T2"}
	c.Bind(one, named("default-chat"), "A")
	b, existed := c.Bind(two, named("default-chat"), "B")
	require.False(t, existed)
	require.True(t, c.Unbind(b), "the 401 of the second request unbinds the session")
	got, ok := c.Peek(one, named("default-chat"))
	require.True(t, ok)
	require.Equal(t, "A", got.Auth)
	require.True(t, got.Bound())
	require.Equal(t, 1, c.InvalidateTenant("T2", ""))
	require.Zero(t, c.InvalidateTenant("T2", ""))
	require.Equal(t, 1, c.Len())
}

func TestOnlyIdleSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{})
		k := named("s", "alias")
		c.Bind(scope, k, "A")
		for range 10 * 12 {
			time.Sleep(5 * time.Minute)
			b, ok := c.Get(scope, named("s"))
			require.True(t, ok)
			require.Equal(t, 5*time.Minute, b.Idle)
		}
		time.Sleep(61 * time.Minute)
		for _, n := range []string{"s", "alias"} {
			_, ok := c.Get(scope, named(n))
			require.False(t, ok, n)
		}
		b, existed := c.Bind(scope, named("alias"), "B")
		require.False(t, existed)
		require.Equal(t, "B", b.Auth)
	})
}

func TestPeekDoesNotKeepASessionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute})
		b, _ := c.Bind(scope, named("s"), "A")
		time.Sleep(40 * time.Second)
		require.Equal(t, "A", at(c, named("s")))
		time.Sleep(30 * time.Second)
		require.Empty(t, at(c, named("s")))
		require.False(t, c.Confirm(b), "an expired session is not brought back")
	})
}

func TestExpiredSessionsAreFreedAsOthersAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute, MaxSessions: 500})
		for i := range 100 {
			b, _ := c.Bind(scope, named(fmt.Sprint("old", i)), "A")
			if i%2 == 0 {
				c.Unbind(b)
			}
		}
		time.Sleep(2 * time.Minute)
		for i := range 50 {
			c.Bind(scope, named(fmt.Sprint("new", i)), "A")
		}
		require.Equal(t, 50, c.Len())
	})
}

func TestClosingTwiceWorksAndEveryOperationAfterItSaysErrClosed(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	c.Remember(scope, key("n"), "A")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if c.Close() != nil {
				t.Error("Close failed")
			}
		})
	}
	wg.Wait()
	ctx, m := t.Context(), c.Memory
	for name, op := range map[string]func() (any, error){
		"Bind": func() (any, error) { b, _, err := m.Bind(ctx, scope, *named("s"), "A"); return b, err },
		"Get":  func() (any, error) { b, _, err := m.Get(ctx, scope, *named("s")); return b, err },
		"Get by content": func() (any, error) {
			b, _, err := m.Get(ctx, scope, *ends("e", "d"))
			return b, err
		},
		"Peek":              func() (any, error) { b, _, err := m.Peek(ctx, scope, *named("s")); return b, err },
		"Move":              func() (any, error) { b, _, err := m.Move(ctx, b, "B"); return b, err },
		"Confirm":           func() (any, error) { _, ok, err := m.Confirm(ctx, b); return ok, err },
		"Touch":             func() (any, error) { return m.Touch(ctx, b) },
		"Amend":             func() (any, error) { b, _, err := m.Amend(ctx, b, "memo"); return b, err },
		"Unbind":            func() (any, error) { return m.Unbind(ctx, b) },
		"Release":           func() (any, error) { return m.Release(ctx, b, true) },
		"Remember":          func() (any, error) { return 0, m.Remember(ctx, scope, key("n"), "A") },
		"Recall":            func() (any, error) { auth, _, err := m.Recall(ctx, scope, key("n")); return auth, err },
		"InvalidateSession": func() (any, error) { return m.InvalidateSession(ctx, scope, *named("s")) },
		"InvalidateAuth":    func() (any, error) { return m.InvalidateAuth(ctx, "A") },
		"InvalidateTenant":  func() (any, error) { return m.InvalidateTenant(ctx, "t", "") },
		"RenameAuth":        func() (any, error) { return m.RenameAuth(ctx, "A", "B") },
		"CountAuth":         func() (any, error) { return m.CountAuth(ctx, "A") },
		"CountAuths":        func() (any, error) { return m.CountAuths(ctx) },
		"EditMemos":         func() (any, error) { return 0, m.EditMemos(ctx, func(b cache.Binding) string { return b.Memo }) },
		"SetOptions":        func() (any, error) { return 0, m.SetOptions(nil) },
	} {
		got, err := op()
		require.ErrorIs(t, err, cache.ErrClosed, name)
		require.Zero(t, got, name)
	}
	require.Zero(t, m.Len())
	require.Zero(t, m.Sweep())
	for range m.All() {
		t.Fatal("a session after Close")
	}
}

// Beside Close, an operation either finds the session or says ErrClosed.
func TestOperationsBesideClose(t *testing.T) {
	for range 100 {
		c := newCache(t, cache.Options{MaxSessions: 10})
		b, _ := c.Bind(scope, named("s"), "A")
		b, _, err := c.Memory.Amend(t.Context(), b, "memo")
		require.NoError(t, err)
		c.Remember(scope, key("n"), "A")
		ctx, m := t.Context(), c.Memory
		var wg sync.WaitGroup
		for name, op := range map[string]func() (bool, error){
			"Get":     func() (bool, error) { _, ok, err := m.Get(ctx, scope, *named("s")); return ok, err },
			"Peek":    func() (bool, error) { _, ok, err := m.Peek(ctx, scope, *named("s", "t")); return ok, err },
			"Touch":   func() (bool, error) { return m.Touch(ctx, b) },
			"Amend":   func() (bool, error) { _, ok, err := m.Amend(ctx, b, "memo"); return ok, err },
			"Recall":  func() (bool, error) { _, ok, err := m.Recall(ctx, scope, key("n")); return ok, err },
			"Answers": func() (bool, error) { done, err := m.BindAnswer(ctx, b, cache.Answer{}); return done.Accepted, err },
		} {
			wg.Go(func() {
				for {
					switch ok, err := op(); {
					case err != nil:
						if !errors.Is(err, cache.ErrClosed) {
							t.Errorf("%s: %v", name, err)
						}
						return
					case !ok:
						t.Errorf("%s has found no session", name)
						return
					}
				}
			})
		}
		time.Sleep(100 * time.Microsecond)
		require.NoError(t, m.Close())
		wg.Wait()
	}
}

func TestZeroKeysAndEmptyNamesBindNothing(t *testing.T) {
	c := newCache(t, cache.Options{})
	for _, k := range []*cache.Keys{{}, {Fallbacks: []cache.Key{key("p")}}, {Also: [cache.MaxAlso]cache.Key{key("p")}}} {
		b, existed := c.Bind(scope, k, "A")
		require.False(t, existed)
		require.Zero(t, b)
		_, ok := c.Get(scope, k)
		require.False(t, ok)
	}
	c.Bind(scope, named("s"), "")
	_, ok := c.Get(scope, named("s"))
	require.False(t, ok, "an empty auth is none")
	b, _ := c.Bind(scope, named("s"), "A")
	now, moved := c.Move(b, "")
	require.False(t, moved)
	require.Zero(t, now)
	require.Equal(t, "A", at(c, named("s")))
	require.Equal(t, 1, c.Len())
}

func TestAHitAllocatesNothing(t *testing.T) {
	m := newCache(t, cache.Options{}).Memory
	ctx, k := t.Context(), *named("s")
	b, _, err := m.Bind(ctx, scope, k, "A")
	require.NoError(t, err)
	require.NoError(t, m.Remember(ctx, scope, key("n"), "A"))
	_, amended, err := m.Amend(ctx, b, "memo")
	require.NoError(t, err)
	require.True(t, amended)
	hits := func() {
		got, ok, err := m.Get(ctx, scope, k)
		if !ok || err != nil || got.Auth != "A" || got.Memo != "memo" {
			t.Error("lost")
		}
		if _, current, err := m.Confirm(ctx, b); !current || err != nil {
			t.Error("lost")
		}
		if auth, ok, err := m.Recall(ctx, scope, key("n")); !ok || err != nil || auth != "A" {
			t.Error("lost")
		}
	}
	require.Zero(t, testing.AllocsPerRun(1000, hits))
}
