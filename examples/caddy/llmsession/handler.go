package llmsession

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("llm_session", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		m := new(Handler)
		return m, m.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("llm_session", httpcaddyfile.Before, "reverse_proxy")
}

// Handler is the handler llm_session. It tells the policies behind it how their requests went.
// It changes nothing in an answer. In a request it limits Accept-Encoding to encodings that it
// can read.
type Handler struct{}

// CaddyModule tells Caddy of the module.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.llm_session",
		New: func() caddy.Module { return new(Handler) },
	}
}

// UnmarshalCaddyfile reads the directive llm_session, which has no options.
func (*Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Errf("the directive llm_session has no option %s: write it in lb_policy llm_session", d.Val())
	}
	return nil
}

// ServeHTTP lets the next handler serve the request, and watches the answer.
func (*Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	t := trailOf(r)
	if t.watched {
		return next.ServeHTTP(w, r)
	}
	t.watched = true
	if r.Method == http.MethodPost {
		if accepted, ok := narrowed(r.Header.Values("Accept-Encoding")); ok {
			r = r.WithContext(r.Context())
			r.Header = r.Header.Clone()
			r.Header.Set("Accept-Encoding", accepted)
		}
	}
	o := &watcher{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, trail: t}
	returned := false
	defer func() {
		if !returned { // reverse_proxy panics if an answer ends early
			o.ended(http.ErrAbortHandler)
		}
	}()
	err := next.ServeHTTP(o, r)
	returned = true
	o.ended(err)
	return err
}

var readable = sessionid.HTTPOptions{Decompress: true, MaxBody: maxAnswer}

// narrowed removes the encodings that cannot be read in answers. ok is false if there were
// none.
func narrowed(accepted []string) (known string, ok bool) {
	var kept []string
	for part := range strings.SplitSeq(strings.Join(accepted, ","), ",") {
		coding, _, _ := strings.Cut(part, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		switch {
		case coding == "":
		case coding == "identity", readable.Decoder(coding) != nil:
			kept = append(kept, strings.TrimSpace(part))
		default:
			ok = true
		}
	}
	if len(kept) == 0 {
		return "identity", ok
	}
	return strings.Join(kept, ", "), ok
}

const (
	maxAnswer = 8 << 20  // how much of a compressed answer is held
	maxError  = 64 << 10 // how much of an error is held
)

// watcher is the http.ResponseWriter of a request. It reports before it passes on the last
// byte of an answer, so that the client's next request finds the session up to date.
type watcher struct {
	*caddyhttp.ResponseWriterWrapper
	trail *trail

	wrote    bool
	x        *exchange // the exchange whose answer passes, nil if there is none
	resp     *http.Response
	length   int64 // -1 if it is not known
	passed   int64
	reads    bool // it is an uncompressed answer, which words reads as it passes
	words    sessionid.AnswerWriter
	kept     bytes.Buffer // an error, or a compressed answer
	tooLong  bool         // kept would be too long
	told     bool         // the answer was handed back
	clientIs error        // why the client gets nothing more
}

// WriteHeader reads the answer's status and header.
func (o *watcher) WriteHeader(status int) {
	if !o.wrote && (status >= 200 || status == http.StatusSwitchingProtocols) {
		o.wrote = true
		o.begins(status, o.Header())
	}
	o.ResponseWriter.WriteHeader(status)
}

// Write reads the next bytes of the answer.
func (o *watcher) Write(p []byte) (int, error) {
	if !o.wrote {
		o.WriteHeader(http.StatusOK)
	}
	o.sees(p)
	n, err := o.ResponseWriter.Write(p)
	if err != nil {
		o.clientIs = err
	}
	return n, err
}

// ReadFrom copies with Write. The wrapper's own ReadFrom would not call it.
func (o *watcher) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{o}, r)
}

// begins decides how to read the answer. If handle_response has replaced the upstream's
// answer, the upstream's counts.
func (o *watcher) begins(status int, h http.Header) {
	x := o.trail.last
	if x == nil || !x.open {
		return
	}
	resp := x.answer()
	if resp == nil {
		return
	}
	o.x, o.resp, o.length = x, resp, -1
	if resp.StatusCode != status {
		o.finish()
		return
	}
	resp.Header = h.Clone()
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		o.length = n
	}
	encoding := h.Get("Content-Encoding")
	switch {
	case status < 200, o.length == 0:
		o.finish()
	case status < 300:
		o.reads = encoding == "" || strings.EqualFold(encoding, "identity")
		x.current.Begun()
	}
}

// sees reads what is about to be passed on.
func (o *watcher) sees(p []byte) {
	if o.x == nil || !o.x.open {
		return
	}
	o.passed += int64(len(p))
	whole := false
	switch {
	case o.reads:
		_, _ = o.words.Write(p)
		whole = o.words.IsWhole()
	case o.resp.StatusCode >= 300:
		o.kept.Write(p[:min(len(p), max(0, maxError-o.kept.Len()))])
	case o.tooLong:
	case o.kept.Len()+len(p) > maxAnswer:
		o.tooLong, o.kept = true, bytes.Buffer{}
	default:
		o.kept.Write(p)
	}
	if whole || o.passed == o.length {
		o.finish()
	}
}

// finish reports an answer that is complete.
func (o *watcher) finish() {
	if o.resp.StatusCode >= 300 {
		plain := readable.Plain(o.resp.Header, o.kept.Bytes())
		o.resp.Body = io.NopCloser(bytes.NewReader(plain))
	} else {
		o.tellAnswer()
	}
	o.x.report(o.x.current.Classify(o.resp, nil))
}

// tellAnswer hands the answer back to the library, once. It reports whether the answer was cut
// off.
func (o *watcher) tellAnswer() (broken bool) {
	if o.told {
		return false
	}
	o.told = true
	answer := o.words.Answer()
	if !o.reads {
		answer = sessionid.ReadAnswer(readable.Plain(o.resp.Header, o.kept.Bytes()))
	}
	if answer.IsZero() {
		return false
	}
	_ = o.x.current.Answered(o.x.from.Context(), answer) // the store is in memory, and does not fail
	return !answer.IsWhole()
}

// ended reports what is left to report, when the request has ended.
func (o *watcher) ended(err error) {
	x := o.trail.last
	if x == nil || !x.open {
		return
	}
	answered := o.x == x
	if answered && err == nil {
		o.endedWell()
		return
	}
	if answered && o.resp.StatusCode < 300 {
		o.tellAnswer()
	}
	switch left := o.clientIs != nil || x.from.Context().Err() != nil; {
	case left, !answered && err == nil && x.answer() == nil: // reverse_proxy returns nothing if the client has left
		x.report(affinity.Cancelled, 0)
	case answered:
		x.report(affinity.Transient, 0)
	default:
		x.settle()
	}
}

// endedWell reports an answer that only the connection has ended. A stream may end without its
// last event if a proxy on the way has hidden that it broke.
func (o *watcher) endedWell() {
	stream := strings.HasPrefix(o.resp.Header.Get("Content-Type"), "text/event-stream")
	if o.resp.StatusCode < 300 && stream && o.tellAnswer() {
		o.x.report(affinity.Transient, 0)
		return
	}
	o.finish()
}

var (
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
