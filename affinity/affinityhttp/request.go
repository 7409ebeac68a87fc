package affinityhttp

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// credentialHeaders are where clients put what they have for the gateway.
var credentialHeaders = [...]string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key", "Proxy-Authorization"}

// credentialOf is what the client presented, "" for nothing.
func credentialOf(r *http.Request) string {
	for _, h := range credentialHeaders {
		if v := r.Header.Get(h); v != "" {
			// The same key is the same tenant, in whatever form it comes.
			if scheme, key, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "bearer") {
				return strings.TrimSpace(key)
			}
			return v
		}
	}
	if strings.Contains(r.URL.RawQuery, "key=") {
		return r.URL.Query().Get("key")
	}
	return ""
}

// dropCredential takes the client's credential out of a request.
func dropCredential(r *http.Request) {
	for _, h := range credentialHeaders {
		r.Header.Del(h)
	}
	if strings.Contains(r.URL.RawQuery, "key=") {
		if q := r.URL.Query(); q.Has("key") {
			q.Del("key")
			r.URL.RawQuery = q.Encode()
		}
	}
}

// SetURL makes base the place where a request goes: its scheme and host, and its path
// before the request's own. It is for a function that prepares a request.
func SetURL(out *http.Request, base *url.URL) {
	u := *out.URL
	u.Scheme, u.Host, u.User = base.Scheme, base.Host, base.User
	if u.RawPath != "" || base.RawPath != "" {
		u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + u.EscapedPath()
	}
	u.Path = strings.TrimSuffix(base.Path, "/") + u.Path
	out.URL = &u
}

// BodyError is the error of a request whose body could not be read: the client has
// broken off, or has sent too much. No auth was asked.
type BodyError struct{ Err error }

// Error says what reading gave.
func (e *BodyError) Error() string { return "affinityhttp: the request's body: " + e.Err.Error() }

// Unwrap is the error of reading.
func (e *BodyError) Unwrap() error { return e.Err }

// body is a request's, as it was sent.
type body struct {
	held   []byte  // all of it, or else its beginning …
	rest   *upload // … and this is what comes behind it
	closer io.Closer
}

// upload is what a client still sends.
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

// isTheClients reports whether an error can be the client's: it has not sent all.
func (u *upload) isTheClients(err error) bool {
	return u != nil && (u.broken.Load() || errors.As(err, new(*tooLong)) && !u.whole.Load())
}

