package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/cachetest"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

var scope = cache.Scope{Tenant: "tenant", Pool: "pool", Model: "model"}

func key(name string) (k cache.Key) {
	copy(k[:], name)
	return k
}

func named(names ...string) (k cache.Keys) {
	for i, n := range names {
		k.Names[i] = key(n)
	}
	return k
}

// link is the way to a remote store, which can break. Several processes can share the
// store behind it.
type link struct {
	*cache.Memory
	broken atomic.Bool
	late   atomic.Int64 // how long an answer takes
	asked  atomic.Int64
	epoch  atomic.Pointer[string]
	bound  func() // called when remote has bound a session; nil does nothing
	before func() // called before remote invalidates a session; nil does nothing
}

var errBroken = errors.New("the link is broken")

func newLink(t *testing.T) *link {
	t.Helper()
	m, err := cache.New(nil)
	require.NoError(t, err)
	l := &link{Memory: m}
	first := "first"
	l.epoch.Store(&first)
	return l
}

func (l *link) pass(ctx context.Context) error {
	l.asked.Add(1)
	if late := time.Duration(l.late.Load()); late > 0 {
		select {
		case <-time.After(late):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if l.broken.Load() {
		return errBroken
	}
	return ctx.Err()
}

func (l *link) Epoch(ctx context.Context, _ cache.Scope) (string, error) {
	return *l.epoch.Load(), l.pass(ctx)
}

func (l *link) Get(ctx context.Context, s cache.Scope, k cache.Keys) (b cache.Binding, ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return b, false, err
	}
	return l.Memory.Get(ctx, s, k)
}

func (l *link) Peek(ctx context.Context, s cache.Scope, k cache.Keys) (b cache.Binding, ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return b, false, err
	}
	return l.Memory.Peek(ctx, s, k)
}

func (l *link) Bind(ctx context.Context, s cache.Scope, k cache.Keys, auth string) (b cache.Binding, ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return b, false, err
	}
	if l.bound != nil {
		defer l.bound()
	}
	return l.Memory.Bind(ctx, s, k, auth)
}

func (l *link) Move(ctx context.Context, b cache.Binding, auth string) (now cache.Binding, ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return now, false, err
	}
	return l.Memory.Move(ctx, b, auth)
}

func (l *link) Confirm(ctx context.Context, b cache.Binding) (memo string, ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return "", false, err
	}
	return l.Memory.Confirm(ctx, b)
}

func (l *link) Touch(ctx context.Context, b cache.Binding) (ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return false, err
	}
	return l.Memory.Touch(ctx, b)
}

func (l *link) Amend(ctx context.Context, b cache.Binding, memo string) (now cache.Binding, ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return now, false, err
	}
	return l.Memory.Amend(ctx, b, memo)
}

func (l *link) Unbind(ctx context.Context, b cache.Binding) (ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return false, err
	}
	return l.Memory.Unbind(ctx, b)
}

func (l *link) Release(ctx context.Context, b cache.Binding, failed bool) (ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return false, err
	}
	return l.Memory.Release(ctx, b, failed)
}

func (l *link) BindAnswer(ctx context.Context, b cache.Binding, a cache.Answer) (cache.Answered, error) {
	if err := l.pass(ctx); err != nil {
		return cache.Answered{}, err
	}
	return l.Memory.BindAnswer(ctx, b, a)
}

func (l *link) Remember(ctx context.Context, s cache.Scope, k cache.Key, auth string) error {
	if err := l.pass(ctx); err != nil {
		return err
	}
	return l.Memory.Remember(ctx, s, k, auth)
}

func (l *link) Recall(ctx context.Context, s cache.Scope, k cache.Key) (auth string, ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return "", false, err
	}
	return l.Memory.Recall(ctx, s, k)
}

func (l *link) InvalidateSession(ctx context.Context, s cache.Scope, k cache.Keys) (ok bool, err error) {
	if err := l.pass(ctx); err != nil {
		return false, err
	}
	if l.before != nil {
		l.before()
	}
	return l.Memory.InvalidateSession(ctx, s, k)
}

func (l *link) InvalidateAuth(ctx context.Context, auth string) (n int, err error) {
	if err := l.pass(ctx); err != nil {
		return 0, err
	}
	return l.Memory.InvalidateAuth(ctx, auth)
}

