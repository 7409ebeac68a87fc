package fallback_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

// pairOver are two processes on one store, each over a link of its own.
func pairOver(t *testing.T) (links [2]*link, stores [2]*fallback.Store) {
	t.Helper()
	for i := range links {
		links[i] = newLink(t)
	}
	require.NoError(t, links[1].Memory.Close())
	links[1].Memory = links[0].Memory
	for i := range stores {
		stores[i] = over(t, links[i])
		t.Cleanup(func() { _ = stores[i].Close() })
	}
	return links, stores
}

// cut breaks links until mend.
func cut(all ...*link) {
	for _, l := range all {
		l.broken.Store(true)
	}
}

// Two processes, cut off from the store, have bound a session to the same auth. Afterwards it
// is known that the auth has served, whichever process it served.
func TestASecondOfferOfTheSameAuthCounts(t *testing.T) {
	for _, first := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			links, stores := pairOver(t)
			cut(links[:]...)
			idle := bind(t, stores[0], named("s"), "A")
			_, err := stores[0].Release(t.Context(), idle, false)
			require.NoError(t, err)
			served := bind(t, stores[1], named("s"), "A")
			confirm(t, stores[1], served)
			_, _, err = stores[1].Amend(t.Context(), served, "memo")
			require.NoError(t, err)
			for _, i := range []int{first, 1 - first} {
				links[i].broken.Store(false)
				back(t, stores[i])
			}
			for _, s := range stores {
				g, ok := get(t, s, named("s"))
				require.Equal(t, []any{true, true, "A", "memo"}, []any{ok, g.Served, g.Auth, g.Memo})
			}
		})
	}
}

// If the choice of another process counts, results of this process's auth change nothing.
func TestAResultOfAnotherAuthIsNotTheAdoptedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, stores := pairOver(t)
		cut(links[:]...)
		bind(t, stores[0], named("s"), "A")
		mine := bind(t, stores[1], named("s"), "B")
		for i := range links {
			links[i].broken.Store(false)
			back(t, stores[i])
		}
		_, current, err := stores[1].Confirm(t.Context(), mine)
		require.NoError(t, err)
		require.False(t, current, "a result of B is refused, because the session is at A")
		unbound, err := stores[1].Release(t.Context(), mine, true)
		require.NoError(t, err)
		require.False(t, unbound)
		g, _ := get(t, stores[1], named("s"))
		require.Equal(t, []any{"A", false, true}, []any{g.Auth, g.Served, g.Bound()})
	})
}

// A failure in one process, while remote is away, does not take the auth from a request
// that another one is still waiting for.
func TestAFailureMeanwhileLeavesTheUsesOfOthers(t *testing.T) {
	for _, waits := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			links, stores := pairOver(t)
			b := bind(t, stores[0], named("s"), "A")
			other, _ := get(t, stores[1], named("s"))
			if !waits {
				_, err := stores[1].Release(t.Context(), other, false)
				require.NoError(t, err)
			}
			cut(links[0])
			unbound, err := stores[0].Release(t.Context(), b, true)
			require.NoError(t, err)
			require.True(t, unbound, "the auth is lost, as far as this process can know")
			links[0].broken.Store(false)
			back(t, stores[0])
			g, _ := get(t, stores[1], named("s"))
			require.Equal(t, waits, g.Bound())
		})
	}
}

// telling is a remote that calls a function when it was told that a session has lost its auth.
type telling struct {
	*link
	told func()
}

func (s *telling) Unbind(ctx context.Context, b cache.Binding) (bool, error) {
	ok, err := s.link.Unbind(ctx, b)
	if do := s.told; err == nil && do != nil {
		s.told = nil
		do()
	}
	return ok, err
}

// A session is bound again at the moment when remote is told that it has lost its auth.
func TestABindingDuringTheOfferOfALossStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &telling{link: newLink(t)}
		s := over(t, remote)
		defer s.Close()
		confirm(t, s, bind(t, s, named("s"), "A"))
		remote.broken.Store(true)
		b, _ := get(t, s, named("s"))
		_, err := s.Unbind(t.Context(), b)
		require.NoError(t, err)
		var again cache.Binding
		remote.told = func() { again = bind(t, s, named("s"), "B") }
		remote.broken.Store(false)
		back(t, s)
		require.Equal(t, "B", again.Auth)
		confirm(t, s, again)
		there, ok, err := remote.Peek(t.Context(), scope, named("s"))
		require.NoError(t, err)
		require.Equal(t, []any{true, "B", true}, []any{ok, there.Auth, there.Served})
	})
}

// A scope with long names is the same scope for remote, also in offers.
func TestLongNamesAreOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		long := cache.Scope{Tenant: strings.Repeat("tenant", 100), Pool: strings.Repeat("p", 200), Model: "sha256:m"}
		l.broken.Store(true)
		b, _, err := s.Bind(t.Context(), long, named("s"), "A")
		require.NoError(t, err)
		confirm(t, s, b)
		require.NoError(t, s.Remember(t.Context(), long, key("note"), "A"))
		l.broken.Store(false)
		back(t, s)
		_, ok, err := l.Peek(t.Context(), long, named("s"))
		require.NoError(t, err)
		require.True(t, ok)
		_, ok, err = l.Recall(t.Context(), long, key("note"))
		require.NoError(t, err)
		require.True(t, ok)
	})
}

// A request of a session that has lost its auth does not ask remote for that each time. It asks
// for remote's epoch, and only if this is not known.
func TestAnUnknownSessionCostsNoSecondQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		b := bind(t, s, named("s"), "A")
		confirm(t, s, b)
		_, err := s.Unbind(t.Context(), b)
		require.NoError(t, err)
		before := l.asked.Load()
		get(t, s, named("new"))
		bind(t, s, named("new"), "A")
		get(t, s, named("s"))
		bind(t, s, named("s"), "B") // under its name
		get(t, s, named("s"))
		require.Equal(t, int64(5), l.asked.Load()-before)
	})
}
