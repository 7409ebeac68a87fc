package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
	"github.com/llmaffinity/llmaffinity/examples/internal/talk"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// The README's blocks are quotes from the code.
func TestREADMEQuotesTheCode(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	source := ""
	for _, file := range []string{"main.go", "sticky.go"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			source += strings.TrimSpace(line) + "\n"
		}
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		block, _, ok := strings.Cut(block, "```")
		require.True(t, ok)
		quoted := ""
		for line := range strings.Lines(block) {
			quoted += strings.TrimSpace(line) + "\n"
		}
		require.True(t, strings.Contains(source, quoted), "the README quotes lines that the code does not have:\n%s", quoted)
	}
}

// start starts the proxy on loopback. Each key has a target, whose name is the key.
func start(t *testing.T, next middleware.ProxyBalancer, provider string, keys ...string) (url string, balancer *Sticky) {
	var targets []*middleware.ProxyTarget
	for _, key := range keys {
		targets = append(targets, targetAt(t, provider, key))
	}
	balancer, err := Wrap(next, targets...)
	require.NoError(t, err)
	base := &http.Transport{MaxIdleConnsPerHost: 64}
	front := httptest.NewServer(newProxy(balancer, base))
	t.Cleanup(func() {
		front.Close()
		base.CloseIdleConnections()
		require.NoError(t, balancer.sessions.Close())
	})
	return front.URL, balancer
}

func targetAt(t *testing.T, provider, key string) *middleware.ProxyTarget {
	u, err := url.Parse(provider)
	require.NoError(t, err)
	return target(u, key, key)
}

func newProvider(t *testing.T) (*talk.Provider, string) {
	p, err := talk.NewProvider()
	require.NoError(t, err)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s.URL
}

