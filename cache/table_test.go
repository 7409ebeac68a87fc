package cache

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testKey(kind string, i int) (k Key) {
	copy(k[:], fmt.Sprint(kind, i))
	return k
}

// consistent checks that the parts of a table agree: aliases with sessions, lists with states,
// and the ledger with the records.
func consistent(t *testing.T, m *Memory) (aliases int) {
	known, total := 0, 0
	tenants := map[string]int{}
	where := map[string]shardSet{}
	table := &m.sessions
	for i := range table.shards {
		s := &table.shards[i]
		aliases += s.keys.n - s.slab.n
		require.Zero(t, strays(table, s))
		bound, listed := 0, 0
		s.all(func(h held) {
			for _, d := range h.extras().all() {
				known++
				require.Equal(t, 1, leads(table, d, h), "a key is in the index once")
			}
			require.Equal(t, 1, leads(table, digest(h.r.home.Load()), h))
			require.Zero(t, h.r.version.Load()&1)
			if h.r.load().cause() == 0 {
				bound++
			}
			total++
			name := s.tenantOf(h.r).name
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

// leads returns how many entries of the index lead from a key to a record.
func leads(t *table, d digest, h held) (n int) {
	for i := 0; ; i++ {
		switch t.shard(d).keys.find(d.bits(), i) {
		case 0:
			return n
		case t.join(h.s.number, h.i):
			n++
		}
	}
}

// strays returns the entries of a shard's index that lead to a free record.
func strays(t *table, s *shard) (n int) {
	for _, p := range []*places{s.keys.now.Load(), s.keys.old.Load()} {
		for i := 0; p != nil && i < p.len; i++ {
			if p == s.keys.old.Load() && i < int(s.keys.moved.Load()) {
				continue
			}
			if e := p.look(i); e != 0 {
				if h := t.to(p.to(i, e)); h.s.slab.at(h.i).home.Load() == 0 {
					n++
				}
			}
		}
	}
	return n
}

// empty checks that nothing is left in a table: no alias, no name, no account, and
// every record is free.
func empty(t *testing.T, table *table) {
	for i := range table.shards {
		s := &table.shards[i]
		require.Zero(t, s.keys.n)
		require.Zero(t, s.slab.n)
		require.Empty(t, s.memos)
		require.Empty(t, s.twins)
		for size, shelf := range s.shelves {
			items := uint32(0)
			for i := shelf.free; i != 0; i = uint32(shelf.item(i, sizes[size])[0]) {
				items++
			}
			require.Equal(t, shelf.used, items, "extras that are in use")
		}
		require.Empty(t, s.scopes.ids)
		require.EqualValues(t, s.scopes.n, len(s.scopes.free))
		require.Empty(t, s.tenants.ids)
		require.EqualValues(t, s.tenants.n, len(s.tenants.free))
		free := 0
		for i := s.slab.free; i != 0; i = s.slab.links(i, byAuth).next {
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
					k.Fallbacks = append(k.Fallbacks, testKey("end", rng.IntN(300)))
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

// All operations run at once, with bounds that change. The counts are right afterwards, and
// nothing waits for ever.
func TestOperationsAtOnceLeaveTheTableConsistent(t *testing.T) {
	for _, size := range []int{60, 2000} {
		m, err := New(&Options{MaxSessions: size, MaxPerTenant: size / 3, OnRemove: func(Scope, Binding, Cause) {}})
		require.NoError(t, err)
		ctx := context.Background()
		var wg sync.WaitGroup
		for g := range 6 {
			rng := rand.New(rand.NewPCG(uint64(g), uint64(size)))
			wg.Go(func() {
				for i := range 3000 {
					scope := Scope{Tenant: fmt.Sprint("t", rng.IntN(5))}
					k := Keys{Names: [MaxNames]Key{testKey("name", rng.IntN(2*size)), testKey("name", rng.IntN(2*size))}}
					if rng.IntN(2) == 0 {
						k = Keys{End: testKey("end", rng.IntN(size)), Fallbacks: []Key{testKey("end", rng.IntN(size))}}
					}
					k.Also[0] = testKey("also", rng.IntN(50))
					b, _, err := m.Bind(ctx, scope, k, fmt.Sprint("auth", rng.IntN(10)))
					if err != nil {
						t.Error(err)
					}
					switch rng.IntN(14) {
					case 0:
						_, err = m.Unbind(ctx, b)
					case 1:
						_, _, err = m.Move(ctx, b, fmt.Sprint("auth", rng.IntN(10)))
					case 2:
						_, err = m.Release(ctx, b, true)
					case 3:
						_, err = m.InvalidateSession(ctx, scope, k)
					case 4:
						_, _, err = m.Amend(ctx, b, "memo")
					case 5:
						err = m.Remember(ctx, scope, testKey("note", rng.IntN(size)), "auth")
					case 6:
						_, _, err = m.Confirm(ctx, b)
					case 7:
						m.Hit(&scope, &k.Names[0], &Binding{})
						m.Renew(&b)
					case 8:
						_, err = m.BindAnswer(ctx, b, Answer{End: k.End, Keys: []Key{testKey("answer", rng.IntN(size))}, Marks: []Key{testKey("mark", rng.IntN(50))}})
					case 9:
						err = m.Save(io.Discard)
					case 10:
						for range m.OfAuth("auth6") {
							break
						}
					}
					if err == nil && i%200 == 0 {
						switch rng.IntN(5) {
						case 0:
							_, err = m.InvalidateAuth(ctx, "auth3")
						case 1:
							_, err = m.RenameAuth(ctx, "auth4", "auth5")
						case 2:
							_, err = m.InvalidateTenant(ctx, "t1", "")
						case 3:
							err = m.EditMemos(ctx, func(b Binding) string { return b.Memo + "!" })
						case 4:
							err = m.SetOptions(&Options{MaxSessions: 1 + rng.IntN(size), MaxPerTenant: rng.IntN(size)})
						}
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		consistent(t, m)
		require.LessOrEqual(t, m.Len(), m.sessions.tenants.max)
		for i := range 5 {
			_, err := m.InvalidateTenant(ctx, fmt.Sprint("t", i), "")
			require.NoError(t, err)
		}
		empty(t, &m.sessions)
		empty(t, &m.notes)
	}
}

// Operations that are under way end when the store is closed.
func TestClosingWhileOthersBind(t *testing.T) {
	for round := range 50 {
		m, err := New(&Options{MaxSessions: 20, MaxPerTenant: 5})
		require.NoError(t, err)
		ctx := context.Background()
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 500 {
					if g == 0 && i == 10*round {
						if m.Close() != nil {
							t.Error("Close failed")
						}
					}
					_, _, err := m.Bind(ctx, Scope{Tenant: fmt.Sprint(i % 7)}, Keys{Names: [MaxNames]Key{testKey(fmt.Sprint(g), i)}}, "A")
					if err != nil && err != ErrClosed {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.Zero(t, m.Len())
		require.Empty(t, m.sessions.tenants.accounts)
	}
}
