package affinityhttp

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Turn is a request that comes as a message of a connection, and not as an HTTP request of its
// own, such as a frame of the Responses API over a WebSocket. It does for a message what
// RoundTrip does for a request, except for sending and receiving. Package affinityws does
// that.
//
//	for {
//		auth, err := turn.Next()    // an error: no auth can serve it
//		conn, resp, err := open(auth)
//		if err == nil { break }
//		if !turn.Failed(resp, err) { … }
//	}
//	// send the message; from now on no other auth is tried
//	for event := range conn { last := turn.Event(event); … }
//	turn.Broken(err)                // if the last event has not come
//
// Only one goroutine may use a Turn at a time.
type Turn[T any] struct {
	c      *call[T]
	a      *attempt[T] // the one that was begun last
	number int
	asked  int
	ended  bool
	failed bool // an event says that the auth has refused the message
}

// Turn starts the turn of a message that came over the connection which the request in has
// opened. in.Context is the context of the turn: when it is done, the client has left.
func (t *Transport[T]) Turn(in *http.Request, message []byte) *Turn[T] {
	c := t.call(asTurn(in))
	c.began = time.Now()
	c.r = c.conf.describe(c.in, targetOf(c.in), message)
	// Over a connection the response is always state of one auth, even if the session has an id,
	// and even if the response is not stored: an auth keeps the responses of its connections.
	if v := gjson.GetBytes(message, previousResponse); v.Type == gjson.String && v.Str != "" {
		c.r.Owners = append(c.r.Owners, sessionid.Owner{Name: previousResponse, Key: sessionid.OwnerKey(previousResponse, v.Str)})
	}
	return &Turn[T]{c: c, asked: 1}
}

// previousResponse is the member of a message that names the response before it.
const previousResponse = "previous_response_id"

// asTurn returns the request that opens a connection as a request that calls a model.
func asTurn(in *http.Request) *http.Request {
	turn := *in
	turn.Method = http.MethodPost
	return &turn
}

// Next picks the auth for the message. It waits as RoundTrip does. If it was called before,
// Failed or Skip must have been called since. The error is an *affinity.NoAuthError, a *PickError
// or that of the context.
func (t *Turn[T]) Next() (auth T, err error) {
	pick, err := t.c.next()
	if err != nil {
		return auth, err
	}
	t.number++
	t.a = &attempt[T]{call: t.c, receipt: receiptOf(t.c.in.Context(), func(error) {}, pick, t.c.in.Header, &t.c.conf.http), number: t.number, idle: true}
	t.a.landed = t.c.flying.Begin(pick.Decision.Auth)
	return pick.Auth, nil
}

// Decision returns the decision of the last Next.
func (t *Turn[T]) Decision() affinity.Decision {
	if t.a == nil {
		return affinity.Decision{}
	}
	return t.a.pick.Decision
}

// Failed says that the auth could not be reached, or that it has refused the connection with
// resp, so that nothing of the message was sent. Failed reports that, and returns whether Next
// may pick another auth. It reads up to 64 KiB of resp.Body, which the caller closes.
func (t *Turn[T]) Failed(resp *http.Response, err error) (again bool) {
	a := t.a
	if a.resp = resp; resp == nil {
		a.err = err
	}
	a.classify()
	if resp != nil {
		resp.Body = io.NopCloser(bytes.NewReader(a.first))
	}
	a.report(a.result)
	a.tell()
	if !a.another(t.asked) {
		t.ended = true
		return false
	}
	if t.c.turnsAwayFrom(a) {
		t.asked++
	}
	t.a = nil // it is reported
	return true
}

// Skip says that the auth of the last Next cannot be reached in this way, for example because
// it has no WebSocket, and that this is no failure. Next then picks another one.
func (t *Turn[T]) Skip() {
	t.a.report(affinity.Cancelled)
	t.a.tell()
	t.c.r.Tried = append(t.c.r.Tried, t.a.pick.Decision.Auth)
	t.a = nil
}

// Abandon ends a turn that Next has begun and that has not ended. The auth is not at fault.
func (t *Turn[T]) Abandon() { t.end(affinity.Cancelled, 0) }

// Left returns how much of Options.Within is left for the first event.
func (t *Turn[T]) Left() time.Duration { return t.c.left() }

// Owns records that the auth has state that a later request may name, see affinity.Pick.Owns.
func (t *Turn[T]) Owns(name, id string) {
	if t.a == nil {
		return
	}
	_ = t.a.pick.Owns(t.a.ctx, name, id) // Stats counts failures of the store
}

