package rivals

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
)

func key(i int) Key { return Key{"tenant", "pool", "model", requests.Digest(i)} }

func each(t *testing.T, sessions int, ttl time.Duration, test func(t *testing.T, r Rival, c Cache)) {
	for _, r := range All {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			c, err := r.Make(sessions, ttl)
			require.NoError(t, err)
			t.Cleanup(c.Close)
			test(t, r, c)
		})
	}
}

func TestWhatIsBoundIsFound(t *testing.T) {
	const n = 2000
	each(t, n+n/4, time.Hour, func(t *testing.T, _ Rival, c Cache) {
		for i := range n {
			c.Add(key(i), fmt.Sprint("auth-", i%10))
		}
		for i := range n {
			auth, ok := c.Hit(key(i))
			require.True(t, ok)
			require.Equal(t, fmt.Sprint("auth-", i%10), auth)
		}
		_, ok := c.Hit(key(n))
		require.False(t, ok)
		for _, part := range []func(*Key) *string{
			func(k *Key) *string { return &k.Tenant }, func(k *Key) *string { return &k.Pool }, func(k *Key) *string { return &k.Model },
		} {
			k := key(1)
			*part(&k) = "other"
			_, ok := c.Hit(k)
			require.False(t, ok, k)
		}
	})
}

func TestAnAuthIsDropped(t *testing.T) {
	const n = 2000
	each(t, n+n/4, time.Hour, func(t *testing.T, _ Rival, c Cache) {
		for i := range n {
			c.Add(key(i), fmt.Sprint("auth-", i%10))
		}
		require.Equal(t, n/10, c.Drop("auth-3"))
		require.Zero(t, c.Drop("auth-3"))
		for i := range n {
			_, ok := c.Hit(key(i))
			require.Equal(t, i%10 != 3, ok)
		}
	})
}

func TestAFullCacheStaysFull(t *testing.T) {
	const n = 1000
	each(t, n, time.Hour, func(t *testing.T, _ Rival, c Cache) {
		for i := range 3 * n {
			c.Add(key(i), "auth")
		}
		var found int
		require.Eventually(t, func() bool { // otter evicts on a goroutine of its own
			found = 0
			for i := range 3 * n {
				if _, ok := c.Hit(key(i)); ok {
					found++
				}
			}
			return found <= n
		}, 10*time.Second, time.Millisecond)
		require.Greater(t, found, n*9/10)
	})
}

// A session that is used does not expire, and one that is not used does. On a slow machine a pause
// can be longer than the TTL: such a round proves nothing and is repeated.
func TestAHitStartsTheTTLAgain(t *testing.T) {
	const ttl = 500 * time.Millisecond
	each(t, 100, ttl, func(t *testing.T, r Rival, c Cache) {
		for round := range 50 {
			used, idle := key(2*round), key(2*round+1)
			began := time.Now()
			c.Add(used, "auth")
			c.Add(idle, "auth")
			kept, late := true, false
			last := began
			for time.Since(began) < 2*ttl {
				time.Sleep(ttl / 2)
				_, ok := c.Hit(used)
				kept = kept && ok
				late = late || time.Since(last) > ttl*9/10
				last = time.Now()
			}
			if late && r.TTL {
				continue
			}
			require.True(t, kept, "a session that is used must not expire")
			_, ok := c.Hit(idle)
			require.Equal(t, !r.TTL, ok, "a session that was idle for twice the TTL must expire, if the cache has a TTL")
			return
		}
		t.Fatal("the machine is too slow to see a TTL of ", ttl)
	})
}
