package rediscache_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

// settled makes a session that its auth has served, and that the near-cache holds.
func settled(t *testing.T, s *rediscache.Store, keys cache.Keys, auth string) cache.Binding {
	t.Helper()
	b, _, err := s.Bind(t.Context(), scope, keys, auth)
	require.NoError(t, err)
	_, current, err := s.Confirm(t.Context(), b)
	require.NoError(t, err)
	require.True(t, current)
	b, ok, err := s.Get(t.Context(), scope, keys)
	require.NoError(t, err)
	require.True(t, ok)
	return b
}

// Get and Confirm need no round trip for a session that an explicit id names and that its auth has
// served. A request with a new id needs one, because the id must be bound.
func TestABoundSessionCostsNoRoundTrip(t *testing.T) {
	s := open(t, servers.Redis(t).URL(), nil)
	keys := named("one", "two")
	keys.Also[0] = key("weak")
	b := settled(t, s, keys, "A")
	before := s.Stats()
	for range 100 {
		got, ok, err := s.Get(t.Context(), scope, keys)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, []any{b.Session, b.Gen, "A", true}, []any{got.Session, got.Gen, got.Auth, got.Served})
		_, current, err := s.Confirm(t.Context(), got)
		require.NoError(t, err)
		require.True(t, current)
	}
	after := s.Stats()
	require.Equal(t, []uint64{0, 200}, []uint64{after.RoundTrips - before.RoundTrips, after.Near - before.Near})
	other := keys
	other.Names[2] = key("three")
	_, ok, err := s.Get(t.Context(), scope, other)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, s.Stats().RoundTrips-after.RoundTrips, "a new id needs one round trip, which binds it")
}

// The near-cache learns of each kind of change, by this process and by another one.
func TestTheNearCacheHearsOfEachChange(t *testing.T) {
	is := func(auth string, lost cache.Cause, memo string) func(b cache.Binding, ok bool) bool {
		return func(b cache.Binding, ok bool) bool {
			return ok && b.Auth == auth && b.Lost == lost && b.Memo == memo
		}
	}
	changes := map[string]struct {
		do   func(s *rediscache.Store, b cache.Binding, k cache.Keys) error
		want func(b cache.Binding, ok bool) bool
	}{
		"a move": {func(s *rediscache.Store, b cache.Binding, _ cache.Keys) error {
			_, _, err := s.Move(t.Context(), b, "B")
			return err
		}, is("B", 0, "")},
		"a memo": {func(s *rediscache.Store, b cache.Binding, _ cache.Keys) error {
			_, _, err := s.Amend(t.Context(), b, "memo")
			return err
		}, is("A", 0, "memo")},
		"a refusal": {func(s *rediscache.Store, b cache.Binding, _ cache.Keys) error {
			_, err := s.Unbind(t.Context(), b)
			return err
		}, is("A", cache.Unbound, "")},
		"an auth that is gone": {func(s *rediscache.Store, _ cache.Binding, _ cache.Keys) error {
			_, err := s.InvalidateAuth(t.Context(), "A")
			return err
		}, is("A", cache.AuthInvalidated, "")},
		"another name of the auth": {func(s *rediscache.Store, _ cache.Binding, _ cache.Keys) error {
			_, err := s.RenameAuth(t.Context(), "A", "C")
			return err
		}, is("C", 0, "")},
		"an invalidation": {func(s *rediscache.Store, _ cache.Binding, k cache.Keys) error {
			_, err := s.InvalidateSession(t.Context(), scope, k)
			return err
		}, func(_ cache.Binding, ok bool) bool { return !ok }},
		"an invalidated tenant": {func(s *rediscache.Store, _ cache.Binding, _ cache.Keys) error {
			_, err := s.InvalidateTenant(t.Context(), scope.Tenant, "")
			return err
		}, func(_ cache.Binding, ok bool) bool { return !ok }},
	}
	url := servers.Redis(t).URL()
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			o := &rediscache.Options{Prefix: t.Name()}
			one, two := open(t, url, o), open(t, url, o)
			look := func(s *rediscache.Store) bool {
				b, ok, err := s.Get(t.Context(), scope, named("s", "alias"))
				require.NoError(t, err)
				return c.want(b, ok)
			}
			b := settled(t, one, named("s", "alias"), "A")
			_, _, err := two.Get(t.Context(), scope, named("s", "alias"))
			require.NoError(t, err)
			near := two.Stats().Near
			_, _, err = two.Get(t.Context(), scope, named("s", "alias"))
			require.NoError(t, err)
			require.Equal(t, near+1, two.Stats().Near, "before the change, the second store's near-cache must answer")
			require.NoError(t, c.do(one, b, named("s", "alias")))
			require.True(t, look(one), "the store that has made the change must see it at once")
			require.Eventually(t, func() bool { return look(two) }, 5*time.Second, time.Millisecond, "another store must see the change soon")
		})
	}
}

// The server also tracks a key that the request itself has written.
func TestAnIdThatIsNewIsTracked(t *testing.T) {
	url := servers.Redis(t).URL()
	one, two := open(t, url, nil), open(t, url, nil)
	b := settled(t, one, named("s"), "A")
	_, ok, err := two.Get(t.Context(), scope, named("new", "s"))
	require.NoError(t, err)
	require.True(t, ok)
	_, moved, err := one.Move(t.Context(), b, "B")
	require.NoError(t, err)
	require.True(t, moved)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		got, ok, err := two.Get(t.Context(), scope, named("new", "s"))
		require.NoError(t, err)
		require.True(t, ok)
		if got.Auth == "B" {
			return
		}
		require.True(t, time.Now().Before(end), "for 5 s the near-cache has answered that the session is on auth A, although another store has moved it to B")
	}
}

