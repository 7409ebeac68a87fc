package rediscache_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

// fault is a fault of a server.
type fault struct {
	begin, end func()
	away       bool          // it lasts so long that the store certainly notices it
	lasts      time.Duration // 0 is 700 ms
}

// With fallback in front of the Store, no operation fails and no session moves during a fault of
// the server, and after it the server has all sessions. -v shows how long operations took, and
// how many sessions have moved.
func TestFaults(t *testing.T) {
	t.Parallel() // with TestContract: both mostly wait
	nothing := func() {}
	alone := func(f func(t *testing.T, s *servers.Server) fault) func(t *testing.T) (string, fault) {
		return func(t *testing.T) (string, fault) {
			s := servers.Redis(t)
			return s.URL(), f(t, s)
		}
	}
	must := func(t *testing.T, s *servers.Server, args ...string) func() {
		return func() {
			_, err := s.Do(args...)
			require.NoError(t, err)
		}
	}
	faults := map[string]func(t *testing.T) (url string, f fault){
		"killed, and started empty": alone(func(_ *testing.T, s *servers.Server) fault { return fault{s.Kill, s.Start, true, 0} }),
		"hanging":                   alone(func(_ *testing.T, s *servers.Server) fault { return fault{s.Stop, s.Continue, true, 10 * time.Second} }),
		"connections are cut": alone(func(t *testing.T, s *servers.Server) fault {
			return fault{must(t, s, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), nothing, false, 0}
		}),
		"paused": alone(func(t *testing.T, s *servers.Server) fault {
			return fault{must(t, s, "CLIENT", "PAUSE", "1000", "ALL"), nothing, true, 0}
		}),
		"memory is full": alone(func(t *testing.T, s *servers.Server) fault {
			return fault{must(t, s, "CONFIG", "SET", "maxmemory", "1"), must(t, s, "CONFIG", "SET", "maxmemory", "0"), false, 0}
		}),
		"scripts flushed": alone(func(t *testing.T, s *servers.Server) fault {
			return fault{must(t, s, "SCRIPT", "FLUSH"), nothing, false, 0}
		}),
		"answers come 50 ms late": func(t *testing.T) (string, fault) {
			d := delaying(t, servers.Redis(t).Addr())
			return "redis://" + d.addr, fault{func() { d.by.Store(int64(50 * time.Millisecond)) }, func() { d.by.Store(0) }, true, 0}
		},
		"a failover under Sentinel": func(t *testing.T) (string, fault) {
			w := servers.Sentinel(t)
			return w.URL(), fault{w.Master.Kill, nothing, true, 0}
		},
		"a failover in a Cluster": func(t *testing.T) (string, fault) {
			g := servers.ClusterWithReplicas(t)
			return g.URL(), fault{g.Nodes[0].Kill, nothing, true, 0}
		},
		"slots go to another node": func(t *testing.T) (string, fault) {
			g := servers.Cluster(t)
			return g.URL(), fault{nothing, func() { assert.NoError(t, migrate(g)) }, false, 0}
		},
	}
	for name, make := range faults {
		t.Run(name, func(t *testing.T) {
			url, f := make(t)
			endure(t, url, f)
		})
	}
}

// endure uses sessions of twenty tenants before a fault, while it lasts, and after it.
func endure(t *testing.T, url string, f fault) {
	remote, err := rediscache.Open(url, &rediscache.Options{Lag: -1})
	require.NoError(t, err)
	store, err := fallback.New(remote, &fallback.Options{Budget: 20 * time.Millisecond}) // a machine that runs tests is busy
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	const sessions, tenants = 200, 20
	scopeOf := func(i int) cache.Scope { return cache.Scope{Tenant: fmt.Sprint("tenant", i%tenants)} }
	where := make([]string, sessions)
	var took []time.Duration
	moved := 0
	use := func(i int) {
		k := named(fmt.Sprint("s", i))
		begin := time.Now()
		b, ok, err := store.Get(t.Context(), scopeOf(i), k)
		require.NoError(t, err)
		if !ok || !b.Bound() {
			b, _, err = store.Bind(t.Context(), scopeOf(i), k, "auth"+strconv.Itoa(rand.IntN(5)))
			require.NoError(t, err)
		}
		_, _, err = store.Confirm(t.Context(), b)
		require.NoError(t, err)
		took = append(took, time.Since(begin))
		if where[i] != "" && where[i] != b.Auth {
			moved++
		}
		where[i] = b.Auth
	}
	isPresent := func() bool { return store.State() == fallback.Present }
	for i := range sessions / 2 {
		use(i)
	}
	require.Eventually(t, isPresent, 20*time.Second, 10*time.Millisecond)
	outages := store.Stats().Outages
	took = nil
	var ended atomic.Bool
	var ending sync.WaitGroup
	f.begin()
	ending.Go(func() {
		defer ended.Store(true)
		time.Sleep(cmp.Or(f.lasts, 700*time.Millisecond))
		f.end()
	})
	begun := time.Now()
	for time.Since(begun) < time.Second || !ended.Load() || !isPresent() {
		use(rand.IntN(sessions))
		time.Sleep(time.Millisecond)
		require.Less(t, time.Since(begun), 30*time.Second, "30 s after the fault began, fallback's state is still not Present")
	}
	back := time.Since(begun)
	ending.Wait()
	if f.away {
		require.Greater(t, store.Stats().Outages, outages, "fallback must notice the outage")
	}
	for i := range sessions {
		use(i)
	}
	require.Zero(t, moved, "sessions have moved, although no other process uses them")
	require.Eventually(t, isPresent, 20*time.Second, 10*time.Millisecond)
	for i := range sessions {
		got, ok, err := remote.Get(t.Context(), scopeOf(i), named(fmt.Sprint("s", i)))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, where[i], got.Auth, "after the fault the server must have the session's auth")
	}
	slices.Sort(took)
	t.Logf("%d uses of three operations: median %v, p99 %v, longest %v; the state is Present after %v; %d of %d sessions have moved; %+v",
		len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], back.Round(time.Millisecond), moved, sessions, store.Stats())
}

