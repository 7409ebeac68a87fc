package cache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func withMarks(k *cache.Keys, marks ...string) *cache.Keys {
	for i, m := range marks {
		k.Marks[i] = key(m)
	}
	return k
}

// If a third conversation has taken over an end, the conversation before is expected to
// continue for a few minutes only. A request that was sent twice must not attract others for
// ever.
func TestATwinIsAwaitedForAFewMinutes(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		at    string
	}{{4 * time.Minute, "A"}, {6 * time.Minute, "C"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newCache(t, cache.Options{})
			a, _ := s.Bind(scope, ends("hi"), "A")
			require.True(t, s.Confirm(a))
			require.True(t, s.Confirm(a))
			s.Get(scope, ends("a2", "hi"))
			s.Bind(scope, ends("hi"), "C")
			time.Sleep(c.after)
			require.Equal(t, c.at, at(s, ends("b2", "hi")), c.after)
		})
	}
}

// The first session of a shared mark keeps the mark's key, so that the key finds no session.
// When that session ends, the key is free, and can be a mark again.
func TestASharedMarkGoesWithItsSession(t *testing.T) {
	for _, size := range []int{10, 100_000} {
		s := newCache(t, cache.Options{MaxSessions: size})
		s.Bind(scope, ends("a1"), "A")
		s.Get(scope, withMarks(ends("a2", "a1"), "m"))
		s.Bind(scope, ends("b1"), "B")
		b, _ := s.Get(scope, withMarks(ends("b2", "b1"), "m"))
		require.EqualValues(t, 1, b.Shared)
		require.True(t, s.InvalidateSession(scope, ends("a2", "a1")))
		require.Equal(t, 2, s.AllAliases(), "only the two ends of the second session are left")
		s.Get(scope, withMarks(ends("b3", "b2"), "m"))
		require.Equal(t, "B", at(s, ends("x", "m")), size)
		require.True(t, s.InvalidateSession(scope, ends("b3", "b2")))
		require.Zero(t, s.AllAliases(), "no keys are left behind")
	}
}

// A shared mark that its first session has dropped is free again.
func TestASharedMarkThatIsLetGoLeavesNothing(t *testing.T) {
	s := newCache(t, cache.Options{})
	s.Bind(scope, ends("a0"), "A")
	s.Get(scope, withMarks(ends("a1", "a0"), "m"))
	s.Bind(scope, ends("b0"), "B")
	s.Get(scope, withMarks(ends("b1", "b0"), "m"))
	before := s.AllAliases()
	for i := range 8 {
		s.Get(scope, withMarks(ends("a1", "a0"), string(rune('n'+i))))
	}
	require.Equal(t, before+8-1, s.AllAliases())
}

func TestAPlainSessionHasNoExtras(t *testing.T) {
	s := newCache(t, cache.Options{})
	b, _ := s.Bind(scope, named("one"), "A")
	s.Get(scope, named("one"))
	require.True(t, s.Confirm(b))
	require.False(t, s.HasExtras(b))
}

// Three conversations begin alike, each after the answer to the one before. Their clients write
// the answers in other words. The conversations continue in their order.
func TestTwinsWhoseAnswersWereRewrittenGoOnInTheirOrder(t *testing.T) {
	for _, size := range []int{10, 100_000} {
		s := newCache(t, cache.Options{MaxSessions: size})
		for _, auth := range []string{"A", "B", "C"} {
			b, existed := s.Bind(scope, ends("hi"), auth)
			require.False(t, existed)
			require.True(t, s.Confirm(b))
			require.True(t, s.BindAnswer(b, key("hi"), []cache.Key{key("answer of " + auth)}))
		}
		for _, auth := range []string{"A", "B", "C", "C"} {
			b, ok := s.Get(scope, ends(auth+"2", "hi"))
			require.True(t, ok)
			require.Equal(t, auth, b.Auth, size)
		}
	}
}

// A conversation that is found by its answer has continued, and is not expected any more.
func TestATwinThatIsFoundByItsAnswerHasGoneOn(t *testing.T) {
	s := newCache(t, cache.Options{})
	for _, auth := range []string{"A", "B"} {
		b, _ := s.Bind(scope, ends("hi"), auth)
		require.True(t, s.BindAnswer(b, key("hi"), []cache.Key{key("answer of " + auth)}))
	}
	b, _ := s.Get(scope, ends("a2", "answer of A", "hi"))
	require.Equal(t, "A", b.Auth)
	require.Equal(t, "B", at(s, ends("b2", "hi")))
}

// A conversation that has continued once does not count for others: those that began alike are
// still expected to continue.
func TestGoingOnTwiceLeavesTheOthersAwaited(t *testing.T) {
	s := newCache(t, cache.Options{})
	b, _ := s.Bind(scope, ends("hi"), "A")
	require.True(t, s.Confirm(b))
	require.True(t, s.Confirm(b))
	s.Get(scope, ends("a2", "hi"))
	s.Get(scope, ends("a3", "a2", "hi"))
	s.Bind(scope, ends("hi"), "C")
	require.Equal(t, "A", at(s, ends("b2", "hi")))
}
