package affinity

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/llmaffinity/llmaffinity/selector"
)

// Selector is a [selector.Selector] with affinity: what [Wrap] makes.
type Selector[T any] struct {
	*Affinity[T]
	next atomic.Pointer[selector.Func[T]]
}

// Wrap makes a Selector of a Selector: sessions that are bound stay, next
// chooses for the rest. name and o are those of [New].
func Wrap[T any](next selector.Selector[T], name func(T) string, o *Options) (*Selector[T], error) {
	if next == nil {
		return nil, fmt.Errorf("%w: no selector to wrap", ErrOptions)
	}
	a, err := New(name, o)
	if err != nil {
		return nil, err
	}
	s := &Selector[T]{Affinity: a}
	s.balance(next)
	return s, nil
}

// Select chooses one of the candidates for the request in ctx, see
// [WithRequest]; without one it is next's choice.
func (s *Selector[T]) Select(ctx context.Context, candidates []T) (T, error) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return (*s.next.Load())(ctx, candidates)
	}
	p, err := s.Pick(ctx, c.request, candidates)
	if err != nil {
		var zero T
		return zero, err
	}
	c.set(p.Decision, p.Report)
	return p.Auth, nil
}

// Pick is [Affinity.Pick] with the wrapped selector as the balancer.
func (s *Selector[T]) Pick(ctx context.Context, r Request, candidates []T) (Pick[T], error) {
	return s.Affinity.Pick(ctx, r, candidates, *s.next.Load())
}

// Reconfigure makes next the balancer and o the options from now on, see
// [Affinity.Reconfigure]. After an error nothing has changed.
func (s *Selector[T]) Reconfigure(next selector.Selector[T], o *Options) error {
	if next == nil {
		return fmt.Errorf("%w: no selector to wrap", ErrOptions)
	}
	if err := s.Affinity.Reconfigure(o); err != nil {
		return err
	}
	s.balance(next)
	return nil
}

func (s *Selector[T]) balance(next selector.Selector[T]) {
	f := selector.Func[T](next.Select)
	s.next.Store(&f)
}

// call is one request on its way through Select: what it is, and what the
// last pick for it was.
type call struct {
	request Request

	mu       sync.Mutex
	decision Decision
	report   func(Result)
}

type callKey struct{}

// WithRequest puts a request into a context, for [Selector.Select]. The
// context also remembers the last pick, for [Report] and [DecisionOf].
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, callKey{}, &call{request: r})
}

// Report says how the last pick made with this context went, as
// [Pick.Report] does. Without one nothing happens.
func Report(ctx context.Context, r Result) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.mu.Lock()
		report := c.report
		c.mu.Unlock()
		if report != nil {
			report(r)
		}
	}
}

// DecisionOf is the decision of the last pick made with this context.
func DecisionOf(ctx context.Context) (Decision, bool) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return Decision{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.decision, c.report != nil
}

func (c *call) set(d Decision, report func(Result)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decision, c.report = d, report
}
