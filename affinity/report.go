package affinity

import (
	"context"
	"net/http"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Pick is a choice that was made for one request. Report how it went; a pick
// that is never reported leaves its session bound, provisionally.
type Pick[T any] struct {
	// Auth is the auth to send the request to.
	Auth T
	// Decision says how it came about.
	Decision Decision

	of      *Affinity[T]
	tenant  string
	pool    string
	model   string
	binding cache.Binding
	around  bool // a detour: binding is what it goes around
	warm    bool // the session's prompt cache can be warm there
}

// Result is how a request went, as far as the session's place is concerned.
type Result uint8

const (
	// Served: the auth answered. The binding is confirmed and its TTL starts
	// again.
	Served Result = iota
	// Transient: the auth failed in a way that passes (408, 429, 5xx, a broken
	// connection). A binding that has served stays, and its session takes a
	// detour for a while; a provisional one goes.
	Transient
	// Terminal: the auth cannot serve this any more (401, 402, 403, unknown
	// model). The session leaves it.
	Terminal
	// Rejected: the request itself is at fault (400, 413, 422 …). Nothing
	// changes.
	Rejected
	// Cancelled: the client went away. A binding that has served stays; a
	// provisional one goes. The auth is not to blame.
	Cancelled
	// Unlisted: nobody knows what it means. Nothing changes, until it has come
	// Options.Unlisted times in a row: then the session leaves.
	Unlisted
)

var resultNames = [...]string{"served", "transient", "terminal", "rejected", "cancelled", "unlisted"}

// String is the result in lower case, fit for a metric label.
func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return "unknown"
}

// Report says how the request went. It is about the binding that this pick
// made or used: if the session was moved or invalidated since, nothing
// happens. It may be called from any goroutine, also more than once, as for a
// stream that begins well and breaks.
func (p Pick[T]) Report(r Result) { p.ReportAway(r, 0) }

// ReportAway is Report for a Transient result that says for how long the auth
// wants to be left alone, see RetryAfter; 0 is Options.Away.
func (p Pick[T]) ReportAway(r Result, away time.Duration) {
	switch a := p.of; {
	case a == nil:
	case p.around:
		a.detoured(p.binding, p.Decision.Auth, r, away)
	case p.binding.Gen != 0:
		a.report(p.binding, r, away)
	}
}

// ReportResponse is ReportAway with what Options.Classify, or else
// [ClassifyResponse], makes of an answer or of the error of sending. It returns
// that, for a host that tries another auth after Transient and Terminal.
func (p Pick[T]) ReportResponse(resp *http.Response, err error) Result {
	var r Result
	var away time.Duration
	ok := false
	if p.of != nil {
		if c := p.of.conf.Load().Classify; c != nil {
			r, away, ok = c(resp, err)
		}
	}
	if !ok {
		r, away = ClassifyResponse(resp, err)
	}
	p.ReportAway(r, away)
	return r
}

// detoured is the result of a detour. One that fails is none: the next request of
// the session takes another.
func (a *Affinity[T]) detoured(around cache.Binding, auth string, r Result, away time.Duration) {
	o, now := a.conf.Load(), time.Now()
	switch r {
	case Served:
		if t, ok := a.troubles.get(around); ok && t.detour == auth {
			a.troubles.change(around, func(t *trouble) bool { t.served = now; return true })
		}
	case Transient, Terminal, Unlisted:
		if r == Terminal {
			away = o.Warm
		} else if away <= 0 {
			away = o.Away
		}
		a.troubles.change(around, func(t *trouble) bool {
			if t.away = true; t.detour == auth {
				t.detour, t.served = "", time.Time{}
			}
			t.shun(auth, now.Add(away))
			return true
		})
	}
}

// report tells the store. The request may be over, and its context done: what
// it has shown is true all the same.
func (a *Affinity[T]) report(b cache.Binding, r Result, away time.Duration) {
	ctx, err, ok := context.Background(), error(nil), false
	switch r {
	case Served:
		if ok, err = a.bindings.Confirm(ctx, b); ok {
			a.served(b)
		}
	case Terminal:
		if ok, err = a.bindings.Delete(ctx, b); ok {
			a.troubles.over(b)
		}
	case Cancelled:
		_, err = a.bindings.Release(ctx, b)
	case Transient:
		if ok, err = a.bindings.Release(ctx, b); ok || err != nil {
			break
		}
		if ok, err = a.bindings.Touch(ctx, b); ok { // still the current one
			if away <= 0 {
				away = a.conf.Load().Away
			}
			a.troubles.change(b, func(t *trouble) bool {
				t.away, t.failed = true, 0
				if until := time.Now().Add(away); until.After(t.until) {
					t.until = until
				}
				return true
			})
		}
	case Unlisted:
		if ok, err = a.bindings.Touch(ctx, b); !ok {
			break // late
		}
		t := a.troubles.change(b, func(t *trouble) bool { t.failed++; return true })
		if t.failed >= a.conf.Load().Unlisted {
			_, err = a.bindings.Delete(ctx, b)
			a.troubles.over(b)
		}
	}
	if err != nil {
		a.failed.Add(1)
	}
}

// served forgets what has failed before. A result that arrives while the auth
// counts as away does not end that: it may be of an older request.
func (a *Affinity[T]) served(b cache.Binding) {
	if _, ok := a.troubles.get(b); !ok {
		return
	}
	now := time.Now()
	a.troubles.change(b, func(t *trouble) (keep bool) {
		if now.Before(t.until) {
			t.failed = 0
			return true
		}
		*t, keep = t.settled(now)
		return keep
	})
}
