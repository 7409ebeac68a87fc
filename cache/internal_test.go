package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testKey(kind string, i int) (k Key) {
	copy(k[:], fmt.Sprint(kind, i))
	return k
}

// When all sessions are gone, nothing is left of them: no alias in any part, no
// name of a scope, an auth or a tenant, and every record is free.
func TestNothingIsLeftBehind(t *testing.T) {
	for _, size := range []int{50, 100_000} {
		m, err := New(Options{MaxSessions: size, TTL: time.Hour})
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
				k.Weak = testKey("weak", rng.IntN(20))
			case 1:
				k.Names[0] = testKey("name", rng.IntN(300))
			case 2:
				k.End, k.Tail = testKey("end", rng.IntN(300)), testKey("tail", rng.IntN(300))
				for range 3 {
					k.Earlier = append(k.Earlier, testKey("end", rng.IntN(300)))
				}
			}
			b, _, err := m.Bind(ctx, scope, k, fmt.Sprint("auth", rng.IntN(10)))
			require.NoError(t, err)
			switch rng.IntN(10) {
			case 0:
				_, err = m.Delete(ctx, b)
			case 1:
				_, _, err = m.Swap(ctx, b, "other")
			case 2:
				if i%100 == 0 {
					_, err = m.InvalidateAuth(ctx, "auth3")
				}
			case 3:
				if i%100 == 0 {
					_, err = m.RenameAuth(ctx, "auth4", "auth5")
				}
			}
			require.NoError(t, err)
		}
		// Every alias leads to a session that knows of it.
		aliases, known := 0, 0
		for i := range m.shards {
			s := &m.shards[i]
			aliases += len(s.aliases)
			for k, a := range s.aliases {
				r := m.shards[m.at(a.home)].home(a.home)
				require.NotNil(t, r)
				require.Equal(t, a.born, r.born())
				require.True(t, r.more.has(k))
			}
			for _, tenant := range s.tenants.ids {
				s.slab.each(&s.tenants.at(tenant).list, byUse, func(_ uint32, r *record) {
					if r.more != nil {
						r.more.each(func(Key) { known++ })
					}
				})
			}
		}
		require.Equal(t, known, aliases)
		require.NotZero(t, aliases)
		for i := range 5 {
			_, err := m.InvalidateTenant(ctx, fmt.Sprint("t", i), "")
			require.NoError(t, err)
		}
		for i := range m.shards {
			s := &m.shards[i]
			require.Empty(t, s.aliases)
			require.Zero(t, s.lru.Len())
			require.Empty(t, s.scopes.ids)
			require.Empty(t, s.tenants.ids)
			free := 0
			for i := s.slab.free; i != 0; i = s.slab.at(i).byAuth.next {
				free++
			}
			require.EqualValues(t, s.slab.used, free)
		}
		require.Empty(t, m.auths.ids)
		require.Len(t, m.auths.free, len(*m.auths.names.Load()))
	}
}

// Keys are compared whole: two that have one hash do not meet, and the later
// one takes the place.
func TestTwoKeysOfOneHashDoNotMeet(t *testing.T) {
	m, err := New(Options{MaxSessions: 100})
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	bad := func(i byte) (k Keys) {
		// Only who knows the secret can do this: the product is 0 for any
		// second half.
		var home Key
		binary.LittleEndian.PutUint64(home[:8], m.spread)
		home[15] = i
		k.Names[0] = in(m.mix(&scope), home)
		require.Zero(t, hash(in(m.mix(&scope), k.Names[0]), m.spread))
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

// Homes that change each time that they are looked for fill the set of locks at
// last: then the operation begins anew with those of its keys.
func TestASetOfLocksThatIsFullBeginsAnew(t *testing.T) {
	m, err := New(Options{})
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	// A session whose second name is an alias in another part.
	k := Keys{Names: [MaxNames]Key{testKey("home", 1), testKey("alias", 1)}}
	_, _, err = m.Bind(ctx, scope, k, "A")
	require.NoError(t, err)
	home, other := m.at(in(m.mix(&scope), k.Names[0])), m.at(in(m.mix(&scope), k.Names[1]))
	require.NotEqual(t, home, other)

	op := op{m: m, scope: scope, keys: Keys{Names: [MaxNames]Key{k.Names[1]}}, write: true}
	op.begin()
	base := op.set
	for i := 0; !op.set.full; i++ {
		if i != home {
			op.set.later(i)
		}
	}
	op.set.settle()
	op.set.full = false
	full := op.set
	op.lock()
	_, r := op.find()
	require.Nil(t, r)
	require.True(t, op.set.full, "no room for the home")
	op.unlock()
	require.Len(t, full.at[:full.n], maxLocked)

	op.set = base
	_, r = op.acquire()
	require.NotNil(t, r)
	op.unlock()
}
