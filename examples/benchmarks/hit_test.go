package benchmarks

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/rivals"
)

func keyOf(i int) rivals.Key {
	return rivals.Key{Tenant: tenant, Pool: pool, Model: model, ID: requests.Digest(i)}
}

// names are the auths in the stores.
var names = func() (all []string) {
	for _, a := range accounts(1000) {
		all = append(all, a.name)
	}
	return all
}()

// fill makes a rival with room for n sessions and a quarter more, and binds n to 1,000
// auths in turn.
func fill(b *testing.B, r rivals.Rival, n int) rivals.Cache {
	c, err := r.Make(n+n/4, ttl)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		c.Add(keyOf(i), names[i%len(names)])
	}
	runtime.GC()
	return c
}

// BenchmarkHit measures the look-up of a session in a store, which starts its TTL again. All stores
// have the tenant, the pool and the model in their keys. golang-lru has no TTL. Run it with -cpu
// 1,2.
func BenchmarkHit(b *testing.B) {
	for _, shape := range []struct {
		name     string
		sessions int
		zipf     bool
	}{{"one", 1, false}, {"hot", 1e3, false}, {"zipf", 1e5, true}, {"uniform", 1e6, false}} {
		if shape.sessions > *most {
			continue
		}
		order := requests.Order(shape.sessions, shape.zipf)
		at := func(i int) rivals.Key { return keyOf(int(order[i&(len(order)-1)])) }
		for _, r := range rivals.All {
			func() {
				c := fill(b, r, shape.sessions)
				defer c.Close()
				name := fmt.Sprintf("draw=%s/sessions=%d", shape.name, shape.sessions)
				b.Run(name+"/goroutines=one/who="+r.Name, func(b *testing.B) {
					b.ReportAllocs()
					for i := range b.N {
						if _, ok := c.Hit(at(i)); !ok {
							b.Fatal(errNotBound)
						}
					}
				})
				b.Run(name+"/goroutines=each/who="+r.Name, func(b *testing.B) {
					b.ReportAllocs()
					var from atomic.Int64
					b.RunParallel(func(pb *testing.PB) {
						for i := int(from.Add(1 << 18)); pb.Next(); i++ {
							if _, ok := c.Hit(at(i)); !ok {
								b.Error(errNotBound)
								return
							}
						}
					})
				})
			}()
		}
	}
}