func (l *link) RenameAuth(ctx context.Context, from, to string) (n int, err error) {
	if err := l.pass(ctx); err != nil {
		return 0, err
	}
	return l.Memory.RenameAuth(ctx, from, to)
}

func (l *link) EditMemos(ctx context.Context, edit func(cache.Binding) string) (err error) {
	if err := l.pass(ctx); err != nil {
		return err
	}
	return l.Memory.EditMemos(ctx, edit)
}

func over(t *testing.T, l cache.Store) *fallback.Store {
	t.Helper()
	s, err := fallback.New(l, nil)
	require.NoError(t, err)
	return s
}

// back waits until a store is back.
func back(t *testing.T, all ...*fallback.Store) {
	t.Helper()
	for _, s := range all {
		for range 100 {
			if s.State() == fallback.Present {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, fallback.Present, s.State())
	}
}

func bind(t *testing.T, s cache.Store, k cache.Keys, auth string) cache.Binding {
	t.Helper()
	b, _, err := s.Bind(t.Context(), scope, k, auth)
	require.NoError(t, err)
	return b
}

func confirm(t *testing.T, s cache.Store, b cache.Binding) {
	t.Helper()
	_, current, err := s.Confirm(t.Context(), b)
	require.NoError(t, err)
	require.True(t, current)
}

func get(t *testing.T, s cache.Store, k cache.Keys) (cache.Binding, bool) {
	t.Helper()
	b, ok, err := s.Get(t.Context(), scope, k)
	require.NoError(t, err)
	return b, ok
}

// While remote answers, the Store does all that remote does.
func TestContract(t *testing.T) {
	for _, c := range cachetest.Checks() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				require.NoError(t, c.Run(cachetest.Harness{
					New: func(ttl time.Duration) (cache.Store, error) {
						m, err := cache.New(&cache.Options{TTL: ttl, MaxSessions: 1000})
						if err != nil {
							return nil, err
						}
						return fallback.New(m, &fallback.Options{TTL: ttl})
					},
					Sleep: time.Sleep,
				}))
			})
		})
	}
}

// unfair are the checks that a process without its store cannot pass: those of twins and of
// marks.
var unfair = map[string]bool{
	"marks-find-the-session": true, "a-shared-mark-is-none": true,
	"answers-lead-to-their-session": true, "a-second-answer-is-a-twins": true, "no-third-takes-a-twin-along": true,
	"keys-are-bounded-and-enough": true, "content-is-found-by-its-earlier-ends": true,
}

// storeOnly hides the operations of an administrator, which remote has to do.
type storeOnly struct {
	cache.Store
	io.Closer
}

// While remote is away, this process does by itself what it can.
func TestContractAlone(t *testing.T) {
	for _, c := range cachetest.Checks() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := c.Run(cachetest.Harness{
					New: func(ttl time.Duration) (cache.Store, error) {
						l := newLink(t)
						l.broken.Store(true)
						s, err := fallback.New(l, &fallback.Options{TTL: ttl, MaxSessions: 1000})
						if err == nil {
							_, _, err = s.Get(context.Background(), scope, named("first"))
						}
						return storeOnly{s, s}, err
					},
					Sleep: time.Sleep,
				})
				if unfair[c.Name] {
					require.Error(t, err, "the check passes, so it does not belong to unfair")
					return
				}
				require.NoError(t, err)
			})
		})
	}
}

