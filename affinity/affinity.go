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
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Affinity binds the sessions of a gateway to auths of type T. Any number of goroutines may
// use it.
type Affinity[T any] struct {
	core
	name     func(T) string
	conf     atomic.Pointer[settings[T]]
	changing sync.Mutex // serialises Reconfigure
	visits   sync.Pool  // of *visit[T]
}

// New makes an Affinity. name returns the lasting name of an auth: unique over all pools, not
// empty, the same after a restart or a reload, safe to log. An error names the option that is
// wrong.
func New[T any](name func(T) string, o *Options[T]) (*Affinity[T], error) {
	if name == nil {
		return nil, errors.New("affinity: the function that names an auth is nil")
	}
	s, err := check(o)
	if err != nil {
		return nil, err
	}
	a := &Affinity[T]{name: name}
	a.store = s.store
	if a.store == nil {
		memory := a.counting(s.memory)
		if a.memory, err = cache.New(&memory); err != nil {
			return nil, fmt.Errorf("affinity: Options.Memory: %w", err)
		}
		a.store = a.memory
	}
	a.use(s)
	return a, nil
}

// use puts settings into force.
func (a *Affinity[T]) use(s *settings[T]) {
	if s.balance != BalanceOff && s.loads == nil {
		s.loads = &a.loads
	}
	a.policy.Store(&s.policy)
	a.conf.Store(s)
}

// Pick chooses the auth for a request among candidates. These are all auths that serve this
// kind of request, even if they are away for a moment; Options.State says which of them may
// serve now.
//
// If the session's auth may serve, Pick chooses it and does not call next. If that auth is
// away, the session takes a detour. If it is full or slow, another one serves this request. If
// it is unfit or no candidate, the session moves. A session that is not bound is bound to the
// auth that next chooses, or to the auth of another request of the session that was bound
// first. For a request without a session next chooses, and nothing is bound.
//
// next is the host's balancer. It is called at most once, with no lock held, with at least one
// candidate, and only with candidates that may serve. If next returns an error, Pick returns
// that error and binds nothing; but a session that could have stayed (Options.Failback,
// ColdAnew) stays. If no auth may serve, next is not called and the error is a [NoAuthError].
// The auth that next returns is used, even if it is no candidate. It is not used if another
// request of the session was bound first: Pick.Auth is then another one, and a balancer that
// counts its choices has to be told.
//
// If there are 128 candidates or more, and the session's own auth does not decide, Pick
// examines a random sample of 64. Once a second for each pool and model it examines all. So it
// may overlook for a second that an auth of a higher tier is fit again.
//
// It is an error if next chooses an auth without a name, or a candidate that has the same name
// as another one. After an error the Pick is zero, and Options.OnEvent is told why: the Reason
// is that of the [NoAuthError], ReasonBalancer or ReasonName. If next panics, nothing is bound,
// the event is that of an error, and the panic goes on. If [WithRequest] or [WithPick] made ctx,
// [PickFrom] returns the pick afterwards.
func (a *Affinity[T]) Pick(ctx context.Context, r Request, candidates []T, next selector.Func[T]) (p Pick[T], err error) {
	err = a.pick(ctx, &r, candidates, next, &p)
	return p, err
}

