package affinityhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// PickError is the error of a request for which the gateway could not choose an auth, although
// some may serve: the balancer has returned an error, the auth that it chose has no name, or
// another one has its name. No auth was tried. The event of the pick (affinity.Options.OnEvent)
// has ReasonBalancer or ReasonName.
type PickError struct{ Err error }

// Error returns the message of the error of picking.
func (e *PickError) Error() string { return "affinityhttp: no auth was chosen: " + e.Err.Error() }

// Unwrap returns the error of picking, such as the balancer's own.
func (e *PickError) Unwrap() error { return e.Err }

// WriteError answers a request whose RoundTrip has returned err, in the error format of the
// API that was called. Use it as the ErrorHandler of an httputil.ReverseProxy.
//
//	*affinity.NoAuthError      503, with Retry-After if it is known
//	*PickError                 500, or 503 if it is the balancer's selector.ErrNoCandidates
//	*BodyError                 400, or 413 behind an http.MaxBytesReader
//	a timeout                  504
//	the client has gone away   nothing
//	anything else              502
//
// The message contains no auth and no address, and nothing of err.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == context.Canceled {
		return // the client is gone
	}
	status, message := http.StatusBadGateway, "the provider could not be reached"
	var none *affinity.NoAuthError
	var undecided *PickError
	var broken *BodyError
	var large *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.As(err, &none):
		status, message = http.StatusServiceUnavailable, noAccount
		if wait := time.Until(none.Until); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		}
	case errors.As(err, &undecided) && errors.Is(err, selector.ErrNoCandidates):
		status, message = http.StatusServiceUnavailable, noAccount
	case errors.As(err, &undecided):
		status, message = http.StatusInternalServerError, "the gateway could not choose an account"
	case errors.As(err, &large):
		status, message = http.StatusRequestEntityTooLarge, "the request's body is too large"
	case errors.As(err, &broken):
		status, message = http.StatusBadRequest, "the request's body is incomplete"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		status, message = http.StatusGatewayTimeout, "the provider has not answered in time"
	}
	WriteStatus(w, r, status, message)
}

// noAccount is what the client is told if no auth may serve.
const noAccount = "no account can serve this request now"

// WriteStatus answers with an error of the gateway's own, in the error format of the API that
// was called.
func WriteStatus(w http.ResponseWriter, r *http.Request, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(errorOf(targetOf(r).api, status, message))
}

// errorOf returns an error in the format of an API.
func errorOf(api string, status int, message string) []byte {
	type object = map[string]any
	var v any
	switch api {
	case Anthropic:
		v = object{"type": "error", "error": object{"type": errorType(status), "message": message}}
	case Gemini:
		v = object{"error": object{"code": status, "message": message, "status": googleStatus(status)}}
	case Bedrock:
		v = object{"message": message}
	default:
		v = object{"error": object{"message": message, "type": errorType(status), "param": nil, "code": nil}}
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return text
}

// errorType returns the type of an error as Anthropic and OpenAI name it.
func errorType(status int) string {
	switch status {
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	case http.StatusUnauthorized:
		return "authentication_error"
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

// googleStatus returns the code of a google.rpc.Status.
func googleStatus(status int) string {
	switch status {
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	}
	if status < 500 {
		return "INVALID_ARGUMENT"
	}
	return "INTERNAL"
}

// errTooLong is why an attempt was cancelled.
var errTooLong = errors.New("no auth has answered in time")

// tooLong is the error when Options.Within is over.
type tooLong struct{ after string }

func (e *tooLong) Error() string {
	return fmt.Sprintf("affinityhttp: %v, within %s", errTooLong, e.after)
}

// Timeout is true: the error is a timeout as net.Error defines it.
func (e *tooLong) Timeout() bool { return true }

// Temporary is false: a request that has taken so long should not be sent again.
func (e *tooLong) Temporary() bool { return false }
