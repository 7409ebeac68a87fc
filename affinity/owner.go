package affinity

import "slices"

// owner serves a request by the auth that has the state which the request names. It returns
// false if no such auth is known, or if it cannot serve and the request may be served without
// the state.
//
// A session that is not bound is bound to the owner. A session that is bound
// elsewhere stays there.
func (v *visit[T]) owner() (done bool, err error) {
	if v.r.Ownerless {
		return false, nil
	}
	least := rankDrained
	if v.o.requireOwner {
		least = rankFailed // better than no auth
	}
	for _, state := range v.id.Owners() {
		auth, ok, err := v.store.Recall(v.ctx, ownerScope(v.scope), state.Key)
		if !v.check(err) || !ok {
			continue
		}
		i := v.serving(auth, least)
		if i >= 0 {
			return true, v.own(i)
		}
		if at := v.find(auth); at >= 0 {
			if e := v.backSoon(at, ReasonOwner); e != nil {
				return true, e
			}
		}
		if v.o.requireOwner {
			e := &NoAuthError{Reason: ReasonOwner, Auth: auth}
			if at := v.find(auth); at >= 0 {
				e.Until = v.back(at)
			}
			return true, e
		}
	}
	return false, nil
}

func (v *visit[T]) own(i int) error {
	c, b := v.at(i), v.session
	if !b.Bound() && !v.r.Side && !v.id.IsZero() {
		bound, _, err := v.store.Bind(v.ctx, v.scope, v.keys, c.name)
		if v.check(err) {
			b = bound
			v.hold(b)
		}
	}
	resident := b.Bound() && b.Auth == c.name
	if resident {
		v.p.visitor.warm = b.Served && !v.cold(i)
	}
	v.serve(c, OutcomeOwner, ReasonNone, b, resident)
	return nil
}

// forced serves a request by the auth that it names.
func (v *visit[T]) forced() error {
	i := v.find(v.r.Force)
	if i < 0 || slices.Contains(v.r.Tried, v.r.Force) {
		return &NoAuthError{Reason: ReasonForced, Auth: v.r.Force}
	}
	v.serve(v.at(i), OutcomeForced, ReasonNone, v.session, false)
	return nil
}