// readBody reads up to a limit. What is held completely is closed.
func readBody(r *http.Request, limit int64) (b body, err error) {
	if r.Body == nil || r.Body == http.NoBody {
		return b, nil
	}
	if r.ContentLength > limit {
		return body{rest: &upload{Reader: r.Body}, closer: r.Body}, nil
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 {
		// A length is a claim: of a large body no more is reserved than comes.
		buf.Grow(int(min(n, 1<<20)) + bytes.MinRead)
	}
	if _, err = io.Copy(&buf, io.LimitReader(r.Body, limit+1)); err != nil {
		r.Body.Close()
		return b, &BodyError{err}
	}
	b.held = buf.Bytes()
	if int64(len(b.held)) > limit {
		b.rest, b.closer = &upload{Reader: r.Body}, r.Body
		return b, nil
	}
	return b, r.Body.Close()
}

// opened is a body that was sent, decompressed; nil if it cannot be looked into. A small
// body that becomes a large one is not: JSON shrinks to a tenth, and seldom to less than
// a thirtieth.
func (s *settings[T]) opened(h http.Header, sent []byte) []byte {
	o := s.http
	o.MaxBody = min(o.MaxBody, 1<<20+32*int64(len(sent)))
	return o.Plain(h, sent)
}

// describe says what a request is. plain is its body, decompressed, or nil.
func (s *settings[T]) describe(in *http.Request, to target, plain []byte) affinity.Request {
	r := affinity.Request{
		Tenant: s.tenant(in), Pool: to.api, Model: to.model, Header: in.Header, Body: plain, Path: in.URL.Path,
		Side: to.kind == kindSide, Off: to.kind == kindApart,
	}
	if r.Model == "" && len(plain) > 0 {
		if m := gjson.GetBytes(plain, "model"); m.Type == gjson.String {
			r.Model = m.Str
		}
	}
	if to.api == OpenAI && bytes.Contains(plain, []byte(`"cntr_`)) {
		r.ID = s.withContainers(in, plain)
	}
	if s.Describe != nil {
		s.Describe(in, &r)
	}
	return r
}

// withContainers is the session of a request with tools that may name containers of
// OpenAI's. sessionid does not look at tools.
func (s *settings[T]) withContainers(in *http.Request, plain []byte) *sessionid.ID {
	extract := s.Affinity.Extract
	if extract == nil {
		extract = sessionid.Extract
	}
	id := extract(in.Header, plain).WithPath(in.URL.Path)
	gjson.GetBytes(plain, "tools").ForEach(func(_, tool gjson.Result) bool {
		for _, at := range [...]string{"container", "environment.container_id"} {
			if v := tool.Get(at); v.Type == gjson.String {
				id = id.WithOwner("container", v.Str)
			}
		}
		return true
	})
	return &id
}

// tenant is who is calling: a digest of the credential, because a credential has no
// business in a store.
func (s *settings[T]) tenant(r *http.Request) string {
	credential := credentialOf(r)
	if credential == "" {
		return ""
	}
	h := hmac.New(sha256.New, s.TenantKey)
	_, _ = io.WriteString(h, credential)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// narrow leaves those encodings in Accept-Encoding that can be read in passing.
func (s *settings[T]) narrow(h http.Header) {
	accepted := h.Values("Accept-Encoding")
	if len(accepted) == 0 {
		return
	}
	var known []string
	all := true
	for _, line := range accepted {
		for part := range strings.SplitSeq(line, ",") {
			coding, _, _ := strings.Cut(part, ";")
			coding = strings.ToLower(strings.TrimSpace(coding))
			if s.http.Decoder(coding) == nil && coding != "identity" && coding != "" {
				all = false
				continue
			}
			known = append(known, strings.TrimSpace(part))
		}
	}
	switch {
	case all:
	case len(known) == 0:
		h.Set("Accept-Encoding", "identity")
	default:
		h.Set("Accept-Encoding", strings.Join(known, ", "))
	}
}

// Repeatable reports whether a request may be sent to another auth although the first
// one may have done something with it. A turn of a conversation costs its tokens again,
// and that is all, unless it goes on in state at the provider's (a conversation, a
// container), runs in the background, or calls tools that the provider runs and that may
// change something (MCP). Nothing else may be sent again but what only reads.
func Repeatable(in *http.Request, r affinity.Request) bool {
	switch t := targetOf(in); t.kind {
	case kindTurn:
	case kindState, kindUnknown:
		return in.Method == http.MethodGet || in.Method == http.MethodHead
	case kindSide:
		return in.Method != http.MethodDelete
	default:
		return in.Method == http.MethodGet || in.Method == http.MethodHead || isAnswerOnly(in.URL.Path)
	}
	if len(r.Body) == 0 {
		return false // nobody knows what it asks for
	}
	harmless := true
	gjson.ParseBytes(r.Body).ForEach(func(name, v gjson.Result) bool { // of duplicate members any may count
		switch name.Str {
		case "background":
			harmless = v.Type == gjson.False || v.Type == gjson.Null
		case "conversation", "container", "mcp_servers":
			harmless = !isSet(v)
		case "tools":
			v.ForEach(func(_, tool gjson.Result) bool {
				harmless = tool.Get("type").Str != "mcp" && tool.Get("container").Type != gjson.String && !tool.Get("environment.container_id").Exists()
				return harmless
			})
		}
		return harmless
	})
	return harmless
}

func isSet(v gjson.Result) bool {
	return v.Exists() && v.Type != gjson.Null && v.Raw != "[]" && v.Raw != "{}"
}

// isAnswerOnly reports whether a POST only asks.
func isAnswerOnly(path string) bool {
	for _, end := range [...]string{"/embeddings", "/moderations", "/rerank", ":embedContent", ":batchEmbedContents"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// errTooLong is why an attempt was cut off.
var errTooLong = errors.New("no auth has answered in time")

// tooLong is the error when Options.Within is over.
type tooLong struct{ after string }

func (e *tooLong) Error() string {
	return fmt.Sprintf("affinityhttp: %v, within %s", errTooLong, e.after)
}

// Timeout makes it one to net.Error.
func (e *tooLong) Timeout() bool { return true }

// Temporary is false: a request that has taken so long is not to be sent again.
func (e *tooLong) Temporary() bool { return false }
