package cache_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

// The losers are held at the door until all have looked and found nothing.
func TestC1_ThousandBurstsOf64(t *testing.T) {
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
					t.Error("bound before anybody has")
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

func TestC3_AnInvalidatedSessionIsNotBroughtBack(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	require.True(t, c.InvalidateSession(scope, named("s")))
	require.False(t, c.Confirm(b))
	_, ok := c.Get(scope, named("s"))
	require.False(t, ok)
	// Nor does it confirm who is bound after it.
	now, _ := c.Bind(scope, named("s"), "B")
	require.False(t, c.Confirm(b))
	got, _ := c.Peek(scope, named("s"))
	require.False(t, got.Served)
	require.Equal(t, now.Gen, got.Gen)
}

func TestR1_AMillionForgedIDs(t *testing.T) {
	const size = 10_000 // in parts
	c := newCache(t, cache.Options{MaxSessions: size})
	c.Bind(scope, named("live"), "A")
	for i := range 1_000_000 / thorough {
		c.Bind(scope, named(fmt.Sprint("forged", i)), "B")
		if i%1000 == 0 {
			_, ok := c.Get(scope, named("live"))
			require.True(t, ok, i)
			require.LessOrEqual(t, c.Len(), size)
		}
	}
	n := c.Counts()
	require.Equal(t, 1, n["A"])
	require.Greater(t, n["B"], size*9/10, "the parts are filled evenly")
}

func TestS1_TenantsWithTheSameIDAreIndependent(t *testing.T) {
	c := newCache(t, cache.Options{})
	one, two := cache.Scope{Tenant: "T1"}, cache.Scope{Tenant: "T2"}
	c.Bind(one, named("default-chat"), "A")
	b, existed := c.Bind(two, named("default-chat"), "B")
	require.False(t, existed)
	require.True(t, c.Delete(b), "T2's 401")
	got, ok := c.Peek(one, named("default-chat"))
	require.True(t, ok)
	require.Equal(t, "A", got.Auth)
	require.Zero(t, c.InvalidateTenant("T2", ""))
}

func TestS4_ATenantOverItsSharePushesOutItsOwn(t *testing.T) {
	for _, size := range []int{1000, 20_000} {
		causes := map[string]map[cache.Cause]int{"hog": {}, "small": {}}
		c := newCache(t, cache.Options{MaxSessions: size, OnRemove: func(r cache.Removal) { causes[r.Scope.Tenant][r.Cause]++ }})
		small, hog := cache.Scope{Tenant: "small"}, cache.Scope{Tenant: "hog"}
		for i := range 100 {
			c.Bind(small, named(fmt.Sprint("s", i)), "A")
		}
		const flood = 1_000_000 / thorough
		for i := range flood {
			c.Bind(hog, named(fmt.Sprint("h", i)), "B")
		}
		for i := range 100 {
			_, ok := c.Peek(small, named(fmt.Sprint("s", i)))
			require.True(t, ok, "of %d, session %d", size, i)
		}
		require.Empty(t, causes["small"])
		require.Equal(t, flood+100-c.Len(), causes["hog"][cache.EvictedByTenant])
		require.LessOrEqual(t, c.Len(), size)
	}
}

func TestABoundPerTenant(t *testing.T) {
	other := cache.Scope{Tenant: "other"}
	for _, size := range []int{500, 100_000} {
		c := newCache(t, cache.Options{MaxSessions: size, MaxPerTenant: 10})
		for i := range 100 {
			c.Bind(scope, named(fmt.Sprint("s", i)), "A")
			if i < 5 {
				c.Bind(other, named(fmt.Sprint("s", i)), "B")
			}
		}
		require.Equal(t, map[string]int{"A": 10, "B": 5}, c.Counts())
		_, ok := c.Peek(scope, named("s90"))
		require.True(t, ok)
		_, ok = c.Peek(scope, named("s89"))
		require.False(t, ok)
	}
	c := newCache(t, cache.Options{MaxSessions: 100_000, MaxPerTenant: 5000}) // in parts
	for i := range 50_000 {
		c.Bind(scope, named(fmt.Sprint("s", i)), "A")
	}
	n := c.Counts()["A"]
	require.LessOrEqual(t, n, 5000)
	require.Greater(t, n, 4500)
}

// The hook is told each cause, with no lock held: it may use the store.
func TestEveryRemovalIsToldWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c store
		var got []string
		c = newCache(t, cache.Options{MaxSessions: 3, TTL: time.Minute, OnRemove: func(r cache.Removal) {
			got = append(got, r.Cause.String()+" "+r.Auth)
			require.NotZero(t, r.Session)
			c.Len()
			c.Bind(cache.Scope{Tenant: "hook"}, &cache.Keys{}, "Z")
		}})
		bind := func(name, auth string) cache.Binding {
			b, existed := c.Bind(scope, named(name), auth)
			require.False(t, existed)
			return b
		}
		c.Delete(bind("a", "deleted"))
		c.Release(bind("a", "released"))
		bind("a", "invalidated")
		c.InvalidateSession(scope, named("a"))
		bind("a", "auth")
		c.InvalidateAuth("auth")
		bind("a", "tenant")
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
			"deleted deleted", "released released", "invalidated invalidated", "auth-invalidated auth", "auth-invalidated tenant",
			"expired expired", "expired expired too", "evicted-by-tenant its own",
		}, got)
		c.Bind(cache.Scope{Tenant: "other"}, named("x"), "X")
		require.Equal(t, "evicted B", got[len(got)-1])
		n := len(got)
		c.Close()
		require.Len(t, got, n)
	})
}

func TestAHitAllocatesNothing(t *testing.T) {
	m := newCache(t, cache.Options{}).Memory
	ctx, k := t.Context(), *named("s")
	b, _, err := m.Bind(ctx, scope, k, "A")
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		got, ok, err := m.Get(ctx, scope, k)
		if !ok || err != nil || got.Auth != "A" {
			t.Error("lost")
		}
		if current, err := m.Confirm(ctx, b); !current || err != nil {
			t.Error("lost")
		}
	}))
}
