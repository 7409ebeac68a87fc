package benchmarks

import (
	"context"
	"fmt"
	"testing"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/rivals"
)

// BenchmarkNewInAFullStore measures how a new session is bound in a full store, so that another one
// is evicted. The sessions belong to one tenant, to 100 or to 10,000. With pick the library finds
// that the session is new, calls a balancer, and gets a report. With a body it also looks for a
// session with the same beginning, from which this one may be forked.
func BenchmarkNewInAFullStore(b *testing.B) {
	n := min(100_000, *most)
	for _, tenants := range []int{1, 100, 10_000} {
		tenantNames := make([]string, tenants)
		for i := range tenantNames {
			tenantNames[i] = fmt.Sprint("tenant-", i)
		}
		for _, r := range rivals.All {
			b.Run(fmt.Sprintf("tenants=%d/what=store/body=none/who=%s", tenants, r.Name), func(b *testing.B) {
				c, err := r.Make(n, ttl)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				i := 0
				add := func() {
					k := keyOf(i)
					k.Tenant = tenantNames[i%tenants]
					c.Add(k, names[i%len(names)])
					i++
				}
				for range n + n/4 {
					add()
				}
				b.ReportAllocs()
				for b.Loop() {
					add()
				}
			})
		}
		for _, body := range []string{"none", "2KB"} {
			b.Run(fmt.Sprintf("tenants=%d/what=pick/body=%s/who=llmaffinity", tenants, body), func(b *testing.B) {
				g := newGateway(b, 8, n*4/5)
				// When an id comes again, its session was evicted long ago.
				ids := make([]string, 4*n)
				for i := range ids {
					ids[i] = requests.SessionID(i)
				}
				asked := 0
				next := func(_ context.Context, auths []*account) (*account, error) {
					asked++
					return auths[asked%len(auths)], nil
				}
				r := ownRequest(2 << 10)
				if body == "none" {
					r.Body = nil
				}
				i := 0
				pick := func() {
					r.Tenant = tenantNames[i%tenants]
					r.begin(ids[i%len(ids)])
					i++
					p, err := g.aff.Pick(ctx, *r.Request, g.auths, next)
					if err != nil || asked != i {
						b.Fatal("the session was bound already, or the store has failed: ", err)
					}
					p.Report(affinity.Served)
				}
				for range n + n/4 {
					pick()
				}
				b.ReportAllocs()
				for b.Loop() {
					pick()
				}
			})
		}
	}
}
