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

// DefaultMaxBody is how much of a body FromRequest holds in memory when
// HTTPOptions does not say. (Real Claude Code requests: 99 % below 2 MB.)
const DefaultMaxBody = 32 << 20

// HTTPOptions of FromRequest and Middleware; nil means the zero value.
type HTTPOptions struct {
	// MaxBody is how many bytes of a body are held in memory, as sent and
	// decompressed each; 0 is DefaultMaxBody. A larger body is known by its
	// headers alone and passed on whole, as it streams.
	MaxBody int64
	// Decompress: look into bodies with Content-Encoding gzip or deflate. What
	// is passed on stays as it was sent.
	Decompress bool
	// Zstd, if not nil, opens bodies with Content-Encoding zstd (Codex sends
	// them to ChatGPT) when Decompress is on; this module has no decoder of
	// its own.
	Zstd func(io.Reader) (io.ReadCloser, error)
	// Extractor is used instead of Extract's.
	Extractor *Extractor
}

// FromRequest names the session of a request. It reads the body once, up to
// the limit, and puts it back: r.Body yields the same bytes, and then the same
// error if reading failed. When the header names the session by a signal
// that nothing in the body outranks, the body is not read.
//
// It changes r.Body and nothing else, and must not run beside a reader of it.
// It never fails: a body that cannot be read or decompressed has only its
// headers.
func FromRequest(r *http.Request, o *HTTPOptions) ID {
	if o == nil {
		o = &HTTPOptions{}
	}
	e := o.Extractor
	if e == nil {
		e = standard
	}
	var id ID
	if at := e.fromHeader(&id, r.Header); at < e.firstBody && e.owners != OwnersAlways {
		return e.Extract(r.Header, nil)
	}
	return e.Extract(r.Header, o.body(r))
}

// body reads the body and puts it back; nil if it is not to be looked into.
func (o *HTTPOptions) body(r *http.Request) []byte {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	limit := o.MaxBody
	if limit <= 0 {
		limit = DefaultMaxBody
	}
	if r.ContentLength > limit {
		return nil // not even touched
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
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	if encoding == "" || encoding == "identity" {
		return sent
	}
	if !o.Decompress {
		return nil
	}
	open := o.decoder(encoding)
	if open == nil {
		return nil
	}
	d, err := open(bytes.NewReader(sent))
	if err != nil {
		return nil
	}
	defer d.Close()
	// The limit holds for what comes out, too: a small body can be a large one.
	plain, err := io.ReadAll(io.LimitReader(d, limit+1))
	if err != nil || int64(len(plain)) > limit {
		return nil
	}
	return plain
}

// decoder knows the content encodings that clients use.
func (o *HTTPOptions) decoder(encoding string) func(io.Reader) (io.ReadCloser, error) {
	switch encoding {
	case "gzip", "x-gzip":
		return func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }
	case "deflate":
		// RFC 9110 means zlib by it; some clients send deflate without it.
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

// after is what comes behind the part that was read: the error that ended it,
// or the rest.
func after(err error, rest io.Reader) io.Reader {
	if err != nil {
		return failing{err}
	}
	return rest
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type contextKey struct{}

// Middleware finds the session of each request and hands it on in the
// request's context, for [FromContext]. The handler reads the body as if
// nobody had.
func Middleware(o *HTTPOptions) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(r.Context()) // the caller's request stays as it is
			id := FromRequest(r, o)
			next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), id)))
		})
	}
}

// NewContext is ctx with an ID.
func NewContext(ctx context.Context, id ID) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext is the ID in ctx, the zero one if there is none.
func FromContext(ctx context.Context) ID {
	id, _ := ctx.Value(contextKey{}).(ID)
	return id
}
