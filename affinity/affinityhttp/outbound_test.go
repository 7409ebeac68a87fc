package affinityhttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// A host's prepare knows the request and the decision, and may send another body.
func TestPrepareKnowsTheRequest(t *testing.T) {
	var f failing
	var got arrived
	f.set("a", 429, "")
	base := serving(t, func(auth string, w http.ResponseWriter, r *http.Request) {
		if auth == "a" {
			f.serve(auth, w, r)
			return
		}
		got.serve(auth, w, r)
	})
	var mu sync.Mutex
	var seen []affinityhttp.Outbound
	tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
		func(*http.Request, affinity.Request) []string { return names },
		func(out *http.Request, auth string) error {
			o, ok := affinityhttp.OutboundFrom(out.Context())
			require.True(t, ok)
			require.Equal(t, auth, o.Decision.Auth)
			mu.Lock()
			seen = append(seen, o)
			mu.Unlock()
			affinityhttp.SetURL(out, base)
			out.Header.Set("Authorization", "Bearer key-"+auth)
			text, err := io.ReadAll(out.Body)
			require.NoError(t, err)
			text = bytes.Replace(text, []byte(`"alias"`), []byte(`"the-model"`), 1)
			out.ContentLength = int64(len(text))
			out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
			out.Body, err = out.GetBody()
			return err
		}, &affinityhttp.Options[string]{ReuseBodies: true, Describe: func(_ *http.Request, r *affinity.Request) { r.Tenant = "team" }})
	require.NoError(t, err)
	t.Cleanup(func() { tr.Close() })
	for _, padding := range []int{0, 100 << 10} {
		seen = nil
		body := `{"model":"alias","messages":[{"role":"user","content":"` + strings.Repeat("x", padding) + `"}]}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://gateway/v1/messages", strings.NewReader(body))
		require.NoError(t, err)
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode)
		require.True(t, strings.Replace(body, "alias", "the-model", 1) == got.body, "the body that prepare has set arrives")
		last := seen[len(seen)-1]
		require.Equal(t, len(seen), last.Number)
		require.Equal(t, "alias", last.Request.Model)
		require.Equal(t, "team", last.Request.Tenant)
		require.Equal(t, affinityhttp.Anthropic, last.Request.Pool)
		require.Nil(t, last.Request.Body)
		require.Equal(t, "b", last.Decision.Auth)
	}
	require.Len(t, seen, 1, "the session's auth is b")
	require.NotEqual(t, sessionid.Key{}, seen[0].Decision.Session)

	_, ok := affinityhttp.OutboundFrom(t.Context())
	require.False(t, ok)
}

// The values of the client's context go on to prepare and Base.
func TestAnOutboundContextHasTheClientsValues(t *testing.T) {
	type key struct{}
	tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
		func(*http.Request, affinity.Request) []string { return names },
		func(out *http.Request, _ string) error {
			require.Equal(t, "value", out.Context().Value(key{}))
			return nil
		}, &affinityhttp.Options[string]{Base: roundTripper(func(out *http.Request) (*http.Response, error) {
			require.Equal(t, "value", out.Context().Value(key{}))
			_, ok := affinityhttp.OutboundFrom(out.Context())
			require.True(t, ok)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
		}), OnAttempt: func(ctx context.Context, a affinityhttp.Attempt) {
			require.Equal(t, "value", ctx.Value(key{}))
			require.NoError(t, ctx.Err(), "although the client has left")
			require.Equal(t, "sha256:", a.Model[:7], "a client's text is not logged")
			require.NotContains(t, a.Model, "\n")
			require.Equal(t, affinityhttp.Anthropic, a.Pool)
		}})
	require.NoError(t, err)
	t.Cleanup(func() { tr.Close() })
	ctx, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/messages", strings.NewReader(`{"model":"evil\nlevel=ERROR","messages":[]}`))
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	leave()
	resp.Body.Close()
}

// A loop of the host's own may send a request again if the auth has not begun with it.
func TestRefused(t *testing.T) {
	l := newLoop(t)
	send := func(f func(context.Context) (*http.Response, error)) bool {
		pick := l.pick("")
		answer, _, err := affinityhttp.Send(t.Context(), pick, f)
		if answer != nil {
			defer answer.Body.Close()
		}
		return affinityhttp.Refused(answer, err)
	}
	stream := func(kind string) func(context.Context) (*http.Response, error) {
		return giving(200, strings.NewReader(event("error", `{"type":"error","error":{"type":"`+kind+`"}}`)))
	}
	require.True(t, send(stream("rate_limit_error")), "in a stream with status 200")
	require.False(t, send(stream("api_error")), "it may have had an effect")
	require.True(t, send(giving(429, strings.NewReader(`{}`))))
	require.False(t, send(giving(500, strings.NewReader(`{}`))))
	require.False(t, send(giving(200, strings.NewReader(`{}`))))
	require.True(t, send(func(ctx context.Context) (*http.Response, error) {
		closed := httptest.NewServer(nil)
		closed.Close()
		to, err := url.Parse(closed.URL)
		require.NoError(t, err)
		out := affinityhttp.Outgoing(ctx, httptest.NewRequest(http.MethodPost, "/v1/messages", nil), nil)
		affinityhttp.SetURL(out, to)
		return http.DefaultTransport.RoundTrip(out)
	}), "there was no connection")
}

// Without a connection nothing was sent, so another auth is tried even for a request that must not
// be sent twice.
func TestNothingWasSent(t *testing.T) {
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	plain := httptest.NewServer(nil)
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	good := serving(t, func(_ string, w http.ResponseWriter, r *http.Request) { ok("good", w, r) })
	parsed := func(text string) *url.URL {
		u, err := url.Parse(text)
		require.NoError(t, err)
		return u
	}
	for name, base := range map[string]*http.Transport{
		"https://" + untrusted.Listener.Addr().String(): {},
		"https://" + plain.Listener.Addr().String():     {},
		closed.URL:                     {},
		"http://no-such-host.invalid/": {},
		"https://provider.example":     {Proxy: http.ProxyURL(parsed(closed.URL))},
	} {
		base.TLSHandshakeTimeout = 30 * time.Second
		t.Cleanup(base.CloseIdleConnections)
		tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
			func(*http.Request, affinity.Request) []string { return []string{"bad", "good"} },
			func(out *http.Request, auth string) error {
				if auth == "good" {
					affinityhttp.SetURL(out, good)
				} else {
					affinityhttp.SetURL(out, parsed(name))
				}
				return nil
			}, &affinityhttp.Options[string]{Base: roundTripper(func(out *http.Request) (*http.Response, error) {
				if out.URL.Host == good.Host {
					return http.DefaultTransport.RoundTrip(out)
				}
				return base.RoundTrip(out)
			})})
		require.NoError(t, err)
		t.Cleanup(func() { tr.Close() })
		resp, err := tr.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/responses", strings.NewReader(`{"input":"q","background":true}`)))
		require.NoError(t, err, name)
		require.Equal(t, 200, resp.StatusCode, name)
		require.NoError(t, resp.Body.Close())
	}
	require.True(t, affinityhttp.Refused(nil, syscall.ECONNREFUSED))
	require.True(t, affinityhttp.Refused(nil, errors.New("net/http: TLS handshake timeout")))
	require.False(t, affinityhttp.Refused(nil, context.DeadlineExceeded))
}

// What only the host can know of a request does not change how its session is found.
func TestDescribeLeavesTheSessionToTheHost(t *testing.T) {
	own, err := sessionid.NewExtractor(&sessionid.Options{Own: []sessionid.Place{{Header: "X-Own-Id"}}})
	require.NoError(t, err)
	sticky, err := affinity.Wrap(selector.RoundRobin[string](), itself, &affinity.Options[string]{Extract: own.Extract})
	require.NoError(t, err)
	t.Cleanup(func() { sticky.Close() })
	auths := map[string]bool{}
	for _, tools := range []string{``, `,"tools":[{"type":"code_interpreter","container":"cntr_1"}]`, ``} {
		body := `{"model":"m","input":"q"` + tools + `}`
		in := httptest.NewRequest(http.MethodPost, "/v1/responses", strings.NewReader(body))
		in.Header.Set("X-Own-Id", "one")
		r := affinityhttp.Describe(in, []byte(body))
		require.Nil(t, r.ID)
		require.Len(t, r.Owners, strings.Count(body, "cntr_"))
		pick, err := sticky.Pick(t.Context(), r, names)
		require.NoError(t, err)
		require.Equal(t, "X-Own-Id", pick.Decision.Signal.Name)
		pick.Report(affinity.Served)
		auths[pick.Auth] = true
	}
	require.Len(t, auths, 1)

	many := `{"input":"q","tools":[` + strings.TrimSuffix(strings.Repeat(`{"container":"cntr_1"},`, 100), ",") + `]}`
	r := affinityhttp.Describe(httptest.NewRequest(http.MethodPost, "/v1/responses", nil), []byte(many))
	require.Len(t, r.Owners, 8)
}
