package affinity

import (
	"context"
	"errors"
	"net/http"

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
	binding cache.Binding
}

// Result is how a request went, as far as the session's place is concerned.
type Result uint8

const (
	// Served: the auth answered. The binding is confirmed and its TTL starts
	// again.
	Served Result = iota
	// Transient: the auth failed in a way that passes (408, 429, 5xx, a broken
	// connection). A binding that has served stays; a provisional one goes.
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
)

var resultNames = [...]string{"served", "transient", "terminal", "rejected", "cancelled"}

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
func (p Pick[T]) Report(r Result) {
	if p.of != nil {
		p.of.report(p.binding, r)
	}
}

// report tells the store. The request may be over, and its context done: what
// it has shown is true all the same.
func (a *Affinity[T]) report(b cache.Binding, r Result) {
	ctx, err := context.Background(), error(nil)
	switch r {
	case Served:
		_, err = a.bindings.Confirm(ctx, b)
	case Terminal:
		_, err = a.bindings.Delete(ctx, b)
	case Transient, Cancelled:
		_, err = a.bindings.Release(ctx, b)
	}
	if err != nil {
		a.failed.Add(1)
	}
}

// Classify makes a Result of an upstream's HTTP status, or of the error of
// sending when there was no answer (status 0).
//
//	2xx, 3xx                          Served
//	401, 402, 403, 404                Terminal (404: the model or path is not there)
//	408, 425, 429, 5xx                Transient
//	other 4xx                         Rejected
//	context.Canceled                  Cancelled
//	any other error, any other status Transient
func Classify(status int, err error) Result {
	switch {
	case errors.Is(err, context.Canceled):
		return Cancelled
	case err != nil:
		return Transient
	}
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound:
		return Terminal
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return Transient
	}
	switch status / 100 {
	case 2, 3:
		return Served
	case 4:
		return Rejected
	}
	return Transient
}
