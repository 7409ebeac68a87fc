package cache_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func TestLateResultsChangeNothing(t *testing.T) {
	c := newCache(t, cache.Options{})
	a, _ := c.Bind(scope, named("s"), "A")
	b, moved := c.Move(a, "B")
	require.True(t, moved)
	require.Equal(t, a.Session, b.Session, "the stable name stays")
	require.False(t, c.Confirm(a))
	require.False(t, c.Touch(a))
	require.False(t, c.Unbind(a))
	require.False(t, c.Release(a, true))
	_, amended := c.Amend(a, "late")
	require.False(t, amended)
	now, moved := c.Move(a, "C")
	require.False(t, moved)
	require.Equal(t, b.Gen, now.Gen, "the loser of a move learns who won")
	require.Equal(t, "B", now.Auth)
	require.Equal(t, "B", at(c, named("s")))
}

func TestAnInvalidatedSessionIsNotBroughtBack(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	require.True(t, c.InvalidateSession(scope, named("s")))
	require.False(t, c.Confirm(b))
	require.False(t, c.Touch(b))
	now, moved := c.Move(b, "C")
	require.False(t, moved)
	require.Zero(t, now)
	now, amended := c.Amend(b, "memo")
	require.False(t, amended)
	require.Zero(t, now)
	_, ok := c.Get(scope, named("s"))
	require.False(t, ok)
	// Calls with the old binding do not change the session that comes after it, either.
	next, existed := c.Bind(scope, named("s"), "B")
	require.False(t, existed)
	require.NotEqual(t, b.Session, next.Session)
	require.False(t, c.Confirm(b))
	require.False(t, c.Unbind(b))
	now, moved = c.Move(b, "C")
	require.False(t, moved)
	require.Zero(t, now, "Move with the binding of another session changes nothing")
	got, _ := c.Peek(scope, named("s"))
	require.False(t, got.Served)
	require.Equal(t, next.Gen, got.Gen)
}

// losses are all ways in which a session loses its auth and stays.
var losses = map[cache.Cause]func(c store, b cache.Binding) bool{
	cache.Unbound:  func(c store, b cache.Binding) bool { return c.Unbind(b) },
	cache.Released: func(c store, b cache.Binding) bool { return c.Release(b, true) },
	cache.AuthInvalidated: func(c store, b cache.Binding) bool {
		if b.Auth == "A" {
			return c.InvalidateAuth("A") == 1
		}
		return c.InvalidateTenant("t", b.Auth) == 1
	},
}

func TestASessionThatLosesItsAuthKeepsItsNameKeysAndMemo(t *testing.T) {
	for cause, lose := range losses {
		for _, auth := range []string{"A", "B"} {
			t.Run(fmt.Sprint(cause, " from ", auth), func(t *testing.T) {
				c := newCache(t, cache.Options{})
				first, _ := c.Bind(scope, with(named("s", "alias"), "also"), auth)
				c.Amend(first, "memo")
				require.True(t, lose(c, first))
				require.Zero(t, c.CountAuth(auth))
				require.Empty(t, c.CountAuths())
				require.Equal(t, 1, c.Len())

				b, ok := c.Get(scope, named("alias"))
				require.True(t, ok)
				require.False(t, b.Bound())
				require.Equal(t, cause, b.Lost)
				require.Equal(t, auth, b.Auth, "a session without an auth shows its last auth")
				require.Equal(t, first.Session, b.Session)
				require.NotEqual(t, first.Gen, b.Gen)
				require.Equal(t, "memo", b.Memo)
				require.False(t, b.Served)
				require.Zero(t, b.SinceServed)

				require.False(t, c.Confirm(b), "a session without an auth cannot be confirmed")
				require.False(t, c.Unbind(b), "a session without an auth cannot be unbound")
				require.False(t, c.Release(b, true), "a session without an auth cannot be released")
				require.True(t, c.Touch(b))
				require.Zero(t, c.InvalidateAuth(auth))
				n, err := c.RenameAuth(t.Context(), auth, "new")
				require.NoError(t, err)
				require.Zero(t, n)

				again, existed := c.Bind(scope, named("s"), "C")
				require.False(t, existed)
				require.True(t, again.Bound())
				require.Equal(t, "C", again.Auth)
				require.Equal(t, first.Session, again.Session)
				require.Equal(t, "memo", again.Memo)
				require.NotEqual(t, b.Gen, again.Gen)
				require.Equal(t, 1, c.CountAuth("C"))
				require.False(t, c.Confirm(b))
				require.True(t, c.Confirm(again))
				require.Equal(t, "C", at(c, past("also")))
			})
		}
	}
}

