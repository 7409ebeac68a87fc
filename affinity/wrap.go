package affinity

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/llmaffinity/llmaffinity/selector"
)

// Selector is a [selector.Selector] with affinity. Wrap makes it.
type Selector[T any] struct {
	*Affinity[T]
	next    atomic.Pointer[wrapped[T]]
	closing sync.Once
}

// wrapped is a selector, and its method made a function once.
type wrapped[T any] struct {
	selector.Selector[T]
	choose selector.Func[T]
}

func wrapping[T any](s selector.Selector[T]) *wrapped[T] { return &wrapped[T]{s, s.Select} }

// Wrap makes a Selector with affinity of a Selector without: sessions that are
// bound stay, and next chooses for the rest. name and o are those of [New].
func Wrap[T any](next selector.Selector[T], name func(T) string, o *Options[T]) (*Selector[T], error) {
	if next == nil {
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

var errNoSelector = errors.New("affinity: no selector to wrap")

// Select chooses one of the candidates for the request that [WithRequest] has put
// into ctx. Without a request the wrapped selector chooses.
func (s *Selector[T]) Select(ctx context.Context, candidates []T) (T, error) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return s.next.Load().Select(ctx, candidates)
	}
	p, err := s.Pick(ctx, c.request, candidates)
	return p.Auth, err
}

// Pick is [Affinity.Pick] with the wrapped selector as the balancer. If
// [WithRequest] was used to make ctx, [PickFrom] returns this pick afterwards.
func (s *Selector[T]) Pick(ctx context.Context, r Request, candidates []T) (Pick[T], error) {
	p, err := s.Affinity.Pick(ctx, r, candidates, s.next.Load().choose)
	if c, ok := ctx.Value(callKey{}).(*call); ok && err == nil {
		made := p // a copy, so that only this one goes to the heap
		c.mu.Lock()
		c.pick = &made
		c.mu.Unlock()
	}
	return p, err
}

// Reconfigure makes next the balancer and o the options from now on, see
// [Affinity.Reconfigure]. It does not close the balancer that there was: requests
// may still use it. After an error nothing has changed.
func (s *Selector[T]) Reconfigure(next selector.Selector[T], o *Options[T]) error {
	if next == nil {
		return errNoSelector
	}
	if err := s.Affinity.Reconfigure(o); err != nil {
		return err
	}
	s.next.Store(wrapping(next))
	return nil
}

// Close is [Affinity.Close]. The first Close also closes the wrapped selector, if
// that is an [io.Closer], and returns its error.
func (s *Selector[T]) Close() error {
	err := s.Affinity.Close()
	s.closing.Do(func() {
		if c, ok := s.next.Load().Selector.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	})
	return err
}

// call is one request on its way through a host that hands on a context and
// nothing else.
type call struct {
	request Request

	mu   sync.Mutex
	pick any // *Pick[T], the last one
}

type callKey struct{}

// WithRequest puts a request into a context, for hosts whose balancer gets a
// context and nothing else: [Selector.Select] finds the request there, and
// [PickFrom] the pick.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, callKey{}, &call{request: r})
}

// PickFrom returns the last pick that a Selector has made with this context, to
// report how the request went. ok is false if there is none of this type.
func PickFrom[T any](ctx context.Context) (p Pick[T], ok bool) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return p, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	made, ok := c.pick.(*Pick[T])
	if ok {
		p = *made
	}
	return p, ok
}
