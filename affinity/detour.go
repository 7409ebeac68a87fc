package affinity

import (
	"slices"
	"time"
)

// elsewhere is where a session goes that does not leave its auth for good: all
// of its requests to one auth, the choice of the first. away says that the auth
// is away, not only full or slow; one that is loaded is not gone to again.
func (v *visit[T]) elsewhere(c choice[T], tr *trouble, away bool, loaded func(string) bool) (auth T, name string, err error) {
	a, least := v.a, max(c.rank, rankBusy)
	if c.rank == rankNone {
		least = rankDry // the balancer says what the host says then
	}
	if auth, ok := v.serving(tr.detour, least); ok && !loaded(tr.detour) {
		if away && !tr.away && !v.q.Side {
			*tr = a.troubles.take(v.b, tr.detour, tr.detour, away)
		}
		return auth, tr.detour, nil
	}
	if auth, name, err = v.choose(c.from); err != nil || v.q.Side {
		return auth, name, err
	}
	*tr = a.troubles.take(v.b, tr.detour, name, away)
	if theirs, ok := v.serving(tr.detour, least); ok { // another request was faster
		return theirs, tr.detour, nil
	}
	return auth, name, nil
}

// spill serves this one request elsewhere. Where nobody else is better, an auth
// that can serve is good enough, and a full one is left to the balancer.
func (v *visit[T]) spill(bound T, tr trouble, why Reason) error {
	c := v.others()
	more := func(string) bool { return false }
	if why == ReasonLoad { // there is no sense in going where there is as much to do
		load := v.o.Load(v.b.Auth, v.q.Request)
		more = func(name string) bool { return v.o.Load(name, v.q.Request) >= load }
		c.from = slices.DeleteFunc(slices.Clone(c.from), func(auth T) bool { return more(v.a.name(auth)) })
	}
	if why == ReasonFull && c.rank == rankNone {
		c = v.anybody(v.b.Auth)
	}
	if why != ReasonFull && (c.rank > rankBusy || len(c.from) == 0) {
		v.hit(bound)
		return nil
	}
	auth, name, err := v.elsewhere(c, &tr, false, more)
	if err != nil {
		return err
	}
	v.p.Decision.Reason = why
	v.decide(auth, passing(v.b, name), OutcomeSpill)
	return nil
}

// detour serves the session elsewhere until its auth is back. When that has been
// away for so long that its cache is cold, the detour becomes the binding.
func (v *visit[T]) detour(bound T, tr trouble) error {
	c := v.others()
	if len(c.from) == 0 && !slices.Contains(v.q.Tried, v.b.Auth) {
		v.hit(bound) // nobody else: its own auth may still answer
		return nil
	}
	if len(c.from) == 0 {
		c = v.anybody(v.b.Auth)
	}
	auth, name, err := v.elsewhere(c, &tr, true, func(string) bool { return false })
	if err != nil {
		return err
	}
	v.p.Decision.Reason = ReasonAway
	switch {
	case v.q.Side:
		v.decide(auth, passing(v.b, name), OutcomeDetour)
	case v.cold(tr):
		v.settle(auth, name, tr)
	default:
		v.decide(auth, passing(v.b, name), OutcomeDetour)
		v.p.binding, v.p.around = v.b, true
	}
	return nil
}

// settle makes a detour the session's auth. The one that it leaves stays away for
// as long as it has said.
func (v *visit[T]) settle(auth T, name string, tr trouble) {
	now, swapped, err := v.a.bindings.Swap(v.ctx, v.b, name)
	if err != nil {
		v.a.failed.Add(1)
	}
	v.p.Decision.Reason = ReasonCold
	if !swapped {
		v.decide(auth, passing(v.b, name), OutcomeDetour)
		return
	}
	v.remember(now)
	at := time.Now()
	v.a.troubles.change(now, func(t *trouble) bool {
		t.avoid = tr.avoid
		t.shun(v.b.Auth, tr.until)
		left, keep := t.settled(at)
		*t = left
		return keep
	})
	v.decide(auth, now, OutcomeMoved)
}
