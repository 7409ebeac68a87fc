package affinity

import (
	"crypto/sha256"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// place finds an auth for a session that has none, or that has to leave its own, and binds the
// session to it.
func (v *visit[T]) place(why Reason) error {
	if v.would, v.why = OutcomeNew, ReasonNone; v.session.Gen != 0 && v.session.Lost != cache.Released {
		v.would, v.why = OutcomeMoved, why
	}
	if v.r.Side { // nothing is bound
		v.would = OutcomeNone
	}
	if parent := v.id.Parent(); v.session.Gen == 0 && v.id.Lane() == (sessionid.Key{}) && parent != (sessionid.Key{}) {
		if i := v.parent(parent); i >= 0 {
			return v.move(v.at(i), OutcomeInherited, ReasonNone)
		}
	}
	if v.o.allModels && (why == ReasonGone || why == ReasonUnfit) {
		if i := v.recall(); i >= 0 {
			return v.move(v.at(i), OutcomeMoved, why)
		}
	}
	if v.session.Gen == 0 && len(v.id.Names()) > 0 && v.r.ID == nil {
		if i := v.origin(); i >= 0 {
			return v.move(v.at(i), OutcomeInherited, ReasonNone)
		}
	}
	c, err := v.follow()
	if err != nil {
		return err
	}
	return v.move(c, v.would, v.why)
}

// follow returns the detour of a session that has lost its auth, because other requests of the
// session are there. If there is none, the balancer chooses.
func (v *visit[T]) follow() (chosen[T], error) {
	if v.session.Lost != 0 && v.trouble.detour != "" {
		l := v.level(-1)
		if i := v.serving(v.trouble.detour, max(l.rank, rankBusy)); i >= 0 && l.rank != rankNone {
			return v.at(i), nil
		}
	}
	if i := v.began(); i >= 0 {
		if v.why == ReasonNone {
			v.why = ReasonPrefix
		}
		return v.at(i), nil
	}
	return v.anybody(-1)
}

// move binds the session to an auth and serves the request by it. If another request of the
// session was bound first, its choice counts.
func (v *visit[T]) move(c chosen[T], what Outcome, why Reason) error {
	if v.r.Side {
		v.serve(c, OutcomeNone, why, v.session, false)
		return nil
	}
	before := v.session
	b, won, err := v.bind(c.name)
	if !v.check(err) {
		v.serve(c, OutcomeNone, ReasonNone, cache.Binding{}, false)
		return nil
	}
	v.hold(b)
	if won {
		v.note(b)
		return v.moved(c, what, why, before, b)
	}
	if i := v.serving(b.Auth, rankSlow); i >= 0 {
		v.session = b
		v.p.visitor.warm = b.Served
		v.serve(v.at(i), OutcomeHit, ReasonNone, b, true)
		return nil
	}
	// The other request has bound the session to an auth that this request cannot use: move
	// the session. If that is too late, too, the auth serves this request as a guest.
	now, won, err := v.store.Move(v.ctx, b, c.name)
	if v.check(err) && won {
		v.hold(now)
		v.note(now)
		return v.moved(c, OutcomeMoved, why, b, now)
	}
	v.serve(c, OutcomeMoved, why, b, false)
	return nil
}

func (v *visit[T]) moved(c chosen[T], what Outcome, why Reason, before, b cache.Binding) error {
	if what == OutcomeMoved {
		v.p.Decision.Before = before.Auth
	}
	if what == OutcomeNew && before.Gen == 0 {
		v.p.Decision.Past = v.id.Past()
		v.p.Decision.LostHistory = v.p.Decision.Past != sessionid.PastNone
	}
	v.serve(c, what, why, b, true)
	return nil
}

// bind makes the binding or moves it. won is false if another request did so.
func (v *visit[T]) bind(name string) (b cache.Binding, won bool, err error) {
	if v.session.Gen != 0 {
		b, won, err = v.store.Move(v.ctx, v.session, name)
		if err != nil || won || b.Bound() {
			return b, won, err
		}
		// The session was removed meanwhile, or has lost its auth again.
	}
	b, existed, err := v.store.Bind(v.ctx, v.scope, v.keys, name)
	v.core.doubt(&v.scope, &v.id, b.Shared)
	return b, !existed, err
}

// parent returns the candidate to which a subagent's parent is bound, if that is fit;
// otherwise -1.
func (v *visit[T]) parent(key sessionid.Key) int {
	b, ok, err := v.store.Peek(v.ctx, v.scope, cache.Keys{Names: [cache.MaxNames]cache.Key{key}})
	if !v.check(err) || !ok || !b.Bound() {
		return -1
	}
	return v.serving(b.Auth, rankFit)
}

// modelNote returns, with AllModels, the key of the record of which auth last served this
// model of the session.
func (v *visit[T]) modelNote(session cache.Key) (k cache.Key) {
	h := sha256.New()
	h.Write([]byte("model of a session\n"))
	h.Write(session[:])
	h.Write([]byte(v.model))
	copy(k[:], h.Sum(nil))
	return k
}

// recall returns the candidate that served this model of the session last, if it is fit;
// otherwise -1. The session has to leave the auth that it is bound to, and the reason may be
// that the auth serves only other models.
func (v *visit[T]) recall() int {
	auth, ok, err := v.store.Recall(v.ctx, v.scope, v.modelNote(v.session.Session))
	if !v.check(err) || !ok {
		return -1
	}
	return v.serving(auth, rankBusy)
}

// note records, with AllModels, which auth serves this model of the session.
func (v *visit[T]) note(b cache.Binding) {
	if v.o.allModels {
		v.check(v.store.Remember(v.ctx, v.scope, v.modelNote(b.Session), b.Auth))
	}
}