func TestMoveBindsASessionThatHasLostItsAuth(t *testing.T) {
	c := newCache(t, cache.Options{})
	first, _ := c.Bind(scope, named("s"), "A")
	require.True(t, c.Unbind(first))
	now, moved := c.Move(first, "B")
	require.False(t, moved, "Move with an old binding changes nothing")
	require.Equal(t, cache.Unbound, now.Lost)
	now, moved = c.Move(now, "B")
	require.True(t, moved)
	require.True(t, now.Bound())
	require.Equal(t, first.Session, now.Session)
	require.Equal(t, map[string]int{"B": 1}, c.CountAuths())
	require.True(t, c.Release(now, true), "Release of the one use of Move takes the auth")
}

func TestASessionWithoutAnAuthExpiresAndIsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute, MaxSessions: 2, OnRemove: func(_ cache.Scope, b cache.Binding, why cause) {
			require.Contains(t, []cause{cache.Unbound}, why, "only the loss of the auth is reported, not the end of a session without one")
		}})
		b, _ := c.Bind(scope, named("s"), "A")
		time.Sleep(40 * time.Second)
		require.True(t, c.Unbind(b))
		time.Sleep(40 * time.Second)
		_, ok := c.Peek(scope, named("s"))
		require.False(t, ok, "the loss has not started the TTL again")
		require.Equal(t, 1, c.Sweep())
		for i := range 3 {
			b, _ := c.Bind(scope, named(fmt.Sprint(i)), "A")
			require.True(t, c.Unbind(b))
		}
		require.Equal(t, 2, c.Len())
		require.True(t, c.InvalidateSession(scope, named("2")))
		require.Equal(t, 1, c.InvalidateTenant("t", ""))
		require.Zero(t, c.Len())
	})
}

type cause = cache.Cause

func TestOneFailedUseOfABurstTakesTheAuthFromNobody(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A") // 1
	c.Get(scope, named("s"))               // 2
	c.Bind(scope, named("s"), "B")         // 3
	c.Get(scope, named("s", "alias"))      // 4
	stale := b
	stale.Gen = 1 << 40
	_, moved := c.Move(stale, "C") // 5
	require.False(t, moved)
	c.Peek(scope, named("s")) // looking opens no use
	for range c.All() {
		break
	}
	for i := range 4 {
		require.False(t, c.Release(b, i%2 == 0))
		require.Equal(t, "A", at(c, named("s")))
	}
	require.True(t, c.Release(b, true), "Release of the last use takes the auth")
	require.Empty(t, at(c, named("s")))
	require.False(t, c.Release(b, true))
}

func TestABindingWithoutOpenUsesStays(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	require.False(t, c.Release(b, false), "Release without a failure keeps the auth")
	require.False(t, c.Release(b, true), "Release without an open use keeps the auth")
	require.Equal(t, "A", at(c, named("s")))
	c.Get(scope, named("s"))
	require.True(t, c.Release(b, true), "Release of the use of the last Get takes the auth")
}

func TestReleaseOfAServedBindingDoesNothing(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	require.True(t, c.Confirm(b))
	require.False(t, c.Release(b, true))
	require.Equal(t, "A", at(c, named("s")))
	b, _ = c.Move(b, "B")
	require.False(t, b.Served)
	require.True(t, c.Release(b, true), "a move makes it provisional again")
}

