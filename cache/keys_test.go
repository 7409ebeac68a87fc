package cache_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

// with is keys that bind others besides.
func with(k *cache.Keys, also ...string) *cache.Keys {
	for i, a := range also {
		k.Also[i] = key(a)
	}
	return k
}

// past is a request that can be found only by what was bound before.
func past(keys ...string) *cache.Keys { return ends("unknown", keys...) }

func TestAllNamesOfASessionAreKeysOfOneBinding(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, named("header", "body"), "A")
	require.Equal(t, "A", at(c, named("body")), "the session is found by one of its names")
	c.Get(scope, named("body", "third"))
	require.Equal(t, "A", at(c, named("third")), "a new one is learned")
	require.True(t, c.InvalidateSession(scope, named("body")))
	for _, n := range []string{"header", "body", "third"} {
		_, ok := c.Peek(scope, named(n))
		require.False(t, ok, "%s is left", n)
	}
	require.Zero(t, c.Len())
}

func TestAlsoPullsNoSessionsTogether(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, with(named("c1"), "app"), "A")
	c.Bind(scope, with(named("c2"), "app"), "B")
	require.Equal(t, "B", at(c, named("app")), "the latest session with an Also is found by it")
	for range 2 {
		for n, auth := range map[string]string{"c1": "A", "c2": "B"} {
			b, ok := c.Get(scope, with(named(n), "app"))
			require.True(t, ok)
			require.Equal(t, auth, b.Auth)
			require.Equal(t, auth, at(c, past("app")), "the latest session that came with an Also is found by it")
		}
	}
	_, ok := c.Get(scope, with(named("c3"), "app"))
	require.False(t, ok, "a name that is not bound is a new session, whatever else comes with it")
}

func TestAlsoIsNotTakenFromTheSessionThatHasItAsAName(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, named("app"), "A")           // as its home
	c.Bind(scope, named("first", "app2"), "B") // as its second name
	c.Bind(scope, with(named("thief"), "app", "app2"), "C")
	require.Equal(t, "A", at(c, named("app")))
	require.Equal(t, "B", at(c, named("app2")))
	c.Bind(scope, ends("app"), "D")
	c.Bind(scope, ends("app2"), "D")
	require.Equal(t, "A", at(c, named("app")), "the End of another session does not take the key")
	require.Equal(t, "B", at(c, named("app2")), "the End of another session does not take the key")
}

func TestAKeyOfAlsoBecomesANameOfTheSessionThatIsFoundByIt(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, with(named("s"), "app"), "A")
	require.Equal(t, "A", at(c, named("app")))
	_, ok := c.Get(scope, named("app"))
	require.True(t, ok)
	c.Bind(scope, with(named("thief"), "app"), "B")
	require.Equal(t, "A", at(c, named("app")))
}

func TestFallbacksFindAndAreNotBound(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, with(ends("e1"), "t1"), "A")
	for _, k := range []string{"e1", "t1"} {
		require.Equal(t, "A", at(c, past("none", k)), "a key that was bound as End or Also is found as one of the Fallbacks")
	}
	b, ok := c.Get(scope, ends("e2", "stranger", "e1", "another stranger"))
	require.True(t, ok)
	require.Equal(t, "A", b.Auth)
	c.Get(scope, ends("e3", "stranger", "e2"))
	require.Empty(t, at(c, past("stranger")), "one of the Fallbacks that was not bound before stays unbound")
	require.Empty(t, at(c, past("another stranger")))
	b, existed := c.Bind(scope, ends("other", "stranger"), "B")
	require.False(t, existed)
	require.Empty(t, at(c, past("stranger")), "nor after Bind")
	require.Equal(t, "B", b.Auth)
}

func TestFallbacksAreLookedUpInTheirOrderAndBehindTheEnd(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, ends("a"), "A")
	c.Bind(scope, ends("b"), "B")
	require.Equal(t, "A", at(c, past("a", "b")))
	require.Equal(t, "B", at(c, past("b", "a")))
	require.Equal(t, "A", at(c, ends("a", "b")))
	k := named("unknown name")
	k.Fallbacks = []cache.Key{key("a")}
	require.Empty(t, at(c, k), "with a name, only names find")
	k.End = key("a")
	require.Empty(t, at(c, k), "with a name, only names find")
}

func TestContentFindsTheSessionByItsEarlierEnds(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, ends("1"), "A")
	b, ok := c.Get(scope, ends("3", "2", "1"))
	require.True(t, ok)
	require.Equal(t, "A", b.Auth)
	require.Equal(t, "A", at(c, ends("5", "4", "3")), "the end of the second request finds the session")
	require.Empty(t, at(c, ends("x", "2")), "a key that was only looked up finds nothing")
	require.Equal(t, "A", at(c, ends("3", "2", "1")), "a retry of the latest request finds the session")
}

func TestTheSameOpeningLaterIsAnotherSession(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, ends("1"), "A")
	c.Get(scope, ends("3", "2", "1"))
	_, ok := c.Get(scope, ends("1"))
	require.False(t, ok, "the first end of a session that has continued finds nothing")
	c.Bind(scope, ends("1"), "B")
	require.Equal(t, "B", at(c, ends("3b", "2b", "1")), "the new session is found")
	require.Equal(t, "A", at(c, ends("5", "4", "3", "2", "1")), "the old session is found")
}

func TestTheEndOfARequestWithNamesIsBound(t *testing.T) {
	c := newCache(t, cache.Options{})
	k := named("s")
	k.End = key("e1")
	c.Bind(scope, k, "A")
	require.Equal(t, "A", at(c, past("e1")), "the name is missing in the next request")
	k.End = key("e2")
	c.Get(scope, k)
	require.Equal(t, "A", at(c, past("e2")))
}

func TestAnEndlessSessionHoldsAFewEnds(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, ends("e0"), "A")
	c.Bind(scope, ends("other"), "B")
	for i := 1; i <= 2000; i++ {
		_, ok := c.Get(scope, ends(fmt.Sprint("e", i), fmt.Sprint("e", i-1)))
		require.True(t, ok, i)
	}
	var found []int
	for i := range 2001 {
		if at(c, past(fmt.Sprint("e", i))) != "" {
			found = append(found, i)
		}
	}
	require.Equal(t, []int{0, 1, 1995, 1996, 1997, 1998, 1999, 2000}, found, "the first two and the latest six")
	require.Equal(t, "B", at(c, ends("other")))
}

func TestTheLatestOfAlsoAreKept(t *testing.T) {
	c := newCache(t, cache.Options{})
	for i := range 100 {
		c.Bind(scope, with(named("s"), fmt.Sprint("t", i), "every request"), "A")
	}
	var found []int
	for i := range 100 {
		if at(c, past(fmt.Sprint("t", i))) != "" {
			found = append(found, i)
		}
	}
	require.Equal(t, []int{95, 96, 97, 98, 99}, found)
	require.Equal(t, "A", at(c, past("every request")), "an Also that comes with each request is kept")
}

func TestNamesOfOneSessionAreBounded(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, named("s"), "A")
	found := 1
	for i := range 100 {
		c.Get(scope, named("s", fmt.Sprint("alias", i)))
		if at(c, named(fmt.Sprint("alias", i))) != "" {
			found++
		}
	}
	require.Equal(t, 8, found)
}
