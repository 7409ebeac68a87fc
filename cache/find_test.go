package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// alike returns keys of which an index knows the same bits. Among some hundred thousand keys
// there are a few.
func alike(t *testing.T, m *Memory, scope *Scope, n int) (pairs [][2]Key) {
	seen, mix := map[uint32]Key{}, m.sessions.mix(scope)
	for i := 0; len(pairs) < n; i++ {
		require.Less(t, i, 5_000_000)
		k := testKey("key", i)
		bits := m.sessions.digest(mix, &k).bits()
		if other, ok := seen[bits]; ok {
			pairs = append(pairs, [2]Key{other, k})
		}
		seen[bits] = k
	}
	return pairs
}

// An index knows only some bits of a key. The records tell keys with equal bits apart.
func TestTwoKeysThatAnIndexCannotTellApartDoNotMeet(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		m, err := New(&Options{MaxSessions: size})
		require.NoError(t, err)
		ctx, scope := context.Background(), Scope{}
		bind := func(k Keys, auth string) Binding {
			b, existed, err := m.Bind(ctx, scope, k, auth)
			require.NoError(t, err)
			require.False(t, existed)
			return b
		}
		at := func(k Keys) string {
			b, _, err := m.Peek(ctx, scope, k)
			require.NoError(t, err)
			return b.Auth
		}
		name := func(k Key) Keys { return Keys{Names: [MaxNames]Key{k}} }
		past := func(k Key) Keys { return Keys{End: testKey("none", 0), Fallbacks: []Key{k}} }
		for _, pair := range alike(t, m, &scope, 3) {
			one, two := pair[0], pair[1]
			// As homes.
			bind(name(one), "A")
			require.Empty(t, at(name(two)))
			bind(name(two), "B")
			require.Equal(t, "A", at(name(one)))
			require.Equal(t, "B", at(name(two)))
			removed, err := m.InvalidateSession(ctx, scope, name(one))
			require.NoError(t, err)
			require.True(t, removed)
			require.Equal(t, "B", at(name(two)))
			// As aliases, of one session and of two.
			bind(Keys{Names: [MaxNames]Key{testKey("home", 1)}, Also: [MaxAlso]Key{one}}, "C")
			require.Equal(t, "C", at(past(one)))
			require.Equal(t, "B", at(name(two)))
			_, err = m.InvalidateSession(ctx, scope, name(two))
			require.NoError(t, err)
			require.Empty(t, at(past(two)))
			bind(Keys{Names: [MaxNames]Key{testKey("home", 2)}, Also: [MaxAlso]Key{two}}, "D")
			require.Equal(t, "C", at(past(one)))
			require.Equal(t, "D", at(past(two)))
			_, err = m.InvalidateTenant(ctx, "", "")
			require.NoError(t, err)
			bind(Keys{Names: [MaxNames]Key{testKey("home", 1)}, Also: [MaxAlso]Key{one, two}}, "E")
			require.Equal(t, "E", at(past(one)))
			require.Equal(t, "E", at(past(two)))
			bind(Keys{Names: [MaxNames]Key{testKey("home", 2)}, Also: [MaxAlso]Key{one}}, "F") // takes it
			require.Equal(t, "F", at(past(one)))
			require.Equal(t, "E", at(past(two)))
			_, err = m.InvalidateTenant(ctx, "", "")
			require.NoError(t, err)
			empty(t, &m.sessions)
		}
	}
}

// A key of another scope does not find a session, even if it leads to the session's record. It
// is made as if the hashes of two scopes were equal, which no client can bring about.
func TestScopesAreComparedNotOnlyHashed(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		m, err := New(&Options{MaxSessions: size})
		require.NoError(t, err)
		ctx, one, two := context.Background(), Scope{Tenant: "one"}, Scope{Tenant: "two"}
		for _, table := range []*table{&m.sessions, &m.notes} {
			named, ended := testKey("s", 1), testKey("e", 1)
			home, e := table.digest(table.mix(&two), &named), table.digest(table.mix(&two), &ended)
			var gone leavings
			s := table.shard(home)
			h, _ := s.insert(&one, home, table.next(table.now()), "A", table.now(), &gone)
			(&op{t: table}).add(h, ends, e, 0)
		}
		for _, k := range []Keys{
			{Names: [MaxNames]Key{testKey("s", 1)}},
			{Names: [MaxNames]Key{testKey("other", 1), testKey("s", 1)}},
			{End: testKey("e", 1)},
			{End: testKey("x", 1), Fallbacks: []Key{testKey("e", 1)}},
			{End: testKey("x", 1), Fallbacks: []Key{testKey("s", 1)}},
		} {
			_, ok, err := m.Get(ctx, two, k)
			require.NoError(t, err)
			require.False(t, ok)
			_, ok, err = m.Peek(ctx, two, k)
			require.NoError(t, err)
			require.False(t, ok)
			removed, err := m.InvalidateSession(ctx, two, k)
			require.NoError(t, err)
			require.False(t, removed)
		}
		_, ok, err := m.Recall(ctx, two, testKey("s", 1))
		require.NoError(t, err)
		require.False(t, ok)
	}
}