func newClient(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// With Echo's own balancers in a Sticky, conversations with all APIs stay on their targets, while
// targets are added and removed.
func TestConversationsStayWhileTargetsComeAndGo(t *testing.T) {
	for name, next := range map[string]middleware.ProxyBalancer{
		"round robin": middleware.NewRoundRobinBalancer(nil),
		"random":      middleware.NewRandomBalancer(nil),
	} {
		t.Run(name, func(t *testing.T) {
			provider, upstream := newProvider(t)
			address, balancer := start(t, next, upstream, "key-1", "key-2", "key-3")
			client := newClient(t)
			all := talk.Conversations(32)
			early, late := all[:len(all)/2], all[len(all)/2:]
			round := func(all []*talk.Conversation, streamed bool) {
				t.Helper()
				require.NoError(t, talk.Round(t.Context(), client, address, all, streamed))
			}
			for turn := range 4 {
				round(early, turn == 2)
			}
			homes, err := provider.Homes(early, 4)
			require.NoError(t, err)
			require.Len(t, provider.Spread(), 3, "the conversations must use all targets")

			require.True(t, balancer.AddTarget(targetAt(t, upstream, "key-4")))
			require.False(t, balancer.AddTarget(targetAt(t, upstream, "key-4")))
			round(early, true)
			round(late, false)
			round(late, true)
			after, err := provider.Homes(early, 5)
			require.NoError(t, err)
			require.Equal(t, homes, after, "a new target must not move a conversation")
			_, err = provider.Homes(late, 2)
			require.NoError(t, err)
			require.Len(t, provider.Spread(), 4, "new conversations must use the new target, too")

			require.True(t, balancer.RemoveTarget("key-2"))
			require.False(t, balancer.RemoveTarget("key-2"))
			round(early, false)
			round(early, false)
			for _, c := range early {
				auths := provider.Served(c.Name)
				if homes[c.Name] == "key-2" {
					require.NotEqual(t, "key-2", auths[5], c.Name)
				} else {
					require.Equal(t, homes[c.Name], auths[5], "%s must stay: its target was not removed", c.Name)
				}
				require.Equal(t, auths[5], auths[6], c.Name)
			}
		})
	}
}

// A target with a status of 429 gets no request until its Retry-After. The other targets serve.
func TestATargetThatFailsIsLeftAlone(t *testing.T) {
	provider, upstream := newProvider(t)
	address, _ := start(t, middleware.NewRoundRobinBalancer(nil), upstream, "key-1", "key-2", "key-3")
	client := newClient(t)
	all := talk.Conversations(6)
	require.NoError(t, talk.Round(t.Context(), client, address, all, false))
	require.Len(t, provider.Spread(), 3)
	first := provider.Served(all[0].Name)[0]
	provider.SetFault(first, simulator.Fault{Status: 429, RetryAfter: 50 * time.Minute})
	require.NoError(t, all[0].Turn(t.Context(), client, address), "another target must serve the request, with its whole body")
	asked := provider.Stats()[first].Requests
	require.NoError(t, talk.Round(t.Context(), client, address, all, true))
	require.NoError(t, talk.Round(t.Context(), client, address, all, false))
	require.Equal(t, asked, provider.Stats()[first].Requests)
	for _, c := range all {
		auths := provider.Served(c.Name)
		if auths[0] != first {
			require.Equal(t, []string{auths[0], auths[0], auths[0]}, auths, "%s must stay: its target has not failed", c.Name)
		}
		require.Equal(t, auths[len(auths)-1], auths[len(auths)-2], c.Name)
	}
}

// If all targets refuse a request, the client gets the answer of the last one.
func TestTheLastAnswerIsTheClients(t *testing.T) {
	provider, upstream := newProvider(t)
	address, balancer := start(t, middleware.NewRoundRobinBalancer(nil), upstream, "key-1", "key-2")
	client := newClient(t)
	for _, key := range []string{"key-1", "key-2"} {
		provider.SetFault(key, simulator.Fault{Status: 429, Body: `{"error":{"message":"slow down"}}`, RetryAfter: 50 * time.Minute})
	}
	ask := func() (*http.Response, string) {
		resp, err := client.Post(address+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"Are you there?"}]}`))
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(text)
	}
	resp, text := ask()
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "3000", resp.Header.Get("Retry-After"))
	require.Contains(t, text, "slow down")
	require.Equal(t, 1, provider.Stats()["key-1"].Requests)
	require.Equal(t, 1, provider.Stats()["key-2"].Requests)
	resp, _ = ask()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "now no target may be tried before its Retry-After")
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Equal(t, 1, provider.Stats()["key-1"].Requests)
	require.Zero(t, balancer.sessions.Stats().Unreported())
}

// The control: without sessions Echo's balancer sends a conversation to several targets.
func TestTheBalancerAloneKeepsNothing(t *testing.T) {
	provider, upstream := newProvider(t)
	address, balancer := start(t, middleware.NewRoundRobinBalancer(nil), upstream, "key-1", "key-2")
	require.NoError(t, balancer.sessions.Reconfigure(&affinity.Options[*middleware.ProxyTarget]{
		Extract: func(http.Header, []byte) (none sessionid.ID) { return none },
	}))
	c := talk.Conversations(1)[:1]
	for range 2 {
		require.NoError(t, talk.Round(t.Context(), newClient(t), address, c, false))
	}
	_, err := provider.Homes(c, 2)
	require.ErrorContains(t, err, "was sent to")
}

// The other way in the README: affinityhttp is the transport of Echo's proxy, whose balancer has
// one target.
func TestAffinityhttpIsATransportForEcho(t *testing.T) {
	provider, upstream := newProvider(t)
	base, err := url.Parse(upstream)
	require.NoError(t, err)
	transport, err := affinityhttp.New(selector.RoundRobin[string](), func(key string) string { return key },
		func(*http.Request, affinity.Request) []string { return []string{"key-1", "key-2", "key-3"} },
		func(out *http.Request, key string) error {
			affinityhttp.SetURL(out, base)
			out.Header.Set("Authorization", "Bearer "+key)
			return nil
		}, nil)
	require.NoError(t, err)
	defer transport.Close()
	e := echo.New()
	e.Use(middleware.ProxyWithConfig(middleware.ProxyConfig{
		Balancer:  middleware.NewRoundRobinBalancer([]*middleware.ProxyTarget{{Name: "all", URL: base}}),
		Transport: transport,
	}))
	front := httptest.NewServer(e)
	defer front.Close()
	all := talk.Conversations(4)
	for turn := range 3 {
		require.NoError(t, talk.Round(t.Context(), front.Client(), front.URL, all, turn == 1))
	}
	_, err = provider.Homes(all, 3)
	require.NoError(t, err)
	require.Len(t, provider.Spread(), 3)
}

// A prompt cache belongs to a model, so a session has a target for each model.
func TestEachModelOfASessionHasAPlace(t *testing.T) {
	provider, upstream := newProvider(t)
	address, _ := start(t, middleware.NewRoundRobinBalancer(nil), upstream, "key-1", "key-2")
	client := newClient(t)
	ask := func(path, model string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+path, strings.NewReader(`{"model":"`+model+`","messages":[],"contents":[]}`))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Session-Id", "5a3f0f6e-0001-4a53-9b5e-2f1f7a6d0001")
		req.Header.Set(talk.Header, path+model)
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	asked := []struct{ path, model string }{
		{"/v1/chat/completions", "one"}, {"/v1/chat/completions", "two"},
		{"/v1beta/models/three:generateContent", ""}, {"/v1beta/models/four:generateContent", ""},
	}
	for range 3 {
		for _, a := range asked {
			ask(a.path, a.model)
		}
	}
	for i, a := range asked {
		auths := provider.Served(a.path + a.model)
		require.Equal(t, []string{auths[0], auths[0], auths[0]}, auths)
		if i%2 == 1 {
			require.NotEqual(t, provider.Served(asked[i-1].path + asked[i-1].model)[0], auths[0], "the balancer must place each model of the session separately, and round robin takes the next target")
		}
	}
}

// A request without a session tries each target once.
func TestEachTargetIsTriedOnce(t *testing.T) {
	provider, upstream := newProvider(t)
	address, _ := start(t, middleware.NewRandomBalancer(nil), upstream, "key-1", "key-2", "key-3")
	for _, key := range []string{"key-1", "key-2", "key-3"} {
		provider.SetFault(key, simulator.Fault{Status: 503})
	}
	for n := range 5 {
		resp, err := newClient(t).Post(address+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[]}`))
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		for _, key := range []string{"key-1", "key-2", "key-3"} {
			require.Equal(t, n+1, provider.Stats()[key].Requests, key)
		}
	}
}

