package affinity

import (
	"context"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// visit is one pick that is not the usual case.
type visit[T any] struct {
	a          *Affinity[T]
	ctx        context.Context
	r          Request
	candidates []T
	next       selector.Func[T]
	p          Pick[T]
	b          cache.Binding // the session's, zero if it has none
	inherited  bool
}

// inherit makes the auth of a subagent's parent the choice, if that is bound to
// one that is fit.
func (v *visit[T]) inherit(scope cache.Scope, parent cache.Key) {
	b, ok, err := v.a.bindings.Peek(v.ctx, scope, cache.Keys{Names: [cache.MaxNames]cache.Key{parent}})
	if err != nil {
		v.a.failed.Add(1)
	}
	if !ok {
		return
	}
	if auth, ok := v.fitCandidate(b.Auth); ok {
		v.inherited = true
		v.next = func(context.Context, []T) (T, error) { return auth, nil }
	}
}

func (v *visit[T]) decide(auth T, b cache.Binding, o Outcome) Pick[T] {
	v.a.decide(&v.p, auth, &b, o)
	return v.p
}

// stay serves a session that is bound, by the fitness of its auth. It returns
// false, with the reason in v.p, if the session has to leave its auth for good.
func (v *visit[T]) stay() (done bool, err error) {
	a := v.a
	auth, ok := a.candidate(v.candidates, v.b.Auth)
	if !ok {
		v.p.Decision.Reason = ReasonGone
		return false, nil
	}
	f := a.fitness(v.b.Auth, &v.r)
	tr, troubled := a.troubles.get(v.b)
	now := time.Now()
	if f == Fit && troubled && now.Before(tr.until) {
		f = Away
	}
	switch f {
	case Unfit:
		v.p.Decision.Reason = ReasonUnfit
		return false, nil
	case Full, Slow:
		return true, v.spill(auth, f)
	case Away:
		return true, v.detour(auth, tr, now)
	}
	if troubled && !v.r.Side {
		// It is back. As long as its cache can be warm, so is the session; the
		// detour is forgotten when it has served (see served): until then, a
		// session that must leave again goes where it has been.
		if other, ok := v.fitCandidate(tr.detour); ok && now.Sub(tr.since) > a.opts.Warm {
			v.settle(other, tr.detour)
			return true, nil
		}
	}
	v.hit(auth)
	return true, nil
}

// hit serves the session where it is bound. What is reported of a side request
// concerns nobody.
func (v *visit[T]) hit(auth T) {
	b := v.b
	if v.r.Side {
		b = passing(b, b.Auth)
	}
	v.decide(auth, b, OutcomeHit)
}

// fitCandidate is the candidate of a name, if it is fit.
func (v *visit[T]) fitCandidate(name string) (auth T, ok bool) {
	if name == "" {
		return auth, false
	}
	auth, ok = v.a.candidate(v.candidates, name)
	return auth, ok && v.a.fitness(name, &v.r) == Fit
}

// spill serves this one request elsewhere. Where nobody else can, a slow auth
// is better than none, and a full one is left to the balancer.
func (v *visit[T]) spill(bound T, f Fitness) error {
	others := v.a.fit(v.candidates, &v.r, v.b.Auth)
	if len(others) == 0 && f == Slow {
		v.hit(bound)
		return nil
	}
	auth, name, err := v.a.choose(v.ctx, others, v.next)
	if err != nil {
		return err
	}
	v.p.Decision.Reason = ReasonFull
	if f == Slow {
		v.p.Decision.Reason = ReasonSlow
	}
	v.decide(auth, passing(v.b, name), OutcomeSpill)
	return nil
}

// detour serves the session elsewhere until its auth is back: all of its
// requests go to one auth, the choice of the first. When the auth has been away
// for so long that its cache is cold, the detour becomes the binding.
func (v *visit[T]) detour(bound T, tr trouble, now time.Time) error {
	a := v.a
	auth, ok := v.fitCandidate(tr.detour)
	name := tr.detour
	if !ok {
		others := a.fit(v.candidates, &v.r, v.b.Auth)
		if len(others) == 0 {
			v.hit(bound) // nobody else: its own auth may still answer
			return nil
		}
		var err error
		if auth, name, err = a.choose(v.ctx, others, v.next); err != nil {
			return err
		}
		if !v.r.Side {
			tr = a.troubles.take(v.b, tr.detour, name)
			if theirs, ok := v.fitCandidate(tr.detour); ok { // another request was faster
				auth, name = theirs, tr.detour
			}
		}
	}
	v.p.Decision.Reason = ReasonAway
	switch {
	case v.r.Side:
		v.decide(auth, passing(v.b, name), OutcomeDetour)
	case !tr.since.IsZero() && now.Sub(tr.since) > a.opts.Warm:
		v.settle(auth, name)
	default:
		v.decide(auth, passing(v.b, name), OutcomeDetour)
		v.p.binding, v.p.around = v.b, true
	}
	return nil
}

// settle makes a detour the session's auth.
func (v *visit[T]) settle(auth T, name string) {
	now, swapped, err := v.a.bindings.Swap(v.ctx, v.b, name)
	if err != nil {
		v.a.failed.Add(1)
	}
	v.p.Decision.Reason = ReasonCold
	if !swapped {
		v.decide(auth, passing(v.b, name), OutcomeDetour)
		return
	}
	v.a.troubles.over(now)
	v.decide(auth, now, OutcomeMoved)
}
