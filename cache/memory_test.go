package cache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func key(s string) (k cache.Key) {
	copy(k[:], s)
	return k
}

func named(names ...string) *cache.Keys {
	k := &cache.Keys{}
	for i, n := range names {
		k.Names[i] = key(n)
	}
	return k
}

// ends is a request known by content: its own end, then the earlier ones.
func ends(own string, earlier ...string) *cache.Keys {
	k := &cache.Keys{End: key(own)}
	for _, e := range earlier {
		k.Earlier = append(k.Earlier, key(e))
	}
	return k
}

var scope = cache.Scope{Tenant: "t", Pool: "p", Model: "m"}

// store is a Memory whose operations must not fail.
type store struct {
	*cache.Memory
	t testing.TB
}

func (s store) Get(scope cache.Scope, k *cache.Keys) (cache.Binding, bool) {
	b, ok, err := s.Memory.Get(s.t.Context(), scope, *k)
	require.NoError(s.t, err)
	return b, ok
}

func (s store) Peek(scope cache.Scope, k *cache.Keys) (cache.Binding, bool) {
	b, ok, err := s.Memory.Peek(s.t.Context(), scope, *k)
	require.NoError(s.t, err)
	return b, ok
}

func (s store) Bind(scope cache.Scope, k *cache.Keys, auth string) (cache.Binding, bool) {
	b, existed, err := s.Memory.Bind(s.t.Context(), scope, *k, auth)
	require.NoError(s.t, err)
	return b, existed
}

func (s store) Swap(b cache.Binding, auth string) (cache.Binding, bool) {
	now, swapped, err := s.Memory.Swap(s.t.Context(), b, auth)
	require.NoError(s.t, err)
	return now, swapped
}

func (s store) is(ok bool, err error) bool {
	require.NoError(s.t, err)
	return ok
}

func (s store) Confirm(b cache.Binding) bool { return s.is(s.Memory.Confirm(s.t.Context(), b)) }
func (s store) Touch(b cache.Binding) bool   { return s.is(s.Memory.Touch(s.t.Context(), b)) }
func (s store) Delete(b cache.Binding) bool  { return s.is(s.Memory.Delete(s.t.Context(), b)) }
func (s store) Release(b cache.Binding) bool { return s.is(s.Memory.Release(s.t.Context(), b)) }

func (s store) InvalidateSession(scope cache.Scope, k *cache.Keys) bool {
	return s.is(s.Memory.InvalidateSession(s.t.Context(), scope, *k))
}

func (s store) InvalidateAuth(auth string) int {
	n, err := s.Memory.InvalidateAuth(s.t.Context(), auth)
	require.NoError(s.t, err)
	return n
}

func (s store) InvalidateTenant(tenant, auth string) int {
	n, err := s.Memory.InvalidateTenant(s.t.Context(), tenant, auth)
	require.NoError(s.t, err)
	return n
}

func newCache(t testing.TB, o cache.Options) store {
	t.Helper()
	m, err := cache.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return store{m, t}
}

func at(c store, k *cache.Keys) string {
	b, _ := c.Peek(scope, k)
	return b.Auth
}

func TestV3_BadOptionsAreConstructorErrors(t *testing.T) {
	for _, o := range []cache.Options{{TTL: -1}, {MaxSessions: -1}} {
		_, err := cache.New(o)
		require.ErrorIs(t, err, cache.ErrOptions)
	}
}

func TestTheFirstBindWins(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, existed := c.Bind(scope, named("s"), "A")
	require.False(t, existed)
	require.Equal(t, "A", b.Auth)
	require.False(t, b.Served)
	again, existed := c.Bind(scope, named("s"), "B")
	require.True(t, existed)
	require.Equal(t, b, again)
}

func TestABurstOfBindsEndsOnOneAuth(t *testing.T) {
	c := newCache(t, cache.Options{})
	for round := range 100 {
		k := named(fmt.Sprint("s", round))
		var wg sync.WaitGroup
		start := make(chan struct{})
		got := make([]string, 64)
		for i := range got {
			wg.Go(func() {
				<-start
				b, _ := c.Bind(scope, k, fmt.Sprint("auth-", i))
				got[i] = b.Auth
			})
		}
		close(start)
		wg.Wait()
		for _, auth := range got {
			require.Equal(t, got[0], auth)
		}
	}
}

