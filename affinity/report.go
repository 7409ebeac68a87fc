package affinity

import (
	"context"
	"errors"
	"net/http"
	"strconv"
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
	binding cache.Binding
	around  bool // a detour: binding is what it goes around
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
		if r == Transient || r == Terminal || r == Unlisted {
			// This detour is none: the next request of the session takes another.
			a.troubles.take(p.binding, p.Decision.Auth, "")
		}
	case p.binding.Gen != 0:
		a.report(p.binding, r, away)
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
				away = a.opts.Away
			}
			a.troubles.change(b, func(t *trouble) bool {
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
		if t.failed >= a.opts.Unlisted {
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
	if t, ok := a.troubles.get(b); ok && !time.Now().Before(t.until) {
		a.troubles.over(b)
	}
}

// Classify makes a Result of an upstream's HTTP status, or of the error of
// sending when there was no answer (status 0).
//
//	2xx, 3xx                                   Served
//	401, 402, 403, 404                         Terminal (404: the model or path is not there)
//	408, 425, 429, 5xx                         Transient
//	400, 405, 406, 410 to 417, 422, 431        Rejected
//	context.Canceled                           Cancelled
//	any other error, or no status              Transient
//	any other status                           Unlisted
func Classify(status int, err error) Result {
	switch {
	case errors.Is(err, context.Canceled):
		return Cancelled
	case err != nil:
		return Transient
	}
	switch status {
	case 401, 402, 403, 404:
		return Terminal
	case 0, 408, 425, 429:
		return Transient
	case 400, 405, 406, 410, 411, 412, 413, 414, 415, 416, 417, 422, 431:
		return Rejected
	}
	switch status / 100 {
	case 2, 3:
		return Served
	case 5:
		return Transient
	}
	return Unlisted
}

// ClassifyResponse is Classify for an answer with its header: a challenge of
// Cloudflare comes as a 403 and passes, and Retry-After says for how long the
// auth wants to be left alone (0 if it does not). resp is nil if there was none;
// its body is not read.
func ClassifyResponse(resp *http.Response, err error) (r Result, away time.Duration) {
	if err != nil || resp == nil {
		return Classify(0, err), 0
	}
	r = Classify(resp.StatusCode, nil)
	if resp.Header.Get("Cf-Mitigated") != "" && r == Terminal {
		r = Transient
	}
	return r, RetryAfter(resp.Header)
}

// RetryAfter is what Retry-After says, in seconds or as a date, or
// Retry-After-Ms, as OpenAI sends it; 0 if there is none that makes sense, and
// an hour at most.
func RetryAfter(h http.Header) time.Duration {
	const most = time.Hour
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return time.Duration(min(ms, float64(most/time.Millisecond)) * float64(time.Millisecond))
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 {
		return time.Duration(min(s, most.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), most)
	}
	return 0
}
