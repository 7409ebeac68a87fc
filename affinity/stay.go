package affinity

import "time"

// stay serves a bound session, according to the fitness of its auth. It returns false, with
// the reason, if the session has to leave its auth for good.
func (v *visit[T]) stay() (done bool, why Reason, err error) {
	bound := v.find(v.session.Auth)
	if bound < 0 {
		return false, ReasonGone, nil
	}
	f := v.fitness(bound)
	switch {
	case v.dry:
	case v.judge(bound).state.Fitness == Away:
		v.absences.away(v.session.Auth, v.o.warm)
	default:
		v.absences.there(v.session.Auth)
	}
	switch f {
	case Unfit:
		return false, ReasonUnfit, nil
	case Full:
		return true, ReasonNone, v.spill(bound, ReasonFull)
	case Away:
		if e := v.worthWaiting(bound); e != nil {
			return true, ReasonNone, e
		}
		return true, ReasonNone, v.detour(bound)
	case Slow:
		if !v.r.Side && v.speeds.due(&v.o.slow, speedKey{v.session.Auth, v.model}, !v.dry) {
			v.hit(bound)
			return true, ReasonNone, nil
		}
		return true, ReasonNone, v.spill(bound, ReasonSlow)
	}
	if !v.r.Side {
		if v.comeBack(bound) {
			return true, ReasonNone, nil
		}
		if v.o.restless || v.o.balance != BalanceOff {
			return true, ReasonNone, v.reconsider(bound)
		}
	}
	v.hit(bound)
	return true, ReasonNone, nil
}

// hit serves the session by the auth that it is bound to.
func (v *visit[T]) hit(bound int) {
	v.p.visitor.warm = v.session.Served && !v.cold(bound)
	v.serve(v.at(bound), OutcomeHit, ReasonNone, v.session, true)
}

// comeBack decides whether a session whose auth is available again stays on its detour. It
// returns false if the session goes back to its auth.
//
// The session goes back as long as the prompt cache of its auth can be warm. If both caches
// are cold it goes back, too, unless its auth was away for longer than a cache lives. If its
// auth is soon away again, the session takes the same detour (see relieve).
func (v *visit[T]) comeBack(bound int) bool {
	t := v.trouble
	if !t.away {
		return false
	}
	if t.former != "" {
		v.amend(func(t *trouble) { t.resume() })
		t = v.trouble
	}
	i := v.serving(t.detour, rankBusy)
	if i < 0 {
		return false
	}
	if v.cold(bound) && (v.now-t.served <= int64(v.warm(i)) || time.Duration(t.until-t.since) > v.warm(bound)) {
		v.settle(v.at(i))
		return true
	}
	if v.absences.unsteady(v.session.Auth, v.o.warm) {
		v.around(v.at(i), ReasonAway, OutcomeDetour)
		return true
	}
	return false
}

// reconsider serves a session whose auth is fit, but for which another auth may be better.
func (v *visit[T]) reconsider(bound int) error {
	all := v.level(-1)
	if s := v.judge(bound); v.o.load.Spill != 0 && v.o.load.exceeds(&s.state, v.o.load.Spill, all.mean) {
		return v.spill(bound, ReasonLoad)
	}
	cold := v.session.Served && v.cold(bound)
	if why := v.better(bound, cold, &all); why != ReasonNone {
		v.would, v.why = OutcomeMoved, why
		c, err := v.choose(v.choices(all, -1, anyLoad))
		if err == errChoice {
			return err
		}
		if err == nil && c.name != v.session.Auth {
			return v.move(c, OutcomeMoved, why)
		}
	}
	if cold && v.o.coldAnew {
		return v.stayAnew(bound)
	}
	if i := v.lighter(bound); i >= 0 {
		v.would, v.why = OutcomeMoved, ReasonLoad
		if v.dry {
			v.serve(v.at(i), OutcomeMoved, ReasonLoad, v.session, true)
			v.p.Decision.Before = v.session.Auth
			return nil
		}
		return v.move(v.at(i), OutcomeMoved, ReasonLoad)
	}
	v.hit(bound)
	return nil
}

// better returns why a session whose auth is fit may leave it for a better one.
func (v *visit[T]) better(bound int, cold bool, all *level) Reason {
	here := v.judge(bound).state
	if back := v.o.failback; back == FailbackAtOnce || back == FailbackCold && cold {
		if others := v.level(bound); others.rank <= rankBusy && others.tier > here.Tier {
			return ReasonTier
		}
	}
	if !v.o.coldAnew || !cold || v.o.balance != BalanceOff && v.light(bound, all) {
		return ReasonNone
	}
	if all.mean > 0 && here.relative() <= all.mean && !v.drained.has(v.session.Auth) {
		return ReasonNone
	}
	return ReasonCold
}

// stayAnew lets a cold session stay. A moment later the decision could be another one, so only
// the first request of a burst makes it: it starts a new generation, as a move does.
func (v *visit[T]) stayAnew(bound int) error {
	now, moved, err := v.store.Move(v.ctx, v.session, v.session.Auth)
	if !v.check(err) || now.Gen == 0 {
		v.hit(bound)
		return nil
	}
	if !moved && now.Bound() {
		v.hold(now)
		if i := v.serving(now.Auth, rankSlow); i >= 0 {
			v.session = now
			v.hit(i)
			return nil
		}
	}
	if moved {
		v.hold(now)
		v.session = now
	}
	v.hit(bound)
	return nil
}
