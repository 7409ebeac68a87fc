package cache_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func tenant(name any) cache.Scope { return cache.Scope{Tenant: fmt.Sprint(name), Model: "m"} }

// ended counts the ends of bindings by tenant and cause.
type ended map[string]map[cause]int

func (e ended) count(sc cache.Scope, _ cache.Binding, why cause) {
	if e[sc.Tenant] == nil {
		e[sc.Tenant] = map[cause]int{}
	}
	e[sc.Tenant][why]++
}

// sizes are those of a store with one part, and of one with many parts.
var sizes = []int{400, 10_000}

func TestAUsedSessionSurvivesAFloodOfForgedIDs(t *testing.T) {
	for _, size := range sizes {
		c := newCache(t, cache.Options{MaxSessions: size})
		c.Bind(scope, named("live"), "A")
		flood := 100 * size / thorough
		for i := range flood {
			c.Bind(scope, named(fmt.Sprint("forged", i)), "B")
			if i%(size/10) == 0 {
				_, ok := c.Get(scope, named("live"))
				require.True(t, ok, i)
				require.LessOrEqual(t, c.Len(), size)
			}
		}
		require.Equal(t, size, c.Len(), "the bound is for all parts of the store together")
		require.Equal(t, map[string]int{"A": 1, "B": size - 1}, c.CountAuths())
		require.Equal(t, size-1, c.InvalidateAuth("B"), "the evicted sessions have no keys left")
	}
}

func TestOneFloodingTenantTakesNothingFromAQuietOne(t *testing.T) {
	for _, size := range sizes {
		e := ended{}
		c := newCache(t, cache.Options{MaxSessions: size, OnRemove: e.count})
		for i := range 200 {
			c.Bind(tenant("quiet"), named(fmt.Sprint("q", i)), "A")
		}
		flood := 20 * size / thorough
		for i := range flood {
			c.Bind(tenant("flood"), named(fmt.Sprint("f", i)), "B")
		}
		for i := range 200 {
			_, ok := c.Peek(tenant("quiet"), named(fmt.Sprint("q", i)))
			require.True(t, ok, "of %d, session %d", size, i)
		}
		require.Empty(t, e["quiet"])
		require.Equal(t, map[cause]int{cache.Evicted: flood + 200 - size}, e["flood"])
		require.Equal(t, size, c.Len())
	}
}

// If a tenant below its share binds a session in a full store, the tenant with the most
// sessions loses one, not the one that was idle longest.
func TestATenantBelowItsShareTakesFromTheTenantWithTheMost(t *testing.T) {
	for _, size := range sizes {
		e := ended{}
		c := newCache(t, cache.Options{MaxSessions: size, OnRemove: e.count})
		for i := range size / 10 {
			c.Bind(tenant("quiet"), named(fmt.Sprint(i)), "A") // the oldest of all
		}
		for i := range size - size/10 {
			c.Bind(tenant("big"), named(fmt.Sprint(i)), "A")
		}
		require.Empty(t, e)
		for i := range size / 3 {
			c.Bind(tenant("newcomer"), named(fmt.Sprint(i)), "A")
		}
		require.Equal(t, ended{"big": {cache.Evicted: size / 3}}, e)
		require.Equal(t, size, c.Len())
	}
}

func TestOneOfTenThousandTenantsFloodsAFullStore(t *testing.T) {
	const tenants, each = 10_000, 3
	e := ended{}
	c := newCache(t, cache.Options{MaxSessions: tenants * each, OnRemove: e.count})
	for i := range each {
		for n := range tenants {
			c.Bind(tenant(n), named(fmt.Sprint(i)), "A")
		}
	}
	require.Equal(t, tenants*each, c.Len())
	require.Empty(t, e)
	for i := range 20_000 {
		c.Bind(tenant("0"), named(fmt.Sprint("flood", i)), "B")
	}
	require.Equal(t, ended{"0": {cache.Evicted: 20_000}}, e, "the tenant has lost only sessions of its own")
	require.Equal(t, each, c.InvalidateTenant("0", ""))

	// A new tenant makes the share of each tenant smaller. One of those that are above their
	// share now loses a session.
	e = ended{}
	for i := range each {
		c.Bind(tenant("0"), named(fmt.Sprint("back", i)), "A")
	}
	require.Empty(t, e)
	c.Bind(tenant("new"), named("s"), "A")
	require.Equal(t, tenants*each, c.Len())
	_, ok := c.Peek(tenant("new"), named("s"))
	require.True(t, ok)
}