// An outage changes nothing for the sessions that are known.
func TestAnOutageChangesNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		var all []cache.Binding
		for i := range 50 {
			b := bind(t, s, named(fmt.Sprint("s", i)), fmt.Sprint("auth", i%5))
			confirm(t, s, b)
			_, _, err := s.Amend(t.Context(), b, "memo")
			require.NoError(t, err)
			all = append(all, b)
		}
		for _, outage := range []func(bool){
			func(on bool) { l.broken.Store(on) },
			func(on bool) { l.late.Store(int64(map[bool]time.Duration{true: 50 * time.Millisecond}[on])) },
			func(on bool) { l.late.Store(int64(map[bool]time.Duration{true: time.Hour}[on])) },
		} {
			outage(true)
			for i, b := range all {
				begin := time.Now()
				got, ok := get(t, s, named(fmt.Sprint("s", i)))
				require.LessOrEqual(t, time.Since(begin), 5*time.Millisecond)
				require.True(t, ok)
				require.True(t, got.Local)
				require.Equal(t, []any{b.Session, b.Auth, b.Gen, "memo", true}, []any{got.Session, got.Auth, got.Gen, got.Memo, got.Served})
				confirm(t, s, got)
			}
			require.Equal(t, fallback.Away, s.State())
			outage(false)
			back(t, s)
			for i, b := range all {
				got, ok := get(t, s, named(fmt.Sprint("s", i)))
				require.True(t, ok)
				require.False(t, got.Local)
				require.Equal(t, []any{b.Session, b.Auth, b.Gen, "memo", true}, []any{got.Session, got.Auth, got.Gen, got.Memo, got.Served})
			}
		}
		require.EqualValues(t, 3, s.Stats().Outages)
		require.EqualValues(t, 3, s.Stats().Failed, "only one operation has waited in each outage")
	})
}

// Bindings made while remote is away are offered to it afterwards, and the first replica's
// counts.
func TestWhatWasBoundMeanwhileIsOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		one, two := over(t, l), over(t, l)
		defer one.Close()
		defer two.Close()
		known := bind(t, one, named("known"), "A")
		confirm(t, one, known)
		get(t, two, named("known"))
		l.broken.Store(true)
		unknown, ok := get(t, one, named("new"))
		require.False(t, ok)
		require.Equal(t, cache.Binding{Local: true}, unknown, "the Binding of an unknown session says that remote is away")
		a := bind(t, one, named("new"), "A")
		confirm(t, one, a)
		require.NotZero(t, a.Gen>>63, "a generation of an outage is not one of a store")
		b := bind(t, two, named("new"), "B")
		confirm(t, two, b)
		late := bind(t, two, named("late"), "C") // not reported before remote is back
		content := cache.Keys{End: key("e1")}
		c := bind(t, one, content, "C")
		_, err := one.BindAnswer(t.Context(), c, cache.Answer{End: key("e1"), Keys: []cache.Key{key("answer")}})
		require.NoError(t, err)
		require.NoError(t, one.Remember(t.Context(), scope, key("n"), "D"))
		got, _ := get(t, one, named("known"))
		moved, ok, err := one.Move(t.Context(), got, "E")
		require.NoError(t, err)
		require.True(t, ok)
		confirm(t, one, moved)
		l.broken.Store(false)
		back(t, one, two)

		first, ok := get(t, one, named("new"))
		require.True(t, ok)
		second, ok := get(t, two, named("new"))
		require.True(t, ok)
		require.Equal(t, []any{first.Auth, first.Session, first.Gen}, []any{second.Auth, second.Session, second.Gen}, "both replicas have the same auth")
		require.True(t, first.Served)
		require.EqualValues(t, 1, one.Stats().Adopted+two.Stats().Adopted)
		for _, s := range []*fallback.Store{one, two} {
			got, ok = get(t, s, named("known"))
			require.True(t, ok)
			require.Equal(t, []any{"E", known.Session}, []any{got.Auth, got.Session})
			got, ok = get(t, s, cache.Keys{End: key("e2"), Fallbacks: []cache.Key{key("answer")}})
			require.True(t, ok)
			require.Equal(t, "C", got.Auth)
			auth, ok, err := s.Recall(t.Context(), scope, key("n"))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, "D", auth)
		}
		confirm(t, two, late)
		got, _ = get(t, one, named("late"))
		require.Equal(t, []any{"C", true}, []any{got.Auth, got.Served}, "a result that comes after the outage")
	})
}

