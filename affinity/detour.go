package affinity

// elsewhere finds an auth for a session that stays bound to another one: all of its requests
// go to the one that was chosen for the first of them. The balancer chooses in the level l,
// without the session's own auth, and among those whose load, relative to their share, is less
// than below. away says that the session's auth is away, and not only full, slow or loaded.
func (v *visit[T]) elsewhere(bound int, l level, away bool, below float64) (c chosen[T], err error) {
	t := v.trouble
	least := max(l.rank, rankBusy)
	if away && t.former != "" && !v.r.Side && v.serving(t.former, least) >= 0 {
		v.amend(func(t *trouble) { t.resume() })
		t = v.trouble
	}
	if i := v.serving(t.detour, least); i >= 0 && v.judge(i).state.relative() < below {
		if away && !t.away && !v.r.Side {
			v.amend(func(t *trouble) {
				t.begin(&v.session, v.now)
				t.away = true
			})
		}
		return v.at(i), nil
	}
	if c, err = v.choose(v.choices(l, bound, below)); err != nil || v.r.Side {
		return c, err
	}
	old := t.detour
	v.amend(func(t *trouble) {
		if t.detour == old {
			t.visit(&v.session, c.name, away, v.now, int64(v.o.warm))
		} else {
			t.begin(&v.session, v.now)
			t.away = t.away || away
		}
	})
	// Another request of the session may have chosen first.
	if i := v.serving(v.trouble.detour, least); i >= 0 && i != bound {
		return v.at(i), nil
	}
	return c, nil
}

// around serves this request by another auth than the session's own, as its guest.
func (v *visit[T]) around(c chosen[T], why Reason, what Outcome) {
	if t := v.trouble; t.detour == c.name && t.served != 0 {
		v.p.visitor.warm = v.now-t.served <= int64(v.warm(v.find(c.name)))
	}
	v.serve(c, what, why, v.session, false)
}

// spill serves this one request elsewhere. If no other auth is better, a slow or
// loaded auth is good enough; a full one is not.
func (v *visit[T]) spill(bound int, why Reason) error {
	l := v.level(bound)
	below := anyLoad
	if why == ReasonLoad { // another auth must have less load
		below = v.judge(bound).state.relative()
	}
	if why != ReasonFull && (l.rank > rankBusy || len(v.choices(l, bound, below)) == 0) {
		v.hit(bound)
		return nil
	}
	if l.rank == rankNone {
		return v.nobody()
	}
	v.would, v.why = OutcomeSpill, why
	c, err := v.elsewhere(bound, l, false, below)
	if err != nil {
		return err
	}
	v.around(c, why, OutcomeSpill)
	return nil
}

// detour serves the session elsewhere until its auth is back. If its auth has been away for so
// long that the prompt cache there is cold, the session moves to the detour.
func (v *visit[T]) detour(bound int) error {
	l := v.level(bound)
	if own := v.judge(bound); own.rank < l.rank || own.rank == rankFailed && l.rank == rankFailed {
		v.hit(bound) // there is no other: its own auth, which has just failed, may answer
		return nil
	}
	if l.rank == rankNone {
		return v.nobody()
	}
	v.would, v.why = OutcomeDetour, ReasonAway
	if !v.r.Side && v.cold(bound) {
		v.would, v.why = OutcomeMoved, ReasonCold
	}
	c, err := v.elsewhere(bound, l, true, anyLoad)
	if err != nil {
		return err
	}
	if !v.r.Side && v.cold(bound) {
		v.settle(c)
		return nil
	}
	v.around(c, ReasonAway, OutcomeDetour)
	return nil
}

// settle binds the session to its detour. The session avoids the auth that it leaves for as
// long as was reported.
func (v *visit[T]) settle(c chosen[T]) {
	t := v.trouble
	left := v.session
	now, moved, err := v.store.Move(v.ctx, left, c.name)
	if !v.check(err) || !moved {
		v.hold(now)
		v.around(c, ReasonAway, OutcomeDetour)
		return
	}
	v.hold(now)
	v.note(now)
	v.session = now
	if v.now < t.until {
		v.amend(func(mine *trouble) { mine.leave(left.Auth, t.until, t.asked) })
	}
	v.p.Decision.Before = left.Auth
	v.serve(c, OutcomeMoved, ReasonCold, v.session, true)
}
