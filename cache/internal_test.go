package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func testKey(kind string, i int) (k Key) {
	copy(k[:], fmt.Sprint(kind, i))
	return k
}

// consistent checks that all that a table knows agrees: aliases with sessions,
// lists with states, the ledger with the records.
func consistent(t *testing.T, m *Memory) (aliases int) {
	known, total := 0, 0
	tenants := map[string]int{}
	where := map[string]shardSet{}
	table := &m.sessions
	for i := range table.shards {
		s := &table.shards[i]
		aliases += len(s.aliases)
		for k, a := range s.aliases {
			r := table.shard(a.home).home(a.home)
			require.NotNil(t, r)
			require.Equal(t, a.born, r.born)
			require.True(t, r.more.has(k))
		}
		bound, listed := 0, 0
		s.all(func(_ uint32, r *record) {
			if r.more != nil {
				r.more.each(func(Key) { known++ })
			}
			if r.load().cause() == 0 {
				bound++
			}
			total++
			name := s.tenantOf(r).name
			tenants[name]++
			in := where[name]
			in.add(i)
			where[name] = in
		})
		for _, l := range s.auths {
			listed += int(l.n)
		}
		require.Equal(t, bound, listed, "sessions that are bound")
	}
	require.Equal(t, known, aliases)
	l := &table.tenants
	require.Equal(t, total, l.total)
	require.Len(t, l.accounts, len(tenants))
	require.Len(t, l.most, len(tenants))
	for name, n := range tenants {
		a := l.accounts[name]
		require.Equal(t, n, a.n)
		require.Zero(t, a.claimed)
		require.Equal(t, where[name], a.shards)
		require.Same(t, a, l.most[a.index])
		require.LessOrEqual(t, a.n, l.most[0].n)
	}
	return aliases
}

// empty checks that nothing is left in a table: no alias, no name, no account, and
// every record is free.
func empty(t *testing.T, table *table) {
	for i := range table.shards {
		s := &table.shards[i]
		require.Empty(t, s.aliases)
		require.Zero(t, s.lru.Len())
		require.Empty(t, s.scopes.ids)
		require.Len(t, s.scopes.free, len(s.scopes.entries))
		require.Empty(t, s.tenants.ids)
		require.Len(t, s.tenants.free, len(s.tenants.entries))
		free := 0
		for i := s.slab.free; i != 0; i = s.slab.at(i).byAuth.next {
			free++
		}
		require.EqualValues(t, s.slab.used, free)
	}
	require.Empty(t, table.auths.ids)
	require.Len(t, table.auths.free, len(*table.auths.names.Load()), "numbers of auths that are in use")
	require.Zero(t, table.tenants.total)
	require.Empty(t, table.tenants.accounts)
	require.Empty(t, table.tenants.most)
}

func TestNothingIsLeftBehind(t *testing.T) {
	for _, size := range []int{50, 100_000} {
		m, err := New(&Options{MaxSessions: size, MaxPerTenant: size / 2, TTL: time.Hour})
		require.NoError(t, err)
		ctx := context.Background()
		rng := rand.New(rand.NewPCG(uint64(size), 1))
		for i := range 20_000 {
			scope := Scope{Tenant: fmt.Sprint("t", rng.IntN(5)), Model: fmt.Sprint("m", rng.IntN(50))}
			var k Keys
			switch rng.IntN(3) {
			case 0:
				for j := range 1 + rng.IntN(MaxNames) {
					k.Names[j] = testKey("name", rng.IntN(300))
				}
				k.Also[0] = testKey("also", rng.IntN(20))
			case 1:
				k.Names[0] = testKey("name", rng.IntN(300))
			case 2:
				k.End, k.Also[1] = testKey("end", rng.IntN(300)), testKey("also", rng.IntN(300))
				for range 3 {
					k.Past = append(k.Past, testKey("end", rng.IntN(300)))
				}
			}
			b, _, err := m.Bind(ctx, scope, k, fmt.Sprint("auth", rng.IntN(10)))
			require.NoError(t, err)
			switch rng.IntN(10) {
			case 0:
				_, err = m.Unbind(ctx, b)
			case 1:
				_, _, err = m.Move(ctx, b, "other")
			case 2:
				if i%100 == 0 {
					_, err = m.InvalidateAuth(ctx, "auth3")
				}
			case 3:
				if i%100 == 0 {
					_, err = m.RenameAuth(ctx, "auth4", "auth5")
				}
			case 4:
				_, err = m.Release(ctx, b, true)
			case 5:
				err = m.Remember(ctx, scope, testKey("note", rng.IntN(300)), fmt.Sprint("auth", rng.IntN(10)))
			case 6:
				_, err = m.InvalidateSession(ctx, scope, k)
			case 7:
				_, _, err = m.Amend(ctx, b, "memo")
			case 8:
				_, err = m.CountAuth(ctx, "auth6")
				for range m.OfAuth("auth6") {
					break
				}
			}
			require.NoError(t, err)
		}
		require.NotZero(t, consistent(t, m))
		for i := range 5 {
			_, err := m.InvalidateTenant(ctx, fmt.Sprint("t", i), "")
			require.NoError(t, err)
		}
		empty(t, &m.sessions)
		empty(t, &m.notes)
	}
}

