package affinity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Affinity holds the bindings of a gateway's sessions to auths of type T. Any
// number of goroutines may use it.
type Affinity[T any] struct {
	core
	name     func(T) string
	conf     atomic.Pointer[settings[T]]
	changing sync.Mutex // serialises Reconfigure
}

// New makes an Affinity. name gives an auth its lasting name: unique over all
// pools, not empty, the same after a restart or a reload, safe to log. Errors name
// the option that is wrong.
func New[T any](name func(T) string, o *Options[T]) (*Affinity[T], error) {
	if name == nil {
		return nil, errors.New("affinity: no function that names an auth")
	}
	s, err := check(o)
	if err != nil {
		return nil, err
	}
	a := &Affinity[T]{name: name}
	a.store = s.store
	if a.store == nil {
		if a.memory, err = cache.New(&s.memory); err != nil {
			return nil, fmt.Errorf("affinity: Options.Memory: %w", err)
		}
		a.store = a.memory
	}
	a.use(s)
	return a, nil
}

// use makes settings the ones in force.
func (a *Affinity[T]) use(s *settings[T]) {
	a.policy.Store(&s.policy)
	a.conf.Store(s)
}

// Pick chooses the auth for a request among candidates: all auths that serve this
// kind of request, also those that are away for a moment. Options.State says who
// may serve now.
//
// A session whose auth may serve gets that auth, and next is not called. If the
// auth is away the session takes a detour; if the auth is full or slow another
// one serves this request; if the auth is unfit or no candidate the session moves.
// A session that is not bound is bound to what next chooses, unless another
// request of the session was faster: then to the auth of that one. A request
// without a session gets what next chooses, and nothing is bound.
//
// next is the host's balancer. It is called at most once, with no lock held, with
// at least one candidate, and only with candidates that may serve. Its error is
// Pick's error, and then nothing was bound; but a session that could have stayed
// (Options.Failback, ColdAnew) stays. If nobody may serve, next is not called and
// the error is a [NoAuthError]. What next returns is taken at its word, also if it
// is no candidate. Two candidates of the same name are an error if one of them is
// chosen.
func (a *Affinity[T]) Pick(ctx context.Context, r Request, candidates []T, next selector.Func[T]) (p Pick[T], err error) {
	if next == nil {
		return p, errors.New("affinity: no function that chooses")
	}
	o := a.conf.Load()
	id := o.identify(&r)
	p.Decision.Signal = id.Signal()
	p.visit.core = &a.core
	q := o.query(&r)
	p.visit.scope, p.visit.model = q.scope, q.model

	var b cache.Binding
	known := false
	own := -1 // the candidate that the session is bound to, if the host was asked about it
	var state State
	if !id.IsZero() && !r.Off {
		b, known, err = a.find(ctx, &q, keysOf(&id))
		if known && b.Bound() && b.Memo == "" && !o.restless && r.Force == "" && len(id.Owners()) == 0 {
			done := false
			if own, state, done = a.shortest(o, &q, &b, candidates, &p); done {
				return p, nil
			}
		}
	}
	v := &visit[T]{
		board: board[T]{core: &a.core, o: o, name: a.name, q: q, auths: candidates, now: time.Now().UnixNano()},
		ctx:   ctx, id: &id, next: next, p: &p,
	}
	v.sit()
	if own >= 0 {
		v.seats[own] = seat{name: b.Auth, state: state, asked: true}
	}
	if err == nil {
		err = v.decide(b, known)
	} else {
		err = v.alone() // the store is away
	}
	if err != nil {
		v.letGo()
		p.Decision.Outcome, p.Decision.Auth = OutcomeRefused, ""
		var none *NoAuthError
		if errors.As(err, &none) {
			p.Decision.Reason = none.Reason
		}
		a.decided(&o.policy, &p.Decision)
		return Pick[T]{}, err
	}
	a.decided(&o.policy, &p.Decision)
	return p, nil
}

// find looks the session up. A side request changes nothing by that, nor does a
// request that names its auth.
func (a *Affinity[T]) find(ctx context.Context, q *query, keys cache.Keys) (b cache.Binding, known bool, err error) {
	switch {
	case a.closed.Load():
		err = cache.ErrClosed
	case q.Side || q.Force != "":
		b, known, err = a.store.Peek(ctx, q.scope, keys)
	default:
		b, known, err = a.store.Get(ctx, q.scope, keys)
	}
	a.check(err)
	return b, known, err
}

// shortest serves the usual case: a session without any trouble, bound to an auth
// that is fit. In all other cases it tells what it has learned of that auth.
func (a *Affinity[T]) shortest(o *settings[T], q *query, b *cache.Binding, candidates []T, p *Pick[T]) (own int, state State, done bool) {
	own = slices.IndexFunc(candidates, func(auth T) bool { return a.name(auth) == b.Auth })
	if own < 0 {
		return own, state, false
	}
	warm := o.warm
	if o.state != nil {
		if state = o.state(candidates[own], *q.Request); state.Warm > 0 {
			warm = state.Warm
		}
	}
	if state.Fitness > Busy || slices.Contains(q.Tried, b.Auth) || a.speeds.slow(&o.slow, speedKey{b.Auth, q.model}) {
		return own, state, false
	}
	a.absences.there(b.Auth)
	p.Auth = candidates[own]
	p.Decision.Outcome, p.Decision.Auth, p.Decision.Session = OutcomeHit, b.Auth, b.Session
	p.visit.warm = b.Served && b.SinceServed <= warm
	if !q.Side {
		p.visit.binding = *b
		if !b.Served {
			p.visit.use = newUse()
		}
	}
	a.decided(&o.policy, &p.Decision)
	return own, state, true
}

// decide chooses the way of a request whose session is b, if known.
func (v *visit[T]) decide(b cache.Binding, known bool) error {
	if known {
		v.know(b)
		if !v.q.Side && v.q.Force == "" {
			v.hold(b)
		}
	}
	if v.q.Force != "" {
		return v.forced()
	}
	if v.q.Off {
		return v.alone()
	}
	v.keys = keysOf(v.id)
	if done, err := v.owner(); done {
		return err
	}
	if v.id.IsZero() {
		return v.alone()
	}
	why := ReasonNone
	switch {
	case v.session.Bound():
		done, reason, err := v.stay()
		if done {
			return err
		}
		why = reason
	case v.session.Lost == cache.Unbound:
		why = ReasonRefused
	case v.session.Lost == cache.AuthInvalidated:
		why = ReasonInvalidated
	}
	return v.place(why)
}

// alone serves a request that has no session.
func (v *visit[T]) alone() error {
	c, err := v.anybody(-1)
	if err != nil {
		return err
	}
	v.serve(c, OutcomeNone, ReasonNone, cache.Binding{}, false)
	return nil
}

// Close frees the bindings, unless they are in a Store of the caller's. After it
// the balancer chooses for every request and nothing is bound. Close may be called
// any number of times. It returns nil.
func (a *Affinity[T]) Close() error {
	a.closed.Store(true)
	if a.memory != nil {
		return a.memory.Close()
	}
	return nil
}