func TestScopesNeverMeet(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, named("s"), "A")
	for _, other := range []cache.Scope{{Tenant: "t2", Pool: "p", Model: "m"}, {Tenant: "t", Pool: "p2", Model: "m"}, {Tenant: "t", Pool: "p", Model: "m2"}, {Tenant: "tp", Model: "m"}} {
		_, ok := c.Get(other, named("s"))
		require.False(t, ok)
		require.False(t, c.InvalidateSession(other, named("s")))
	}
	require.Equal(t, "A", at(c, named("s")))
}

func TestAllNamesOfASessionAreKeysOfOneBinding(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("header", "body"), "A")
	require.Equal(t, "A", at(c, named("body")), "one of them disappears")
	c.Get(scope, named("body", "third"))
	require.Equal(t, "A", at(c, named("third")), "a new one is learned")
	require.True(t, c.Delete(b))
	for _, n := range []string{"header", "body", "third"} {
		require.Empty(t, at(c, named(n)), "F8: none of the keys is left")
	}
	require.Zero(t, c.Len())
}

func TestI9_AWeakKeyPullsNoSessionsTogether(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, named("c1"), "A")
	c.Bind(scope, named("c2"), "B")
	for n, auth := range map[string]string{"c1": "A", "c2": "B"} {
		k := named(n)
		k.Weak = key("app")
		b, ok := c.Get(scope, k)
		require.True(t, ok)
		require.Equal(t, auth, b.Auth)
	}
	k := named("c3")
	k.Weak = key("app")
	_, ok := c.Get(scope, k)
	require.False(t, ok, "a name that is not bound is a new session, whatever its weak key says")
	require.Equal(t, "B", at(c, named("c2")))
	require.NotEmpty(t, at(c, &cache.Keys{Weak: key("app")}), "alone it finds the one that had it first")
}

func TestContentFindsTheSessionByItsEarlierEnds(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, ends("1"), "A")
	b, ok := c.Get(scope, ends("3", "2", "1"))
	require.True(t, ok)
	require.Equal(t, "A", b.Auth)
	require.Equal(t, "A", at(c, ends("5", "4", "3")), "the second request's end was bound")
	require.Empty(t, at(c, ends("x", "2")), "what was only looked up was not")
	require.Equal(t, "A", at(c, ends("3", "2", "1")), "a retry of the latest")
}

func TestTheSameOpeningLaterIsAnotherSession(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, ends("1"), "A")
	c.Get(scope, ends("3", "2", "1"))
	_, ok := c.Get(scope, ends("1"))
	require.False(t, ok, "the session has moved on: somebody else begins with its words")
	c.Bind(scope, ends("1"), "B")
	require.Equal(t, "B", at(c, ends("3b", "2b", "1")), "the newcomer")
	require.Equal(t, "A", at(c, ends("5", "4", "3", "2", "1")), "the old one")
}

func TestR2_AnEndlessSessionHoldsAFewKeys(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, ends("e0"), "A")
	c.Bind(scope, ends("other"), "B")
	for i := 1; i <= 2000; i++ {
		_, ok := c.Get(scope, ends(fmt.Sprint("e", i), fmt.Sprint("e", i-1)))
		require.True(t, ok, i)
	}
	found := 0
	for i := range 2000 {
		if at(c, &cache.Keys{End: key("none"), Earlier: []cache.Key{key(fmt.Sprint("e", i))}}) != "" {
			found++
		}
	}
	require.LessOrEqual(t, found, 8)
	require.Equal(t, "A", at(c, ends("x", "e0")), "the first ends are kept")
	require.Equal(t, "A", at(c, ends("x", "e1999")), "and the latest ones")
	require.Equal(t, "B", at(c, ends("other")))
}

func TestNamesOfOneSessionAreBounded(t *testing.T) {
	c := newCache(t, cache.Options{})
	c.Bind(scope, named("s"), "A")
	found := 0
	for i := range 100 {
		c.Get(scope, named("s", fmt.Sprint("alias", i)))
		if at(c, named(fmt.Sprint("alias", i))) != "" {
			found++
		}
	}
	require.Less(t, found, 10)
}

func TestWhatIsLateChangesNothing(t *testing.T) {
	c := newCache(t, cache.Options{})
	a, _ := c.Bind(scope, named("s"), "A")
	b, swapped := c.Swap(a, "B")
	require.True(t, swapped)
	require.Equal(t, a.Session, b.Session, "the stable name stays")
	require.False(t, c.Confirm(a))
	require.False(t, c.Delete(a))
	require.False(t, c.Release(a))
	now, swapped := c.Swap(a, "C")
	require.False(t, swapped)
	require.Equal(t, b, now, "the loser of a swap learns who won")
	require.Equal(t, "B", at(c, named("s")))

	t.Run("C3: what was invalidated is not brought back", func(t *testing.T) {
		require.True(t, c.InvalidateSession(scope, named("s")))
		require.False(t, c.Confirm(b))
		_, swapped := c.Swap(b, "C")
		require.False(t, swapped)
		require.Empty(t, at(c, named("s")))
		d, existed := c.Bind(scope, named("s"), "D")
		require.False(t, existed)
		require.False(t, c.Delete(b), "nor does the old generation touch the new binding")
		require.NotEqual(t, a.Session, d.Session)
	})
}