// An invalidation counts at once in this process, and in the others when remote is back.
// Sessions that were invalidated are not offered again.
func TestAnInvalidationMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		for i := range 4 {
			confirm(t, s, bind(t, s, named(fmt.Sprint("s", i)), fmt.Sprint("auth", i)))
		}
		l.broken.Store(true)
		_, err := s.InvalidateSession(t.Context(), scope, named("s0"))
		require.ErrorIs(t, err, fallback.ErrAway)
		_, err = s.InvalidateAuth(t.Context(), "auth1")
		require.ErrorIs(t, err, fallback.ErrAway)
		_, err = s.CountAuth(t.Context(), "auth1")
		require.ErrorIs(t, err, fallback.ErrAway)
		_, err = s.CountAuths(t.Context())
		require.ErrorIs(t, err, fallback.ErrAway, "not the number of those that this process knows")
		check := func() {
			t.Helper()
			_, ok := get(t, s, named("s0"))
			require.False(t, ok)
			got, _ := get(t, s, named("s1"))
			require.False(t, got.Bound())
			got, _ = get(t, s, named("s2"))
			require.Equal(t, "auth2", got.Auth)
		}
		check()
		b := bind(t, s, named("s0"), "new")
		confirm(t, s, b)
		l.broken.Store(false)
		back(t, s)
		got, ok := get(t, s, named("s0"))
		require.True(t, ok)
		require.Equal(t, "new", got.Auth, "bound after the invalidation")
		got, _ = get(t, s, named("s1"))
		require.False(t, got.Bound())
		n, err := s.CountAuth(t.Context(), "auth1")
		require.NoError(t, err)
		require.Zero(t, n)
		all, err := s.CountAuths(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]int{"new": 1, "auth2": 1, "auth3": 1}, all)
	})
}

// A session is invalidated while it is offered. Remote has bound it already, and must remove
// it.
func TestAnInvalidationDuringTheOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		l.broken.Store(true)
		confirm(t, s, bind(t, s, named("s"), "A"))
		calls, there := 0, cache.Binding{}
		l.bound = func() {
			if calls++; calls == 1 {
				there, _ = get(t, l.Memory, named("s"))
				_, err := s.InvalidateSession(t.Context(), scope, named("s"))
				require.ErrorIs(t, err, fallback.ErrAway)
			}
		}
		l.broken.Store(false)
		back(t, s)
		require.Equal(t, 1, calls)
		_, ok := get(t, s, named("s"))
		require.False(t, ok)
		_, ok = get(t, l.Memory, named("s"))
		require.False(t, ok)
		l.broken.Store(true)
		_, ok = get(t, s, named("s"))
		require.False(t, ok, "the session is not known in this process, either")
		_, current, err := s.Confirm(t.Context(), there)
		require.NoError(t, err)
		require.False(t, current, "the session is not found by any of its names")
	})
}

// A request is answered while its session is invalidated.
func TestAnAnswerDuringAnInvalidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		confirm(t, s, bind(t, s, named("s"), "A"))
		l.before = func() { get(t, s, named("s")) }
		_, err := s.InvalidateSession(t.Context(), scope, named("s"))
		require.NoError(t, err)
		l.broken.Store(true)
		_, ok := get(t, s, named("s"))
		require.False(t, ok)
	})
}

// A remote that was restarted empty gets back what its processes know.
func TestALostRemoteIsFilledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		for i := range 20 {
			confirm(t, s, bind(t, s, named(fmt.Sprint("s", i)), fmt.Sprint("auth", i%3)))
		}
		gone := func() {
			_, err := l.Memory.InvalidateTenant(t.Context(), scope.Tenant, "")
			require.NoError(t, err)
		}
		outage := func() {
			l.broken.Store(true)
			get(t, s, named("s0"))
			l.broken.Store(false)
			back(t, s)
		}
		next := "second"
		l.epoch.Store(&next)
		gone()
		outage()
		for i := range 20 {
			got, ok := get(t, s, named(fmt.Sprint("s", i)))
			require.True(t, ok)
			require.Equal(t, []any{fmt.Sprint("auth", i%3), true}, []any{got.Auth, got.Served})
		}
		gone() // invalidated by somebody: the data is the old one
		outage()
		for i := range 20 {
			_, ok := get(t, s, named(fmt.Sprint("s", i)))
			require.False(t, ok)
		}
	})
}