func TestItKeepsSessions(t *testing.T) {
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, keys []string) (affinitytest.Gateway, error) {
		address, balancer := start(t, middleware.NewRoundRobinBalancer(nil), provider, keys...)
		return affinitytest.Gateway{
			URL:    address,
			AuthOf: talk.Credential,
			Back: func(key string) {
				balancer.rests.Delete(key)
				require.NoError(t, balancer.sessions.Back(t.Context(), key))
			},
		}, nil
	}))
}

// The whole program streams answers. When it is told to stop, it first ends the answers under way.
func TestItServesAndDrains(t *testing.T) {
	begun, held := make(chan struct{}), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "begun, ")
		w.(http.Flusher).Flush()
		close(begun)
		<-held
		fmt.Fprint(w, "ended")
	}))
	defer provider.Close()
	upstream, err := url.Parse(provider.URL)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- serve(ctx, l, upstream, []string{"key"}) }()
	client := newClient(t)
	resp, err := client.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	<-begun
	_, err = io.ReadFull(resp.Body, make([]byte, len("begun, ")))
	require.NoError(t, err, "the client must get the first bytes before the answer has ended")
	cancel()
	select {
	case err := <-served:
		t.Fatal("serve has returned while an answer was under way: ", err)
	default:
	}
	close(held)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "ended", string(rest))
	client.CloseIdleConnections()
	require.NoError(t, <-served)
}
