// Package proving measures cache.Memory against other caches, and checks
// histories of concurrent operations.
package proving

import (
	"context"
	"fmt"
	"math/rand"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"

	"github.com/llmaffinity/llmaffinity/cache"
)

const ttl = time.Hour

type ctxType = context.Context

var (
	ctx   = context.Background()
	scope = cache.Scope{Tenant: "tenant", Pool: "anthropic", Model: "claude-opus"}
)

// peer is one cache: what fills it, and what a hit is that starts the TTL again.
type peer struct {
	name string
	make func(n int) (add func(i int), hit func(i int) bool)
}

func keyOf(i int) (k cache.Key) {
	x := uint64(i+2) * 0x9e3779b97f4a7c15 // never 0, which names nothing
	for j := range 8 {
		k[j] = byte(x >> (8 * j))
		k[8+j] = byte((x ^ x>>31) * 0xbf58476d1ce4e5b9 >> (8 * j))
	}
	return k
}

func auth(i int) string { return auths[i%len(auths)] }

var auths = func() (names []string) {
	for i := range 1000 {
		names = append(names, fmt.Sprint("account-", i))
	}
	return names
}()

var peers = []peer{
	{"memory", func(n int) (func(int), func(int) bool) {
		m, err := cache.New(&cache.Options{TTL: ttl, MaxSessions: n + n/4})
		if err != nil {
			panic(err)
		}
		return func(i int) {
				if _, _, err := m.Bind(ctx, scope, cache.Keys{Names: [cache.MaxNames]cache.Key{keyOf(i)}}, auth(i)); err != nil {
					panic(err)
				}
			}, func(i int) bool {
				_, ok, _ := m.Get(ctx, scope, cache.Keys{Names: [cache.MaxNames]cache.Key{keyOf(i)}})
				return ok
			}
	}},
	{"golang-lru-without-ttl", func(n int) (func(int), func(int) bool) {
		c, err := lru.New[cache.Key, string](n)
		if err != nil {
			panic(err)
		}
		return func(i int) { c.Add(keyOf(i), auth(i)) }, func(i int) bool { _, ok := c.Get(keyOf(i)); return ok }
	}},
	{"expirable", func(n int) (func(int), func(int) bool) {
		c := expirable.NewLRU[cache.Key, string](n, nil, ttl)
		return func(i int) { c.Add(keyOf(i), auth(i)) }, func(i int) bool {
			v, ok := c.Get(keyOf(i))
			if ok {
				c.Add(keyOf(i), v) // the only way to start its TTL again
			}
			return ok
		}
	}},
	{"ttlcache", func(n int) (func(int), func(int) bool) {
		c := ttlcache.New(ttlcache.WithTTL[cache.Key, string](ttl), ttlcache.WithCapacity[cache.Key, string](uint64(n)))
		return func(i int) { c.Set(keyOf(i), auth(i), ttlcache.DefaultTTL) }, func(i int) bool { return c.Get(keyOf(i)) != nil }
	}},
	{"otter", func(n int) (func(int), func(int) bool) {
		c, err := otter.New(&otter.Options[cache.Key, string]{
			MaximumSize: n + n/4, ExpiryCalculator: otter.ExpiryAccessing[cache.Key, string](ttl),
		})
		if err != nil {
			panic(err)
		}
		return func(i int) { c.Set(keyOf(i), auth(i)) }, func(i int) bool { _, ok := c.GetIfPresent(keyOf(i)); return ok }
	}},
}

// draws are session numbers, drawn before so that drawing is not measured.
func draws(n int, zipf bool) []int32 {
	rng := rand.New(rand.NewSource(1))
	z := rand.NewZipf(rng, 1.1, 1, uint64(n-1))
	out := make([]int32, 1<<20)
	for i := range out {
		if zipf {
			out[i] = int32(z.Uint64())
		} else {
			out[i] = int32(rng.Intn(n))
		}
	}
	return out
}

// BenchmarkHit: a session that is bound is looked up, and its TTL starts again.
// Run it with -cpu 1,2.
func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1e3, 1e5, 1e6} {
		for _, dist := range []string{"uniform", "zipf"} {
			order := draws(n, dist == "zipf")
			for _, p := range peers {
				add, hit := p.make(n)
				for i := range n {
					add(i)
				}
				runtime.GC()
				b.Run(fmt.Sprintf("%s/%d/%s", p.name, n, dist), func(b *testing.B) {
					b.ReportAllocs()
					var from, missed atomic.Int64
					b.RunParallel(func(pb *testing.PB) {
						i, misses := int(from.Add(1<<18)), 0
						for pb.Next() {
							if i++; !hit(int(order[i&(len(order)-1)])) {
								misses++
							}
						}
						missed.Add(int64(misses))
					})
					if m := missed.Load(); m > int64(b.N/10) {
						b.Fatalf("%d of %d missed", m, b.N)
					}
				})
			}
		}
	}
}

// BenchmarkMemory: bytes of heap for each binding with one key, at a million.
func BenchmarkMemory(b *testing.B) {
	const n = 1e6
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				add, hit := p.make(n)
				for i := range int(n) {
					add(i)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/binding")
				runtime.KeepAlive(hit)
			}
		})
	}
}

// BenchmarkNewInAFullStore: a session that was never there is bound in a store that
// is full, so that another one has to go: of one tenant, of 100, of 10,000. Beside it
// what golang-lru's Add costs, which knows no tenants.
func BenchmarkNewInAFullStore(b *testing.B) {
	const n = 100_000
	for _, tenants := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("memory/%d-tenants", tenants), func(b *testing.B) {
			m, err := cache.New(&cache.Options{TTL: ttl, MaxSessions: n})
			if err != nil {
				b.Fatal(err)
			}
			scopes := make([]cache.Scope, tenants)
			for i := range scopes {
				scopes[i] = cache.Scope{Tenant: fmt.Sprint("tenant-", i), Pool: scope.Pool, Model: scope.Model}
			}
			i := 0
			bind := func() {
				if _, existed, err := m.Bind(ctx, scopes[i%tenants], cache.Keys{Names: [cache.MaxNames]cache.Key{keyOf(i)}}, auth(i)); err != nil || existed {
					b.Fatal(existed, err)
				}
				i++
			}
			for range n + n/4 {
				bind()
			}
			b.ReportAllocs()
			for b.Loop() {
				bind()
			}
		})
	}
	b.Run("golang-lru-without-ttl", func(b *testing.B) {
		c, err := lru.New[cache.Key, string](n)
		if err != nil {
			b.Fatal(err)
		}
		for i := range n + n/4 {
			c.Add(keyOf(i), auth(i))
		}
		b.ReportAllocs()
		for i := n + n/4; b.Loop(); i++ {
			c.Add(keyOf(i), auth(i))
		}
	})
}
