package proving

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

var (
	ctx   = context.Background()
	scope = cache.Scope{Tenant: "tenant", Pool: "pool", Model: "model"}
)

// named returns the keys of a request with one id.
func named(i int) (k cache.Keys) {
	binary.LittleEndian.PutUint64(k.Names[0][:], uint64(i)+1)
	return k
}

func open(b *testing.B, url string, o rediscache.Options) *rediscache.Store {
	b.Helper()
	s, err := rediscache.Open(url, &o)
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// fill binds sessions to one of ten auths each, and confirms them.
func fill(b *testing.B, s cache.Store, sessions int) {
	b.Helper()
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < sessions; i += 64 {
				bound, _, err := s.Bind(ctx, scope, named(i), "auth"+strconv.Itoa(i%10))
				if err == nil {
					_, _, err = s.Confirm(ctx, bound)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// warm brings sessions into the near-cache, if there is one.
func warm(b *testing.B, s cache.Store, sessions int) {
	b.Helper()
	for i := range sessions {
		_, ok, err := s.Get(ctx, scope, named(i))
		require.NoError(b, err)
		require.True(b, ok)
	}
}

// together runs b.N operations in several goroutines.
func together(b *testing.B, goroutines int, do func(r *rand.Rand) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range goroutines {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 0))
			for next.Add(1) <= int64(b.N) {
				if err := do(r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkPick measures what a store does for a pick of a bound session and its report, Get and
// Confirm. For comparison it measures a plain GET of two clients with the same server. trips/op
// is the number of requests that the store has sent to the server.
func BenchmarkPick(b *testing.B) {
	const sessions = 1000
	server := servers.Redis(b)
	plain, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	require.NoError(b, err)
	defer plain.Close()
	require.NoError(b, plain.Do(ctx, plain.B().Set().Key("plain").Value(strings.Repeat("x", 64)).Build()).Error())
	other := goredis.NewClient(&goredis.Options{Addr: server.Addr(), PoolSize: 100})
	defer func() { _ = other.Close() }()
	memory, err := cache.New(nil)
	require.NoError(b, err)
	pick := func(s cache.Store) func(r *rand.Rand) error {
		return func(r *rand.Rand) error {
			got, ok, err := s.Get(ctx, scope, named(r.IntN(sessions)))
			if err == nil && !ok {
				err = fmt.Errorf("the store does not have a session that was bound")
			}
			if err == nil {
				_, _, err = s.Confirm(ctx, got)
			}
			return err
		}
	}
	stores := []struct {
		name string
		s    cache.Store
	}{
		{"store=memory", memory},
		{"store=redis,near", open(b, server.URL(), rediscache.Options{})},
		{"store=redis", open(b, server.URL(), rediscache.Options{Prefix: "far", Lag: -1})},
	}
	for _, s := range stores {
		fill(b, s.s, sessions)
		warm(b, s.s, sessions)
	}
	for _, goroutines := range []int{10, 100} {
		at := fmt.Sprint("/goroutines=", goroutines)
		b.Run("GET=rueidis"+at, func(b *testing.B) {
			together(b, goroutines, func(*rand.Rand) error {
				return plain.Do(ctx, plain.B().Get().Key("plain").Build()).Error()
			})
		})
		b.Run("GET=go-redis"+at, func(b *testing.B) {
			together(b, goroutines, func(*rand.Rand) error { return other.Get(ctx, "plain").Err() })
		})
		for _, s := range stores {
			b.Run(s.name+at, func(b *testing.B) {
				remote, _ := s.s.(*rediscache.Store)
				before := uint64(0)
				if remote != nil {
					before = remote.Stats().RoundTrips
				}
				together(b, goroutines, pick(s.s))
				if remote != nil {
					b.ReportMetric(float64(remote.Stats().RoundTrips-before)/float64(b.N), "trips/op")
				}
			})
		}
	}
}

// BenchmarkHit measures Get in one goroutine, with cache.Memory and with the near-cache of a store
// on Redis.
func BenchmarkHit(b *testing.B) {
	memory, err := cache.New(nil)
	require.NoError(b, err)
	for name, s := range map[string]cache.Store{
		"memory": memory, "near": open(b, servers.Redis(b).URL(), rediscache.Options{}),
	} {
		fill(b, s, 1000)
		warm(b, s, 1000)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if _, ok, err := s.Get(ctx, scope, named(i%1000)); err != nil || !ok {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkTenantOf100000 measures what 10^5 sessions of one tenant cost: the server's memory for
// each session, and the time of InvalidateAuth for one of ten auths, which has 10^4 sessions.
func BenchmarkTenantOf100000(b *testing.B) {
	const sessions = 100_000
	server := servers.Redis(b)
	s := open(b, server.URL(), rediscache.Options{Lag: -1})
	_, err := s.InvalidateAuth(ctx, "nobody") // connects, and loads the script
	require.NoError(b, err)
	before := used(b, server)
	fill(b, s, sessions)
	perSession := float64(used(b, server)-before) / sessions
	for b.Loop() {
		b.StopTimer()
		fill(b, s, sessions) // binds the sessions without an auth again
		runtime.GC()
		b.StartTimer()
		n, err := s.InvalidateAuth(ctx, "auth3")
		require.NoError(b, err)
		require.Equal(b, sessions/10, n)
	}
	b.ReportMetric(perSession, "B/session")
}

// used returns the memory that the server uses, in bytes.
func used(b *testing.B, server *servers.Server) int {
	b.Helper()
	info, err := server.Do("INFO", "memory")
	require.NoError(b, err)
	_, rest, ok := strings.Cut(info, "used_memory:")
	require.True(b, ok)
	n, err := strconv.Atoi(rest[:strings.IndexByte(rest, '\r')])
	require.NoError(b, err)
	return n
}
