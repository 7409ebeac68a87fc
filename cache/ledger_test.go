package cache

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A claim whose record was removed by somebody else is given back, and the counts
// are right again.
func TestAClaimThatFindsNothingIsGivenBack(t *testing.T) {
	var l ledger
	l.init()
	l.limit(&Options{MaxSessions: 1})
	a := l.open("a", 0)
	require.False(t, l.add(a))
	b := l.open("b", 0)
	require.True(t, l.add(b))
	from, where, why := l.claim(b)
	require.Same(t, a, from, "b has one only, and a has not grown for longer")
	require.True(t, where.has(0))
	require.Equal(t, Evicted, why)
	again, _, _ := l.claim(b)
	require.Nil(t, again, "two operations do not evict for one that is too many")
	l.remove(a, 0, true, false)
	require.Contains(t, l.accounts, "a", "as long as the claim is open")
	l.settle(a, false, 0)
	require.NotContains(t, l.accounts, "a")
	require.Equal(t, 1, l.total)
	require.Equal(t, 1, b.n)
	again, _, _ = l.claim(b)
	require.Nil(t, again)
}

// Other tenants may have grown after a tenant that has only the record that it has
// just been given. Its record is not the one to go all the same.
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
			require.Equal(t, fmt.Sprint("other", i), from.name, "who has not grown for the longest time")
			l.remove(from, 0, true, true)
			l.settle(from, true, 1)
		}
		from, _, _ := l.claim(a)
		require.Nil(t, from)
	}
}

// A session that is removed between the claim and the eviction is not missed.
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
	require.False(t, evicted, "not the one that is to be kept")
	evicted, _ = m.sessions.evict("t", all, near+1, 0, Evicted, &gone)
	require.True(t, evicted)
	m.sessions.tenants.settle(account, true, 1)
	require.Zero(t, m.Len())
	require.Empty(t, m.sessions.tenants.accounts)
}

// Evicted, expired sessions are told as expired.
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

// Where a tenant has many sessions at hand one of them goes at once; where it has few, or
// another tenant has to lose one, the operation looks for it after that.
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
	require.Less(t, left, 64*256/20, "the older half has gone but for what lies in parts that have fewer")
	for i := range 100 {
		bind("u", i)
	}
	require.Equal(t, 64*256, m.Len())
	for i := range 100 {
		_, ok, _ := m.Peek(ctx, Scope{Tenant: "u"}, Keys{Names: [MaxNames]Key{testKey("s", i)}})
		require.True(t, ok, "it is within its share")
	}
	consistent(t, m)
}