// If the homes of the keys change with each look, the set of locks becomes full. Then the
// operation starts again with the shards of its keys.
func TestASetOfLocksThatIsFullBeginsAnew(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	// A session whose second name is an alias in another part.
	k := Keys{Names: [MaxNames]Key{testKey("home", 1), testKey("alias", 1)}}
	table := &m.sessions
	mix := table.mix(&scope)
	home, other := table.at(table.digest(mix, &k.Names[0])), table.at(table.digest(mix, &k.Names[1]))
	for i := 2; home == other; i++ { // the parts are chosen by a secret of the table
		k.Names[1] = testKey("alias", i)
		other = table.at(table.digest(mix, &k.Names[1]))
	}
	_, _, err = m.Bind(ctx, scope, k, "A")
	require.NoError(t, err)

	o := op{t: table, scope: scope, keys: Keys{Names: [MaxNames]Key{k.Names[1]}}, write: true}
	o.begin()
	base := o.set
	for i := 0; !o.set.full; i++ {
		if i != home {
			o.set.later(i)
		}
	}
	o.set.settle()
	o.set.full = false
	full := o.set
	table.lock(&o.set, true)
	require.False(t, o.find().ok())
	require.True(t, o.set.full, "the lookup stops, because the set of locks is full")
	o.release()
	require.Len(t, full.at[:full.n], maxLocked)

	o.set = base
	require.True(t, o.acquire().ok())
	o.release()
}

// An end that goes from one session to another is never without a session, whatever way a
// look-up by it takes. The session that had it may be removed at once.
func TestAKeyThatMovesIsAlwaysFound(t *testing.T) {
	for _, remove := range []bool{false, true} {
		m, err := New(nil)
		require.NoError(t, err)
		ctx, scope, end := context.Background(), Scope{}, testKey("end", 1)
		session := func(i int) Keys { return Keys{Names: [MaxNames]Key{testKey("s", i%2)}} }
		bind := func(i int) {
			k := session(i)
			k.End = end
			if _, _, err := m.Bind(ctx, scope, k, "A"); err != nil {
				t.Error(err)
			}
		}
		bind(0)
		var wg sync.WaitGroup
		var done atomic.Bool
		wg.Go(func() {
			defer done.Store(true)
			for i := range 40_000 {
				bind(i + 1)
				if remove {
					if _, err := m.InvalidateSession(ctx, scope, session(i)); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for i := 0; !done.Load(); i++ {
			k := Keys{End: testKey("next", i%2), Fallbacks: []Key{end}}
			_, ok, err := m.Peek(ctx, scope, k)
			if i%3 == 0 {
				_, ok, err = m.Get(ctx, scope, k)
			}
			if !ok || err != nil {
				t.Errorf("look-up %d has found no session: %v (sessions are removed: %v)", i, err, remove)
				break
			}
		}
		wg.Wait()
	}
}

// Close may come after an operation has seen that the table is open.
func TestAClosedTableKnowsThatItIsClosed(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	table, scope, k := &m.sessions, Scope{}, Keys{Names: [MaxNames]Key{testKey("s", 1)}}
	_, _, err = table.peek(&scope, &k)
	require.ErrorIs(t, err, ErrClosed)
	_, err = table.invalidate(&scope, &k)
	require.ErrorIs(t, err, ErrClosed)
	_, done := table.quick(&Binding{}, &scope, &k, true)
	require.False(t, done, "the caller looks again, and sees that the table is closed")
}
