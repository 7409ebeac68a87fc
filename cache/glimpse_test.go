package cache

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A lookup without a lock returns what one with a lock returns, or nothing.
func TestAGlimpseSeesOnlyWhatIsUsual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{100, 100_000} {
			m, err := New(&Options{MaxSessions: size, TTL: time.Hour})
			require.NoError(t, err)
			ctx, scope, name := context.Background(), Scope{Tenant: "t", Model: "m"}, testKey("s", 1)
			keys := Keys{Names: [MaxNames]Key{name}}
			hit := func() (b Binding, ok bool) {
				ok = m.Hit(&scope, &name, &b)
				if !ok {
					require.Zero(t, b)
				}
				return b, ok
			}
			get := func() Binding {
				b, ok, err := m.Get(ctx, scope, keys)
				require.NoError(t, err)
				require.True(t, ok)
				return b
			}
			none := func(why string) {
				t.Helper()
				_, ok := hit()
				require.False(t, ok, why)
			}
			none("there is no session")
			b, _, err := m.Bind(ctx, scope, keys, "A")
			require.NoError(t, err)
			none("its auth has not served it: a use has to be opened")
			require.False(t, m.Renew(&b))
			_, current, err := m.Confirm(ctx, b)
			require.NoError(t, err)
			require.True(t, current)

			time.Sleep(40 * time.Minute)
			want, ok, err := m.Peek(ctx, scope, keys)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, 40*time.Minute, want.Idle)
			got, ok := hit()
			require.True(t, ok)
			require.Equal(t, want, got)
			time.Sleep(40 * time.Minute)
			require.Equal(t, 40*time.Minute, get().Idle, "the lookup has started the TTL again")

			require.True(t, m.Renew(&b))
			require.Less(t, get().SinceServed, time.Second)
			time.Sleep(30 * time.Minute)
			current, err = m.Touch(ctx, b)
			require.NoError(t, err)
			require.True(t, current)
			time.Sleep(40 * time.Minute)
			require.InDelta(t, 70*time.Minute, get().SinceServed, float64(time.Second), "the session was used, but not served")

			for other, is := range map[string]Scope{"tenant": {Tenant: "u", Model: "m"}, "model": {Tenant: "t", Model: "n"}} {
				require.False(t, m.Hit(&is, &name, &Binding{}), other)
			}
			long := Scope{Tenant: fmt.Sprintf("%0200d", 1)}
			require.False(t, m.Hit(&long, &name, &Binding{}), "a scope with a long name is not looked up without a lock")
			require.False(t, m.Hit(&scope, &Key{}, &Binding{}))

			moved, ok, err := m.Move(ctx, b, "B")
			require.NoError(t, err)
			require.True(t, ok)
			require.False(t, m.Renew(&b), "an old binding is not renewed")
			_, _, err = m.Confirm(ctx, moved)
			require.NoError(t, err)
			require.False(t, m.Renew(&b), "an old binding is not renewed")
			got, ok = hit()
			require.True(t, ok)
			require.Equal(t, "B", got.Auth)

			with, ok, err := m.Amend(ctx, moved, "memo")
			require.NoError(t, err)
			require.True(t, ok)
			none("it remembers something")
			require.False(t, m.Renew(&with))
			_, ok, err = m.Amend(ctx, with, "")
			require.NoError(t, err)
			require.True(t, ok)
			_, ok = hit()
			require.True(t, ok, "without a memo the session is found without a lock again")

			unbound, err := m.Unbind(ctx, moved)
			require.NoError(t, err)
			require.True(t, unbound)
			none("it has lost its auth")
			b, _, err = m.Bind(ctx, scope, keys, "C")
			require.NoError(t, err)
			_, _, err = m.Confirm(ctx, b)
			require.NoError(t, err)
			time.Sleep(time.Hour)
			none("it has expired")
			require.False(t, m.Renew(&b))
			require.NoError(t, m.Close())
			none("the store is closed")
		}
	})
}

// Keys besides its first name are no reason to take a lock. An end is one when the auth has
// served: the store counts how often that was, also after a restart.
func TestAGlimpseOfASessionWithOtherKeys(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	ctx, scope, name := context.Background(), Scope{}, testKey("s", 1)
	keys := Keys{Names: [MaxNames]Key{name, testKey("s", 2)}, Marks: [MaxMarks]Key{testKey("m", 1)}, Also: [MaxAlso]Key{testKey("a", 1)}, Ongoing: true}
	bind := func() Binding {
		b, _, err := m.Bind(ctx, scope, keys, "A")
		require.NoError(t, err)
		memo, current, err := m.Confirm(ctx, b)
		require.NoError(t, err)
		require.True(t, current)
		require.Empty(t, memo)
		return b
	}
	served := func() uint32 {
		home := m.sessions.digest(m.sessions.mix(&scope), &name)
		h := m.sessions.shard(home).home(home)
		require.True(t, h.ok())
		return h.extras().served()
	}
	b := bind()
	require.True(t, m.HasExtras(b))
	require.True(t, m.Hit(&scope, &name, &Binding{}))
	require.True(t, m.Renew(&b))

	keys.End = testKey("e", 1)
	b = bind()
	require.EqualValues(t, 1, served())
	for n := range uint32(2) {
		var hit Binding
		require.True(t, m.Hit(&scope, &name, &hit))
		require.Equal(t, b.Gen, hit.Gen)
		require.False(t, m.Renew(&hit))
		require.Equal(t, n+1, served())
		_, current, err := m.Confirm(ctx, hit)
		require.NoError(t, err)
		require.True(t, current)
		require.Equal(t, n+2, served())

		var saved bytes.Buffer
		require.NoError(t, m.Save(&saved))
		m, err = Load(&saved, nil)
		require.NoError(t, err)
	}
}

