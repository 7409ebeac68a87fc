package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

// A session gets another id during an outage, and is found by it afterwards.
func TestAnIDThatIsNewInAnOutageIsKept(t *testing.T) {
	overTardy(t, func(t *testing.T, d *tardy, s *fallback.Store) {
		confirm(t, s, bind(t, s, named("one"), "A"))
		d.broken.Store(true)
		get(t, s, named("one", "two"))
		d.broken.Store(false)
		back(t, s)
		g, ok := get(t, s, named("two"))
		require.Equal(t, []any{true, "A", true}, []any{ok, g.Auth, g.Served})
	})
}

// A use during an outage starts the TTL again.
func TestUsesInAnOutageStartTheTTL(t *testing.T) {
	overTardy(t, func(t *testing.T, d *tardy, s *fallback.Store) {
		confirm(t, s, bind(t, s, named("used"), "A"))
		confirm(t, s, bind(t, s, named("touched"), "A"))
		require.NoError(t, s.Remember(t.Context(), scope, key("recalled"), "A"))
		time.Sleep(50 * time.Minute)
		touched, _, err := s.Peek(t.Context(), scope, named("touched"))
		require.NoError(t, err)
		d.broken.Store(true)
		get(t, s, named("used"))
		current, err := s.Touch(t.Context(), touched)
		require.NoError(t, err)
		require.True(t, current)
		_, ok, err := s.Recall(t.Context(), scope, key("recalled"))
		require.NoError(t, err)
		require.True(t, ok)
		d.broken.Store(false)
		back(t, s)
		time.Sleep(15 * time.Minute)
		g, ok := get(t, s, named("used"))
		require.True(t, ok)
		require.InDelta(t, 65*time.Minute, g.SinceServed, float64(time.Minute), "a use does not count as served")
		_, ok = get(t, s, named("touched"))
		require.True(t, ok)
		_, ok, err = s.Recall(t.Context(), scope, key("recalled"))
		require.NoError(t, err)
		require.True(t, ok)
	})
}

// An outage is longer than the TTL. Sessions that were in use stay, and the others have
// expired.
func TestAnOutageThatIsLongerThanTheTTL(t *testing.T) {
	for _, emptied := range []bool{false, true} {
		overTardy(t, func(t *testing.T, d *tardy, s *fallback.Store) {
			confirm(t, s, bind(t, s, named("busy"), "A"))
			confirm(t, s, bind(t, s, named("idle"), "A"))
			require.NoError(t, s.Remember(t.Context(), scope, key("idle"), "A"))
			d.broken.Store(true)
			for range 13 {
				time.Sleep(5 * time.Minute)
				g, ok := get(t, s, named("busy"))
				require.True(t, ok)
				confirm(t, s, g)
			}
			if other := "new"; emptied {
				d.epoch.Store(&other)
			}
			d.broken.Store(false)
			back(t, s)
			g, ok := get(t, s, named("busy"))
			require.Equal(t, []any{true, "A", true}, []any{ok, g.Auth, g.Served})
			_, ok = get(t, s, named("idle"))
			require.False(t, ok)
			_, ok, err := s.Recall(t.Context(), scope, key("idle"))
			require.NoError(t, err)
			require.False(t, ok, "an expired note is not offered")
		})
	}
}

// A busy gateway comes back although each request changes its session: a session that was
// offered is not offered again for that.
func TestABusyGatewayComesBack(t *testing.T) {
	overTardy(t, func(t *testing.T, d *tardy, s *fallback.Store) {
		const sessions = 2000
		for i := range sessions {
			confirm(t, s, bind(t, s, named(fmt.Sprint("s", i)), "A"))
		}
		d.link.late.Store(int64(time.Millisecond))
		d.broken.Store(true)
		for i := range sessions {
			g, _ := get(t, s, named(fmt.Sprint("s", i)))
			confirm(t, s, g)
		}
		d.broken.Store(false)
		begun := time.Now()
		for i := 0; s.State() == fallback.Away; i++ {
			g, ok := get(t, s, named(fmt.Sprint("s", i*7919%sessions)))
			require.True(t, ok)
			confirm(t, s, g)
			time.Sleep(100 * time.Microsecond) // 10,000 a second
			require.Less(t, time.Since(begun), 10*time.Second)
		}
		require.LessOrEqual(t, s.Stats().Offered, uint64(2*sessions))
	})
}

// refusing answers everything but one operation.
type refusing struct {
	*link
	takes time.Duration
	err   error
	calls int
}

func (l *refusing) EditMemos(ctx context.Context, edit func(cache.Binding) string) error {
	l.calls++
	if err := l.pass(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(l.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	return l.err
}

// Remote cannot do an operation of Admin, or not in time, but does all others. That is no
// outage, and the Store comes back.
func TestWhatRemoteCannotDoIsNoOutage(t *testing.T) {
	for name, l := range map[string]*refusing{"too slow": {takes: 3 * time.Second}, "unsupported": {err: errors.ErrUnsupported}} {
		for _, outage := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l.link, l.calls = newLink(t), 0
					s := over(t, l)
					defer s.Close()
					confirm(t, s, bind(t, s, named("s"), "A"))
					l.broken.Store(outage)
					get(t, s, named("s"))
					err := s.EditMemos(t.Context(), func(b cache.Binding) string { return b.Memo })
					require.Error(t, err)
					require.Equal(t, outage, errors.Is(err, fallback.ErrAway))
					l.broken.Store(false)
					back(t, s)
					require.Equal(t, map[bool]uint64{true: 1}[outage], s.Stats().Dropped)
					require.Equal(t, map[bool]int{true: 3, false: 1}[outage], l.calls)
					_, ok := get(t, s, named("s"))
					require.True(t, ok)
				})
			})
		}
	}
}

