// Package selector answers one question: which auth would a plain balancer take?
// An auth is whatever a gateway chooses among: a credential, an account, a
// deployment, a replica. The package knows nothing of sessions.
//
// [Selector] is the interface that package affinity wraps. [Func] makes a Selector
// of a function: a host's own balancer stays what it is. For hosts without one there are
// strategies. Which one to take:
//
//   - [RoundRobin]: all auths are alike. Each gets the same number of requests.
//     With names, for lists that are reloaded or shuffled: [WeightedRoundRobin].
//   - [WeightedRoundRobin]: some auths can take more than others.
//   - [Random]: the same as round robin without anything to remember.
//   - [FillFirst]: use up one auth before the next, in the order of the list.
//   - [LeastRecentTokens]: each gets the same number of tokens, not of requests. This is
//     the one for sessions, which differ much in length. It needs a [Loads].
//   - [LeastLoad]: you have a number for how busy an auth is, and it is up to date.
//   - [TwoChoices]: you have such a number, and it is old, or there are very many auths.
//   - [Rendezvous]: replicas that share nothing have to agree on the auth of a session.
//
// They can be put together: [Tiers] keeps some auths for when the others are away, and
// [Filter] and [Prefer] choose who comes into question.
//
//	next := selector.Tiers(tier, selector.WeightedRoundRobin(name, weight))
//	account, err := next.Select(ctx, candidates)
//
// What a strategy knows of a request is the [Hint] in the context. Those that take turns
// do so for each pool and model. They remember some hundred pools and models, those that
// were used last: a client that makes up names of models costs no memory.
//
// A constructor that is given nil where it needs a function, a Selector or a Loads panics.
package selector

import (
	"context"
	"errors"
	"math/rand/v2"
)

// ErrNoCandidates is returned by the selectors of this package when there is
// nothing to choose from.
var ErrNoCandidates = errors.New("selector: no candidates")

// Selector chooses one of the candidates, or returns an error. The candidates are
// the auths that may serve the request now. The slice is the caller's: Select reads
// it and neither changes nor keeps it. Any number of goroutines may call Select at
// once.
type Selector[T any] interface {
	Select(ctx context.Context, candidates []T) (T, error)
}

// Func is a function as a Selector.
type Func[T any] func(ctx context.Context, candidates []T) (T, error)

// Select calls f.
func (f Func[T]) Select(ctx context.Context, candidates []T) (T, error) {
	return f(ctx, candidates)
}

// FillFirst takes the first candidate. The host's order is the preference: an auth
// is used when none before it is a candidate.
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