// Keys that an index cannot tell apart hide no session from a lookup without a lock.
func TestAGlimpseOfKeysThatAreAlike(t *testing.T) {
	m, err := New(&Options{MaxSessions: 100}) // one shard
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	for _, pair := range alike(t, m, &scope, 3) {
		for i, key := range pair {
			b, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{key}}, fmt.Sprint(i))
			require.NoError(t, err)
			_, _, err = m.Confirm(ctx, b)
			require.NoError(t, err)
		}
		for i, key := range pair {
			var b Binding
			require.True(t, m.Hit(&scope, &key, &b))
			require.Equal(t, fmt.Sprint(i), b.Auth)
		}
	}
}

// A key of another scope that leads to a session's record does not find it without a lock
// either.
func TestAGlimpseComparesScopes(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	one, two, name := Scope{Tenant: "one"}, Scope{Tenant: "two"}, testKey("s", 1)
	table := &m.sessions
	home := table.digest(table.mix(&two), &name)
	var gone leavings
	h, _ := table.shard(home).insert(&one, home, table.next(table.now()), "A", table.now(), &gone)
	h.r.serve(table.now())
	require.False(t, m.Hit(&two, &name, &Binding{}))
}

// A session that is used without a lock is not the one that a full store evicts.
func TestAHitWithoutALockCountsAsAUse(t *testing.T) {
	m, err := New(&Options{MaxSessions: 3})
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	bind := func(i int) Binding {
		b, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{testKey("s", i)}}, "A")
		require.NoError(t, err)
		_, _, err = m.Confirm(ctx, b)
		require.NoError(t, err)
		return b
	}
	for i := range 3 {
		bind(i)
	}
	oldest := testKey("s", 0)
	require.True(t, m.Hit(&scope, &oldest, &Binding{}))
	bind(3)
	require.True(t, m.Hit(&scope, &oldest, &Binding{}))
	gone := testKey("s", 1)
	require.False(t, m.Hit(&scope, &gone, &Binding{}))
}

// A session that is used all the time is not written each time, because cores would wait for each
// other. A use that decides who is evicted is written, and none is missed for long.
func TestAUseIsWrittenOnceInAWhile(t *testing.T) {
	for _, c := range []struct {
		ttl, pause time.Duration
		bind       bool // another session is bound in the pause
		written    bool
	}{
		{time.Hour, 500 * time.Microsecond, false, false},
		{time.Hour, 5 * time.Millisecond, false, false},
		{time.Hour, 20 * time.Millisecond, false, true},
		{time.Hour, 500 * time.Microsecond, true, true},
		{time.Hour, 500 * time.Nanosecond, true, false},
		{10 * time.Millisecond, 5 * time.Microsecond, false, false},
		{10 * time.Millisecond, 20 * time.Microsecond, false, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, err := New(&Options{TTL: c.ttl})
			require.NoError(t, err)
			bind := func(i int) Binding {
				b, _, err := m.Bind(t.Context(), Scope{}, Keys{Names: [MaxNames]Key{testKey("s", i)}}, "A")
				require.NoError(t, err)
				_, _, err = m.Confirm(t.Context(), b)
				require.NoError(t, err)
				return b
			}
			time.Sleep(time.Second)
			b := bind(1)
			home, i := referred(&b)
			name := testKey("s", 1)
			require.True(t, m.Hit(&Scope{}, &name, &Binding{}))
			r := m.sessions.shard(home).slab.at(i)
			before := r.used.Load()
			time.Sleep(c.pause)
			if c.bind {
				bind(2)
			}
			require.True(t, m.Hit(&Scope{}, &name, &Binding{}))
			if c.written {
				require.Equal(t, before+int64(c.pause), r.used.Load(), "%+v", c)
			} else {
				require.Equal(t, before, r.used.Load(), "%+v", c)
			}
		})
	}
}

// However many sessions come and go in the same records meanwhile, no lookup returns the auth
// of another session.
func TestAGlimpseIsNeverOfTwoSessions(t *testing.T) {
	m, err := New(&Options{MaxSessions: 40})
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	// Each session has an auth with a name of its own, and another one each time. So numbers of
	// names are freed and reused all the time.
	const names = 80
	of := func(i int) string { return fmt.Sprint("auth of ", i, ", ") }
	var wg sync.WaitGroup
	var hits [3]int
	for g := range 3 {
		rng := rand.New(rand.NewPCG(uint64(g), 1))
		wg.Go(func() {
			seen := map[int]Key{}
			for range 20_000 {
				i := rng.IntN(names)
				k := testKey("s", i)
				var b Binding
				if m.Hit(&scope, &k, &b) {
					hits[g]++
					if !strings.HasPrefix(b.Auth, of(i)) || !b.Served || b.Gen == 0 || b.Session == (Key{}) {
						t.Errorf("session %d: %+v", i, b)
						return
					}
					for other, name := range seen {
						if name == b.Session && other != i {
							t.Error("two sessions have one stable name")
							return
						}
					}
					seen[i] = b.Session
					m.Renew(&b)
					continue
				}
				b, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{k}}, fmt.Sprint(of(i), rng.IntN(1000)))
				if err == nil {
					_, _, err = m.Confirm(ctx, b)
				}
				if err == nil && rng.IntN(20) == 0 {
					_, err = m.InvalidateAuth(ctx, b.Auth)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Greater(t, hits[0]+hits[1]+hits[2], 1000)
	consistent(t, m)
}
