// Package selector answers: which auth would a plain balancer take? It knows
// nothing of sessions. [Selector] is the one interface that a host's own
// balancer has to satisfy to be wrapped by package affinity; [Func] makes one
// of a function. Round robin, fill first, random and rendezvous hashing are here
// for hosts that have none.
//
//	next := selector.RoundRobin[*Auth]()
//	auth, err := next.Select(ctx, candidates)
//
// T is whatever the host chooses among: a credential, an account, a
// deployment, a replica.
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

// Selector chooses one of the candidates. candidates are those auths that may
// serve the request now; they are the caller's: an implementation reads them
// and does not keep or change the slice. It must be safe for concurrent use,
// and it returns one of the candidates or an error.
type Selector[T any] interface {
	Select(ctx context.Context, candidates []T) (T, error)
}

// Func is a function as a Selector.
type Func[T any] func(ctx context.Context, candidates []T) (T, error)

// Select calls f.
func (f Func[T]) Select(ctx context.Context, candidates []T) (T, error) {
	return f(ctx, candidates)
}

// RoundRobin takes the candidates in turn. It counts calls, not auths, so a
// candidate that comes or goes shifts the turn but starves nobody for long.
func RoundRobin[T any]() Selector[T] {
	var n atomic.Uint64
	return Func[T](func(_ context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		return candidates[(n.Add(1)-1)%uint64(len(candidates))], nil
	})
}

// FillFirst takes the first candidate, always: the host's order is the
// preference, and the next auth is used when the first is no candidate.
func FillFirst[T any]() Selector[T] {
	return Func[T](func(_ context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		return candidates[0], nil
	})
}

// Random takes any candidate with the same probability.
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
