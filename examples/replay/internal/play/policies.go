package play

import (
	"cmp"
	"context"
	"slices"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Policy is a way to place requests.
type Policy struct {
	Name, About string
	// Options are those of the affinity; nil is a balancer without affinity.
	Options func(*Host) *affinity.Options[int]
	// Next is the host's balancer.
	Next func(*Host) selector.Selector[int]
	// Default says that the policy is used if none is named.
	Default bool
}

// Policies returns all policies. A new one is a new line here.
func Policies() []Policy {
	return []Policy{
		{"roundrobin", "round robin without affinity", nil, roundRobin, true},
		{"stay", "affinity over round robin", plain, roundRobin, true},
		{"least", "affinity over the fewest tokens sent in the last ten minutes, which is also the load", loaded(0, false), leastRecent, true},
		{"spill", "the same, and an auth with more than 1.1 times the mean load spills", loaded(1.1, false), leastRecent, true},
		{"rendezvous", "affinity over rendezvous hashing of the session", plain, rendezvous, true},
		{"coldanew", "as least, and a session with a cold prompt cache is placed anew", loaded(0, true), leastRecent, true},
		{"balance", "Options.Balance: the library sends new and cold sessions where the least was sent, and moves short ones", balanced(affinity.BalanceMoving), roundRobin, true},
		{"balance-new", "the same, and no session is moved whose prompt cache is warm", balanced(affinity.BalanceNew), roundRobin, false},
		{"recent", "affinity over selector.LeastRecentTokens", measured, leastMeasured, false},
		{"coldanew-total", "as coldanew, by the tokens sent since the begin", totalAnew, leastTotal, false},
		{"least-alone", "the fewest tokens sent in the last ten minutes, without affinity", nil, leastRecent, false},
	}
}

func roundRobin(*Host) selector.Selector[int] { return selector.RoundRobin[int]() }

func rendezvous(*Host) selector.Selector[int] { return selector.Rendezvous(AuthName, nil) }

func plain(*Host) *affinity.Options[int] { return &affinity.Options[int]{} }

// loaded shows affinity the tokens of the last ten minutes.
func loaded(spill float64, anew bool) func(*Host) *affinity.Options[int] {
	return func(h *Host) *affinity.Options[int] {
		o := &affinity.Options[int]{ColdAnew: anew, State: func(auth int, _ affinity.Request) affinity.State {
			return affinity.State{Load: h.Recent(auth)}
		}}
		if spill > 0 {
			o.Load = affinity.LoadPolicy{Bound: spill, Spill: spill}
		}
		return o
	}
}

// balanced leaves the load to the library.
func balanced(b affinity.Balance) func(*Host) *affinity.Options[int] {
	return func(*Host) *affinity.Options[int] { return &affinity.Options[int]{Balance: b} }
}

// measured lets the library measure the load for a balancer that uses it.
func measured(h *Host) *affinity.Options[int] { return &affinity.Options[int]{Loads: &h.Loads} }

func leastMeasured(h *Host) selector.Selector[int] {
	return selector.LeastRecentTokens(AuthName, &h.Loads)
}

func totalAnew(h *Host) *affinity.Options[int] {
	return &affinity.Options[int]{
		ColdAnew: true,
		State: func(auth int, _ affinity.Request) affinity.State {
			return affinity.State{Load: h.Total(auth)}
		},
		Load: affinity.LoadPolicy{Bound: 1000}, // the balancer knows the load already
	}
}

func leastRecent(h *Host) selector.Selector[int] { return leastBy(h.Recent) }

func leastTotal(h *Host) selector.Selector[int] { return leastBy(h.Total) }

func leastBy(load func(auth int) float64) selector.Selector[int] {
	return selector.Func[int](func(_ context.Context, auths []int) (int, error) {
		return slices.MinFunc(auths, func(a, b int) int { return cmp.Compare(load(a), load(b)) }), nil
	})
}