func TestReleaseDropsOnlyWhatNeverServed(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	require.True(t, c.Confirm(b))
	require.False(t, c.Release(b))
	require.Equal(t, "A", at(c, named("s")))
	p, _ := c.Bind(scope, named("p"), "A")
	require.True(t, c.Release(p))
	require.Empty(t, at(c, named("p")))
}

func TestInvalidateAuthClearsItsOwnOnly(t *testing.T) {
	c := newCache(t, cache.Options{})
	for i := range 30 {
		c.Bind(cache.Scope{Tenant: fmt.Sprint(i % 3)}, named(fmt.Sprint(i)), []string{"A", "B"}[i%2])
	}
	require.Equal(t, 15, c.InvalidateAuth("A"))
	require.Zero(t, c.InvalidateAuth("A"))
	require.Equal(t, 15, c.Len())
	b, _ := c.Bind(scope, named("moved"), "B")
	c.Swap(b, "C")
	require.Equal(t, 15, c.InvalidateAuth("B"), "a session that moved away is not counted")
	require.Equal(t, 1, c.InvalidateAuth("C"))
	require.Zero(t, c.Len())
}

func TestR3_IdleIsWhatExpiresNotAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{})
		k := named("s", "alias")
		c.Bind(scope, k, "A")
		for range 10 * 12 {
			time.Sleep(5 * time.Minute)
			_, ok := c.Get(scope, named("s"))
			require.True(t, ok)
		}
		time.Sleep(61 * time.Minute)
		for _, n := range []string{"s", "alias"} {
			_, ok := c.Get(scope, named(n))
			require.False(t, ok, n)
		}
		b, existed := c.Bind(scope, named("alias"), "B")
		require.False(t, existed)
		require.Equal(t, "B", b.Auth)
	})
}

func TestPeekDoesNotKeepASessionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute})
		b, _ := c.Bind(scope, named("s"), "A")
		time.Sleep(40 * time.Second)
		require.Equal(t, "A", at(c, named("s")))
		time.Sleep(30 * time.Second)
		require.Empty(t, at(c, named("s")))
		require.False(t, c.Confirm(b), "nor is an expired one brought back")
	})
}

func TestExpiredSessionsAreFreedAsOthersAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute, MaxSessions: 500})
		for i := range 100 {
			c.Bind(scope, named(fmt.Sprint("old", i)), "A")
		}
		time.Sleep(2 * time.Minute)
		for i := range 50 {
			c.Bind(scope, named(fmt.Sprint("new", i)), "A")
		}
		require.Equal(t, 50, c.Len())
	})
}

func TestR1_TheBoundHoldsAndAUsedSessionSurvives(t *testing.T) {
	c := newCache(t, cache.Options{MaxSessions: 1000})
	c.Bind(scope, named("live"), "A")
	for i := range 100_000 {
		c.Bind(scope, named(fmt.Sprint("forged", i)), "B")
		if i%500 == 0 {
			_, ok := c.Get(scope, named("live"))
			require.True(t, ok, i)
		}
	}
	require.Equal(t, 1000, c.Len())
	require.Equal(t, 999, c.InvalidateAuth("B"), "both directions were evicted")
}