// pick fills p, which is zero. After an error it is zero again.
func (a *Affinity[T]) pick(ctx context.Context, r *Request, candidates []T, next selector.Func[T], p *Pick[T]) error {
	o := a.conf.Load()
	if next == nil {
		next = func(context.Context, []T) (none T, err error) {
			return none, errors.New("affinity: the function that chooses an auth is nil")
		}
	}
	var id sessionid.ID
	o.identify(r, &id)
	at := &p.visitor.where
	o.locate(r, at)
	f := found{own: -1}
	b := &p.visitor.binding
	if byContent(&id) && a.doubts.has(at.scope) {
		id = id.WithoutIDMarks()
	}
	if id.Side() && !r.Side {
		side := *r
		side.Side, r = true, &side
	}
	if !id.IsZero() && !r.Off {
		f.lane = id.Lane() != (sessionid.Key{})
		f.known, f.err = a.find(ctx, r, &at.scope, &id, b)
		if byContent(&id) {
			f.session = *b // the pick of a side request drops it
			a.doubt(&at.scope, &id, b.Shared)
			if !r.Side && r.Force == "" && a.apart(ctx, &id, b) {
				f.known, f.apart, f.session = false, true, *b
			}
		}
		if b.Bound() && b.Memo == "" && !o.restless && r.Force == "" && len(id.Owners()) == 0 && a.shortest(o, r, &f, candidates, p) {
			p.Decision.Signal = id.Signal()
			if byContent(&id) {
				p.visitor.asked = &asked{id: id, session: f.session, end: id.End(), opening: f.session.Opening}
			}
			a.sent(&o.policy, r, &p.visitor, &p.Decision)
			a.decided(ctx, &o.policy, &p.Decision, &p.visitor)
			made(ctx, p, nil)
			return nil
		}
	}
	f.session = *b
	if !f.known {
		o.names(r, &id)
	}
	var err error
	*p, err = a.longer(ctx, o, r, at, &id, &f, candidates, next)
	made(ctx, p, err)
	return err
}

// found is what is known of a session before anything is decided.
type found struct {
	session cache.Binding
	known   bool
	apart   bool  // it is one of many that begin alike, and gets a session of its own
	err     error // the store has failed
	lane    bool  // a subagent has sent the request
	own     int   // the candidate that the session is bound to, -1 if State was not called for it
	state   State // of that
}

// find looks the session up. For a side request, and for one that names its auth, the lookup
// changes nothing.
func (a *Affinity[T]) find(ctx context.Context, r *Request, scope *cache.Scope, id *sessionid.ID, b *cache.Binding) (known bool, err error) {
	switch {
	case a.closed.Load():
		err = cache.ErrClosed
	case a.memory != nil && !r.Side && r.Force == "" && named(id) && a.memory.Hit(scope, &id.Names()[0], b):
		return true, nil
	case r.Side || r.Force != "":
		*b, known, err = a.store.Peek(ctx, *scope, keysOf(id))
	default:
		*b, known, err = a.store.Get(ctx, *scope, keysOf(id))
	}
	if !a.check(err) || known || !bySummary(r, id) {
		return known, err
	}
	return a.findBySummary(ctx, r, scope, id, b)
}

// shortest serves the usual case: a session that no auth has failed, bound to an auth that is
// fit. In all other cases it records in f what it has learned of that auth.
func (a *Affinity[T]) shortest(o *settings[T], r *Request, f *found, candidates []T, p *Pick[T]) bool {
	v := &p.visitor
	b := &v.binding
	own := a.own(b.Auth, candidates)
	if own < 0 {
		return false
	}
	if o.state != nil {
		f.own, f.state = own, o.state(candidates[own], *r)
	}
	if f.state.Fitness > Busy || slices.Contains(r.Tried, b.Auth) || a.speeds.slow(&o.slow, speedKey{b.Auth, v.model}) {
		return false
	}
	if o.balance != BalanceOff && a.uneven(o, r, &v.where, f, b) {
		return false
	}
	a.absences.there(b.Auth)
	p.Auth = candidates[own]
	p.Decision.Outcome, p.Decision.Auth, p.Decision.Session = OutcomeHit, b.Auth, b.Session
	p.Decision.Age, p.Decision.Idle, p.Decision.Candidates = b.Age, b.Idle, len(candidates)
	v.core = &a.core
	v.warm = b.Served && b.SinceServed <= o.warmAt(b.Auth, f.state.Warm)
	v.ticket, v.stripe = a.tickets.take(!r.Side && !b.Served)
	if r.Side {
		v.binding = cache.Binding{}
	}
	return true
}

