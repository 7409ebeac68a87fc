package affinityws

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// errorEvent is an event of type error, as the Responses API sends it over a WebSocket.
func errorEvent(stream string, status int, kind, code, message string, header http.Header) []byte {
	type object = map[string]any
	e := object{"type": "error", "status": status, "error": object{"type": kind, "code": code, "message": message, "param": nil}}
	if stream != "" {
		e["stream_id"] = stream
	}
	if after := header.Get("Retry-After"); after != "" {
		e["headers"] = object{"retry-after": after}
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return text
}

// again returns the error after which a client sends its turn again at once. If the turn
// continues a response, the client then sends the whole history. Codex does so at this code,
// and at a status of 500 and more.
func again(stream string, frame []byte) []byte {
	if id := gjson.GetBytes(frame, "previous_response_id").Str; id != "" {
		return errorEvent(stream, http.StatusBadRequest, "invalid_request_error", "previous_response_not_found", "Previous response with id '"+id+"' not found.", nil)
	}
	return errorEvent(stream, http.StatusBadGateway, "server_error", "account_refused", "one account has refused this request, and another one can serve it: send it again", nil)
}

// refuse tells the client that no auth can serve its turn now. If the turn continues a
// response, the client is to send the whole history, because other auths do not have the
// response.
func (l *lane[T]) refuse(frame []byte, err error) {
	if l.s.ctx.Err() != nil {
		return
	}
	var none *affinity.NoAuthError
	switch {
	case errors.As(err, &none):
	case errors.Is(err, selector.ErrNoCandidates):
		none = new(affinity.NoAuthError)
	case errors.As(err, new(*affinityhttp.PickError)):
		l.s.tell(errorEvent(l.id, http.StatusInternalServerError, "server_error", "no_choice", "the gateway could not choose an account", nil))
		return
	default:
		l.fail(nil, err)
		return
	}
	if none.Reason == affinity.ReasonOwner && gjson.GetBytes(frame, "previous_response_id").Str != "" {
		l.s.tell(again(l.id, frame))
		return
	}
	header := http.Header{}
	if wait := time.Until(none.Until); wait > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	l.s.tell(errorEvent(l.id, http.StatusServiceUnavailable, "server_error", "no_account", "no account can serve this request now", header))
}

// broken tells the client that an answer will not come, or not to its end.
func (l *lane[T]) broken(err error) {
	if l.s.ctx.Err() != nil {
		return
	}
	status, code, message := http.StatusBadGateway, "upstream_closed", "the provider closed the connection before the end of the response"
	if err == context.DeadlineExceeded {
		status, code, message = http.StatusGatewayTimeout, "upstream_silent", "the provider has not answered in time"
	}
	l.s.tell(errorEvent(l.id, status, "server_error", code, message, nil))
}

// maxError is how much of the body of an auth's refusal is passed on.
const maxError = 64 << 10

// fail tells the client that no auth could be reached. If the last one has refused the
// handshake, its answer is passed on.
func (l *lane[T]) fail(resp *http.Response, err error) {
	if l.s.ctx.Err() != nil {
		return
	}
	if resp == nil {
		l.s.tell(errorEvent(l.id, http.StatusBadGateway, "server_error", "upstream_unreachable", "the provider could not be reached", nil))
		return
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	e := gjson.GetBytes(text, "error")
	kind, code, message := e.Get("type").Str, e.Get("code").Str, e.Get("message").Str
	if kind == "" {
		kind = "server_error"
	}
	if message == "" {
		message = "the provider has refused the connection"
	}
	l.s.tell(errorEvent(l.id, resp.StatusCode, kind, code, message, resp.Header))
}
