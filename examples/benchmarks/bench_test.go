package benchmarks

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// most bounds how many sessions are held. With few sessions, a small machine can show that the
// benchmarks run.
var most = flag.Int("sessions", 1_000_000, "leave out cases with more sessions than this `number`")

const (
	ttl    = time.Hour
	tenant = "tenant"
	pool   = "anthropic"
	model  = "claude-opus"
)

var ctx = context.Background()

// account is an auth.
type account struct{ name string }

func nameOf(a *account) string { return a.name }

func accounts(n int) (all []*account) {
	for i := range n {
		all = append(all, &account{fmt.Sprint("account-", i)})
	}
	return all
}

// gateway is an Affinity and its auths.
type gateway struct {
	aff   *affinity.Affinity[*account]
	auths []*account
	next  selector.Func[*account]
}

// newGateway makes a gateway whose store has room for so many sessions and a quarter more, because
// its parts are not equally full.
func newGateway(b *testing.B, candidates, sessions int) *gateway {
	aff, err := affinity.New(nameOf, &affinity.Options[*account]{Memory: cache.Options{TTL: ttl, MaxSessions: sessions + sessions/4 + 16}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { aff.Close() })
	return &gateway{aff, accounts(candidates), selector.RoundRobin[*account]().Select}
}

// serve picks an auth for a request, and reports that it has served.
func (g *gateway) serve(b *testing.B, r *affinity.Request) *account {
	p, err := g.aff.Pick(ctx, *r, g.auths, g.next)
	if err != nil {
		b.Fatal(err)
	}
	p.Report(affinity.Served)
	return p.Auth
}

// none is the balancer of benchmarks in which all sessions are bound: it must not be called.
func none(context.Context, []*account) (*account, error) { return nil, errNotBound }

var errNotBound = fmt.Errorf("the balancer was called, although all sessions must be bound")

// sizeName returns a size in the form that benchmarks' names have.
func sizeName(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%dMB", n>>20)
	}
	return fmt.Sprintf("%dKB", n>>10)
}
