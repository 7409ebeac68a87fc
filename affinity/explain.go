package affinity

import (
	"context"
	"errors"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Explanation says which auth would serve a request now, and why.
type Explanation struct {
	// Decision is the decision of a pick. If the balancer would choose, Auth is empty, and the
	// Outcome is OutcomeNew, OutcomeMoved or OutcomeNone. Err is why no auth would serve the
	// request.
	Decision Decision
	Err      error
	// Bound is the auth that the session is bound to, empty if there is none. Served says that
	// this auth has served the session, and SinceServed how long ago.
	Bound       string
	Served      bool
	SinceServed time.Duration
	// Detour is the auth that serves the session while its own is away, or did so lately.
	Detour string
	// Candidates are the auths that Explain was given, in their order.
	Candidates []Candidate
}

// Candidate is an auth as a pick sees it.
type Candidate struct {
	Name  string
	State State // what Options.State says
	// Drained says that Drain was called for the auth, and Slow that it is slow by its times
	// to the first token.
	Drained, Slow bool
	// LeftUntil is until when the session avoids the auth, the zero time if it does not.
	LeftUntil time.Time
	// MayServe says that the auth can serve the request. Place says that a balancer could
	// choose it for a new session.
	MayServe, Place bool
}

// Explain says what Pick would do with a request. It calls no balancer, counts nothing, renews
// no binding and changes nothing else. One exception: reading renews the record of which auth
// has the state of an earlier response, or has served a model (Options.AllModels). If the
// Outcome is OutcomeMoved, the balancer may still choose the auth that the session has; the
// session then stays.
//
// Explain does not foresee two things: that Pick makes a new session because many requests
// began with the same words and none was answered, and that Pick fails because two candidates
// have one name.
func (a *Affinity[T]) Explain(ctx context.Context, r Request, auths []T) (x Explanation) {
	o := a.conf.Load()
	var id sessionid.ID
	o.identify(&r, &id)
	var at where
	o.locate(&r, &at)
	if byContent(&id) && a.doubts.has(at.scope) {
		id = id.WithoutIDMarks()
	}
	r.Side = r.Side || id.Side()
	f := found{own: -1}
	if !id.IsZero() && !r.Off {
		if a.closed.Load() {
			f.err = cache.ErrClosed
		} else {
			f.session, f.known, f.err = a.store.Peek(ctx, at.scope, keysOf(&id))
			if f.err == nil && !f.known && bySummary(&r, &id) {
				f.session, f.known, f.err = a.store.Peek(ctx, at.scope, summaryKeys(&r, &id))
			}
		}
	}
	if !f.known {
		o.names(&r, &id)
	}
	return a.explain(ctx, o, r, at, id, &f, auths)
}

// ExplainSession is Explain for the session of an event, as the session is now. The request
// has only the event's tenant, pool and model, as Options.Scope has returned them. The event
// must be one of this Affinity's, and have a session.
func (a *Affinity[T]) ExplainSession(ctx context.Context, e Event, auths []T) Explanation {
	o, f := a.conf.Load(), found{own: -1}
	if a.closed.Load() {
		f.err = cache.ErrClosed
	} else {
		f.session, f.err = a.sessionOf(ctx, &e)
		f.known = f.session.Gen != 0
	}
	r := Request{Tenant: e.where.scope.Tenant, Pool: e.where.scope.Pool, Model: e.where.model}
	x := a.explain(ctx, o, r, e.where, sessionid.ID{}, &f, auths)
	x.Decision.Signal = e.Decision.Signal
	return x
}

// sessionOf returns the binding of an event's session as it is now, the zero one if the
// session is gone. Nothing changes: an Amend of a generation that no binding has only returns
// the current binding.
func (k *core) sessionOf(ctx context.Context, e *Event) (cache.Binding, error) {
	if e.Decision.Session == (sessionid.Key{}) {
		return cache.Binding{}, nil
	}
	now, _, err := k.store.Amend(ctx, cache.Binding{Session: e.Decision.Session, Ref: e.at, Gen: noGeneration}, "")
	return now, err
}

// SendAway unbinds the session of an event from its auth, as a Terminal report does: its next
// request moves, and the session avoids that auth for Options.Warm. It returns whether the
// session was bound. The event must be one of this Affinity's.
func (k *core) SendAway(ctx context.Context, e Event) (bool, error) {
	if k.closed.Load() {
		return false, cache.ErrClosed
	}
	b, err := k.sessionOf(ctx, &e)
	if err != nil || !b.Bound() {
		return false, err
	}
	unbound, err := k.store.Unbind(ctx, b)
	if err == nil && unbound {
		wait, asked := k.policy.Load().wait(Terminal, 0)
		k.blame(ctx, b, wait, asked)
	}
	return unbound, err
}

// explain is Explain for a session that was looked up.
func (a *Affinity[T]) explain(ctx context.Context, o *settings[T], r Request, at where, id sessionid.ID, f *found, auths []T) (x Explanation) {
	v := visit[T]{
		candidates: candidates[T]{core: &a.core, store: rehearsal{a.store}, o: o, name: a.name, r: r, where: at, auths: auths, now: time.Now().UnixNano()},
		ctx:        ctx, id: id, lookedUp: &f.session, dry: true,
		next: wouldChoose[T],
	}
	v.all = true
	v.draw(f)
	v.arrive(f)
	err := v.decide(f)
	x.Decision = v.p.Decision
	d := &x.Decision
	d.Session = f.session.Session
	var none *NoAuthError
	switch {
	case errors.As(err, &none):
		if d.Outcome, d.Reason, x.Err = OutcomeRefused, none.Reason, err; none.waits {
			d.Outcome = OutcomeWaits
		}
	case err == errChoice:
		if d.Outcome, d.Reason = v.would, v.why; v.would == OutcomeMoved {
			d.Before = f.session.Auth
		}
	case err != nil:
		d.Outcome, d.Reason, x.Err = OutcomeRefused, v.failed, err
	}
	if f.session.Bound() {
		x.Bound, x.Served, x.SinceServed = f.session.Auth, f.session.Served, f.session.SinceServed
	}
	x.Detour = v.trouble.detour
	defer v.crowds.give(v.many)
	l := v.level(-1)
	lightest := v.lightest(l, -1, anyLoad)
	for i := range auths {
		s := v.judge(i)
		c := Candidate{
			Name: s.name, State: s.state, Drained: a.drained.has(s.name), Slow: a.speeds.slow(&o.slow, speedKey{s.name, at.model}),
			MayServe: s.rank != rankNone, Place: s.rank != rankNone && v.open(s, l, anyLoad) && (!v.spread || i == lightest),
		}
		if until, _ := v.trouble.left(s.name, v.now); until != 0 {
			c.LeftUntil = time.Unix(0, until)
		}
		x.Candidates = append(x.Candidates, c)
	}
	return x
}
