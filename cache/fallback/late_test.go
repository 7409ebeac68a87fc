package fallback_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

// tardy is a remote that does its operations, and answers one of them too late.
type tardy struct {
	*link
	late bool
}

func (d *tardy) answer(err error) error {
	if d.late {
		d.late = false
		time.Sleep(10 * time.Millisecond)
		return context.DeadlineExceeded
	}
	return err
}

func (d *tardy) Bind(ctx context.Context, s cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, ok, err := d.link.Bind(ctx, s, k, auth)
	return b, ok, d.answer(err)
}

func (d *tardy) Get(ctx context.Context, s cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := d.link.Get(ctx, s, k)
	return b, ok, d.answer(err)
}

func (d *tardy) Move(ctx context.Context, b cache.Binding, auth string) (cache.Binding, bool, error) {
	now, ok, err := d.link.Move(ctx, b, auth)
	return now, ok, d.answer(err)
}

func (d *tardy) Release(ctx context.Context, b cache.Binding, failed bool) (bool, error) {
	ok, err := d.link.Release(ctx, b, failed)
	return ok, d.answer(err)
}

func (d *tardy) Amend(ctx context.Context, b cache.Binding, memo string) (cache.Binding, bool, error) {
	now, ok, err := d.link.Amend(ctx, b, memo)
	return now, ok, d.answer(err)
}

// overTardy runs a test over a remote that can be late, and can be cut off.
func overTardy(t *testing.T, f func(t *testing.T, d *tardy, s *fallback.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &tardy{link: newLink(t)}
		s := over(t, d)
		defer s.Close()
		f(t, d, s)
	})
}

// An operation was done although its answer came too late. Then it is not known how many uses
// remote has counted. The last use that fails takes the auth from the session all the same.
func TestUsesAreCountedAlsoAfterALateAnswer(t *testing.T) {
	release := func(t *testing.T, s *fallback.Store, b cache.Binding) bool {
		t.Helper()
		unbound, err := s.Release(t.Context(), b, true)
		require.NoError(t, err)
		return unbound
	}
	late := map[string]func(*testing.T, *tardy, *fallback.Store) (uses []cache.Binding){
		"bind": func(t *testing.T, d *tardy, s *fallback.Store) []cache.Binding {
			get(t, s, named("s"))
			d.late = true
			return []cache.Binding{bind(t, s, named("s"), "A")}
		},
		"get": func(t *testing.T, d *tardy, s *fallback.Store) []cache.Binding {
			one := bind(t, s, named("s"), "A")
			d.late = true
			two, _ := get(t, s, named("s"))
			return []cache.Binding{one, two}
		},
		"move": func(t *testing.T, d *tardy, s *fallback.Store) []cache.Binding {
			b := bind(t, s, named("s"), "A")
			d.late = true
			b, moved, err := s.Move(t.Context(), b, "B")
			require.NoError(t, err)
			require.True(t, moved)
			return []cache.Binding{b}
		},
		"release": func(t *testing.T, d *tardy, s *fallback.Store) []cache.Binding {
			one := bind(t, s, named("s"), "A")
			two, _ := get(t, s, named("s"))
			d.late = true
			require.False(t, release(t, s, one))
			return []cache.Binding{two}
		},
	}
	for name, make := range late {
		for _, after := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				overTardy(t, func(t *testing.T, d *tardy, s *fallback.Store) {
					uses := make(t, d, s)
					require.Equal(t, fallback.Away, s.State())
					if after {
						back(t, s)
					}
					for i, b := range uses {
						require.Equal(t, i == len(uses)-1, release(t, s, b))
					}
					back(t, s)
					g, ok := get(t, s, named("s"))
					require.Equal(t, []any{true, false}, []any{ok, g.Bound()})
				})
			})
		}
	}
}

// A memo that was written meanwhile stays, even if remote has written another one in an
// operation without an answer.
func TestTheLatestMemoCounts(t *testing.T) {
	for name, first := range map[string]func(*testing.T, *tardy, *fallback.Store, cache.Binding) cache.Binding{
		"a late Amend": func(t *testing.T, d *tardy, s *fallback.Store, b cache.Binding) cache.Binding {
			d.late = true
			now, amended, err := s.Amend(t.Context(), b, "first")
			require.NoError(t, err)
			require.True(t, amended)
			return now
		},
		"EditMemos before the outage": func(t *testing.T, d *tardy, s *fallback.Store, b cache.Binding) cache.Binding {
			_, amended, err := s.Amend(t.Context(), b, "zero")
			require.NoError(t, err)
			require.True(t, amended)
			require.NoError(t, s.EditMemos(t.Context(), func(cache.Binding) string { return "first" }))
			d.broken.Store(true)
			now, _ := get(t, s, named("s"))
			return now
		},
		"EditMemos in the outage": func(t *testing.T, d *tardy, s *fallback.Store, b cache.Binding) cache.Binding {
			_, amended, err := s.Amend(t.Context(), b, "zero")
			require.NoError(t, err)
			require.True(t, amended)
			d.broken.Store(true)
			get(t, s, named("s"))
			require.ErrorIs(t, s.EditMemos(t.Context(), func(cache.Binding) string { return "first" }), fallback.ErrAway)
			now, _ := get(t, s, named("s"))
			return now
		},
	} {
		t.Run(name, func(t *testing.T) {
			overTardy(t, func(t *testing.T, d *tardy, s *fallback.Store) {
				b := bind(t, s, named("s"), "A")
				confirm(t, s, b)
				now := first(t, d, s, b)
				require.Equal(t, "first", now.Memo)
				_, amended, err := s.Amend(t.Context(), now, "second")
				require.NoError(t, err)
				require.True(t, amended)
				d.broken.Store(false)
				back(t, s)
				g, _ := get(t, s, named("s"))
				require.Equal(t, "second", g.Memo)
			})
		})
	}
}
