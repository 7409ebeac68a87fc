package affinity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// visit is one pick on its way, after the shortest way was not enough.
type visit[T any] struct {
	candidates[T]
	ctx  context.Context
	id   sessionid.ID
	keys cache.Keys
	next selector.Func[T]

	found    found
	session  cache.Binding  // the session's binding; zero if the session is not known
	lookedUp *cache.Binding // what the store has said of the session
	held     cache.Binding  // the provisional binding on which this pick has a use
	asked    *asked         // nil unless the content names the session
	p        Pick[T]

	dry   bool    // Explain asks: nothing is to be noted or counted
	would Outcome // what it will be, should the balancer choose
	why   Reason  // … and why

	cut    bool     // begins are known
	begins []uint64 // see prefixes
}

// chosen is an auth for this request.
type chosen[T any] struct {
	auth T
	name string
}

// at is a candidate as the choice.
func (v *visit[T]) at(i int) chosen[T] { return chosen[T]{v.auths[i], v.nameOf(i)} }

// hold takes over the use that the store has opened with a binding.
func (v *visit[T]) hold(b cache.Binding) {
	if b.Bound() && !b.Served {
		v.held = b
	}
}

// know takes the session that the store has found, and what it remembers.
func (v *visit[T]) know(b cache.Binding) {
	v.session, v.trouble = b, troubleOf(&b)
}

// amend changes what the session remembers.
func (v *visit[T]) amend(edit func(*trouble)) {
	if v.dry {
		edit(&v.trouble)
		return
	}
	v.session, v.trouble = v.core.amend(v.ctx, v.session, current, func(_ *cache.Binding, t *trouble) { edit(t) })
}

// cold reports whether the session's auth has not served the session for so long
// that the prompt cache there is gone.
func (v *visit[T]) cold(bound int) bool {
	since := v.session.SinceServed
	if !v.session.Served {
		if v.trouble.since == 0 {
			return false
		}
		since = time.Duration(v.now - v.trouble.since)
	}
	return since > v.warm(bound)
}

// number is what the session is placed by.
func (v *visit[T]) number() uint64 {
	key := v.id.Primary()
	if opening := v.id.Opening(); key == v.id.End() && opening != (sessionid.Key{}) {
		key = opening
	}
	return placement(&v.scope, key)
}

// choose asks the balancer.
func (v *visit[T]) choose(from []T) (c chosen[T], err error) {
	hint := selector.Hint{Pool: v.scope.Pool, Model: v.model, Tokens: v.tokens}
	if hint.HasKey = !v.id.IsZero() && !v.r.Off; hint.HasKey {
		// The key goes along in every case: without a store it is what replicas agree
		// by. The end of a conversation is another one with each turn.
		hint.Key = v.number()
	}
	ctx := selector.WithHint(v.ctx, hint)
	next := v.next
	if v.lookedUp.Away && !(v.dry && v.id.IsZero()) { // without its id nobody knows where a session is placed
		// Each replica has a balancer of its own, and none knows what the others do.
		next = selector.Rendezvous(v.name, nil).Select
	}
	if c.auth, err = next(ctx, from); err != nil {
		return c, err
	}
	if c.name = v.name(c.auth); c.name == "" {
		return c, errors.New("affinity: the chosen auth has no name")
	}
	same := 0
	for _, auth := range v.auths {
		if v.name(auth) == c.name {
			same++
		}
	}
	if same > 1 {
		return c, fmt.Errorf("affinity: %d candidates have the name %q", same, c.name)
	}
	return c, nil
}

// anybody asks the balancer among all candidates that may serve but one; without
// is -1 for all.
func (v *visit[T]) anybody(without int) (c chosen[T], err error) {
	if without < 0 && len(v.auths) > 0 && v.indifferent() {
		return v.choose(v.auths)
	}
	l := v.level(without)
	if l.rank == rankNone {
		return c, v.nobody()
	}
	return v.choose(v.choices(l, without, anyLoad))
}

// serve completes the pick. With resident the results of this request are about
// b; otherwise they are a guest's.
func (v *visit[T]) serve(c chosen[T], what Outcome, why Reason, b cache.Binding, resident bool) {
	p := &v.p
	p.Auth = c.auth
	p.Decision.Outcome, p.Decision.Reason = what, why
	p.Decision.Auth, p.Decision.Session = c.name, b.Session
	p.visitor.binding, p.visitor.guest = b, !resident
	if v.asked != nil {
		v.asked.session = b
		p.visitor.asked = v.asked
	}
	if v.r.Side {
		p.visitor.binding = cache.Binding{}
	}
	used := resident && v.held.Gen != 0 && b.Gen == v.held.Gen
	p.visitor.ticket = v.tickets.take(used)
	if !used {
		v.letGo()
	}
}

// check counts an operation that the store could not do.
func (v *visit[T]) check(err error) bool {
	if v.dry {
		return err == nil
	}
	return v.core.check(err)
}

// letGo ends the use of a pick that does not serve the session at its auth.
func (v *visit[T]) letGo() {
	if v.held.Gen != 0 {
		_, err := v.store.Release(v.ctx, v.held, false)
		v.check(err)
		v.held = cache.Binding{}
	}
}
