package affinityhttp

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// BodyError is the error of a request whose body could not be read: the client has stopped
// sending, or has sent too much. No auth was tried.
type BodyError struct{ Err error }

// Error returns the message of the error of reading.
func (e *BodyError) Error() string { return "affinityhttp: the request's body: " + e.Err.Error() }

// Unwrap returns the error of reading.
func (e *BodyError) Unwrap() error { return e.Err }

// body is the body of a request, as it was sent.
type body struct {
	held   []byte  // all of it, or else its beginning …
	rest   *upload // … and the rest of it
	closer io.Closer
	loan   *loan // the memory of a long one without a rest
}

// letGo ends the call's use of the body.
func (b *body) letGo() {
	if b.loan != nil {
		b.loan.release()
	}
	*b = body{rest: b.rest}
}

// upload is the rest of a body, which the client still sends.
type upload struct {
	io.Reader
	whole, broken atomic.Bool
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err == io.EOF {
		u.whole.Store(true)
	} else if err != nil {
		u.broken.Store(true)
	}
	return n, err
}

// isTheClients reports whether an error can be the client's fault: it has not sent the whole
// body.
func (u *upload) isTheClients(err error) bool {
	return u != nil && (u.broken.Load() || errors.As(err, new(*tooLong)) && !u.whole.Load())
}

// readBody reads a body up to a limit. If that is the whole body, it is closed. Its memory comes
// from pool and goes back there, unless pool is nil.
func readBody(r *http.Request, limit int64, pool *sync.Pool) (b body, err error) {
	if r.Body == nil || r.Body == http.NoBody {
		return b, nil
	}
	if r.ContentLength > limit {
		return body{rest: &upload{Reader: r.Body}, closer: r.Body}, nil
	}
	var buf *bytes.Buffer
	if n := r.ContentLength; pool != nil && n >= minLoan {
		buf, _ = pool.Get().(*bytes.Buffer)
	}
	if buf == nil {
		buf = new(bytes.Buffer)
	}
	if n := r.ContentLength; n > 0 {
		// Content-Length is a claim: for a large body no more memory is reserved than is read.
		buf.Grow(int(min(n, 1<<20)) + bytes.MinRead)
	}
	if _, err = io.Copy(buf, io.LimitReader(r.Body, limit+1)); err != nil {
		r.Body.Close()
		return b, &BodyError{err}
	}
	b.held = buf.Bytes()
	if int64(len(b.held)) > limit {
		b.rest, b.closer = &upload{Reader: r.Body}, r.Body
		return b, nil
	}
	if len(b.held) >= minLoan {
		b.loan = &loan{memory: buf, text: b.held, pool: pool}
		b.loan.holders.Store(1)
	}
	return b, r.Body.Close()
}

// opened returns a body decompressed, nil if it cannot be. A small body that decompresses to a
// very large one is refused: JSON shrinks to a tenth, and seldom to less than a thirtieth.
func (s *settings[T]) opened(h http.Header, sent []byte) []byte {
	o := s.http
	o.MaxBody = min(o.MaxBody, 1<<20+32*int64(len(sent)))
	return o.Plain(h, sent)
}
