package affinity

import (
	"context"
	"sync"
)

// call is one request on its way through a host that hands on a context and
// nothing else.
type call struct {
	request Request
	bare    bool // it has no request, and only takes the pick

	mu   sync.Mutex
	pick any // *Pick[T], the last one
}

type callKey struct{}

// callOf is the call in a context, nil if there is none.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// made notes a pick, or that the last one was refused.
func made[T any](ctx context.Context, p *Pick[T], err error) {
	c := callOf(ctx)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pick = nil; err == nil {
		last := *p // the copy goes to the heap, and only where there is a call
		c.pick = &last
	}
}

// WithRequest puts a request into a context, for hosts whose balancer gets a
// context and nothing else: [Selector.Select] finds the request there, and
// [PickFrom] the pick.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, callKey{}, &call{request: r})
}

// WithPick makes a context that takes the pick: [PickFrom] returns it later, with this
// context or one made of it. It is for hosts that hand the request to Pick themselves, and
// report where nothing but a context comes along.
func WithPick(ctx context.Context) context.Context {
	return context.WithValue(ctx, callKey{}, &call{bare: true})
}

// PickFrom returns the last pick that was made with this context, in whatever way,
// to report how the request went. ok is false if there is none of this type, or if
// the last one was refused.
func PickFrom[T any](ctx context.Context) (p Pick[T], ok bool) {
	c := callOf(ctx)
	if c == nil {
		return p, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.pick.(*Pick[T])
	if ok {
		p = *last
	}
	return p, ok
}
