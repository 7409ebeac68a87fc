package rediscache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache/fallback"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

// Whatever happens to the server: no operation fails, sessions stay where they are, and
// all is as before when it is over. -v shows how long operations took, and how many
// sessions have changed their auth.
func TestFaults(t *testing.T) {
	must := func(s *servers.Server, args ...string) {
		_, err := s.Do(args...)
		require.NoError(t, err)
	}
	faults := map[string]struct {
		begin, end func(s *servers.Server)
		away       bool // the outage is long enough to be noticed for sure
	}{
		"killed, and started empty": {func(s *servers.Server) { s.Kill() }, func(s *servers.Server) { s.Start() }, true},
		"hanging":                   {func(s *servers.Server) { s.Stop() }, func(s *servers.Server) { s.Continue() }, true},
		"connections are cut": {func(s *servers.Server) {
			must(s, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		}, func(*servers.Server) {}, false},
		"paused":          {func(s *servers.Server) { must(s, "CLIENT", "PAUSE", "1000", "ALL") }, func(*servers.Server) {}, true},
		"memory is full":  {func(s *servers.Server) { must(s, "CONFIG", "SET", "maxmemory", "1") }, func(s *servers.Server) { must(s, "CONFIG", "SET", "maxmemory", "0") }, false},
		"scripts flushed": {func(s *servers.Server) { must(s, "SCRIPT", "FLUSH") }, func(*servers.Server) {}, false},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			server := servers.Redis(t)
			remote, err := rediscache.Open(server.URL(), &rediscache.Options{Lag: -1})
			require.NoError(t, err)
			store, err := fallback.New(remote, &fallback.Options{Budget: 20 * time.Millisecond}) // machines that test are busy
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			const sessions = 200
			where := make([]string, sessions)
			var took []time.Duration
			moved := 0
			use := func(i int) {
				k := named(fmt.Sprint("s", i))
				begin := time.Now()
				b, ok, err := store.Get(t.Context(), scope, k)
				require.NoError(t, err)
				if !ok || !b.Bound() {
					b, _, err = store.Bind(t.Context(), scope, k, "auth"+strconv.Itoa(rand.IntN(5)))
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
			present := func() {
				require.Eventually(t, func() bool { return store.State() == fallback.Present }, 20*time.Second, 10*time.Millisecond)
			}
			for i := range sessions / 2 {
				use(i)
			}
			present()
			outages := store.Stats().Outages
			took = nil
			var ending sync.WaitGroup
			fault.begin(server)
			ending.Go(func() {
				time.Sleep(700 * time.Millisecond)
				fault.end(server)
			})
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				use(rand.IntN(sessions))
				time.Sleep(time.Millisecond)
			}
			ending.Wait()
			present()
			if fault.away {
				require.Greater(t, store.Stats().Outages, outages)
			}
			for i := range sessions {
				use(i)
			}
			require.Zero(t, moved, "sessions that one process alone has")
			got, ok, err := remote.Get(t.Context(), scope, named("s0"))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, where[0], got.Auth, "the server knows")
			slices.Sort(took)
			t.Logf("%d uses of three operations: median %v, p99 %v, longest %v; %d of %d sessions have moved; %+v",
				len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], moved, sessions, store.Stats())
		})
	}
}