// Event processes an event of the answer, a JSON value as it came. It returns whether this was
// the last event of the answer. When Event returns, the Affinity knows what the event says. An
// error event has status, headers and error, as the Responses API sends it over a WebSocket;
// its Retry-After is used.
func (t *Turn[T]) Event(event []byte) (last bool) {
	a := t.a
	if t.ended || a == nil {
		return true
	}
	if gjson.GetBytes(event, "type").Str == "error" {
		t.refused(event)
		return true
	}
	t.answers()
	// A watch reads lines of server-sent events. JSON may contain line ends between its
	// members.
	line := bytes.ReplaceAll(bytes.ReplaceAll(event, []byte{'\n'}, []byte{' '}), []byte{'\r'}, []byte{' '})
	a.look(append(append([]byte("data: "), line...), '\n'))
	if a.watch.begun && a.watch.failed == "" {
		a.begunOnce()
	}
	if !a.watch.ended {
		return false
	}
	t.ended = true
	if id := gjson.GetBytes(event, "response.id").Str; id != "" {
		t.Owns(previousResponse, id)
	}
	a.end(io.EOF)
	return true
}

// answers records that the attempt has an answer.
func (t *Turn[T]) answers() {
	if a := t.a; a.watch == nil {
		a.watch = &watch{words: a.pick.Decision.Signal.Kind == sessionid.KindContent}
		a.resp = &http.Response{StatusCode: http.StatusOK, Header: http.Header{}}
		a.result = affinity.Served
	}
}

// begunOnce records, once, that the auth has begun to answer.
func (a *attempt[T]) begunOnce() {
	if !a.started {
		a.started = true
		a.begun()
	}
}

// refused processes an error event.
func (t *Turn[T]) refused(event []byte) {
	e := gjson.ParseBytes(event)
	resp := &http.Response{Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(event))}
	for _, at := range [...]string{"status", "status_code"} {
		if v := e.Get(at).Int(); v >= 400 && v < 600 {
			resp.StatusCode = int(v)
		}
	}
	e.Get("headers").ForEach(func(name, value gjson.Result) bool {
		resp.Header.Set(name.String(), value.String())
		return true
	})
	if resp.StatusCode == 0 {
		var w watch
		if w.fail(e); e.Get("error").IsObject() {
			w.fail(e.Get("error"))
		}
		resp.StatusCode = w.status()
	}
	resp.Header.Set("Content-Type", "application/json")
	result, away := t.a.pick.Classify(resp, nil)
	if e.Get("error.code").Str == "websocket_connection_limit_reached" { // the connection is an hour old
		result, away = affinity.Rejected, 0
	}
	t.failed = t.a.watch == nil && (result == affinity.Transient || result == affinity.Terminal)
	t.a.resp = resp
	t.end(result, away)
}

// Elsewhere reports whether the last event was an error with which the auth has refused the
// message, so that it had no effect, and whether another auth could serve the message now. If
// so, the client should send the message again at once, whatever the error says.
func (t *Turn[T]) Elsewhere() bool {
	if !t.failed || !t.a.refused() {
		return false
	}
	r := t.c.r
	r.Tried, r.Ownerless, r.Patience = append(slices.Clip(r.Tried), t.a.pick.Decision.Auth), true, 0
	return t.c.Explain(t.c.in.Context(), r, t.c.auths(t.c.in, r)).Err == nil
}

// Broken ends a turn whose connection ended before the answer. If the client has left, that is
// no failure of the auth. After the last event it does nothing.
func (t *Turn[T]) Broken(err error) {
	if t.ended || t.a == nil {
		return
	}
	t.ended = true
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	t.answers()
	t.a.end(err)
}

func (t *Turn[T]) end(r affinity.Result, away time.Duration) {
	if t.ended || t.a == nil {
		return
	}
	t.ended = true
	t.a.away = away
	t.a.report(r)
	t.a.tell()
}

// Upgrade returns the request that opens a connection to an auth, made from the client's
// request in. It is prepared for the auth, has no headers of the client's credential and
// connection, and none that the WebSocket handshake sets. Send it through Base.
func (t *Transport[T]) Upgrade(ctx context.Context, in *http.Request, auth T) (*http.Request, error) {
	out := outgoing(ctx, in, &t.conf.Load().http)
	for _, name := range [...]string{"Key", "Version", "Extensions", "Protocol", "Accept"} {
		out.Header.Del("Sec-Websocket-" + name)
	}
	out.Header.Del("Origin")
	out.Body, out.GetBody, out.ContentLength = http.NoBody, nil, 0
	if err := t.prepare(out, auth); err != nil {
		return nil, err
	}
	return out, nil
}

// Base returns the http.RoundTripper that sends the requests, see [Options].Base.
func (t *Transport[T]) Base() http.RoundTripper { return t.conf.Load().Base }
