package affinity

import (
	"context"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// visit is one pick that is not the usual case.
type visit[T any] struct {
	a          *Affinity[T]
	o          *settings
	ctx        context.Context
	q          query
	key        sessionid.Key
	candidates []T
	next       selector.Func[T]
	p          Pick[T]
	b          cache.Binding // the session's, zero if it has none
	inherited  bool
}

// inherit makes the auth of a subagent's parent the choice, if that is bound to
// one that is fit.
func (v *visit[T]) inherit(parent cache.Key) {
	b, ok, err := v.a.bindings.Peek(v.ctx, v.q.scope, cache.Keys{Names: [cache.MaxNames]cache.Key{parent}})
	if err != nil {
		v.a.failed.Add(1)
	}
	if !ok {
		return
	}
	if auth, ok := v.serving(b.Auth, rankFit); ok {
		v.inherited = true
		v.next = func(context.Context, []T) (T, error) { return auth, nil }
	}
}

func (v *visit[T]) decide(auth T, b cache.Binding, o Outcome) Pick[T] {
	v.a.decide(v.o, &v.p, auth, &b, o)
	return v.p
}

// others are what the balancer may choose from, without the session's auth.
func (v *visit[T]) others() choice[T] { return v.a.fit(v.o, &v.q, v.candidates, v.b.Auth) }

// anybody is what a balancer may choose from where somebody has to be found: if
// need be an auth that has failed the session before.
func (v *visit[T]) anybody(without string) choice[T] {
	c := v.a.fit(v.o, &v.q, v.candidates, without)
	if c.rank == rankNone && v.q.avoid != nil {
		v.q.avoid = nil
		c = v.a.fit(v.o, &v.q, v.candidates, without)
	}
	return c
}

// choose asks the balancer, for this session.
func (v *visit[T]) choose(from []T) (auth T, name string, err error) {
	return v.a.choose(selector.WithKey(v.ctx, placement(&v.q.scope, v.key)), from, v.next)
}

// stay serves a session that is bound, by the fitness of its auth. It returns
// false, with the reason in v.p, if the session has to leave its auth for good.
func (v *visit[T]) stay() (done bool, err error) {
	a := v.a
	tr, troubled := a.troubles.get(v.b)
	if troubled {
		known := tr
		v.q.avoid = &known
	}
	auth, ok := a.candidate(v.candidates, v.b.Auth)
	if !ok {
		v.p.Decision.Reason = ReasonGone
		return false, nil
	}
	f := a.fitness(v.o, &v.q, v.b.Auth)
	if f <= Busy && troubled && time.Now().Before(tr.until) {
		f = Away
	}
	switch f {
	case Unfit:
		v.p.Decision.Reason = ReasonUnfit
		return false, nil
	case Full:
		return true, v.spill(auth, tr, ReasonFull)
	case Slow:
		if !v.q.Side && a.speeds.due(&v.o.Slow, speedKey{v.b.Auth, v.q.model}) {
			v.hit(auth)
			return true, nil
		}
		return true, v.spill(auth, tr, ReasonSlow)
	case Away:
		return true, v.detour(auth, tr)
	}
	if troubled && tr.away && !v.q.Side {
		// It is back. As long as its cache can be warm, so is the session; the
		// detour is forgotten when it has served (see served): until then, a
		// session that must leave again goes where it has been.
		// Where both are cold, it was there first, unless it was away for so long.
		warm := v.o.warm(tr.detour, &v.q)
		theirs := time.Since(tr.served) <= warm || tr.until.Sub(tr.since) > v.o.warm(v.b.Auth, &v.q)
		if other, ok := v.serving(tr.detour, rankBusy); ok && theirs && v.cold(tr) {
			v.settle(other, tr.detour, tr)
			return true, nil
		}
	}
	if v.o.judge && !v.q.Side {
		if a.overloaded(v.o, &v.q, v.candidates, v.b.Auth) {
			return true, v.spill(auth, tr, ReasonLoad)
		}
		return v.reconsider(auth)
	}
	v.hit(auth)
	return true, nil
}

// hit serves the session where it is bound. What is reported of a side request
// concerns nobody.
func (v *visit[T]) hit(auth T) {
	b := v.b
	v.p.warm = b.Served && !v.cold(trouble{})
	if v.q.Side {
		b = passing(b, b.Auth)
	}
	v.decide(auth, b, OutcomeHit)
}

// cold reports whether the session's auth has not served it for so long that
// its prompt cache is gone.
func (v *visit[T]) cold(tr trouble) bool {
	since := v.b.SinceServed
	if !v.b.Served && !tr.since.IsZero() {
		since = time.Since(tr.since)
	}
	return since > v.o.warm(v.b.Auth, &v.q)
}

func (o *settings) warm(auth string, q *query) time.Duration {
	if o.WarmFor != nil {
		if d := o.WarmFor(auth, q.Request); d > 0 {
			return d
		}
	}
	return o.Warm
}

// reconsider serves a session whose auth is fit, but which may have a better
// place. It returns false, as stay does, if that is elsewhere.
func (v *visit[T]) reconsider(bound T) (done bool, err error) {
	cold := v.b.Served && v.cold(trouble{})
	why := v.better(cold)
	if why != ReasonNone {
		auth, name, err := v.choose(v.a.fit(v.o, &v.q, v.candidates, "").from)
		if err == nil && name != v.b.Auth {
			v.p.Decision.Reason = why
			v.next = func(context.Context, []T) (T, error) { return auth, nil }
			return false, nil
		}
	}
	if !cold || !v.o.ColdAnew {
		v.hit(bound)
		return true, nil
	}
	// It stays, for reasons that may be others a moment later. Of a burst only
	// the first decides that: it makes a generation of its own, as a move does.
	now, swapped, err := v.a.bindings.Swap(v.ctx, v.b, v.b.Auth)
	if err != nil {
		v.a.failed.Add(1)
	}
	if theirs, ok := v.serving(now.Auth, rankSlow); ok && !swapped {
		v.b = now
		v.hit(theirs)
		return true, nil
	}
	if swapped {
		v.b = now
	}
	v.hit(bound)
	return true, nil
}

// better is why a session whose auth is fit may leave it for a better place.
func (v *visit[T]) better(cold bool) Reason {
	if back := v.o.Failback; back == FailbackAtOnce || back == FailbackCold && cold {
		c := v.others()
		if c.rank <= rankBusy && c.tier > v.o.Tier(v.b.Auth, v.q.Request) {
			return ReasonTier
		}
	}
	if !v.o.ColdAnew || !cold {
		return ReasonNone
	}
	if v.o.Load != nil && !v.a.drained.has(v.b.Auth) &&
		v.o.Load(v.b.Auth, v.q.Request) <= v.a.fit(v.o, &v.q, v.candidates, "").mean {
		return ReasonNone
	}
	return ReasonCold
}

// serving is the candidate of a name, if it can serve and is at least so much
// wanted.
func (v *visit[T]) serving(name string, least rank) (auth T, ok bool) {
	if name == "" {
		return auth, false
	}
	auth, ok = v.a.candidate(v.candidates, name)
	return auth, ok && v.a.rank(v.o, &v.q, name) <= least
}
