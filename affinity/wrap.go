package affinity

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/llmaffinity/llmaffinity/selector"
)

// Selector is a [selector.Selector] with session affinity. [Wrap] makes it.
type Selector[T any] struct {
	*Affinity[T]
	next    atomic.Pointer[wrapped[T]]
	closing sync.Once
}

// wrapped is a selector and its Select method as a function, which is made once.
type wrapped[T any] struct {
	selector.Selector[T]
	choose selector.Func[T]
}

func wrapping[T any](s selector.Selector[T]) *wrapped[T] { return &wrapped[T]{s, s.Select} }

// Wrap adds session affinity to a balancer: bound sessions stay on their auth, and next
// chooses for all other requests. name and o are those of [New].
func Wrap[T any](next selector.Selector[T], name func(T) string, o *Options[T]) (*Selector[T], error) {
	if isNone(next) {
		return nil, errNoSelector
	}
	a, err := New(name, o)
	if err != nil {
		return nil, err
	}
	s := &Selector[T]{Affinity: a}
	s.next.Store(wrapping(next))
	return s, nil
}

var errNoSelector = errors.New("affinity: the selector to wrap is nil")

// isNone reports whether there is no selector, or one that is a nil function.
func isNone[T any](next selector.Selector[T]) bool {
	f, isFunc := next.(selector.Func[T])
	return next == nil || isFunc && f == nil
}

// Select chooses one of the candidates for the request that [WithRequest] has put into ctx. If
// ctx has no request, the wrapped selector chooses.
func (s *Selector[T]) Select(ctx context.Context, candidates []T) (T, error) {
	c := callOf(ctx)
	if c == nil || c.bare {
		return s.next.Load().Select(ctx, candidates)
	}
	p, err := s.Pick(ctx, c.request, candidates)
	return p.Auth, err
}

// Pick is [Affinity.Pick] with the wrapped selector as the balancer.
func (s *Selector[T]) Pick(ctx context.Context, r Request, candidates []T) (p Pick[T], err error) {
	err = s.pick(ctx, &r, candidates, s.next.Load().choose, &p)
	return p, err
}

// Reconfigure replaces the balancer by next and the options by o, see [Affinity.Reconfigure].
// It does not close the old balancer, because requests may still use it. After an error
// nothing has changed.
func (s *Selector[T]) Reconfigure(next selector.Selector[T], o *Options[T]) error {
	if isNone(next) {
		return errNoSelector
	}
	if err := s.Affinity.Reconfigure(o); err != nil {
		return err
	}
	s.next.Store(wrapping(next))
	return nil
}

// Close calls [Affinity.Close]. The first Close also closes the wrapped selector, if that is
// an [io.Closer], and returns its error.
func (s *Selector[T]) Close() error {
	err := s.Affinity.Close()
	s.closing.Do(func() {
		if c, ok := s.next.Load().Selector.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	})
	return err
}
