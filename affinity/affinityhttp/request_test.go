package affinityhttp_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// arrived is a request as the provider has received it.
type arrived struct {
	mu     sync.Mutex
	header http.Header
	uri    string
	host   string
	body   string
	length int64
}

func (a *arrived) serve(auth string, w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.header, a.uri, a.host, a.body, a.length = r.Header.Clone(), r.RequestURI, r.Host, string(body), r.ContentLength
	ok(auth, w, r)
}

func TestTheRequestArrivesAsItWasSent(t *testing.T) {
	var got arrived
	p := start(t, got.serve, nil)
	body := " {\"model\" : \"m\",  \"messages\":[]}\n"
	for _, credential := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"} {
		g := p.send(t, http.MethodPost, "/v1/messages?beta=true", body, "User-Agent", "client/1.0", "X-Session-Id", "s", "Anthropic-Beta", "a,b",
			"Accept-Encoding", "gzip, br;q=0.5, deflate", credential, "Bearer client's")
		require.Equal(t, 200, g.StatusCode)
		require.Equal(t, body, got.body)
		require.EqualValues(t, len(body), got.length)
		require.Equal(t, "/v1/messages?beta=true", got.uri)
		require.NotContains(t, p.url, got.host, "the provider's own name")
		require.Equal(t, http.Header{
			"User-Agent": {"client/1.0"}, "X-Session-Id": {"s"}, "Anthropic-Beta": {"a,b"}, "Content-Length": {"33"},
			"Accept-Encoding": {"gzip, deflate"}, "Authorization": {"Bearer key-" + g.decision["auth"]},
		}, got.header, "the client's credential goes to nobody")
	}
	p.send(t, http.MethodGet, "/v1beta/models?key=client&pageSize=3", "")
	require.Equal(t, "/v1beta/models?pageSize=3", got.uri)
	require.Empty(t, got.body)
	require.Zero(t, got.length)
	for accepted, want := range map[string]string{"br, zstd": "identity", "gzip": "gzip", "identity;q=1, GZIP": "identity;q=1, GZIP", "zstd, x-gzip": "x-gzip", "*": "identity"} {
		p.send(t, http.MethodGet, "/v1/models", "", "Accept-Encoding", accepted)
		require.Equal(t, want, got.header.Get("Accept-Encoding"), accepted)
	}
	require.NotContains(t, got.header, "Idempotency-Key")
	p.send(t, http.MethodPost, "/v1/messages", "{}", "Idempotency-Key", "client's")
	require.Equal(t, "client's", got.header.Get("Idempotency-Key"))
}

func TestSetURL(t *testing.T) {
	for _, c := range []struct{ base, path, want string }{
		{"https://api.example", "/v1/messages?beta=true", "https://api.example/v1/messages?beta=true"},
		{"https://api.example/anthropic/", "/v1/messages", "https://api.example/anthropic/v1/messages"},
		{"http://u:p@h:1/a%2Fb", "/v1/x%2Fy", "http://u:p@h:1/a%2Fb/v1/x%2Fy"},
		{"https://api.example", "/", "https://api.example/"},
	} {
		base, err := url.Parse(c.base)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		before := r.URL
		affinityhttp.SetURL(r, base)
		require.Equal(t, c.want, r.URL.String())
		require.Empty(t, before.Host, "SetURL does not change the caller's URL")
	}
}

// url.URL.JoinPath returns a path without a slash for a base that has none.
func TestSetURLOfAJoinedPath(t *testing.T) {
	for name, want := range map[string]string{"d": "/d/v1/messages", "a/b": "/a/b/v1/messages", "a%2Fb": "/a%2Fb/v1/messages"} {
		base := (&url.URL{Scheme: "https", Host: "h"}).JoinPath(name)
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
		affinityhttp.SetURL(r, base)
		require.Equal(t, want, r.URL.RequestURI())
	}
}

