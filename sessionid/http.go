package sessionid

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net/http"
	"strings"
)

// HTTPOptions of FromRequest and Middleware. nil means the zero value.
type HTTPOptions struct {
	// MaxBody is how many bytes of a body are held in memory. The limit applies to
	// the body as sent and, separately, to the decompressed body. A larger body
	// names nothing; the handler still gets all of it as it streams. The default,
	// 0 or less, is [DefaultMaxBody].
	MaxBody int64
	// Decompress reads bodies with Content-Encoding gzip or deflate too. The
	// handler gets the body as it was sent. By default such a body names nothing.
	Decompress bool
	// Zstd opens bodies with Content-Encoding zstd, if Decompress is set. Codex
	// sends such bodies to ChatGPT. This module has no decoder of its own. The
	// default, nil, does not read such bodies.
	Zstd func(io.Reader) (io.ReadCloser, error)
	// Extractor finds the session. The default, nil, is the one of [Extract].
	Extractor *Extractor
}

// FromRequest names the session of a request, by its header, its body and its path
// ([ID.WithPath]). It reads the body once, up to the limit, and puts it back: r.Body
// yields the same bytes, and then the same error if reading failed. It does not read the
// body if the header names the session by a signal that is stronger than all signals in
// the body. nil options mean the zero value.
//
// FromRequest changes nothing but r.Body. No other goroutine may read r.Body while it
// runs. It never fails: if the body cannot be read or decompressed, only the header and
// the path count.
func FromRequest(r *http.Request, o *HTTPOptions) ID {
	if o == nil {
		o = &HTTPOptions{}
	}
	e := o.Extractor
	if e == nil {
		e = standard
	}
	var id ID
	if at := e.fromHeader(&id, r.Header); at < e.firstBody && !e.ownersEverywhere {
		id = e.Extract(r.Header, nil)
	} else {
		id = e.Extract(r.Header, o.body(r))
	}
	if r.URL == nil {
		return id
	}
	return id.WithPath(r.URL.Path)
}

// body reads the body and puts it back. It returns nil if the body does not count.
func (o *HTTPOptions) body(r *http.Request) []byte {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	limit := o.limit()
	if r.ContentLength > limit {
		return nil // the body is not read at all
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := io.Copy(&buf, io.LimitReader(r.Body, limit+1))
	sent := buf.Bytes()
	r.Body = &replayed{Reader: io.MultiReader(bytes.NewReader(sent), after(err, r.Body)), Closer: r.Body}
	if err != nil || int64(len(sent)) > limit {
		return nil
	}
	return o.Plain(r.Header, sent)
}

// Plain returns the body for Extract, if a host has read the body itself. sent is the body
// as it came with the header h. Plain decompresses it if Decompress is set, and returns it
// as it is if it was not compressed. It returns nil if the body is larger than MaxBody,
// or is compressed and cannot or may not be decompressed. nil options mean the zero value.
func (o *HTTPOptions) Plain(h http.Header, sent []byte) []byte {
	if o == nil {
		o = &HTTPOptions{}
	}
	limit := o.limit()
	if int64(len(sent)) > limit {
		return nil
	}
	encoding := strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding")))
	if encoding == "" || encoding == "identity" {
		return sent
	}
	if !o.Decompress {
		return nil
	}
	open := o.Decoder(encoding)
	if open == nil {
		return nil
	}
	d, err := open(bytes.NewReader(sent))
	if err != nil {
		return nil
	}
	defer d.Close()
	// A small body can become a large one, so the limit holds for the result too.
	plain, err := io.ReadAll(io.LimitReader(d, limit+1))
	if err != nil || int64(len(plain)) > limit {
		return nil
	}
	return plain
}

func (o *HTTPOptions) limit() int64 {
	if o.MaxBody <= 0 {
		return DefaultMaxBody
	}
	return o.MaxBody
}

// Decoder returns a function that opens a Content-Encoding: gzip, deflate, or zstd if Zstd
// is set. For other encodings it returns nil. It does not depend on Decompress.
func (o *HTTPOptions) Decoder(encoding string) func(io.Reader) (io.ReadCloser, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "gzip", "x-gzip":
		return func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }
	case "deflate":
		// RFC 9110 means zlib. Some clients send bare deflate.
		return func(r io.Reader) (io.ReadCloser, error) {
			b := bufio.NewReader(r)
			if head, err := b.Peek(2); err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
				return zlib.NewReader(b)
			}
			return flate.NewReader(b), nil
		}
	case "zstd":
		return o.Zstd
	}
	return nil
}

// replayed is a body that was read and put back.
type replayed struct {
	io.Reader
	io.Closer
}

// after returns a reader for what follows the part that was read: the error that ended
// the reading, or the rest.
func after(err error, rest io.Reader) io.Reader {
	if err != nil {
		return failing{err}
	}
	return rest
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type contextKey struct{}

// Middleware finds the session of each request and puts the ID into the request's
// context, where [FromContext] finds it. The handler reads the same body as without the
// Middleware. nil options mean the zero value.
func Middleware(o *HTTPOptions) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(r.Context()) // the caller's request stays as it is
			id := FromRequest(r, o)
			next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), id)))
		})
	}
}

// NewContext returns ctx with an ID.
func NewContext(ctx context.Context, id ID) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext returns the ID in ctx, or the zero ID.
func FromContext(ctx context.Context) ID {
	id, _ := ctx.Value(contextKey{}).(ID)
	return id
}