// All uses of a burst fail at once. The session loses its auth once, with the last of them.
func TestABurstOfFailedUsesLosesTheAuthOnce(t *testing.T) {
	for round := range 300 / thorough {
		var lost atomic.Int64
		c := newCache(t, cache.Options{OnRemove: func(cache.Scope, cache.Binding, cause) { lost.Add(1) }})
		var wg sync.WaitGroup
		var mu sync.Mutex
		unbound, open := 0, 0
		for range 16 {
			wg.Go(func() {
				b, _ := c.Bind(scope, named("s"), "A")
				ok := c.Release(b, true)
				mu.Lock()
				defer mu.Unlock()
				open++
				if ok {
					unbound++
				}
			})
		}
		wg.Wait()
		require.Equal(t, 16, open)
		require.GreaterOrEqual(t, unbound, 1, round)
		require.EqualValues(t, unbound, lost.Load())
		b, _ := c.Peek(scope, named("s"))
		require.Equal(t, cache.Released, b.Lost, "all have failed")
	}
}

func TestTheMemoIsReplacedOnlyIfItIsTheOneThatWasSeen(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	require.Empty(t, b.Memo)
	one, amended := c.Amend(b, "one")
	require.True(t, amended)
	require.Equal(t, "one", one.Memo)
	require.Equal(t, b.Gen, one.Gen)
	now, amended := c.Amend(b, "two")
	require.False(t, amended, "Amend with a binding from before the memo changes nothing")
	require.Equal(t, "one", now.Memo)
	now, amended = c.Amend(now, "two")
	require.True(t, amended)
	require.Equal(t, "two", now.Memo)

	memo, current, err := c.Memory.Confirm(t.Context(), b)
	require.NoError(t, err)
	require.True(t, current)
	require.Equal(t, "two", memo)
	got, _ := c.Get(scope, named("s"))
	require.Equal(t, "two", got.Memo)
	moved, _ := c.Move(got, "B")
	require.Equal(t, "two", moved.Memo, "Move keeps the memo")
	none, amended := c.Amend(moved, "")
	require.True(t, amended)
	require.Empty(t, none.Memo)
	got, _ = c.Peek(scope, named("s"))
	require.Empty(t, got.Memo)
}

func TestAmendIsNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute})
		b, _ := c.Bind(scope, named("s"), "A")
		time.Sleep(40 * time.Second)
		now, amended := c.Amend(b, "memo")
		require.True(t, amended)
		require.Equal(t, 40*time.Second, now.Idle)
		require.True(t, c.Release(b, true), "Release takes the auth, because Amend has opened no use")
		time.Sleep(40 * time.Second)
		_, ok := c.Peek(scope, named("s"))
		require.False(t, ok, "Amend has not started the TTL again")
		_, amended = c.Amend(now, "more")
		require.False(t, amended)
	})
}

func TestEditMemosSeesEachMemoAndMayUseTheStore(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		c := newCache(t, cache.Options{MaxSessions: size})
		for i := range 50 {
			b, _ := c.Bind(scope, named(fmt.Sprint(i)), "A")
			if i%2 == 0 {
				c.Amend(b, fmt.Sprint("memo of ", i))
			}
			if i%4 == 0 {
				c.Unbind(b)
			}
		}
		seen := map[string]int{}
		require.NoError(t, c.EditMemos(t.Context(), func(b cache.Binding) string {
			memo := b.Memo
			seen[memo]++
			require.Equal(t, "A", b.Auth)
			if memo == "memo of 0" && seen[memo] == 1 { // it changes while it is edited
				b, _ := c.Peek(scope, named("0"))
				c.Amend(b, "changed")
			}
			if memo == "memo of 2" {
				c.InvalidateSession(scope, named("2"))
			}
			if memo == "memo of 4" {
				return ""
			}
			return "edited " + memo
		}))
		require.Len(t, seen, 26)
		for i := range 50 {
			b, ok := c.Peek(scope, named(fmt.Sprint(i)))
			require.Equal(t, i != 2, ok)
			want := ""
			switch {
			case i == 0:
				want = "edited changed"
			case i%2 == 0 && i > 4:
				want = fmt.Sprint("edited memo of ", i)
			}
			require.Equal(t, want, b.Memo, i)
		}
	}
}

