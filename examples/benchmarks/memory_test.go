package benchmarks

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/floor"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/rivals"
)

// weigh reports how much heap each of the n sessions needs that hold makes, and by how much longer
// a garbage collection takes while they are held.
func weigh(b *testing.B, n int, hold func() any) {
	for b.Loop() {
		before, idle := heap(), collect()
		held := hold()
		after, took := heap(), collect()
		runtime.KeepAlive(held)
		b.ReportMetric((after-before)/float64(n), "B/session")
		b.ReportMetric((took-idle).Seconds()*1000, "gc-ms")
	}
	b.ReportMetric(0, "ns/op") // removes it: it would be the time to make the sessions
}

// collect returns how long a garbage collection takes, the median of seven.
func collect() time.Duration {
	var took []time.Duration
	for range 7 {
		start := time.Now()
		runtime.GC()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[3]
}

func heap() float64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // the second collection frees what has a finalizer
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// BenchmarkSessions measures what sessions cost while no request comes. what=store is the store
// alone, and what=pick everything that the library keeps of a session. The sessions with one key
// fill the store. Those of content had a pick and a report in each of their turns. Run it with
// -benchtime 1x.
func BenchmarkSessions(b *testing.B) {
	n := *most
	id := []string{""}
	r := affinity.Request{Tenant: tenant, Pool: pool, Model: model, Header: http.Header{requests.OwnHeader: id}}
	b.Run(fmt.Sprintf("key=one/turns=1/what=pick/sessions=%d/who=llmaffinity", n), func(b *testing.B) {
		weigh(b, n, func() any {
			g := newGateway(b, 8, n)
			for i := range n {
				id[0] = requests.SessionID(i)
				g.serve(b, &r)
			}
			return g
		})
	})
	b.Run(fmt.Sprintf("key=one/turns=1/what=pick/sessions=%d/who=floor", n), func(b *testing.B) {
		weigh(b, n, func() any {
			t := floor.New(requests.OwnHeader, nameOf, n, ttl)
			for i := range n {
				id[0] = requests.SessionID(i)
				if err := t.Bind(&floor.Scope{Tenant: tenant, Pool: pool, Model: model}, r.Header, names[i%8]); err != nil {
					b.Fatal(err)
				}
			}
			return t
		})
	})
	for _, turns := range []int{1, 4, 8, 16} {
		some := n / 100
		b.Run(fmt.Sprintf("key=content/turns=%d/what=pick/sessions=%d/who=llmaffinity", turns, some), func(b *testing.B) {
			bodies := requests.Conversation("chat", turns, 4<<10)
			weigh(b, some, func() any {
				g := newGateway(b, 8, some)
				for i := range some {
					for _, body := range bodies {
						body.Set(requests.SessionID(i))
						g.serve(b, &affinity.Request{Tenant: tenant, Pool: pool, Model: model, Body: body.Bytes})
					}
				}
				bound, err := g.aff.Sessions(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				sum := 0
				for _, n := range bound {
					sum += n
				}
				if sum != some {
					b.Fatalf("the library has %d sessions, want %d", sum, some)
				}
				return g
			})
		})
	}
	for _, r := range rivals.All { // after the others, because an expirable never ends
		b.Run(fmt.Sprintf("key=one/turns=1/what=store/sessions=%d/who=%s", n, r.Name), func(b *testing.B) {
			weigh(b, n, func() any {
				c := fill(b, r, n)
				b.Cleanup(c.Close)
				return c
			})
		})
	}
}
