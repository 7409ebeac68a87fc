package affinity

import (
	"context"
	"sync"
)

// call is one request in a host that passes on a context and nothing else.
type call struct {
	request Request
	bare    bool // it has no request, and only stores the pick

	mu   sync.Mutex
	pick any // *Pick[T], the last one
}

type callKey struct{}

// callOf returns the call in a context, nil if there is none.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// made stores a pick in the call of ctx, or nothing if the pick was refused.
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

// WithRequest returns a context with a request, for hosts whose balancer gets a context and
// nothing else. [Selector.Select] takes the request from the context, and [PickFrom] returns
// the pick.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, callKey{}, &call{request: r})
}

// WithPick returns a context in which Pick stores its pick. [PickFrom] returns it for this
// context and for those derived from it. It is for hosts that pass the request to Pick
// themselves, and report where they have nothing but a context.
func WithPick(ctx context.Context) context.Context {
	return context.WithValue(ctx, callKey{}, &call{bare: true})
}

// PickFrom returns the last pick that was made with this context, for reporting the result of
// the request. ok is false if there is none of this type, or if the last one was refused.
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
