package affinity

import (
	"context"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/cache"
)

// place lets the balancer choose for a session that is not bound, or that has
// to leave its auth, and binds it.
func (v *visit[T]) place(keys cache.Keys, history bool) (Pick[T], error) {
	a, before := v.a, v.b
	var auth T
	var name string
	known := false
	if why := v.p.Decision.Reason; v.o.AllModels && (why == ReasonGone || why == ReasonUnfit) {
		auth, name, known = v.recall()
	}
	if !known {
		var err error
		if auth, name, err = v.choose(v.anybody("").from); err != nil {
			return Pick[T]{}, err
		}
	}
	if v.q.Side {
		return v.decide(auth, cache.Binding{Auth: name}, OutcomeNone), nil
	}
	b, won, err := a.bind(v.ctx, v.q.scope, keys, before, name)
	if err == nil && won {
		v.remember(b)
		a.troubles.over(b)
	}
	switch {
	case err != nil:
		a.failed.Add(1)
		return v.decide(auth, cache.Binding{Auth: name}, OutcomeNone), nil
	case won && before.Gen == 0 && v.inherited:
		return v.decide(auth, b, OutcomeInherited), nil
	case won && before.Gen == 0:
		v.p.Decision.LostHistory = history
		return v.decide(auth, b, OutcomeNew), nil
	case won:
		return v.decide(auth, b, OutcomeMoved), nil
	}
	// Another request of this session was faster: all go where it went.
	if theirs, ok := v.serving(b.Auth, rankSlow); ok {
		v.p.Decision.Reason = ReasonNone
		return v.decide(theirs, b, OutcomeHit), nil
	}
	// It went where this request may not go: move the session, and if even
	// that is too late, serve this one without touching the binding.
	now, won, err := a.bindings.Swap(v.ctx, b, name)
	if err != nil {
		a.failed.Add(1)
	}
	if won {
		v.remember(now)
	} else {
		now = passing(b, name)
	}
	return v.decide(auth, now, OutcomeMoved), nil
}

// bind makes the binding or moves it; won is false if somebody else did.
func (a *Affinity[T]) bind(ctx context.Context, scope cache.Scope, keys cache.Keys, before cache.Binding, name string) (b cache.Binding, won bool, err error) {
	if before.Gen != 0 {
		if b, won, err = a.bindings.Swap(ctx, before, name); err != nil || won || b.Gen != 0 {
			return b, won, err
		}
		// It was removed meanwhile: the session starts anew.
	}
	b, existed, err := a.bindings.Bind(ctx, scope, keys, name)
	return b, !existed, err
}

// ofModel is where the auth is remembered that served a model of a session last,
// which has one binding for all models: by the session's name, in a model that no
// request can name.
func (v *visit[T]) ofModel(session cache.Key) (cache.Scope, cache.Keys) {
	s := v.q.scope
	s.Model = notes + "model" + notes + v.q.model
	return s, cache.Keys{Names: [cache.MaxNames]cache.Key{session}}
}

// recall is the auth that the session had for this model, if it is fit: it has
// to leave the one that it is bound to, which may be because that serves only
// other models.
func (v *visit[T]) recall() (auth T, name string, ok bool) {
	scope, keys := v.ofModel(v.b.Session)
	q := v.q
	q.scope = scope
	b, ok, _ := v.a.find(v.ctx, &q, &keys) // which counts the error
	if ok {
		auth, ok = v.serving(b.Auth, rankBusy)
	}
	return auth, b.Auth, ok
}

func (v *visit[T]) remember(b cache.Binding) {
	if !v.o.AllModels {
		return
	}
	scope, keys := v.ofModel(b.Session)
	had, existed, err := v.a.bindings.Bind(v.ctx, scope, keys, b.Auth)
	if err == nil && existed && had.Auth != b.Auth {
		_, _, err = v.a.bindings.Swap(v.ctx, had, b.Auth)
	}
	if err != nil {
		v.a.failed.Add(1)
	}
}

// placement is a number for balancers that place by a hash: the same for a
// session that comes back after its binding has expired, if it has an id.
func placement(s *cache.Scope, k cache.Key) uint64 {
	var buf [256]byte
	b := buf[:0]
	for _, part := range [...]string{s.Tenant, s.Pool, s.Model} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return xxhash.Sum64(append(b, k[:]...))
}
