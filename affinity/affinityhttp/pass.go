package affinityhttp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// pass returns the answer for the client. The result is reported when the answer has ended.
func (a *attempt[T]) pass() *http.Response {
	if a.watch == nil {
		a.report(a.result)
		return a.passUnwatched()
	}
	if a.result == affinity.Served {
		a.begun()
	} else {
		a.report(a.result)
	}
	if v := a.resp.Header.Get("X-Codex-Turn-State"); v != "" {
		ctx, end := a.afterwards()
		_ = a.pick.Owns(ctx, "X-Codex-Turn-State", v) // Stats counts failures of the store
		end()
	}
	a.sign()
	a.resp.Body = &passing[T]{a: a, from: a.resp.Body}
	return a.resp
}

// passUnwatched returns an answer whose result is already known.
func (a *attempt[T]) passUnwatched() *http.Response {
	a.tell()
	a.sign()
	a.resp.Body = &unwatched{Reader: io.MultiReader(bytes.NewReader(a.first), after{a.broken, a.resp.Body}), close: a.close}
	return a.resp
}

// sign adds Options.DecisionHeader to the answer.
func (a *attempt[T]) sign() {
	a.resp.Request = a.in
	if name := a.conf.DecisionHeader; name != "" {
		a.resp.Header.Set(name, a.pick.Decision.String())
	}
}

// afterwards returns a context for reports after the request may have ended.
func (a *attempt[T]) afterwards() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(a.in.Context()), storeTimeout)
}

// storeTimeout is how long a store may take to record an answer.
const storeTimeout = time.Second

// unwatched is the body of an answer that is not watched.
type unwatched struct {
	io.Reader
	once  sync.Once
	close func()
}

func (p *unwatched) Close() error {
	p.once.Do(p.close)
	return nil
}

// after returns a body after the part that was read already.
type after struct {
	ended error
	from  io.Reader
}

func (r after) Read(p []byte) (int, error) {
	if r.ended != nil {
		return 0, r.ended
	}
	return r.from.Read(p)
}

// passing is the body of an answer on its way to the client. The Affinity knows the answer
// before the client has its last byte, because the client's next request may come at once.
type passing[T any] struct {
	a    *attempt[T]
	from io.ReadCloser

	mu       sync.Mutex // guards the fields that follow, and the attempt's fields about its answer
	passed   int64
	finished bool
}

// Read passes on the answer as it comes.
func (p *passing[T]) Read(b []byte) (n int, err error) {
	a := p.a
	p.mu.Lock()
	if len(a.first) > 0 || a.broken != nil {
		defer p.mu.Unlock()
		n = copy(b, a.first)
		if a.first = a.first[n:]; len(a.first) == 0 {
			err = a.broken
		}
		p.took(n, err)
		return n, err
	}
	p.mu.Unlock()
	n, err = p.from.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 && !p.finished {
		a.look(b[:n])
	}
	p.took(n, err)
	return n, err
}

// took processes the bytes that are about to be passed on, and the error of reading them.
func (p *passing[T]) took(n int, err error) {
	a := p.a
	p.passed += int64(n)
	switch {
	case p.finished:
	case err == io.EOF, err == nil && p.passed == a.resp.ContentLength:
		p.finish(io.EOF)
	case err != nil:
		p.finish(err)
	case a.watch.isWhole():
		a.tellAnswer()
	}
	if err != nil {
		a.cancel() // not before: trailers follow the last byte
	}
}

// Close ends the answer. If it is called before the end, the client has left.
func (p *passing[T]) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.finished {
		switch a := p.a; {
		case a.broken == io.EOF, a.watch.isWhole():
			p.finish(io.EOF)
		default:
			p.finish(context.Canceled)
		}
	}
	defer p.a.cancel()
	return p.from.Close()
}

// finish ends the answer. err is io.EOF, or why reading it failed.
func (p *passing[T]) finish(err error) {
	p.finished = true
	a := p.a
	if a.inside != nil {
		a.inside.Close()
		a.inside = nil
	}
	a.end(err)
}

// end reports how an answer has ended.
func (a *attempt[T]) end(err error) {
	a.watch.end()
	a.tellAnswer()
	result, away := affinity.Served, time.Duration(0)
	switch w := a.watch; {
	case err != io.EOF && a.in.Context().Err() != nil:
		result, a.err = affinity.Cancelled, a.in.Context().Err()
	case err != io.EOF:
		result, away = a.pick.Classify(nil, err)
		a.err = err
	case w.failed != "":
		result, away = a.pick.Classify(&http.Response{StatusCode: w.status(), Header: http.Header{}}, nil)
		a.err = fmt.Errorf("affinityhttp: the stream has ended with an error (%s)", statusText(w.status()))
	case w.begun && !w.ended && !w.over:
		result, a.err = affinity.Transient, io.ErrUnexpectedEOF // a proxy on the way has hidden the error
	default:
		result = a.result
	}
	if result != a.result {
		a.away = away
		a.report(result)
	} else if result == affinity.Served {
		a.report(result)
	}
	a.tell()
}

func statusText(status int) string { return fmt.Sprint(status, " ", http.StatusText(status)) }

// tellAnswer calls Answered for the answer, once.
func (a *attempt[T]) tellAnswer() {
	if a.answered {
		return
	}
	a.answered = true
	ctx, end := a.afterwards()
	defer end()
	// Stats counts failures of the store.
	if answer := a.watch.answer.Answer(); !answer.IsZero() {
		_ = a.pick.Answered(ctx, answer)
	}
	if a.watch.id != "" && a.hasThread() {
		_ = a.pick.Owns(ctx, "thread.previous_message_id", a.watch.id)
	}
}

// hasThread reports whether the request is part of a message thread of Anthropic (beta
// message-threads-2026-08-12). The id of its answer then names state.
func (a *attempt[T]) hasThread() bool {
	for _, beta := range a.in.Header["Anthropic-Beta"] {
		if strings.Contains(beta, "message-threads") {
			return true
		}
	}
	return false
}
