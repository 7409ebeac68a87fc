package proving

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

func memory(b *testing.B, size int) *cache.Memory {
	m, err := cache.New(&cache.Options{TTL: ttl, MaxSessions: size})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func bind(b *testing.B, m *cache.Memory, sc cache.Scope, i int, to string) {
	if _, _, err := m.Bind(ctx, sc, cache.Keys{Names: [cache.MaxNames]cache.Key{keyOf(i)}}, to); err != nil {
		b.Fatal(err)
	}
}

func heap() float64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// BenchmarkForged floods a store for a hundred thousand sessions with ten million ids, each of
// which is sent once. It reports the memory after the flood, compared with that of the full store
// before. It also reports how long look-ups of a live session take, while its store is flooded
// and while another store is: then the load of the machine and of the garbage collector is the
// same. Run it with -benchtime 1x.
func BenchmarkForged(b *testing.B) {
	const size, forged, samples = 100_000, 10_000_000, 100_000
	live := cache.Keys{Names: [cache.MaxNames]cache.Key{keyOf(-1)}}
	times := make([]time.Duration, 0, samples)
	p99 := func(m, flooded *cache.Memory, n int) float64 {
		times = times[:0]
		var wg sync.WaitGroup
		var over atomic.Bool
		wg.Go(func() {
			for i := range n {
				bind(b, flooded, scope, 2*size+i, auth(i))
			}
			over.Store(true)
		})
		for !over.Load() {
			start := time.Now()
			_, ok, err := m.Get(ctx, scope, live)
			took := time.Since(start)
			if !ok || err != nil {
				b.Fatal("the store has lost the live session, or has failed: ", err)
			}
			if len(times) < cap(times) {
				times = append(times, took)
			}
			time.Sleep(20 * time.Microsecond) // the look-ups must not be a second flood
		}
		wg.Wait()
		slices.Sort(times)
		return float64(times[len(times)*99/100])
	}
	for b.Loop() {
		m, other := memory(b, size), memory(b, size)
		for i := range 2 * size {
			bind(b, m, scope, i, auth(i))
			bind(b, other, scope, i, auth(i))
		}
		bound, _, err := m.Bind(ctx, scope, live, "A")
		if err != nil {
			b.Fatal(err)
		}
		if _, current, err := m.Confirm(ctx, bound); !current || err != nil { // the auth has served it
			b.Fatal(current, err)
		}
		full := heap()
		before := p99(m, other, forged/4)
		during := p99(m, m, forged)
		b.ReportMetric(100*heap()/full, "%heap-of-full")
		b.ReportMetric(before, "p99-ns-other-flooded")
		b.ReportMetric(during, "p99-ns-flooded")
		if m.Len() > size {
			b.Fatal("the store has more sessions than MaxSessions")
		}
		runtime.KeepAlive(other)
	}
}

// BenchmarkInvalidateAuth measures InvalidateAuth for one of a thousand auths of a million
// sessions. For comparison it measures a walk over all sessions that looks for those of one auth.
func BenchmarkInvalidateAuth(b *testing.B) {
	const size = 1_000_000
	m := memory(b, size+size/4)
	for i := range size {
		bind(b, m, scope, i, auth(i))
	}
	b.Run("invalidate", func(b *testing.B) {
		n := 0
		for b.Loop() {
			removed, err := m.InvalidateAuth(ctx, auth(n))
			if err != nil || removed < size/1000*9/10 {
				b.Fatal(removed, err)
			}
			b.StopTimer()
			for i := n % len(auths); i < size; i += len(auths) {
				bind(b, m, scope, i, auth(i))
			}
			n++
			b.StartTimer()
		}
	})
	b.Run("full-scan", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, b := range m.All() {
				if b.Auth == "account-7" {
					n++
				}
			}
			if n < size/1000*9/10 {
				b.Fatal(n)
			}
		}
	})
}
