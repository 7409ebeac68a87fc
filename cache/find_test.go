package cache

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// Keys are compared whole: two that have one hash do not meet, and the later
// one takes the place.
func TestTwoKeysOfOneHashDoNotMeet(t *testing.T) {
	m, err := New(&Options{MaxSessions: 100})
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	bad := func(i byte) (k Keys) {
		// Only who knows the secret can do this: the product is 0 for any second
		// half.
		var home Key
		binary.LittleEndian.PutUint64(home[:8], m.sessions.spread)
		home[15] = i
		k.Names[0] = in(m.sessions.mix(&scope), home)
		require.Zero(t, hash(in(m.sessions.mix(&scope), k.Names[0]), m.sessions.spread))
		return k
	}
	one, two := bad(1), bad(2)
	_, _, err = m.Bind(ctx, scope, one, "A")
	require.NoError(t, err)
	_, ok, err := m.Get(ctx, scope, two)
	require.NoError(t, err)
	require.False(t, ok)
	b, existed, err := m.Bind(ctx, scope, two, "B")
	require.NoError(t, err)
	require.False(t, existed)
	require.Equal(t, "B", b.Auth)
	_, ok, err = m.Get(ctx, scope, one)
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, 1, m.Len())
}

// A session that lies where a key of another scope leads is not found: as if the
// hashes of two scopes were equal, which nobody can bring about.
func TestScopesAreComparedNotOnlyHashed(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		m, err := New(&Options{MaxSessions: size})
		require.NoError(t, err)
		ctx, one, two := context.Background(), Scope{Tenant: "one"}, Scope{Tenant: "two"}
		for _, table := range []*table{&m.sessions, &m.notes} {
			home := in(table.mix(&two), testKey("s", 1))
			var gone leavings
			s := table.shard(home)
			r, _ := s.insert(&one, home, table.next(), "A", table.now(), &gone)
			e := in(table.mix(&two), testKey("e", 1))
			r.extras().ends = []Key{e}
			table.shard(e).aliases[e] = alias{home, r.born}
		}
		for _, k := range []Keys{
			{Names: [MaxNames]Key{testKey("s", 1)}},
			{Names: [MaxNames]Key{testKey("other", 1), testKey("s", 1)}},
			{End: testKey("e", 1)},
			{End: testKey("x", 1), Past: []Key{testKey("e", 1)}},
			{End: testKey("x", 1), Past: []Key{testKey("s", 1)}},
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

// If the homes of the keys change each time that they are looked for, the set of
// locks is full at last. Then the operation begins anew with the shards of its
// keys.
func TestASetOfLocksThatIsFullBeginsAnew(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	// A session whose second name is an alias in another part.
	k := Keys{Names: [MaxNames]Key{testKey("home", 1), testKey("alias", 1)}}
	_, _, err = m.Bind(ctx, scope, k, "A")
	require.NoError(t, err)
	table := &m.sessions
	home, other := table.at(in(table.mix(&scope), k.Names[0])), table.at(in(table.mix(&scope), k.Names[1]))
	require.NotEqual(t, home, other)

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
	_, r := o.find()
	require.Nil(t, r)
	require.True(t, o.set.full, "no room for the home")
	o.release()
	require.Len(t, full.at[:full.n], maxLocked)

	o.set = base
	_, r = o.acquire()
	require.NotNil(t, r)
	o.release()
}