// A request whose body is too large to be held is identified by its header, streamed, and tried
// once.
func TestALargeBodyStreams(t *testing.T) {
	var got arrived
	p := start(t, got.serve, &affinityhttp.Options[string]{MaxBody: 1 << 10})
	large := `{"session_id":"one","padding":"` + strings.Repeat("x", 1<<20) + `"}`
	for _, length := range []bool{true, false} {
		auths := map[string]bool{}
		for range 3 {
			req, err := http.NewRequest(http.MethodPost, p.url+"/v1/chat/completions", io.NopCloser(strings.NewReader(large)))
			require.NoError(t, err)
			if length {
				req.ContentLength = int64(len(large))
			}
			req.Header.Set("X-Session-Id", "s")
			g := p.do(t, req)
			require.Equal(t, large, got.body)
			auths[g.decision["auth"]] = true
		}
		require.Len(t, auths, 1)
	}
	auths := map[string]bool{}
	for range 4 {
		auths[p.send(t, http.MethodPost, "/v1/chat/completions", large).decision["auth"]] = true
	}
	require.Len(t, auths, 4, "its header names no session")

	// The bytes are counted where they are sent: the rest of a body need not arrive.
	var f failing
	var sent atomic.Int32
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	p = start(t, f.serve, &affinityhttp.Options[string]{MaxBody: 1 << 10,
		Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			sent.Add(1)
			return base.RoundTrip(r)
		})})
	for _, auth := range names {
		f.set(auth, 503, "")
	}
	require.Equal(t, 503, p.send(t, http.MethodPost, "/v1/chat/completions", large).StatusCode)
	require.EqualValues(t, 1, sent.Load())
}

func TestCompressedRequestsAreLookedInto(t *testing.T) {
	for _, encoding := range []string{"gzip", "deflate", "zstd"} {
		var got arrived
		p := start(t, got.serve, &affinityhttp.Options[string]{Zstd: openTestZstd})
		sent := string(squeeze(t, encoding, `{"model":"m","session_id":"one","messages":[]}`))
		auths := map[string]bool{}
		for range 4 {
			g := p.send(t, http.MethodPost, "/v1/chat/completions", sent, "Content-Encoding", encoding)
			require.Equal(t, sent, got.body, "as it was sent")
			require.Equal(t, encoding, got.header.Get("Content-Encoding"))
			auths[g.decision["auth"]] = true
		}
		require.Len(t, auths, 1, encoding)
	}
}

func TestABodyThatBreaksOffAsksNobody(t *testing.T) {
	p := start(t, func(string, http.ResponseWriter, *http.Request) { t.Error("an auth was asked") }, nil)
	broken := errors.New("broken")
	req := httptest.NewRequest(http.MethodPost, "/v1/messages", io.MultiReader(strings.NewReader("{"), iotest.ErrReader(broken)))
	_, err := p.RoundTrip(req)
	var body *affinityhttp.BodyError
	require.ErrorAs(t, err, &body)
	require.ErrorIs(t, err, broken)
	w := httptest.NewRecorder()
	affinityhttp.WriteError(w, req, err)
	require.Equal(t, http.StatusBadRequest, w.Code)
	w = httptest.NewRecorder()
	req = httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
	req.Body = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("too much")), 3)
	_, err = p.RoundTrip(req)
	affinityhttp.WriteError(w, req, err)
	require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
	require.JSONEq(t, `{"type":"error","error":{"type":"request_too_large","message":"the request's body is too large"}}`, w.Body.String())
}

