package cache_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func TestANoteIsRecalledAndTheLastOneWins(t *testing.T) {
	c := newCache(t, cache.Options{})
	require.Empty(t, c.Recall(scope, key("r")))
	c.Remember(scope, key("r"), "A")
	require.Equal(t, "A", c.Recall(scope, key("r")))
	c.Remember(scope, key("r"), "B")
	require.Equal(t, "B", c.Recall(scope, key("r")))
	require.Empty(t, c.Recall(scope, key("other")))
	for _, other := range []cache.Scope{{Tenant: "t2", Pool: "p", Model: "m"}, {Tenant: "t", Pool: "p2", Model: "m"}, {Tenant: "t", Pool: "p", Model: "m2"}} {
		require.Empty(t, c.Recall(other, key("r")))
	}
	c.Remember(scope, cache.Key{}, "A")
	require.Empty(t, c.Recall(scope, cache.Key{}), "a zero key")
	c.Remember(scope, key("r"), "")
	require.Equal(t, "B", c.Recall(scope, key("r")), "an empty auth")
}

func TestNotesAreNoSessions(t *testing.T) {
	c := newCache(t, cache.Options{OnRemove: func(cache.Scope, cache.Binding, cause) { t.Error("told of a note") }})
	odd := []cache.Scope{scope, {}, {Model: "\x00owner"}, {Tenant: "\x00note"}, {Model: "notes"}}
	for _, sc := range odd {
		c.Remember(sc, key("k"), "A")
		_, ok := c.Get(sc, named("k"))
		require.False(t, ok)
		_, ok = c.Get(sc, past("k"))
		require.False(t, ok)
		require.False(t, c.InvalidateSession(sc, named("k")))
	}
	require.Zero(t, c.Len())
	require.Zero(t, c.CountAuth("A"))
	require.Empty(t, c.CountAuths())
	for range c.All() {
		t.Fatal("All returns a note as a session")
	}
	for range c.OfAuth("A") {
		t.Fatal("OfAuth returns a note as a session")
	}
	require.Zero(t, c.InvalidateAuth("A"))
	for _, sc := range odd {
		require.Empty(t, c.Recall(sc, key("k")), "notes of an invalidated auth are forgotten")
		c.Bind(sc, named("k"), "B")
		require.Empty(t, c.Recall(sc, key("k")), "a session is no note")
	}
	require.NoError(t, c.Close())
}

func TestNotesOfATenantAreInvalidated(t *testing.T) {
	c := newCache(t, cache.Options{})
	two := cache.Scope{Tenant: "t2"}
	for _, auth := range []string{"A", "B"} {
		c.Remember(scope, key(auth), auth)
		c.Remember(two, key(auth), auth)
	}
	require.Zero(t, c.InvalidateTenant("t", "A"), "InvalidateTenant counts notes as sessions")
	require.Empty(t, c.Recall(scope, key("A")))
	require.Equal(t, "B", c.Recall(scope, key("B")))
	require.Zero(t, c.InvalidateTenant("t", ""))
	require.Empty(t, c.Recall(scope, key("B")))
	require.Equal(t, "A", c.Recall(two, key("A")))
	require.Equal(t, "B", c.Recall(two, key("B")))
}

func TestRecallStartsTheTTLOfANoteAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute})
		c.Remember(scope, key("n"), "A")
		for range 5 {
			time.Sleep(40 * time.Second)
			require.Equal(t, "A", c.Recall(scope, key("n")))
		}
		time.Sleep(40 * time.Second)
		c.Remember(scope, key("n"), "B")
		time.Sleep(40 * time.Second)
		require.Equal(t, "B", c.Recall(scope, key("n")), "Remember starts the TTL of a note again")
		time.Sleep(61 * time.Second)
		require.Empty(t, c.Recall(scope, key("n")))
		c.Remember(scope, key("n"), "C")
		require.Equal(t, "C", c.Recall(scope, key("n")))
	})
}

func TestNotesPushOutNoSessionAndSessionsNoNote(t *testing.T) {
	for _, size := range []int{100, 2000} {
		c := newCache(t, cache.Options{MaxSessions: size})
		for i := range size {
			c.Bind(scope, named(fmt.Sprint(i)), "A")
		}
		for i := range 2000 {
			c.Remember(tenant("chatty"), key(fmt.Sprint(i)), "B")
		}
		c.Remember(tenant("quiet"), key("n"), "C")
		for i := range 20 * size {
			c.Remember(tenant("chatty"), key(fmt.Sprint("more", i)), "B")
		}
		require.Equal(t, size, c.Len())
		require.Equal(t, size, c.CountAuth("A"))
		require.Equal(t, "C", c.Recall(tenant("quiet"), key("n")), "notes are fair between tenants, too")
		held := 0
		for i := range 20 * size {
			if c.Recall(tenant("chatty"), key(fmt.Sprint("more", i))) != "" {
				held++
			}
		}
		require.Equal(t, size-1, held, "notes have the same bound")
		for i := range 20 * size {
			c.Bind(tenant("chatty"), named(fmt.Sprint(i)), "B")
		}
		require.Equal(t, "C", c.Recall(tenant("quiet"), key("n")))
	}
}
