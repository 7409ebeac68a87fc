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

// visit is one pick that shortest could not serve.
type visit[T any] struct {
	candidates[T]
	ctx  context.Context
	id   sessionid.ID
	keys cache.Keys
	next selector.Func[T]

	found    found
	session  cache.Binding  // the session's binding; zero if the session is not known
	lookedUp *cache.Binding // the binding as the store has returned it
	held     cache.Binding  // the provisional binding that this pick has opened a use of
	asked    *asked         // nil unless the content names the session
	failed   Reason         // why choose has failed
	p        Pick[T]

	dry   bool    // the pick of Explain: nothing is to be recorded or counted
	would Outcome // the outcome if the balancer chooses
	why   Reason  // … and why

	cut    bool     // begins are known
	begins []uint64 // see prefixes
}

// chosen is an auth for this request.
type chosen[T any] struct {
	auth T
	name string
}

// at returns a candidate as the chosen auth.
func (v *visit[T]) at(i int) chosen[T] { return chosen[T]{v.auths[i], v.nameOf(i)} }

// hold stores the binding whose use the store has opened for this pick.
func (v *visit[T]) hold(b cache.Binding) {
	if b.Bound() && !b.Served {
		v.held = b
	}
}

// know sets the session that the store has found, and its trouble.
func (v *visit[T]) know(b cache.Binding) {
	v.session, v.trouble = b, troubleOf(&b)
}

// amend changes the session's trouble.
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

// number returns the number for balancers that choose by a hash, see placement.
func (v *visit[T]) number() uint64 {
	key := v.id.Primary()
	if opening := v.id.Opening(); key == v.id.End() && opening != (sessionid.Key{}) {
		key = opening
	}
	return placement(&v.scope, key)
}

// choose calls the balancer.
func (v *visit[T]) choose(from []T) (c chosen[T], err error) {
	hint := selector.Hint{Pool: v.scope.Pool, Model: v.model, Tokens: v.tokens}
	if hint.HasKey = !v.id.IsZero() && !v.r.Off; hint.HasKey {
		// The key is always given: without a store replicas agree by it. It is not the end of
		// a conversation, which changes with each turn.
		hint.Key = v.number()
	}
	ctx := selector.WithHint(v.ctx, hint)
	next := v.next
	if v.lookedUp.Local && !(v.dry && v.id.IsZero()) { // without its id the session's number is not known
		// Each replica has a balancer of its own, and they would not choose the same auth.
		next = selector.Rendezvous(v.name, nil).Select
	}
	v.failed = ReasonBalancer
	if c.auth, err = next(ctx, from); err != nil {
		return c, err
	}
	v.failed = ReasonName
	if c.name = v.name(c.auth); c.name == "" {
		return c, errors.New("affinity: the name of the chosen auth is empty")
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
	v.failed = ReasonNone
	return c, nil
}

// anybody lets the balancer choose among all candidates that may serve, except one; without is
// -1 for all.
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

// serve completes the pick. With resident the results of this request apply to b; otherwise
// they are those of a guest.
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
	p.visitor.ticket, p.visitor.stripe = v.tickets.take(used)
	if !used {
		v.letGo()
	}
}

// check counts an operation of the store that has failed, unless the pick is that of Explain.
func (v *visit[T]) check(err error) bool {
	if v.dry {
		return err == nil
	}
	return v.core.check(err)
}

// letGo ends the use of a binding by a pick that chose another auth.
func (v *visit[T]) letGo() {
	if v.held.Gen != 0 {
		_, err := v.store.Release(v.ctx, v.held, false)
		v.check(err)
		v.held = cache.Binding{}
	}
}
