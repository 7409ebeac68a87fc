package cache_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

// A session works that has as many keys of each kind as it may have.
func TestASessionWithAllKeysGoesOn(t *testing.T) {
	c := newCache(t, cache.Options{})
	n := 0
	next := func() cache.Key {
		n++
		return key(fmt.Sprint("key", n))
	}
	var ended []cache.Key
	most := 0
	for round := range 30 {
		k := cache.Keys{Names: [cache.MaxNames]cache.Key{key("home")}, End: next(), Ongoing: true}
		if round%3 == 2 { // without its id, twice at once: the two are twins
			k.Names[0], k.Fallbacks = cache.Key{}, ended[len(ended)-1:]
		} else {
			for i := 1; i < cache.MaxNames; i++ {
				k.Names[i] = next()
			}
		}
		for i := range k.Also {
			k.Also[i] = next()
		}
		for i := range k.Marks {
			k.Marks[i] = next()
		}
		b, existed := c.Bind(scope, &k, "A")
		require.Equal(t, round > 0, existed)
		require.True(t, c.Confirm(b))
		if round%3 == 2 {
			require.True(t, c.Confirm(b))
		}
		var answer []cache.Key
		for range cache.MaxAnswer {
			answer = append(answer, next())
		}
		require.True(t, c.BindAnswer(b, k.End, answer, next(), next()))
		ended = append(ended, k.End)
		most = max(most, c.NumKeys(b))
	}
	require.Equal(t, 38, most, "the home, 7 names, 8 ends, 6 also, 8 marks, 8 of answers")
	require.Zero(t, c.Strays())
}

// A mark counts at any place among other marks that are empty.
func TestAMarkBehindNoneIsBound(t *testing.T) {
	c := newCache(t, cache.Options{})
	k := named("home")
	k.Ongoing = true
	b, _ := c.Bind(scope, k, "A")
	require.True(t, c.Confirm(b))
	k.Marks[1] = key("mark")
	_, ok := c.Get(scope, k)
	require.True(t, ok)
	require.Equal(t, "A", at(c, past("mark")))
}