func TestEqualTenantsKeepEqualShares(t *testing.T) {
	for _, size := range sizes {
		const tenants = 20
		c := newCache(t, cache.Options{MaxSessions: size})
		for i := range 3 * size / tenants {
			for n := range tenants {
				c.Bind(tenant(n), named(fmt.Sprint(i)), fmt.Sprint("auth of ", n))
			}
		}
		require.Equal(t, size, c.Len())
		for n := range tenants {
			require.Equal(t, size/tenants, c.CountAuth(fmt.Sprint("auth of ", n)), n)
		}
	}
}

// With more tenants than room, the newest session is held, and the tenant that has bound
// nothing for the longest time has lost its session.
func TestMoreTenantsThanSessions(t *testing.T) {
	for _, size := range []int{1, 3, 600} {
		c := newCache(t, cache.Options{MaxSessions: size})
		for n := range 4 * size {
			c.Bind(tenant(n), named("s"), "A")
			for m := range n + 1 {
				_, ok := c.Peek(tenant(m), named("s"))
				require.Equal(t, m > n-size, ok, "%d of %d", m, n)
			}
			if size > 100 && n > size+20 {
				break
			}
		}
		require.Equal(t, size, c.Len())
	}
}

func TestABoundPerTenant(t *testing.T) {
	for _, size := range []int{500, 100_000} {
		for _, most := range []int{1, 10} {
			e := ended{}
			c := newCache(t, cache.Options{MaxSessions: size, MaxPerTenant: most, OnRemove: e.count})
			c.Bind(tenant("other"), named("s"), "B")
			for i := range 100 {
				c.Bind(tenant("t"), named(fmt.Sprint("s", i)), "A")
				require.Equal(t, min(i+1, most), c.CountAuth("A"))
			}
			for i := range 100 {
				_, ok := c.Peek(tenant("t"), named(fmt.Sprint("s", i)))
				require.Equal(t, i >= 100-most, ok, "those used last stay: %d", i)
			}
			require.Equal(t, ended{"t": {cache.EvictedByTenant: 100 - most}}, e)
		}
	}
	c := newCache(t, cache.Options{MaxSessions: 100_000, MaxPerTenant: 5000})
	for i := range 20_000 {
		c.Bind(scope, named(fmt.Sprint("s", i)), "A")
	}
	require.Equal(t, 5000, c.Len())
}

// A tenant has few sessions in a large store. The session that it uses stays, although not each
// use moves it to the front, and not each is written, if its auth has served it.
func TestAUsedSessionOfASmallTenantSurvives(t *testing.T) {
	for _, o := range []cache.Options{
		{MaxSessions: 100_000, MaxPerTenant: 20}, {MaxSessions: 100_000, MaxPerTenant: 5000},
		{MaxSessions: 512, MaxPerTenant: 10}, {MaxSessions: 512, MaxPerTenant: 35}, {MaxSessions: 512, MaxPerTenant: 100},
	} {
		for _, served := range []bool{false, true} {
			c := newCache(t, o)
			b, _ := c.Bind(scope, named("live"), "A")
			if served {
				require.True(t, c.Confirm(b))
			}
			for i := range 8000 {
				_, ok := c.Get(scope, named("live"))
				require.True(t, ok, "%+v %t %d", o, served, i)
				b, _ := c.Bind(scope, named(fmt.Sprint("s", i)), "A")
				if served {
					c.Confirm(b)
				}
			}
			require.Equal(t, o.MaxPerTenant, c.Len())
		}
	}
}

// A large store evicts a session that is among the oldest.
func TestEvictionInALargeStoreTakesOldSessions(t *testing.T) {
	const size, more = 20_000, 10_000
	c := newCache(t, cache.Options{MaxSessions: size})
	for i := range size + more {
		c.Bind(scope, named(fmt.Sprint(i)), "A")
	}
	require.Equal(t, size, c.Len())
	lost := 0
	for i := more + size/8; i < size+more; i++ {
		if at(c, named(fmt.Sprint(i))) == "" {
			lost++
		}
	}
	require.Zero(t, lost, "no session of the newest seven eighths was evicted")
}