// forgetful is a remote whose epochs are late now and then.
type forgetful struct {
	*link
	mu    sync.Mutex
	asked int
	every int
}

func (l *forgetful) Epoch(ctx context.Context, s cache.Scope) (string, error) {
	l.mu.Lock()
	l.asked++
	late := l.every > 0 && l.asked%l.every == 0
	l.mu.Unlock()
	if late {
		return "", context.DeadlineExceeded
	}
	return l.link.Epoch(ctx, s)
}

// A gateway of many tenants comes back although some answers are late.
func TestManyTenantsComeBack(t *testing.T) {
	for _, every := range []int{100, 1} { // 1: the epoch of nobody is ever known
		synctest.Test(t, func(t *testing.T) {
			l := &forgetful{link: newLink(t)}
			s := over(t, l)
			defer s.Close()
			const tenants = 3000
			for i := range tenants {
				b, _, err := s.Bind(t.Context(), cache.Scope{Tenant: fmt.Sprint(i)}, named("s"), "A")
				require.NoError(t, err)
				confirm(t, s, b)
			}
			l.broken.Store(true)
			get(t, s, named("s"))
			l.mu.Lock()
			l.every = every
			l.mu.Unlock()
			l.broken.Store(false)
			begun := time.Now()
			back(t, s)
			require.Less(t, time.Since(begun), time.Second)
		})
	}
}

// A remote that was restarted empty gets back what its processes know, also where its epoch was
// late whenever it was asked for.
func TestALostRemoteIsFilledAgainWithoutItsEpoch(t *testing.T) {
	for _, late := range []bool{false, true} { // at the end of the outage, too
		synctest.Test(t, func(t *testing.T) {
			l := &forgetful{link: newLink(t), every: 1}
			s := over(t, l)
			defer s.Close()
			for i := range 20 {
				confirm(t, s, bind(t, s, named(fmt.Sprint("s", i)), fmt.Sprint("auth", i%3)))
			}
			next := "second"
			l.epoch.Store(&next)
			_, err := l.Memory.InvalidateTenant(t.Context(), scope.Tenant, "")
			require.NoError(t, err)
			l.broken.Store(true)
			get(t, s, named("s0"))
			if !late {
				l.mu.Lock()
				l.every = 0
				l.mu.Unlock()
			}
			l.broken.Store(false)
			back(t, s)
			for i := range 20 {
				got, ok := get(t, s, named(fmt.Sprint("s", i)))
				require.True(t, ok)
				require.Equal(t, []any{fmt.Sprint("auth", i%3), true}, []any{got.Auth, got.Served})
			}
		})
	}
}

// OnState is called in the order of the changes, also if it causes one itself.
func TestOnStateIsToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		var s *fallback.Store
		var mu sync.Mutex
		var all []fallback.State
		told := func() []fallback.State {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
		s, err := fallback.New(l, &fallback.Options{OnState: func(state fallback.State) {
			mu.Lock()
			all = append(all, state)
			second := len(all) == 2
			mu.Unlock()
			if second { // it is away again before anybody was told that it was back
				l.broken.Store(true)
				get(t, s, named("s"))
				require.Len(t, told(), 2)
			}
		}})
		require.NoError(t, err)
		defer s.Close()
		l.broken.Store(true)
		get(t, s, named("s"))
		l.broken.Store(false)
		time.Sleep(time.Second)
		require.Equal(t, []fallback.State{fallback.Away, fallback.Present, fallback.Away}, told())
		l.broken.Store(false)
		back(t, s)
	})
}

// No session is bound to an auth without a name.
func TestAnInvalidationOfNobody(t *testing.T) {
	overTardy(t, func(t *testing.T, d *tardy, s *fallback.Store) {
		confirm(t, s, bind(t, s, named("s"), "A"))
		d.broken.Store(true)
		n, err := s.InvalidateAuth(t.Context(), "")
		require.NoError(t, err)
		require.Zero(t, n)
		_, ok := get(t, s, named("s"))
		require.True(t, ok)
	})
}

// After Close all operations return ErrClosed, also those of Admin with a remote that is no
// Admin.
func TestAdminAfterClose(t *testing.T) {
	l := newLink(t)
	s := over(t, storeOnly{l, l})
	require.NoError(t, s.Close())
	edited := false
	_, one := s.InvalidateAuth(t.Context(), "A")
	_, two := s.InvalidateAuth(t.Context(), "")
	_, three := s.RenameAuth(t.Context(), "A", "A")
	for _, err := range []error{one, two, three, s.EditMemos(t.Context(), func(cache.Binding) string { edited = true; return "" })} {
		require.ErrorIs(t, err, cache.ErrClosed)
	}
	require.False(t, edited)
}
