// Package selector answers one question: which auth would a plain balancer take?
// An auth is whatever a gateway chooses among: a credential, an account, a
// deployment, a replica. The package knows nothing of sessions.
//
// [Selector] is the interface that package affinity wraps. [Func] makes a Selector
// of a function. For hosts without a balancer of their own there are round robin,
// fill first, random and rendezvous hashing.
//
//	next := selector.RoundRobin[*Account]()
//	account, err := next.Select(ctx, candidates)
package selector

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
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

// RoundRobin takes the candidates in turn. It counts calls, not auths: a candidate
// that comes or goes shifts the turn, and nobody waits for long.
func RoundRobin[T any]() Selector[T] {
	var n atomic.Uint64
	return Func[T](func(_ context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		return candidates[(n.Add(1)-1)%uint64(len(candidates))], nil
	})
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
