package llmsession

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync/atomic"
)

// body is a request's body, as far as it was read to find the session.
type body struct {
	untouched bool   // nothing was read
	held      []byte // the whole body, or its beginning
	whole     bool
	rest      io.Reader // what follows held
	passedOn  atomic.Bool
	err       error // why reading ended before the limit and the end
}

// hold reads the body of a request up to a limit. It does not read a body that is not JSON:
// that is no conversation, and may be a stream whose client waits for the answer to begin.
func hold(r *http.Request, limit int64) *body {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength > limit || !isJSON(r) {
		return &body{untouched: true}
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 {
		buf.Grow(int(min(n, 1<<20)) + bytes.MinRead) // the length is only what the client claims
	}
	_, err := io.Copy(&buf, io.LimitReader(r.Body, limit+1))
	b := &body{held: buf.Bytes(), err: err, rest: r.Body}
	b.whole = err == nil && int64(buf.Len()) <= limit
	return b
}

// isJSON reports whether the body is one JSON value. Some clients do not say so in the header.
func isJSON(r *http.Request) bool {
	sent := r.Header.Get("Content-Type")
	if sent == "" {
		return r.ContentLength > 0
	}
	kind, _, err := mime.ParseMediaType(sent)
	return err == nil && kind == "application/json"
}

// seen returns the body, as it is needed to find the session.
func (b *body) seen() (io.ReadCloser, int64) {
	if !b.whole {
		return http.NoBody, 0
	}
	return io.NopCloser(bytes.NewReader(b.held)), int64(len(b.held))
}

var errPassedOn = errors.New("llmsession: the body is longer than max_body, and a part of it was sent already")

// rewind makes the request's body start again. The server closes the client's own body when
// the request has ended. Closing it here would keep it from another upstream.
func (b *body) rewind(r *http.Request) {
	switch {
	case b.untouched:
	case b.whole:
		r.Body = io.NopCloser(bytes.NewReader(b.held))
	default:
		r.Body = &replay{body: b, held: bytes.NewReader(b.held), goesOn: !b.passedOn.Load()}
	}
}

// replay reads held and then rest. Only the first reader gets rest.
type replay struct {
	body   *body
	held   *bytes.Reader
	goesOn bool
	closed atomic.Bool
}

func (p *replay) Read(to []byte) (int, error) {
	switch {
	case p.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case !p.goesOn:
		return 0, errPassedOn
	case p.held.Len() > 0:
		return p.held.Read(to)
	case p.body.err != nil:
		return 0, p.body.err
	}
	p.body.passedOn.Store(true)
	return p.body.rest.Read(to)
}

func (p *replay) Close() error {
	p.closed.Store(true)
	return nil
}