// Another replica has moved a session while this one was cut off.
func TestAMoveElsewhereIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		s := over(t, l)
		defer s.Close()
		b := bind(t, s, named("moved"), "A")
		confirm(t, s, b)
		gone := bind(t, s, named("gone"), "A")
		confirm(t, s, gone)
		l.broken.Store(true)
		for _, name := range []string{"moved", "gone"} {
			got, _ := get(t, s, named(name))
			confirm(t, s, got)
		}
		got, _ := get(t, s, named("gone"))
		_, moved, err := s.Move(t.Context(), got, "C") // here, and somebody else invalidates it
		require.NoError(t, err)
		require.True(t, moved)
		_, moved, err = l.Memory.Move(t.Context(), b, "B")
		require.NoError(t, err)
		require.True(t, moved)
		_, err = l.Memory.InvalidateSession(t.Context(), scope, named("gone"))
		require.NoError(t, err)
		l.broken.Store(false)
		back(t, s)
		l.broken.Store(true)
		got, ok := get(t, s, named("moved"))
		require.True(t, ok)
		require.Equal(t, []any{"B", b.Session}, []any{got.Auth, got.Session})
		_, ok = get(t, s, named("gone"))
		require.False(t, ok)
	})
}

// A process that was cut off from the beginning notices as well that remote was emptied.
func TestALostRemoteIsFilledByWhoCameInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		l.broken.Store(true)
		s := over(t, l)
		defer s.Close()
		confirm(t, s, bind(t, s, named("s"), "A"))
		l.broken.Store(false)
		back(t, s)
		next := "second"
		l.epoch.Store(&next)
		l.broken.Store(true)
		_, err := l.Memory.InvalidateTenant(t.Context(), scope.Tenant, "")
		require.NoError(t, err)
		get(t, s, named("s"))
		l.broken.Store(false)
		back(t, s)
		got, ok := get(t, s, named("s"))
		require.True(t, ok)
		require.Equal(t, "A", got.Auth)
	})
}

// A caller that gives up gets an error, and that does not count as an outage.
func TestTheCallersContextIsItsOwn(t *testing.T) {
	s := over(t, newLink(t))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.Get(ctx, scope, named("s"))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fallback.Present, s.State())
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	m, err := cache.New(nil)
	require.NoError(t, err)
	for name, o := range map[string]fallback.Options{
		"Budget": {Budget: -1}, "AdminBudget": {AdminBudget: -1}, "TTL": {TTL: -1}, "MaxSessions": {MaxSessions: -1},
	} {
		_, err := fallback.New(m, &o)
		require.ErrorContains(t, err, "fallback: Options."+name+" is ")
	}
	_, err = fallback.New(nil, nil)
	require.Error(t, err)
}

// Remote comes and goes all the time. No operation fails, and a session that was served
// keeps its auth: nobody has moved it.
func TestRemoteComesAndGoes(t *testing.T) {
	l := newLink(t)
	one, two := over(t, l), over(t, l)
	stop := make(chan struct{})
	var flips, workers sync.WaitGroup
	flips.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(rand.N(20 * time.Millisecond)):
				l.broken.Store(!l.broken.Load())
			}
		}
	})
	const each = 40
	var mu sync.Mutex
	settled := map[string]string{}
	for _, s := range []*fallback.Store{one, two} {
		for w := range 4 {
			workers.Go(func() {
				where := map[string]string{}
				for range 3000 {
					id := fmt.Sprintf("%p %d %d", s, w, rand.IntN(each)) // each session comes to one process
					b, ok, err := s.Get(t.Context(), scope, named(id))
					if err == nil && (!ok || !b.Bound()) {
						b, _, err = s.Bind(t.Context(), scope, named(id), fmt.Sprint("auth", rand.IntN(5)))
					}
					if err != nil {
						t.Error(err)
						return
					}
					if was := where[id]; was != "" && was != b.Auth {
						t.Errorf("%s has moved from %s to %s", id, was, b.Auth)
						return
					}
					memo, current, err := s.Confirm(t.Context(), b)
					if err != nil || memo != "" {
						t.Error(memo, err)
						return
					}
					if current {
						where[id] = b.Auth
					}
				}
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(settled, where)
			})
		}
	}
	workers.Wait()
	close(stop)
	flips.Wait()
	l.broken.Store(false)
	require.Eventually(t, func() bool { return one.State() == fallback.Present && two.State() == fallback.Present }, 20*time.Second, 10*time.Millisecond)
	for id, auth := range settled {
		b, ok := get(t, l.Memory, named(id))
		require.True(t, ok, id)
		require.Equal(t, auth, b.Auth, "remote has all sessions that were bound while it was away")
	}
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
	require.ErrorIs(t, one.Remember(t.Context(), scope, key("n"), "A"), cache.ErrClosed)
}