func TestTheBoundHoldsAfterConcurrentBinds(t *testing.T) {
	for _, size := range sizes {
		c := newCache(t, cache.Options{MaxSessions: size, MaxPerTenant: size / 3})
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 2 * size / thorough {
					sc := tenant(i % 5)
					b, _ := c.Bind(sc, named(fmt.Sprint(g, "-", i)), fmt.Sprint("auth of ", i%5))
					switch i % 7 {
					case 0:
						c.Unbind(b)
					case 1:
						c.InvalidateSession(sc, named(fmt.Sprint(g, "-", i)))
					}
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, c.Len(), size)
		for n := range 5 {
			require.LessOrEqual(t, c.CountAuth(fmt.Sprint("auth of ", n)), size/3)
		}
		// Nothing was counted twice or forgotten: the store still fills to its bound.
		for i := range 3 * size {
			c.Bind(tenant(fmt.Sprint("after ", i%10)), named(fmt.Sprint(i)), "A")
		}
		require.Equal(t, size, c.Len())
	}
}

func TestANewTTLKeepsWhatIsNotIdleForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Hour})
		c.Bind(scope, named("idle"), "A")
		c.Remember(scope, key("note"), "A")
		time.Sleep(20 * time.Minute)
		c.Bind(scope, named("used"), "A")
		require.NoError(t, c.SetOptions(&cache.Options{TTL: 10 * time.Minute}))
		require.Empty(t, at(c, named("idle")))
		require.NoError(t, c.SetOptions(nil))
		require.Empty(t, at(c, named("idle")), "what has expired does not come back")
		require.Empty(t, c.Recall(scope, key("note")))
		time.Sleep(59 * time.Minute)
		require.Equal(t, "A", at(c, named("used")))
		time.Sleep(2 * time.Minute)
		require.Empty(t, at(c, named("used")), "nil options mean the default TTL")
	})
}

func TestTheBoundsCanBeChanged(t *testing.T) {
	for _, size := range []int{100, 100_000} { // one part, and many
		e := ended{}
		c := newCache(t, cache.Options{MaxSessions: size, OnRemove: e.count})
		fill := func(sc cache.Scope, what string, n int) {
			for i := range n {
				c.Bind(sc, named(fmt.Sprint(what, i)), "A")
			}
		}
		set := func(o cache.Options) {
			o.OnRemove = func(cache.Scope, cache.Binding, cause) { t.Error("OnRemove was changed") }
			require.NoError(t, c.SetOptions(&o))
		}
		fill(scope, "s", 5000)
		require.Equal(t, min(size, 5000), c.Len())
		set(cache.Options{MaxSessions: 1000})
		require.Equal(t, min(size, 1000), c.Len())
		require.Equal(t, "A", at(c, named("s4999")), "those used last stay")
		fill(scope, "more", 5000)
		require.Equal(t, 1000, c.Len())
		set(cache.Options{MaxSessions: 3000})
		fill(tenant("two"), "and more", 9000)
		require.Equal(t, 3000, c.Len())
		set(cache.Options{MaxSessions: 3000, MaxPerTenant: 50})
		require.Equal(t, 100, c.Len())
		require.Equal(t, 950, e[scope.Tenant][cache.EvictedByTenant])
		set(cache.Options{MaxSessions: 1})
		require.Equal(t, 1, c.Len(), "whatever the number of parts")
	}
}

// 0 and a negative MaxPerTenant leave one tenant the whole store.
func TestATenantWithoutABoundMayHaveAllSessions(t *testing.T) {
	for _, size := range []int{100, 5000} {
		for _, none := range []int{0, -1, -size} {
			c := newCache(t, cache.Options{MaxSessions: size, MaxPerTenant: none})
			for i := range size {
				c.Bind(scope, named(fmt.Sprint(i)), "A")
			}
			require.Equal(t, size, c.Len(), none)
			require.NoError(t, c.SetOptions(&cache.Options{MaxSessions: size, MaxPerTenant: size / 2}))
			require.Equal(t, size/2, c.Len())
			require.NoError(t, c.SetOptions(&cache.Options{MaxSessions: size, MaxPerTenant: none}))
			for i := range size {
				c.Bind(scope, named(fmt.Sprint(i)), "A")
			}
			require.Equal(t, size, c.Len(), none)
		}
	}
}

func TestOptionsThatCannotWorkAreErrorsAndChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{TTL: time.Minute, MaxSessions: 10})
		for field, o := range map[string]cache.Options{
			"TTL": {TTL: -1, MaxSessions: 1}, "MaxSessions": {TTL: time.Hour, MaxSessions: -1},
		} {
			_, err := cache.New(&o)
			require.ErrorContains(t, err, "cache: Options."+field+" is -1")
			require.ErrorContains(t, c.SetOptions(&o), "cache: Options."+field)
		}
		for i := range 20 {
			c.Bind(scope, named(fmt.Sprint(i)), "A")
		}
		require.Equal(t, 10, c.Len())
		time.Sleep(61 * time.Second)
		require.Empty(t, at(c, named("19")))
	})
}
