// Package selector has load balancers that choose an auth for a request. An auth is what the
// gateway chooses among: a credential, an account, a deployment, a replica. The package knows
// nothing of sessions.
//
// [Selector] is the interface that package affinity wraps. [Func] makes a Selector of a
// function, so that a gateway can keep its own balancer. For gateways without one there are
// these strategies:
//
//   - [RoundRobin]: all auths are alike. Each gets the same number of requests.
//     With names, for lists that are reloaded or shuffled: [WeightedRoundRobin].
//   - [WeightedRoundRobin]: some auths can take more than others.
//   - [Random]: as RoundRobin, but without state.
//   - [FillFirst]: use up one auth before the next, in the order of the list.
//   - [LeastRecentTokens]: each gets the same number of tokens, not of requests. This is
//     the one for sessions, which differ much in length. It needs a [Loads].
//   - [LeastLoad]: you have a number for how busy an auth is, and it is up to date.
//   - [TwoChoices]: you have such a number, and it is old, or there are very many auths.
//   - [Rendezvous]: replicas that share nothing have to agree on the auth of a session.
//
// They can be combined: [Tiers] uses the auths of the highest tier, and keeps the others in
// reserve for when those are away. [Filter] and [Prefer] restrict the candidates.
//
//	next := selector.Tiers(tier, selector.WeightedRoundRobin(name, weight))
//	account, err := next.Select(ctx, candidates)
//
// A strategy knows of a request only the [Hint] in the context. The round robins keep one turn
// for each pool and model. They remember the few hundred pools and models that were used last,
// so that a client that invents names of models costs no memory.
//
// A constructor panics if it is given nil for a function, a Selector or a Loads that it needs.
package selector

import (
	"context"
	"errors"
	"math/rand/v2"
)

// ErrNoCandidates is returned by the selectors of this package when there are no candidates.
var ErrNoCandidates = errors.New("selector: no candidates")

// Selector chooses one of the candidates, or returns an error. The candidates are
// the auths that may serve the request now. The slice is the caller's: Select reads
// it and neither changes nor keeps it. Any number of goroutines may call Select at
// once.
type Selector[T any] interface {
	Select(ctx context.Context, candidates []T) (T, error)
}

// Func is a function that is a Selector.
type Func[T any] func(ctx context.Context, candidates []T) (T, error)

// Select calls f.
func (f Func[T]) Select(ctx context.Context, candidates []T) (T, error) {
	return f(ctx, candidates)
}

// FillFirst takes the first candidate. So the order of the candidates is the order of
// preference.
func FillFirst[T any]() Selector[T] {
	return Func[T](func(_ context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		return candidates[0], nil
	})
}

// Random takes a candidate at random, each with the same probability.
func Random[T any]() Selector[T] {
	return Func[T](func(_ context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		return candidates[rand.IntN(len(candidates))], nil
	})
}

func none[T any]() (T, error) {
	var zero T
	return zero, ErrNoCandidates
}