// A server loses its data while no operation runs, or so fast that none fails. The first operation
// that does not find a known session notices the loss, and all sessions keep their auths.
func TestAServerThatIsEmptiedWhileNobodyAsks(t *testing.T) {
	restart := func(pause time.Duration) func(*testing.T, *servers.Server) {
		return func(_ *testing.T, s *servers.Server) {
			s.Kill()
			time.Sleep(pause)
			s.Start()
		}
	}
	for name, empty := range map[string]func(*testing.T, *servers.Server){
		"flushed": func(t *testing.T, s *servers.Server) {
			_, err := s.Do("FLUSHALL")
			require.NoError(t, err)
		},
		"restarted":         restart(time.Second),
		"restarted at once": restart(0),
	} {
		t.Run(name, func(t *testing.T) {
			server := servers.Redis(t)
			remote, err := rediscache.Open(server.URL(), nil)
			require.NoError(t, err)
			store, err := fallback.New(remote, &fallback.Options{Budget: 200 * time.Millisecond})
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			present := func() {
				t.Helper()
				require.Eventually(t, func() bool {
					_, _, err := store.Peek(t.Context(), scope, named("nobody"))
					return err == nil && store.State() == fallback.Present
				}, 20*time.Second, 5*time.Millisecond)
			}
			present()
			all := []cache.Keys{named("id"), named("other"), {End: key("end")}}
			for i, k := range all {
				b, _, err := store.Bind(t.Context(), scope, k, fmt.Sprint("auth", i))
				require.NoError(t, err)
				_, current, err := store.Confirm(t.Context(), b)
				require.NoError(t, err)
				require.True(t, current)
			}
			require.NoError(t, store.Remember(t.Context(), scope, key("response"), "auth0"))
			empty(t, server)
			time.Sleep(100 * time.Millisecond)
			for range 2 { // before and after the store is back
				for i, k := range all {
					b, ok, err := store.Get(t.Context(), scope, k)
					require.NoError(t, err)
					require.Equal(t, []any{true, fmt.Sprint("auth", i), true}, []any{ok, b.Auth, b.Served})
				}
				auth, ok, err := store.Recall(t.Context(), scope, key("response"))
				require.NoError(t, err)
				require.Equal(t, []any{"auth0", true}, []any{auth, ok})
				present()
			}
			for i, k := range all {
				b, ok, err := remote.Get(t.Context(), scope, k)
				require.NoError(t, err)
				require.Equal(t, []any{true, fmt.Sprint("auth", i)}, []any{ok, b.Auth}, "in the end the server must have the session and its auth")
			}
		})
	}
}

// migrate moves all slots with keys from the first node to the second one, a few keys at a time.
func migrate(g *servers.Group) error {
	from, to := g.Nodes[0], g.Nodes[1]
	fromID, toID := g.ID(from), g.ID(to)
	host, port, err := net.SplitHostPort(to.Addr())
	if err != nil {
		return err
	}
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{from.Addr()}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		return err
	}
	defer c.Close()
	ask := func(args ...string) rueidis.RedisResult {
		return c.Do(context.Background(), c.B().Arbitrary(args...).Build())
	}
	keys, err := ask("KEYS", "*").AsStrSlice()
	if err != nil {
		return err
	}
	slots := map[string]bool{}
	for _, k := range keys {
		n, err := ask("CLUSTER", "KEYSLOT", k).AsInt64()
		if err != nil {
			return err
		}
		slots[strconv.FormatInt(n, 10)] = true
	}
	if len(slots) == 0 {
		return errors.New("the first node has no key of the twenty tenants, so there is nothing to move")
	}
	for slot := range slots {
		_, one := to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
		_, other := from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
		if err := errors.Join(one, other); err != nil {
			return err
		}
		for {
			some, err := ask("CLUSTER", "GETKEYSINSLOT", slot, "5").AsStrSlice()
			if err != nil {
				return err
			}
			if len(some) == 0 {
				break
			}
			if err := ask(append([]string{"MIGRATE", host, port, "", "0", "1000", "REPLACE", "KEYS"}, some...)...).Error(); err != nil {
				return err
			}
			time.Sleep(5 * time.Millisecond)
		}
		_, one = to.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
		_, other = from.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
		if err := errors.Join(one, other); err != nil {
			return err
		}
	}
	return nil
}

// delayed is a proxy in front of a server that can delay its answers.
type delayed struct {
	addr string
	by   atomic.Int64 // the delay of each answer in nanoseconds
}

func delaying(t *testing.T, server string) *delayed {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &delayed{addr: l.Addr().String()}
	var open sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
	open.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			open.Go(func() {
				defer in.Close()
				defer out.Close()
				type answer struct {
					due  time.Time
					text []byte
				}
				answers := make(chan answer, 1024)
				open.Go(func() {
					defer close(answers)
					for {
						buf := make([]byte, 1<<14)
						n, err := out.Read(buf)
						if err != nil {
							return
						}
						answers <- answer{time.Now().Add(time.Duration(d.by.Load())), buf[:n]}
					}
				})
				open.Go(func() {
					for a := range answers {
						time.Sleep(time.Until(a.due))
						_, _ = in.Write(a.text) // an error: the client has disconnected
					}
					_ = in.Close()
				})
				_, _ = io.Copy(out, in)
			})
		}
	})
	return d
}
