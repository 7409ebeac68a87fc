package affinityhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// receipt is what an auth has answered to one request, and what that means.
type receipt[T any] struct {
	ctx    context.Context         // of the client's request
	cancel context.CancelCauseFunc // ends the request to the auth
	pick   affinity.Pick[T]
	betas  []string // the request's header Anthropic-Beta
	sent   time.Time
	codes  *sessionid.HTTPOptions // decompresses

	resp   *http.Response // nil without an answer
	err    error          // why there is none
	watch  *watch         // of an answer that is no error
	inside *inflater      // decompresses it for watch, if it is compressed
	first  []byte         // the beginning that was read already …
	broken error          // … and the error of reading it, or io.EOF

	result affinity.Result
	away   time.Duration

	tokenAt  time.Duration // when the first token came
	answered bool          // Answered was called for it
}

func receiptOf[T any](ctx context.Context, cancel context.CancelCauseFunc, pick affinity.Pick[T], h http.Header, codes *sessionid.HTTPOptions) receipt[T] {
	return receipt[T]{ctx: ctx, cancel: cancel, pick: pick, betas: h["Anthropic-Beta"], sent: time.Now(), codes: codes}
}

// gone returns why a client is no longer there, nil if it is. A connection has the deadline of its
// context, and may find that it is over before the context does.
func gone(ctx context.Context) error {
	if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// chunk is how much of an answer is read at once before it is passed on.
const chunk = 4 << 10

// begin reads the beginning of an answer. If reading fails before the first byte, that is an
// error, so that another auth can be tried. The beginning of a stream may say that the auth
// has failed after all.
func (r *receipt[T]) begin() {
	if r.resp.StatusCode >= 300 {
		return
	}
	r.watch = &watch{words: r.pick.Decision.Signal.Kind == sessionid.KindContent}
	encoding := r.resp.Header.Get("Content-Encoding")
	if open := r.codes.Decoder(encoding); open != nil {
		r.inside = newInflater(open, r.watch)
	} else if encoding != "" && !strings.EqualFold(encoding, "identity") {
		r.watch.lost, r.watch.form, r.watch.held.over = true, formWhole, true // it cannot be read
	}
	buf := make([]byte, chunk)
	for len(r.first) == 0 && r.broken == nil {
		n, err := r.resp.Body.Read(buf)
		r.first, r.broken = buf[:n], err
	}
	if len(r.first) == 0 && r.broken == io.EOF && strings.HasPrefix(r.resp.Header.Get("Content-Type"), "text/event-stream") {
		r.broken = io.ErrUnexpectedEOF // a stream has an event at least
	}
	if len(r.first) == 0 && r.broken != io.EOF {
		r.err = r.broken
		return
	}
	r.look(r.first)
	if r.inside == nil && (r.broken == io.EOF || int64(len(r.first)) == r.resp.ContentLength) {
		r.watch.end() // all of it is here: it may be an error with status 200
	}
}

// look gives bytes of the answer to the watch.
func (r *receipt[T]) look(p []byte) {
	if r.inside != nil {
		_, _ = r.inside.Write(p)
	} else {
		_, _ = r.watch.Write(p)
	}
	if r.tokenAt == 0 && r.watch.spoke {
		r.tokenAt = time.Since(r.sent)
		r.pick.FirstToken(r.tokenAt)
	}
}

const (
	// maxError is how much of an error's body is held while another auth is tried.
	maxError = 64 << 10
	// errorWait is how long it may take to come.
	errorWait = 5 * time.Second
)

var errSlowError = errors.New("affinityhttp: the rest of the auth's error has not come")

// classify sets the result, as far as the beginning of the answer says it.
func (r *receipt[T]) classify() {
	if r.resp == nil {
		if gone(r.ctx) != nil {
			r.result = affinity.Cancelled
			return
		}
		r.result, r.away = r.pick.Classify(nil, blameless(r.err))
		return
	}
	if r.watch == nil {
		late := time.AfterFunc(errorWait, func() { r.cancel(errSlowError) })
		body, err := io.ReadAll(io.LimitReader(r.resp.Body, maxError))
		late.Stop()
		r.first = body
		if err != nil {
			r.broken = err
		} else if len(body) < maxError {
			r.broken = io.EOF
		}
		shown := *r.resp
		shown.Header = r.resp.Header.Clone()
		shown.Body = io.NopCloser(bytes.NewReader(r.openedError(body)))
		r.result, r.away = r.pick.Classify(&shown, nil)
		return
	}
	if status := r.watch.status(); status != 0 { // nothing was passed on yet
		r.result, r.away = r.pick.Classify(&http.Response{StatusCode: status, Header: r.resp.Header}, nil)
		return
	}
	shown := *r.resp
	shown.Body = nil
	r.result, r.away = r.pick.Classify(&shown, nil)
}

// refused reports whether the answer says that the request had no effect.
func (r *receipt[T]) refused() bool {
	if r.watch != nil {
		return isRefusal(r.watch.status())
	}
	return isRefusal(r.resp.StatusCode)
}

// openedError returns the body of an error, decompressed as far as it was read.
func (r *receipt[T]) openedError(body []byte) []byte {
	open := r.codes.Decoder(r.resp.Header.Get("Content-Encoding"))
	if open == nil {
		return body
	}
	d, err := open(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	defer d.Close()
	plain, _ := io.ReadAll(io.LimitReader(d, maxError))
	return plain
}

// usage returns what the answer has cost, as far as it has said.
func (r *receipt[T]) usage() affinity.Usage {
	if r.watch == nil {
		return affinity.Usage{}
	}
	return r.watch.usage.Usage
}

// ownsTurn records which auth has the state of a turn of Codex.
func (r *receipt[T]) ownsTurn() {
	if v := r.resp.Header.Get("X-Codex-Turn-State"); v != "" {
		_ = r.pick.Owns(r.ctx, "X-Codex-Turn-State", v) // Stats counts failures of the store
	}
}

// errLeft is the error of an answer that the client has left before its end.
var errLeft = fmt.Errorf("affinityhttp: the client has left: %w", context.Canceled)

// errGivenUp stands for context.Canceled if the client is still there: then it was the gateway
// that has given up, and the auth has not answered in time.
var errGivenUp = errors.New("affinityhttp: the gateway has cancelled the request to the auth")

// blameless returns an error of a request whose client is still there.
func blameless(err error) error {
	if errors.Is(err, context.Canceled) {
		return errGivenUp
	}
	return err
}

// ended returns what an answer that has ended means. err is io.EOF, or why reading it failed.
func (r *receipt[T]) ended(err error) affinity.Result {
	r.shut()
	r.watch.end()
	r.tellAnswer()
	result, away := affinity.Served, time.Duration(0)
	switch w := r.watch; {
	case err != io.EOF && gone(r.ctx) != nil:
		result, r.err = affinity.Cancelled, gone(r.ctx)
	case err == errLeft:
		result, r.err = affinity.Cancelled, err
	case err != io.EOF:
		result, away = r.pick.Classify(nil, blameless(err))
		r.err = err
	case w.failed != "":
		result, away = r.pick.Classify(&http.Response{StatusCode: w.status(), Header: http.Header{}}, nil)
		r.err = fmt.Errorf("affinityhttp: the stream has ended with an error (%s)", statusText(w.status()))
	case w.begun && !w.isWhole() && !w.lost:
		result, r.err = affinity.Transient, io.ErrUnexpectedEOF // a proxy on the way has hidden the error
	default:
		result = r.result
	}
	if result != r.result {
		r.away = away
	}
	return result
}

func statusText(status int) string { return fmt.Sprint(status, " ", http.StatusText(status)) }

// tellAnswer calls Answered for the answer, once.
func (r *receipt[T]) tellAnswer() {
	if r.answered {
		return
	}
	r.answered = true
	// Stats counts failures of the store.
	if answer := r.watch.answer.Answer(); !answer.IsZero() {
		_ = r.pick.Answered(r.ctx, answer)
	}
	if r.watch.id != "" && r.hasThread() {
		_ = r.pick.Owns(r.ctx, "thread.previous_message_id", r.watch.id)
	}
}

// hasThread reports whether the request is part of a message thread of Anthropic (beta
// message-threads-2026-08-12). The id of its answer then names state.
func (r *receipt[T]) hasThread() bool {
	for _, beta := range r.betas {
		if strings.Contains(beta, "message-threads") {
			return true
		}
	}
	return false
}

// shut ends the decompression.
func (r *receipt[T]) shut() {
	if r.inside != nil {
		r.inside.Close()
		r.inside = nil
	}
}