func TestErrorsHaveTheFormOfTheAPI(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/messages":                     `{"type":"error","error":{"type":"overloaded_error","message":"no account can serve this request now"}}`,
		"/v1/responses":                    `{"error":{"message":"no account can serve this request now","type":"overloaded_error","param":null,"code":null}}`,
		"/v1beta/models/m:generateContent": `{"error":{"code":503,"message":"no account can serve this request now","status":"UNAVAILABLE"}}`,
		"/":                                `{"error":{"message":"no account can serve this request now","type":"overloaded_error","param":null,"code":null}}`,
	} {
		w := httptest.NewRecorder()
		affinityhttp.WriteError(w, httptest.NewRequest(http.MethodPost, path, nil), &affinity.NoAuthError{Reason: affinity.ReasonAway, Auth: "secret"})
		require.Equal(t, 503, w.Code)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		require.JSONEq(t, want, w.Body.String())
	}
}

// Callers with different credentials are different tenants, and a tenant's name does not reveal
// the credential.
func TestTenants(t *testing.T) {
	seen := map[string]string{}
	p := start(t, ok, &affinityhttp.Options[string]{Describe: func(in *http.Request, r *affinity.Request) {
		seen[in.Header.Get("Authorization")+in.Header.Get("X-Api-Key")] = r.Tenant
		require.Equal(t, "openai", r.Pool)
		require.Equal(t, "m", r.Model)
	}})
	first := p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m"}`, "X-Session-Id", "default-chat", "Authorization", "Bearer one")
	other := p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m"}`, "X-Session-Id", "default-chat", "X-Api-Key", "two")
	require.Equal(t, "new", other.decision["outcome"])
	require.NotEqual(t, first.decision["auth"], other.decision["auth"])
	p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m"}`)
	require.Len(t, seen, 3)
	require.Empty(t, seen[""])
	require.NotEqual(t, seen["Bearer one"], seen["two"])
	require.NotContains(t, seen["two"], "two")
	require.Len(t, seen["two"], 32)

	key := []byte("0123456789abcdef")
	tenant := func(key []byte) (got string) {
		tr, err := affinityhttp.New(selector.RoundRobin[string](), itself, func(_ *http.Request, r affinity.Request) []string {
			got = r.Tenant
			return nil
		}, func(*http.Request, string) error { return nil }, &affinityhttp.Options[string]{TenantKey: key})
		require.NoError(t, err)
		defer tr.Close()
		req := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
		req.Header.Set("X-Api-Key", "k")
		_, err = tr.RoundTrip(req)
		var none *affinity.NoAuthError
		require.ErrorAs(t, err, &none)
		require.Equal(t, affinity.ReasonGone, none.Reason)
		return got
	}
	require.Equal(t, tenant(key), tenant(key), "the same over restarts, with a key")
	require.NotEqual(t, tenant(nil), tenant(nil))
}

// A request beside a conversation goes to the conversation's auth and changes nothing. The
// balancer chooses the auth of a request that belongs to no conversation.
func TestRequestsBesideAConversation(t *testing.T) {
	p := start(t, ok, nil)
	session := []string{"X-Session-Id", "s"}
	require.Equal(t, "none", p.send(t, http.MethodPost, "/v1/messages/count_tokens", `{"model":"m"}`, session...).decision["outcome"])
	home := p.send(t, http.MethodPost, "/v1/messages", `{"model":"m"}`, session...).decision["auth"]
	for range 3 {
		require.Equal(t, home, p.send(t, http.MethodPost, "/v1/messages/count_tokens", `{"model":"m"}`, session...).decision["auth"])
	}
	auths := map[string]bool{}
	for range 4 {
		g := p.send(t, http.MethodPost, "/v1/embeddings", `{"model":"m","input":"the same text"}`)
		require.Equal(t, "none", g.decision["outcome"])
		auths[g.decision["auth"]] = true
	}
	require.Len(t, auths, 4)
}

// With Off the transport works without affinity, for a comparison.
func TestOffIsThePlainBalancer(t *testing.T) {
	p := start(t, ok, &affinityhttp.Options[string]{Describe: func(_ *http.Request, r *affinity.Request) { r.Off = true }})
	auths := map[string]bool{}
	for range 4 {
		auths[p.turn(t, "s").decision["auth"]] = true
	}
	require.Len(t, auths, 4)
}