// If a connection is lost, the server's messages about changes are lost, too. So the near-cache is
// emptied.
func TestALostConnectionEmptiesTheNearCache(t *testing.T) {
	url := servers.Redis(t).URL()
	o := &rediscache.Options{Lag: time.Minute}
	s := open(t, url, o)
	b := settled(t, s, named("s"), "A")
	do(t, url, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	require.Eventually(t, func() bool { return s.Stats().Lost > 0 }, 5*time.Second, time.Millisecond, "the store must notice that its connection is lost")
	other := open(t, url, o)
	_, moved, err := other.Move(t.Context(), b, "B")
	require.NoError(t, err)
	require.True(t, moved)
	got, ok, err := s.Get(t.Context(), scope, named("s"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "B", got.Auth, "after a lost connection the near-cache must not answer with the old auth")
}

// A session that is used all the time does not expire, although most of its uses are not written.
func TestUsesThatAreNotWrittenKeepASessionAlive(t *testing.T) {
	s := open(t, servers.Redis(t).URL(), &rediscache.Options{TTL: 2 * time.Second, Lag: 120 * time.Millisecond})
	first := settled(t, s, named("s"), "A")
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		b, ok, err := s.Get(t.Context(), scope, named("s"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, first.Session, b.Session)
		_, current, err := s.Confirm(t.Context(), b)
		require.NoError(t, err)
		require.True(t, current)
	}
	require.NotZero(t, s.Stats().Near)
	time.Sleep(2500 * time.Millisecond)
	_, ok, err := s.Get(t.Context(), scope, named("s"))
	require.NoError(t, err)
	require.False(t, ok, "a session that was idle for longer than the TTL must expire")
}

// The time when the auth has served is written at least once per Lag, so that other processes know
// how warm its prompt cache is. No answer is older than Lag either.
func TestTheServerIsAskedOnceALag(t *testing.T) {
	lag := 100 * time.Millisecond
	s := open(t, servers.Redis(t).URL(), &rediscache.Options{TTL: 20 * time.Second, Lag: lag})
	b := settled(t, s, named("s"), "A")
	for range 3 {
		time.Sleep(lag)
		before := s.Stats().RoundTrips
		got, ok, err := s.Get(t.Context(), scope, named("s"))
		require.NoError(t, err)
		require.True(t, ok)
		require.GreaterOrEqual(t, got.SinceServed, lag-time.Millisecond)
		require.EqualValues(t, 1, s.Stats().RoundTrips-before, "after Lag, Get must ask the server")
		_, current, err := s.Confirm(t.Context(), b)
		require.NoError(t, err)
		require.True(t, current)
		require.EqualValues(t, 2, s.Stats().RoundTrips-before, "after Lag, Confirm must tell the server")
	}
}

// The answer of another session takes an Also key from a session that the near-cache holds. The
// session's next request takes the key back, as it does without a near-cache.
func TestAKeyThatAnAnswerHasTakenIsTakenBack(t *testing.T) {
	for _, lag := range []time.Duration{0, -1} {
		s := open(t, servers.Redis(t).URL(), &rediscache.Options{Lag: lag})
		k := named("one")
		k.Also[0] = key("also")
		settled(t, s, k, "A")
		other, _, err := s.Bind(t.Context(), scope, cache.Keys{End: key("end")}, "B")
		require.NoError(t, err)
		leads := cache.Keys{End: key("next"), Fallbacks: []cache.Key{key("also")}}
		for _, auth := range []string{"B", "A"} {
			if auth == "B" {
				done, err := s.BindAnswer(t.Context(), other, cache.Answer{End: key("end"), Keys: []cache.Key{key("also")}})
				require.NoError(t, err)
				require.True(t, done.Accepted)
			} else {
				_, _, err = s.Get(t.Context(), scope, k)
				require.NoError(t, err)
			}
			b, ok, err := s.Peek(t.Context(), scope, leads)
			require.NoError(t, err)
			require.Equal(t, []any{true, auth}, []any{ok, b.Auth}, "lag %v", lag)
		}
	}
}

// The second id of a request belongs to another session. When that session is removed, the next
// request binds the id to its own session.
func TestASecondIdOfASessionThatIsGone(t *testing.T) {
	for _, lag := range []time.Duration{0, -1} {
		s := open(t, servers.Redis(t).URL(), &rediscache.Options{Lag: lag, MaxPerTenant: 2})
		settled(t, s, named("two"), "B")
		time.Sleep(5 * time.Millisecond) // so that this session is the least recently used one
		settled(t, s, named("one"), "A")
		settled(t, s, named("one", "two"), "A")
		b, _, err := s.Peek(t.Context(), scope, named("two"))
		require.NoError(t, err)
		require.Equal(t, "B", b.Auth)
		settled(t, s, named("three"), "C") // exceeds MaxPerTenant, so the session of two is removed
		_, _, err = s.Get(t.Context(), scope, named("one", "two"))
		require.NoError(t, err)
		b, ok, err := s.Peek(t.Context(), scope, named("two"))
		require.NoError(t, err)
		require.Equal(t, []any{true, "A"}, []any{ok, b.Auth}, "lag %v", lag)
	}
}
