package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/selector"
)

// Settings are what can change while the gateway runs.
type Settings struct {
	Auths []*Auth
	// Strategy is how the balancer places new sessions, see [balancer]. "" is
	// round-robin.
	Strategy string
	// TTL is how long a session may be idle. 0 is one hour.
	TTL time.Duration
	// Affinity says whether there is affinity. Without it the balancer chooses for every
	// request. The bindings stay: those that have not expired are used when affinity is on
	// again.
	Affinity bool
}

const roundRobin = "round-robin"

// strategies are the balancers by name.
var strategies = map[string]func() selector.Selector[*Auth]{
	roundRobin:   oneTurn,
	"fill-first": selector.FillFirst[*Auth],
	"random":     selector.Random[*Auth],
	// The names of auths are lasting, so a session whose binding has expired finds the same
	// auth.
	"rendezvous": func() selector.Selector[*Auth] { return selector.Rendezvous((*Auth).name, nil) },
}

// oneTurn is round robin over all requests, whatever their model: the auths serve all models,
// and eight conversations of one model that take turns on eight auths would always meet the
// same ones.
func oneTurn() selector.Selector[*Auth] {
	turn := selector.RoundRobin[*Auth]()
	return selector.Func[*Auth](func(ctx context.Context, auths []*Auth) (*Auth, error) {
		return turn.Select(selector.WithHint(ctx, selector.Hint{}), auths)
	})
}

// balancer makes the balancer of a strategy.
func balancer(strategy string) (selector.Selector[*Auth], error) {
	made := strategies[cmp.Or(strategy, roundRobin)]
	if made == nil {
		return nil, fmt.Errorf("unknown strategy %s, want one of %s", shown(strategy), strings.Join(slices.Sorted(maps.Keys(strategies)), ", "))
	}
	return made(), nil
}

// applied is the result of Apply. Its zero value is a gateway without affinity.
type applied struct {
	on atomic.Bool // affinity

	mu       sync.Mutex // one Apply at a time
	strategy string
	balancer selector.Selector[*Auth]
}

// Apply makes s the gateway's settings. Sessions stay on their auths; those of a removed auth
// are placed anew. After an error nothing has changed.
func (g *Gateway) Apply(s Settings) error {
	if len(s.Auths) == 0 {
		return errors.New("there are no auths")
	}
	names := map[string]bool{}
	for _, a := range s.Auths {
		if names[a.Name] {
			return fmt.Errorf("two auths are called %s", a.Name)
		}
		names[a.Name] = true
	}
	next, err := balancer(s.Strategy)
	if err != nil {
		return err
	}
	g.applied.mu.Lock()
	defer g.applied.mu.Unlock()
	s.Strategy = cmp.Or(s.Strategy, roundRobin)
	if g.applied.balancer != nil && g.applied.strategy == s.Strategy {
		next = g.applied.balancer // it keeps its turn
	}
	if err := g.transport.Reconfigure(next, g.options(s.TTL)); err != nil {
		return err
	}
	g.applied.strategy, g.applied.balancer = s.Strategy, next
	g.Reload(s.Auths)
	g.applied.on.Store(s.Affinity)
	return nil
}