// longer serves all other cases.
func (a *Affinity[T]) longer(ctx context.Context, o *settings[T], r *Request, at *where, id *sessionid.ID, f *found, auths []T, next selector.Func[T]) (Pick[T], error) {
	v, _ := a.visits.Get().(*visit[T])
	if v == nil {
		v = new(visit[T])
	}
	v.candidates = candidates[T]{core: &a.core, store: a.store, o: o, name: a.name, r: *r, where: *at, auths: auths, now: time.Now().UnixNano()}
	v.ctx, v.id, v.next, v.found = ctx, *id, next, *f
	f, v.lookedUp = &v.found, &v.found.session
	v.draw(f)
	if f.own >= 0 {
		*v.candidate(f.own) = candidate{name: f.session.Auth, state: f.state, asked: true}
	}
	v.arrive(f)
	p := &v.p
	p.visitor = visitor{core: &a.core, where: *at}
	decided := false
	defer func() {
		if !decided { // a function of the host has panicked
			v.refuse(nil)
			made(ctx, p, errPanic)
			a.decided(ctx, &o.policy, &p.Decision, &p.visitor)
		}
	}()
	err := v.decide(f)
	decided = true
	v.crowds.give(v.many)
	if err != nil {
		v.refuse(err)
	} else {
		a.sent(&o.policy, r, &p.visitor, &p.Decision)
		v.noteBegin()
	}
	a.decided(ctx, &o.policy, &p.Decision, &p.visitor)
	var made Pick[T]
	if err == nil {
		made = *p
	}
	*v = visit[T]{} // it keeps nothing of the request
	a.visits.Put(v)
	return made, err
}

// errPanic stands for a panic that passes on.
var errPanic = errors.New("affinity: a function of the host has panicked")

// refuse ends a pick without an auth.
func (v *visit[T]) refuse(err error) {
	v.letGo()
	p := &v.p
	p.Decision.Outcome, p.Decision.Reason, p.Decision.Auth = OutcomeRefused, v.failed, ""
	p.Decision.Session, p.visitor.binding = v.session.Session, v.session
	if none, ok := err.(*NoAuthError); ok {
		p.Decision.Reason = none.Reason
		if none.waits {
			p.Decision.Outcome = OutcomeWaits
		}
	}
}

// arrive records in the decision what is known of the request and of the session that was
// found.
func (v *visit[T]) arrive(f *found) {
	d := &v.p.Decision
	d.Age, d.Idle, d.Candidates = f.session.Age, f.session.Idle, len(v.auths)
	if !v.r.Off { // that has no session
		d.Signal = v.id.Signal()
	}
}

// decide chooses the auth of a request.
func (v *visit[T]) decide(f *found) error {
	if byContent(&v.id) {
		v.asked = &asked{id: v.id, end: v.id.End(), opening: !f.known || f.session.Opening}
	}
	if f.known {
		v.know(f.session)
		if !v.r.Side && v.r.Force == "" {
			v.hold(f.session)
		}
	}
	switch {
	case v.r.Force != "":
		return v.forced()
	case v.r.Off, f.err != nil:
		return v.alone()
	}
	if v.keys = keysOf(&v.id); f.apart {
		v.keys.End = anyKey()
		v.asked.end = v.keys.End
	}
	if done, err := v.owner(); done {
		return err
	}
	if v.id.IsZero() && !f.known {
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

// alone serves a request that has no session, or whose session cannot be looked up because the
// store has failed.
func (v *visit[T]) alone() error {
	if i := v.began(); i >= 0 {
		v.serve(v.at(i), OutcomeNone, ReasonPrefix, cache.Binding{}, false)
		return nil
	}
	c, err := v.anybody(-1)
	if err != nil {
		return err
	}
	v.serve(c, OutcomeNone, ReasonNone, cache.Binding{}, false)
	return nil
}

// Close frees the bindings, unless they are in Options.Store. After Close the balancer chooses
// for every request and nothing is bound. Close may be called any number of times. It returns
// nil.
func (a *Affinity[T]) Close() error {
	a.closed.Store(true)
	if a.memory != nil {
		return a.memory.Close()
	}
	return nil
}