func TestR4_CloseIsIdempotentAndUseAfterItIsDefined(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "A")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if c.Close() != nil {
				t.Error("Close failed")
			}
		})
	}
	wg.Wait()
	ctx, m := t.Context(), c.Memory
	for name, op := range map[string]func() (any, error){
		"Bind": func() (any, error) { b, _, err := m.Bind(ctx, scope, *named("s"), "A"); return b, err },
		"Get":  func() (any, error) { b, _, err := m.Get(ctx, scope, *named("s")); return b, err },
		"Get by content": func() (any, error) {
			b, _, err := m.Get(ctx, scope, *ends("e", "d"))
			return b, err
		},
		"Peek":              func() (any, error) { b, _, err := m.Peek(ctx, scope, *named("s")); return b, err },
		"Swap":              func() (any, error) { b, _, err := m.Swap(ctx, b, "B"); return b, err },
		"Confirm":           func() (any, error) { return m.Confirm(ctx, b) },
		"Touch":             func() (any, error) { return m.Touch(ctx, b) },
		"Delete":            func() (any, error) { return m.Delete(ctx, b) },
		"Release":           func() (any, error) { return m.Release(ctx, b) },
		"InvalidateSession": func() (any, error) { return m.InvalidateSession(ctx, scope, *named("s")) },
		"InvalidateAuth":    func() (any, error) { return m.InvalidateAuth(ctx, "A") },
		"InvalidateTenant":  func() (any, error) { return m.InvalidateTenant(ctx, "t", "") },
	} {
		got, err := op()
		require.ErrorIs(t, err, cache.ErrClosed, name)
		require.Zero(t, got, name)
	}
	require.Zero(t, m.Len())
	require.Empty(t, m.Counts())
	require.Zero(t, m.Sweep())
}

func TestZeroKeysBindNothing(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, existed := c.Bind(scope, &cache.Keys{}, "A")
	require.False(t, existed)
	require.Zero(t, b)
	c.Bind(scope, named("s"), "")
	_, ok := c.Get(scope, named("s"))
	require.False(t, ok, "an empty auth is none")
}

func Example() {
	m, err := cache.New(cache.Options{TTL: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	ctx := context.Background()
	scope := cache.Scope{Tenant: "acme", Pool: "anthropic", Model: "claude"}
	session := cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}} // a digest of what the client sent

	b, existed, err := m.Bind(ctx, scope, session, "account-3")
	fmt.Println(b.Auth, existed, err)
	b, existed, err = m.Bind(ctx, scope, session, "account-7")
	fmt.Println(b.Auth, existed, err)
	fmt.Println(m.InvalidateAuth(ctx, "account-3"))
	// Output:
	// account-3 false <nil>
	// account-3 true <nil>
	// 1 <nil>
}

func TestR5_ChangingTheTTLKeepsWhatIsNotIdleForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Hour})
		c.Bind(scope, named("idle"), "A")
		time.Sleep(20 * time.Minute)
		c.Bind(scope, named("used"), "A")
		require.NoError(t, c.SetTTL(10*time.Minute))
		require.Empty(t, at(c, named("idle")))
		require.NoError(t, c.SetTTL(0))
		require.Empty(t, at(c, named("idle")), "what has expired does not come back")
		time.Sleep(59 * time.Minute)
		require.Equal(t, "A", at(c, named("used")))
		require.ErrorIs(t, c.SetTTL(-1), cache.ErrOptions)
	})
}

func TestTheBoundCanBeChanged(t *testing.T) {
	for _, size := range []int{100, 100_000} { // one part, and many
		c := newCache(t, cache.Options{MaxSessions: size})
		for i := range 5000 {
			c.Bind(scope, named(fmt.Sprint("s", i)), "A")
		}
		require.Equal(t, min(size, 5000), c.Len())
		require.NoError(t, c.SetMaxSessions(1000))
		require.LessOrEqual(t, c.Len(), 1000)
		require.Equal(t, "A", at(c, named("s4999")), "those used last stay")
		for i := range 5000 {
			c.Bind(scope, named(fmt.Sprint("more", i)), "A")
		}
		require.InDelta(t, 1000, c.Len(), 5)
		require.NoError(t, c.SetMaxSessions(3000))
		for i := range 9000 {
			c.Bind(scope, named(fmt.Sprint("and more", i)), "A")
		}
		require.InDelta(t, 3000, c.Len(), 50)
		require.NoError(t, c.SetMaxSessions(1))
		require.LessOrEqual(t, c.Len(), 256, "one for each part")
		require.ErrorIs(t, c.SetMaxSessions(-1), cache.ErrOptions)
	}
}

func TestARenamedAuthKeepsItsSessions(t *testing.T) {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("s"), "old")
	c.Bind(scope, named("other"), "new")
	n, err := c.RenameAuth(t.Context(), "old", "new")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "new", at(c, named("s")))
	require.True(t, c.Confirm(b), "the generation stays: what is under way is about this auth")
	require.Equal(t, map[string]int{"new": 2}, c.Counts())
	require.Equal(t, 2, c.InvalidateAuth("new"))
	n, err = c.RenameAuth(t.Context(), "old", "new")
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, c.Close())
	_, err = c.RenameAuth(t.Context(), "old", "new")
	require.ErrorIs(t, err, cache.ErrClosed)
}