func TestGenerationsNeverRepeatAndTheNameStays(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	seen := map[uint64]bool{0: true}
	fresh := func(b Binding) Binding {
		require.False(t, seen[b.Gen], "generation %d was there before", b.Gen)
		seen[b.Gen] = true
		return b
	}
	first, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{testKey("s", 0)}}, "A")
	require.NoError(t, err)
	b := fresh(first)
	for round := range 5 {
		for range 1000 {
			now, moved, err := m.Move(ctx, b, "A")
			require.NoError(t, err)
			require.True(t, moved)
			require.Equal(t, first.Session, now.Session)
			b = fresh(now)
		}
		// Sessions that begin meanwhile, by name and by content.
		other, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{testKey("other", round)}}, "A")
		require.NoError(t, err)
		fresh(other)
		other, _, err = m.Bind(ctx, scope, Keys{End: testKey("end", round)}, "A")
		require.NoError(t, err)
		fresh(other)
		m.sessions.count.Add(1 << 24) // as many moves more
	}
	require.Greater(t, b.Gen, uint64(1)<<24)
	_, current, err := m.Confirm(ctx, b)
	require.NoError(t, err)
	require.True(t, current)
	unbound, err := m.Unbind(ctx, b)
	require.NoError(t, err)
	require.True(t, unbound)
	got, ok, err := m.Get(ctx, scope, Keys{Names: [MaxNames]Key{testKey("s", 0)}})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, first.Session, fresh(got).Session)
}

func TestUsesSaturateAndNeverWrap(t *testing.T) {
	var r record
	r.state.Store(uint32(provisional | maxUses - 1))
	require.True(t, r.open().provisional())
	for range 3 {
		s := r.open()
		require.Equal(t, provisional|maxUses, s)
		require.True(t, s.provisional())
		require.Zero(t, s.cause())
		require.False(t, s.served())
	}
	for range 3 {
		require.False(t, r.close(true))
		require.Equal(t, provisional|maxUses, r.load(), "nobody knows how many uses there are")
	}
	r.serve(moment{at: int64(time.Second)})
	require.True(t, r.load().served())
	require.Equal(t, r.load(), r.open())

	r.state.Store(uint32(provisional))
	require.False(t, r.close(true), "no use is open")
	require.Equal(t, provisional, r.load())
}

func TestTheTimeOfServiceNeverGoesBackAndNeverOverflows(t *testing.T) {
	var r record
	late, early := moment{at: int64(time.Hour)}, moment{at: int64(time.Minute)}
	r.serve(late)
	r.serve(early) // it was read before, and came later
	require.Zero(t, r.load().since(late))
	for _, years := range []int64{1, 5, 8} {
		now := moment{at: years * 365 * 24 * int64(time.Hour)}
		r.serve(now)
		require.True(t, r.load().served())
		since := r.load().since(moment{at: now.at + int64(time.Hour)})
		require.InDelta(t, time.Hour, since, float64(time.Second))
		require.LessOrEqual(t, since, time.Hour)
	}
	r.serve(moment{at: 1<<63 - 1})
	require.True(t, r.load().served())
}

func TestANameThatWasTakenAgainIsNotFreed(t *testing.T) {
	var r registry
	r.init()
	id := r.use("a")
	a := (*r.names.Load())[id]
	// The last user has counted down, and somebody takes the name before that
	// user has the lock.
	require.Zero(t, a.uses.Add(-1))
	again, ok := r.find("a")
	require.True(t, ok)
	require.Equal(t, id, again)
	r.forget(a)
	require.NotEqual(t, id, r.use("b"), "the number is in use")
	require.Equal(t, "a", r.name(id))
	r.drop(id)
	require.Equal(t, id, r.use("c"), "the number is free")
}

func TestANumberIsFreedOnce(t *testing.T) {
	var r registry
	r.init()
	id := r.use("a")
	a := (*r.names.Load())[id]
	// Two users count down to zero, one after the other, before either has the
	// lock.
	require.Zero(t, a.uses.Add(-1))
	_, ok := r.find("a")
	require.True(t, ok)
	r.drop(id)
	r.forget(a)
	require.NotEqual(t, r.use("b"), r.use("c"))
	// Nor does a late one free the number of a name that came after.
	r.forget(a)
	require.Equal(t, "b", r.name(r.use("b")))
	_, ok = r.find("a")
	require.False(t, ok)
	// Nor a name that was given again.
	again := r.use("a")
	r.forget(a)
	_, ok = r.find("a")
	require.True(t, ok)
	require.Equal(t, "a", r.name(again))
}

func TestTheRegistryForgetsEachNameThatIsDropped(t *testing.T) {
	var r registry
	r.init()
	for i := range 100 {
		id := r.use(fmt.Sprint("auth", i))
		r.use(fmt.Sprint("auth", i))
		r.drop(id)
		r.drop(id)
		require.Empty(t, r.ids)
	}
	require.Len(t, *r.names.Load(), 1)
}

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
	l.settle(a, false)
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
			l.settle(from, true)
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
	near := m.sessions.at(b.Ref)
	var gone leavings
	m.sessions.tenants.most[0].n-- // as claim does
	m.sessions.tenants.most[0].claimed++
	account := m.sessions.tenants.most[0]
	require.False(t, m.sessions.evict("t", all, near, b.Ref, Evicted, &gone), "not the one that is to be kept")
	require.True(t, m.sessions.evict("t", all, near+1, Key{}, Evicted, &gone))
	m.sessions.tenants.settle(account, true)
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
