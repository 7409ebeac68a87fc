package cache

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// If another operation has removed the record of a claim, the claim is given back, and the
// counts are right again.
func TestAClaimThatFindsNothingIsGivenBack(t *testing.T) {
	var l ledger
	l.init()
	l.limit(&Options{MaxSessions: 1})
	a := l.open("a", 0)
	require.False(t, l.add(a))
	b := l.open("b", 0)
	require.True(t, l.add(b))
	from, where, why := l.claim(b)
	require.Same(t, a, from, "a is claimed: b has only one session, and a has not grown for longer")
	require.True(t, where.has(0))
	require.Equal(t, Evicted, why)
	again, _, _ := l.claim(b)
	require.Nil(t, again, "two operations do not both evict for one surplus session")
	l.remove(a, 0, true, false)
	require.Contains(t, l.accounts, "a", "the account of a stays as long as the claim is open")
	l.settle(a, false, 0)
	require.NotContains(t, l.accounts, "a")
	require.Equal(t, 1, l.total)
	require.Equal(t, 1, b.n)
	again, _, _ = l.claim(b)
	require.Nil(t, again)
}

// Other tenants may have grown since a tenant got its first record. That record is not evicted
// all the same.
func TestTheOnlyRecordOfATenantIsNotClaimedForItself(t *testing.T) {
	for others := range 4 {
		var l ledger
		l.init()
		l.limit(&Options{MaxSessions: 1})
		a := l.open("a", 0)
		l.add(a)
		for i := range others {
			l.add(l.open(fmt.Sprint("other", i), 0))
		}
		for i := range others {
			from, _, _ := l.claim(a)
			require.NotNil(t, from)
			require.Equal(t, fmt.Sprint("other", i), from.name, "the tenant that has not grown for longest loses a session")
			l.remove(from, 0, true, true)
			l.settle(from, true, 1)
		}
		from, _, _ := l.claim(a)
		require.Nil(t, from)
	}
}

// A session may be removed between the claim and the eviction. The counts stay right.
func TestEvictionTriesAllShardsOfATenant(t *testing.T) {
	m, err := New(&Options{MaxSessions: 100_000})
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{Tenant: "t"}
	b, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{testKey("s", 1)}}, "A")
	require.NoError(t, err)
	var all shardSet
	for i := range m.sessions.shards {
		all.add(i)
	}
	home, _ := referred(&b)
	near := m.sessions.at(home)
	var gone leavings
	m.sessions.tenants.most[0].n-- // as claim does
	m.sessions.tenants.most[0].claimed++
	account := m.sessions.tenants.most[0]
	evicted, _ := m.sessions.evict("t", all, near, home, Evicted, &gone)
	require.False(t, evicted, "the session that is to be kept is not evicted")
	evicted, _ = m.sessions.evict("t", all, near+1, 0, Evicted, &gone)
	require.True(t, evicted)
	m.sessions.tenants.settle(account, true, 1)
	require.Zero(t, m.Len())
	require.Empty(t, m.sessions.tenants.accounts)
}

// Expired sessions that are evicted are reported as expired.
func TestAnExpiredSessionIsNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var causes []Cause
		m, err := New(&Options{TTL: time.Minute, MaxSessions: 1000, OnRemove: func(_ Scope, _ Binding, why Cause) { causes = append(causes, why) }})
		require.NoError(t, err)
		ctx := context.Background()
		for i := range 10 {
			_, _, err := m.Bind(ctx, Scope{Tenant: "t"}, Keys{Names: [MaxNames]Key{testKey("s", i)}}, "A")
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Minute)
		require.NoError(t, m.SetOptions(&Options{TTL: time.Minute, MaxSessions: 5}))
		require.Equal(t, []Cause{Expired, Expired, Expired, Expired, Expired}, causes)
		require.Equal(t, 5, m.Len())
	})
}

// If a tenant has many sessions in the same part, one of them is evicted at once. If it has
// few, or if another tenant has to lose one, the operation looks for the session afterwards.
func TestTheOldestAtHandGoesAtOnce(t *testing.T) {
	m, err := New(&Options{MaxSessions: 64 * 256})
	require.NoError(t, err)
	ctx := context.Background()
	bind := func(tenant string, i int) {
		_, existed, err := m.Bind(ctx, Scope{Tenant: tenant}, Keys{Names: [MaxNames]Key{testKey("s", i)}}, "A")
		require.NoError(t, err)
		require.False(t, existed)
	}
	for i := range 2 * 64 * 256 {
		bind("t", i)
	}
	require.Equal(t, 64*256, m.Len())
	consistent(t, m)
	left := 0
	for i := range 64 * 256 {
		if _, ok, _ := m.Peek(ctx, Scope{Tenant: "t"}, Keys{Names: [MaxNames]Key{testKey("s", i)}}); ok {
			left++
		}
	}
	require.Less(t, left, 64*256/20, "nearly all of the older half was evicted, except in parts with fewer sessions")
	for i := range 100 {
		bind("u", i)
	}
	require.Equal(t, 64*256, m.Len())
	for i := range 100 {
		_, ok, _ := m.Peek(ctx, Scope{Tenant: "u"}, Keys{Names: [MaxNames]Key{testKey("s", i)}})
		require.True(t, ok, "a tenant within its share loses no session")
	}
	consistent(t, m)
}

// Each session at the end of the order of use was used again since. The one that was used first is
// found, unless it is behind several that were used later than another one.
func TestTheOldestOfManyUsedSessionsIsFound(t *testing.T) {
	m, err := New(&Options{MaxSessions: 100_000})
	require.NoError(t, err)
	s, now := &m.sessions.shards[0], m.sessions.now()
	var gone leavings
	for i := range 20 {
		s.insert(&Scope{}, digest(i+1), m.sessions.next(now), "A", now, &gone)
	}
	tenant := s.tenants.at(0)
	for _, c := range []struct {
		used []int64 // from the end on; the others were used later
		want int
	}{
		{[]int64{5, 4, 3, 2, 1}, 4},
		{[]int64{3, 4, 4, 1, 5, 5, 2}, 3},
		{[]int64{1, 9, 9, 9, 0}, 4},
		{[]int64{1, 9, 9, 9, 9, 0}, 0},
		{[]int64{19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3}, 15},
	} {
		i, want := tenant.list.tail, uint32(0)
		for n := range 20 {
			r := s.slab.at(i)
			if r.stamp.Or(usedSince); n < len(c.used) {
				r.used.Store(c.used[n])
			} else {
				r.used.Store(100)
			}
			if n == c.want {
				want = i
			}
			i = r.byUse.prev
		}
		require.Equal(t, want, s.oldest(tenant, 0).i, "%v", c.used)
	}
}
