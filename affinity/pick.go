package affinity

import (
	"context"
	"net/http"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Pick is the auth that was chosen for one request. Report the request's result. If a new
// session's pick is never reported, the session stays bound though it was never served. On the
// zero Pick, Report and the other methods do nothing.
type Pick[T any] struct {
	// Auth is the auth to send the request to.
	Auth T
	// Decision says how the auth was chosen.
	Decision Decision

	visitor visitor
}

// visitor is what a pick knows of the session when results are reported.
type visitor struct {
	core *core
	where
	binding cache.Binding // the session's; zero if results change no session
	guest   bool          // the auth is not the session's own, or the request was forced to it
	warm    bool          // its prompt cache can be warm at this auth
	stripe  uint32        // of the counters
	ticket  *ticket
	sent    *sent           // nil if it is not counted in Options.Loads
	asked   *asked          // nil unless the content names the session
	ctx     context.Context // of the pick's events, nil without Options.OnEvent
}

// Report tells the Affinity the result of the request. The result applies to the binding that
// this pick made or used: if the session was moved or invalidated since, nothing changes.
// Report may be called from any goroutine. It may be called more than once, for example for a
// stream that begins well and then breaks.
func (p Pick[T]) Report(r Result) { p.Done(Report{Result: r}) }

// ReportAway is Report for an auth that has said for how long it is to be avoided, see
// [Report.Away].
func (p Pick[T]) ReportAway(r Result, away time.Duration) { p.Done(Report{Result: r, Away: away}) }

// ReportResponse classifies an answer, or the error of sending, with Options.Classify and
// calls ReportAway. It returns the result, for a host that tries another auth after Transient
// and Terminal.
func (p Pick[T]) ReportResponse(resp *http.Response, err error) Result {
	r, away := p.Classify(resp, err)
	p.ReportAway(r, away)
	return r
}

// Begun says that the auth has begun to answer, for a host that reports when the answer has
// ended. From now on the auth has served the session, as after Report(Served), also for
// requests that come before the report. Nothing is counted in Stats, and Options.OnEvent is
// not called.
func (p Pick[T]) Begun() {
	if v := &p.visitor; v.core != nil && v.ticket != nil && !v.ticket.begun.Swap(true) {
		v.happened(p.Decision.Auth, &Report{Result: Served})
	}
}

// Done is Report with everything that the host knows of the result.
func (p Pick[T]) Done(r Report) {
	v := &p.visitor
	if v.core == nil {
		return
	}
	if r.Result != Served || v.ticket == nil || !v.ticket.begun.Load() {
		v.happened(p.Decision.Auth, &r)
	}
	v.core.reported(v, &p.Decision, &r)
}

// happened changes the session as a report asks for.
func (v *visitor) happened(auth string, r *Report) {
	if v.binding.Gen == 0 {
		return
	}
	// Most picks are hits, whose auth has served the session before.
	if r.Result == Served && !v.guest && v.core.memory != nil && v.core.memory.Renew(&v.binding) {
		v.end(useServed)
		return
	}
	ctx, cancel := v.core.background()
	defer cancel()
	if v.guest {
		v.core.guest(ctx, v, auth, r.Result, r.Away)
	} else {
		v.core.resident(ctx, v, r.Result, r.Away)
	}
}

// Classify calls Options.Classify, or the function Classify if that is nil. It is for a host
// that needs the result before it reports it.
func (p Pick[T]) Classify(resp *http.Response, err error) (r Result, away time.Duration) {
	if p.visitor.core == nil {
		return Classify(resp, err)
	}
	return p.visitor.core.policy.Load().classify(resp, err)
}

// FirstToken says how long the first token of the answer took, for Options.Slow. Any goroutine
// may call it.
func (p Pick[T]) FirstToken(took time.Duration) {
	v := &p.visitor
	if v.core == nil || p.Decision.Auth == "" {
		return
	}
	if o := &v.core.policy.Load().slow; o.Above > 0 {
		v.core.speeds.sample(o, speedKey{p.Decision.Auth, v.model}, took, v.warm)
	}
}

// maxWait bounds the times that a host gives, so that sums of times do not overflow.
const maxWait = 10 * 365 * 24 * time.Hour

// wait returns how long a session avoids an auth after a result, and whether the auth itself
// has asked for that.
func (p *policy) wait(r Result, away time.Duration) (wait time.Duration, asked bool) {
	switch {
	case away > 0:
		return min(away, maxWait), true
	case r == Terminal:
		return p.warm, false
	}
	return p.away, false
}

// resident applies a result of the auth that the session is bound to.
func (k *core) resident(ctx context.Context, v *visitor, r Result, away time.Duration) {
	b, p := v.binding, k.policy.Load()
	wait, asked := p.wait(r, away)
	switch r {
	case Served:
		v.end(useServed)
		if memo, ok, err := k.store.Confirm(ctx, b); k.check(err) && ok && memo != "" {
			b.Memo = memo
			k.relieve(ctx, b)
		}
	case Terminal:
		v.end(useEnded)
		if ok, err := k.store.Unbind(ctx, b); k.check(err) && ok {
			k.blame(ctx, b, wait, asked)
		}
	case Rejected:
		if v.end(useEnded) {
			_, err := k.store.Release(ctx, b, false)
			k.check(err)
		}
	case Cancelled:
		if v.end(useEnded) {
			if unbound, err := k.store.Release(ctx, b, true); k.check(err) && unbound {
				k.part(ctx, b, func(*trouble, string, int64) {})
			}
		}
	case Transient:
		first := v.end(useEnded)
		if first {
			unbound, err := k.store.Release(ctx, b, true)
			if k.check(err) && unbound {
				k.blame(ctx, b, wait, asked)
			}
			if unbound || err != nil {
				return
			}
		}
		if ok, err := k.store.Touch(ctx, b); !k.check(err) || !ok {
			return // late
		}
		if first && !asked && b.Age < firstBurst {
			return // other requests of the session's first burst show whether the auth can serve
		}
		b, _ = k.amend(ctx, b, current, func(b *cache.Binding, t *trouble) {
			now := time.Now().UnixNano()
			t.begin(b, now)
			t.leave(b.Auth, now+int64(wait), asked)
		})
		k.absences.failed(b.Auth, wait, p.warm)
	default:
		if v.end(useEnded) {
			_, err := k.store.Release(ctx, b, false)
			k.check(err)
		}
		if ok, err := k.store.Touch(ctx, b); !k.check(err) || !ok {
			return // late
		}
		_, t := k.amend(ctx, b, current, func(b *cache.Binding, t *trouble) {
			t.begin(b, time.Now().UnixNano())
			t.failed++
		})
		if t.failed < p.unlisted {
			return
		}
		if ok, err := k.store.Unbind(ctx, b); k.check(err) && ok {
			k.blame(ctx, b, wait, asked)
		}
	}
}

// firstBurst is how long after a binding was made the requests of its session count as one
// burst. A client begins a session with several at once. A pick that is never reported counts
// as under way, so a binding that was never served must not wait for the others for ever.
const firstBurst = 30 * time.Second

// blame makes a session that has just lost its auth avoid that auth for a while.
func (k *core) blame(ctx context.Context, b cache.Binding, wait time.Duration, asked bool) {
	k.part(ctx, b, func(t *trouble, auth string, now int64) { t.leave(auth, now+int64(wait), asked) })
}

// part changes the memo of a session that has just lost its auth. If other requests of the
// session are on a detour, the session is to move to the auth of the detour.
func (k *core) part(ctx context.Context, b cache.Binding, edit func(t *trouble, auth string, now int64)) {
	k.amend(ctx, b, departed, func(is *cache.Binding, t *trouble) {
		now := time.Now().UnixNano()
		auth := b.Auth
		if is.Lost != 0 {
			auth = is.Auth // it may have been renamed
			t.calm(now, t.gen == is.Gen)
			t.carry(is, b.Gen, now)
		}
		edit(t, auth, now)
	})
}

// relieve forgets the failures before an auth has served. A result that comes while the auth
// is away does not end its absence: it may be of an older request.
func (k *core) relieve(ctx context.Context, b cache.Binding) {
	warm := int64(k.policy.Load().warm)
	edit := func(b *cache.Binding, t *trouble) { t.relieve(b, time.Now().UnixNano(), warm) }
	t := troubleOf(&b)
	if edit(&b, &t); t.encode() == b.Memo { // as the store has just returned it
		return
	}
	k.amend(ctx, b, current, edit)
}

// guest applies a result of an auth that the session is not bound to. If that auth has failed,
// the session avoids it and no longer uses it as its detour.
func (k *core) guest(ctx context.Context, v *visitor, auth string, r Result, away time.Duration) {
	b, p := v.binding, k.policy.Load()
	now := time.Now().UnixNano()
	switch r {
	case Served:
		if t := troubleOf(&b); t.detour != auth && t.former != auth {
			return
		}
		k.amend(ctx, b, current, func(_ *cache.Binding, t *trouble) { t.host(auth, now) })
	case Transient, Terminal, Unlisted:
		wait, asked := p.wait(r, away)
		k.amend(ctx, b, current, func(b *cache.Binding, t *trouble) {
			t.begin(b, now)
			failed := auth
			if auth == v.binding.Auth { // forced to the session's own
				failed = b.Auth
			}
			t.leave(failed, now+int64(wait), asked)
		})
	}
}