func TestInvalidateAuthTakesOnlyItsOwn(t *testing.T) {
	c := newCache(t, cache.Options{})
	for i := range 30 {
		c.Bind(cache.Scope{Tenant: fmt.Sprint(i % 3)}, named(fmt.Sprint(i)), []string{"A", "B"}[i%2])
	}
	require.Equal(t, 15, c.InvalidateAuth("A"))
	require.Zero(t, c.InvalidateAuth("A"))
	require.Equal(t, 30, c.Len(), "the sessions stay")
	b, _ := c.Bind(scope, named("moved"), "B")
	c.Move(b, "C")
	require.Equal(t, 15, c.InvalidateAuth("B"), "a session that moved away is not counted")
	require.Equal(t, 1, c.InvalidateAuth("C"))
	require.Empty(t, c.CountAuths())
}

func TestARenamedAuthKeepsItsSessions(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "old")
	c.Bind(scope, named("other"), "new")
	c.Remember(scope, key("n"), "old")
	rename := func(from, to string) int {
		n, err := c.RenameAuth(t.Context(), from, to)
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 1, rename("old", "new"))
	require.Equal(t, "new", at(c, named("s")))
	require.Equal(t, "new", c.Recall(scope, key("n")))
	require.True(t, c.Confirm(b), "the generation stays: a result under way is about this auth")
	require.Equal(t, map[string]int{"new": 2}, c.CountAuths())
	require.Zero(t, rename("new", "new"))
	require.Zero(t, rename("new", ""))
	require.Zero(t, rename("old", "new"))
	require.Equal(t, 2, c.InvalidateAuth("new"))
}

// The hook is told each cause, with no lock held: it may use the store.
func TestEveryEndOfABindingIsToldWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c store
		var got []string
		c = newCache(t, cache.Options{MaxSessions: 3, TTL: time.Minute, OnRemove: func(sc cache.Scope, b cache.Binding, why cause) {
			got = append(got, why.String()+" "+b.Auth)
			require.NotZero(t, b.Session)
			require.NotZero(t, b.Gen)
			require.True(t, b.Bound(), "as it was before")
			require.NotEmpty(t, sc.Tenant)
			c.Len()
			c.Bind(cache.Scope{Tenant: "hook"}, &cache.Keys{}, "Z")
		}})
		bind := func(name, auth string) cache.Binding {
			b, existed := c.Bind(scope, named(name), auth)
			require.False(t, existed)
			return b
		}
		c.Unbind(bind("a", "unbound"))
		c.Release(bind("a", "released"), true)
		bind("a", "invalidated")
		c.InvalidateSession(scope, named("a"))
		bind("a", "auth")
		c.InvalidateAuth("auth")
		bind("a", "tenant's auth")
		c.InvalidateTenant("t", "tenant's auth")
		b := bind("a", "tenant")
		c.Move(b, "tenant after a move")
		c.InvalidateTenant("t", "")
		bind("a", "expired")
		time.Sleep(2 * time.Minute)
		require.Equal(t, 1, c.Sweep())
		bind("a", "expired too")
		time.Sleep(2 * time.Minute)
		bind("a", "its own")
		bind("b", "B")
		bind("c", "C")
		bind("d", "D")
		require.Equal(t, []string{
			"unbound unbound", "released released", "invalidated invalidated", "auth-invalidated auth",
			"auth-invalidated tenant's auth", "invalidated tenant after a move",
			"expired expired", "expired expired too", "evicted its own",
		}, got)
		c.Bind(cache.Scope{Tenant: "other"}, named("x"), "X")
		require.Equal(t, "evicted B", got[len(got)-1])
		require.NoError(t, c.SetOptions(&cache.Options{MaxSessions: 3, TTL: time.Minute, MaxPerTenant: 1}))
		require.Equal(t, "evicted-by-tenant C", got[len(got)-1])
		n := len(got)
		c.Close()
		require.Len(t, got, n)
	})
}

func TestCausesAreFitForAMetricLabel(t *testing.T) {
	for c, want := range map[cause]string{
		0: "none", cache.Expired: "expired", cache.Evicted: "evicted", cache.EvictedByTenant: "evicted-by-tenant", cache.Unbound: "unbound",
		cache.Released: "released", cache.Invalidated: "invalidated", cache.AuthInvalidated: "auth-invalidated", 200: "unknown",
	} {
		require.Equal(t, want, c.String())
	}
}
