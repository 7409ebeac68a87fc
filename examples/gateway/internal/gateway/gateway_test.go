package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// testGateway is a gateway with the simulated provider.
type testGateway struct {
	g      *Gateway
	sim    *simulator.Server
	pool   *Pool
	url    string
	client *http.Client
}

func startGateway(t *testing.T, auths int, o GatewayOptions) *testGateway {
	t.Helper()
	sim, pool, stopSim, err := simulatedPool(auths, simulator.Options{}, nil)
	require.NoError(t, err)
	t.Cleanup(stopSim)
	o.Pool = pool
	gw := startGatewayOn(t, o)
	gw.sim = sim
	return gw
}

func startGatewayOn(t *testing.T, o GatewayOptions) *testGateway {
	t.Helper()
	g, err := NewGateway(o)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	url, stop, err := serve(g, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(stop)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(client.CloseIdleConnections)
	return &testGateway{g: g, pool: o.Pool, url: url, client: client}
}

// upstream returns a pool of auths at a provider that is a handler of the test.
func upstream(t *testing.T, auths int, h http.HandlerFunc) *Pool {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	base, err := url.Parse(s.URL)
	require.NoError(t, err)
	p := &Pool{}
	for i := range auths {
		p.auths = append(p.auths, &Auth{Name: fmt.Sprint("up-", i+1), API: APIAny, URL: base, Key: fmt.Sprint("key-", i+1)})
	}
	return p
}

func (gw *testGateway) post(t *testing.T, path, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := gw.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

func decisionOf(resp *http.Response) map[string]string {
	parts := map[string]string{}
	for part := range strings.SplitSeq(resp.Header.Get(decisionHeader), "; ") {
		k, v, _ := strings.Cut(part, "=")
		parts[k] = v
	}
	return parts
}

func TestTheClientsRequestArrivesUnchangedExceptForTheCredential(t *testing.T) {
	type arrived struct {
		header http.Header
		uri    string
		body   []byte
	}
	var got arrived
	pool := upstream(t, 1, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = arrived{r.Header.Clone(), r.RequestURI, body}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("X-From-Upstream", "yes")
		w.Write([]byte("\x1f\x8b as it is"))
	})
	gw := startGatewayOn(t, GatewayOptions{Pool: pool, Affinity: true})
	for path, credential := range map[string]string{
		"/v1/messages?beta=true": "X-Api-Key", "/v1/messages/count_tokens": "X-Api-Key",
		"/v1/chat/completions": "Authorization", "/v1/responses": "Authorization",
		"/v1beta/models/g:generateContent": "X-Goog-Api-Key", "/v1beta/models/g:streamGenerateContent?alt=sse": "X-Goog-Api-Key",
	} {
		sent := http.Header{
			"User-Agent": {"client/1.0"}, "Content-Type": {"application/json"}, "X-Session-Id": {"s"}, "X-Forwarded-For": {"10.0.0.1"},
			"Anthropic-Beta": {"a,b"}, "Accept-Encoding": {"br, zstd"}, "X-Many": {"1", "2"}, credential: {"Bearer client"},
		}
		body := " {\"model\" : \"m\",  \"messages\":[]}\n"
		resp, text := gw.post(t, path, body, sent)
		require.Equal(t, "\x1f\x8b as it is", text, "the client must get the answer unchanged")
		require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"))
		require.Equal(t, "yes", resp.Header.Get("X-From-Upstream"))
		require.Empty(t, resp.Header.Get(decisionHeader), "without DecisionHeader the answer must not have this header")
		require.Equal(t, body, string(got.body))
		require.Equal(t, path, got.uri)
		want := sent.Clone()
		want.Set("Accept-Encoding", "identity") // the gateway cannot read the encodings that the client accepts
		want.Set(credential, map[bool]string{true: "Bearer key-1", false: "key-1"}[credential == "Authorization"])
		want.Set("Content-Length", fmt.Sprint(len(body)))
		require.Equal(t, want, got.header, path)
	}
	resp, _ := gw.post(t, "/v1beta/models/g:generateContent?key=client&alt=json", "{}", nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "/v1beta/models/g:generateContent?alt=json", got.uri, "the client's key must be removed from the query")
	resp, text := gw.post(t, "/v1/organization/admin_api_keys", "{}", nil)
	require.Equal(t, http.StatusNotFound, resp.StatusCode, "a path that clients may not use must be refused, although the auth could use it")
	require.JSONEq(t, `{"error":{"message":"this gateway does not serve that path","type":"not_found_error","param":null,"code":null}}`, text)
}

func TestAStreamPassesThroughAsItComes(t *testing.T) {
	step := make(chan struct{})
	pool := upstream(t, 1, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-step // the next event is written when the client has got this one
		}
	})
	gw := startGatewayOn(t, GatewayOptions{Pool: pool, Affinity: true})
	resp, err := gw.client.Post(gw.url+"/v1/messages", "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	defer resp.Body.Close()
	buf := make([]byte, 64)
	for i := range 3 {
		var event string
		for !strings.HasSuffix(event, "\n\n") {
			n, err := resp.Body.Read(buf)
			event += string(buf[:n])
			require.NoError(t, err)
		}
		require.Equal(t, fmt.Sprintf("data: %d\n\n", i), event)
		step <- struct{}{}
	}
}

func TestWhatTheClientCancelsIsCancelledUpstream(t *testing.T) {
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	pool := upstream(t, 2, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(arrived) // a second attempt would panic here
		<-r.Context().Done()
		close(cancelled)
	})
	gw := startGatewayOn(t, GatewayOptions{Pool: pool, Affinity: true})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gw.url+"/v1/messages", strings.NewReader("{}"))
	require.NoError(t, err)
	done := make(chan error)
	go func() {
		_, err := gw.client.Do(req)
		done <- err
	}()
	<-arrived
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	<-cancelled
	for _, a := range gw.pool.auths {
		require.Empty(t, a.Reason(), "a request that the client has cancelled must not count as a failure of the auth")
	}
}

const question = `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"a question"}]}`

func TestAFailureThatAnotherAuthCanPreventIsNotSeen(t *testing.T) {
	for _, fault := range []simulator.Fault{
		{Status: 401}, {Status: 402}, {Status: 403}, {Status: 408}, {Status: 429, RetryAfter: time.Second}, {Status: 500},
		{Status: 502}, {Status: 503}, {Status: 504}, {Status: 529}, {HangUp: true},
	} {
		t.Run(fmt.Sprintf("%+v", fault), func(t *testing.T) {
			gw := startGateway(t, 3, GatewayOptions{Affinity: true, DecisionHeader: true})
			session := http.Header{"X-Session-Id": {"the-session"}}
			resp, _ := gw.post(t, "/v1/messages", question, session)
			home := decisionOf(resp)["auth"]
			gw.sim.SetFault(gw.pool.Named(home).Key, fault)
			resp, _ = gw.post(t, "/v1/messages", question, session)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			away := decisionOf(resp)["auth"]
			require.NotEqual(t, home, away)
			for range 3 {
				resp, _ = gw.post(t, "/v1/messages", question, session)
				require.Equal(t, away, decisionOf(resp)["auth"], "the session must stay on the auth to which it has moved")
			}
		})
	}
}

func TestWhatNobodyCanPreventIsPassedOn(t *testing.T) {
	gw := startGateway(t, 2, GatewayOptions{Affinity: true})
	t.Run("the client's own fault is tried once", func(t *testing.T) {
		resp, text := gw.post(t, "/v1/messages", `{"messages":`, nil)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		require.Contains(t, text, "error")
		tries := 0
		for _, s := range gw.sim.Stats() {
			tries += int(s.Requests)
		}
		require.Equal(t, 1, tries)
	})
	t.Run("all auths fail: the upstream's own answer", func(t *testing.T) {
		for _, a := range gw.pool.auths {
			gw.sim.SetFault(a.Key, simulator.Fault{Status: 529})
		}
		resp, _ := gw.post(t, "/v1/messages", question, nil)
		require.Equal(t, 529, resp.StatusCode)
	})
	t.Run("a stream that breaks after its beginning breaks for the client", func(t *testing.T) {
		gw := startGateway(t, 2, GatewayOptions{Affinity: true})
		for _, a := range gw.pool.auths {
			gw.sim.SetFault(a.Key, simulator.Fault{HangUp: true, HangUpAfter: 2})
		}
		resp, err := gw.client.Post(gw.url+"/v1/messages", "application/json", strings.NewReader(question))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		require.Error(t, err)
	})
	t.Run("nobody there", func(t *testing.T) {
		nobody, err := url.Parse("http://127.0.0.1:1")
		require.NoError(t, err)
		gw := startGatewayOn(t, GatewayOptions{Affinity: true, Pool: &Pool{auths: []*Auth{{Name: "a", API: APIAny, URL: nobody}}}})
		resp, _ := gw.post(t, "/v1/messages", question, nil)
		require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	})
}

// A request without a session is sent unchanged to the auth that the balancer chooses, and it is
// counted.
func TestBodiesThatNobodyCanRead(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(question))
	z.Close()
	large := strings.Repeat("x", 50<<20/thorough)
	for name, body := range map[string]string{
		"empty": "", "not JSON": "hello", "truncated": question[:len(question)-3], "compressed": zipped.String(),
		"large": large, "much JSON without a session": `{"model":"m","padding":"` + large + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			got := map[string]int{}
			same := true
			pool := upstream(t, 4, func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				same = same && string(text) == body
				got[r.Header.Get("X-Api-Key")]++
			})
			gw := startGatewayOn(t, GatewayOptions{Pool: pool, Affinity: true})
			for range 4 {
				resp, _ := gw.post(t, "/v1/messages", body, nil)
				require.Equal(t, http.StatusOK, resp.StatusCode)
			}
			require.True(t, same, "the upstream must get the body unchanged")
			require.Len(t, got, 4, "the balancer must use all auths in turn")
			require.EqualValues(t, 4, gw.g.Stats().Outcome(affinity.OutcomeNone))
		})
	}
	t.Run("larger than what is held: known by its headers", func(t *testing.T) {
		var arrived []int
		pool := upstream(t, 4, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			arrived = append(arrived, int(n))
		})
		gw := startGatewayOn(t, GatewayOptions{Pool: pool, Affinity: true, MaxBody: 1 << 20, DecisionHeader: true})
		auths := map[string]bool{}
		for range 3 {
			resp, _ := gw.post(t, "/v1/messages", large, http.Header{"X-Session-Id": {"s1"}})
			auths[decisionOf(resp)["auth"]] = true
		}
		require.Equal(t, []int{len(large), len(large), len(large)}, arrived)
		require.Len(t, auths, 1)
	})
}

func TestCountTokensStaysWithItsSession(t *testing.T) {
	gw := startGateway(t, 4, GatewayOptions{Affinity: true, DecisionHeader: true})
	session := http.Header{"X-Session-Id": {"s1"}}
	resp, _ := gw.post(t, "/v1/messages", question, session)
	home := decisionOf(resp)["auth"]
	resp, text := gw.post(t, "/v1/messages/count_tokens", question, session)
	require.Contains(t, text, "input_tokens")
	require.Equal(t, home, decisionOf(resp)["auth"])
}

func TestCallersWithDifferentCredentialsAreDifferentTenants(t *testing.T) {
	gw := startGateway(t, 4, GatewayOptions{Affinity: true, DecisionHeader: true})
	auths := map[string]bool{}
	for _, caller := range []string{"one", "two"} {
		resp, _ := gw.post(t, "/v1/messages", question, http.Header{"X-Session-Id": {"default-chat"}, "Authorization": {caller}})
		require.Equal(t, "new", decisionOf(resp)["outcome"])
		auths[decisionOf(resp)["auth"]] = true
	}
	require.Len(t, auths, 2)
}

// When the configuration is read again, sessions stay. Only the sessions of an auth that was
// removed move, and an auth that rests continues to rest.
func TestAReloadKeepsSessions(t *testing.T) {
	gw := startGateway(t, 4, GatewayOptions{Affinity: true, DecisionHeader: true})
	where := map[string]string{}
	send := func(id string) map[string]string {
		resp, _ := gw.post(t, "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, http.Header{"X-Session-Id": {id}})
		require.Equal(t, http.StatusOK, resp.StatusCode)
		return decisionOf(resp)
	}
	for i := range 12 {
		id := fmt.Sprint("s", i)
		where[id] = send(id)["auth"]
	}
	all := gw.pool.All()
	gone, rests := all[1].Name, all[2].Name
	gw.sim.SetFault(all[2].Key, simulator.Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Minute, Times: 1})
	for id, auth := range where {
		if auth == rests {
			require.NotEqual(t, rests, send(id)["auth"])
			break
		}
	}
	next := []*Auth{{Name: "new", API: APIAny, URL: all[1].URL, Key: all[1].Key}}
	for _, a := range all {
		if a.Name != gone {
			next = append(next, &Auth{Name: a.Name, API: a.API, URL: a.URL, Key: a.Key})
		}
	}
	gw.g.Reload(next)
	require.NotZero(t, gw.g.transport.RestsUntil(rests, "m"))
	for id, auth := range where {
		d := send(id)
		switch auth {
		case gone:
			require.Equal(t, "moved", d["outcome"])
			require.NotEqual(t, gone, d["auth"])
		case rests:
			require.Equal(t, "detour", d["outcome"])
		default:
			require.Equal(t, auth, d["auth"])
		}
	}
}

// Upstreams of a lower tier serve when those of a higher one cannot.
func TestTiers(t *testing.T) {
	gw := startGateway(t, 3, GatewayOptions{Affinity: true, DecisionHeader: true})
	all := gw.pool.All()
	all[1].Tier = 1
	for i := range 6 {
		resp, _ := gw.post(t, "/v1/chat/completions", `{"model":"m","messages":[]}`, http.Header{"X-Session-Id": {fmt.Sprint("s", i)}})
		require.Equal(t, all[1].Name, decisionOf(resp)["auth"])
	}
	gw.sim.SetFault(all[1].Key, simulator.Fault{Status: http.StatusServiceUnavailable})
	resp, _ := gw.post(t, "/v1/chat/completions", `{"model":"m","messages":[]}`, http.Header{"X-Session-Id": {"another"}})
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NotEqual(t, all[1].Name, decisionOf(resp)["auth"])
}

// However requests end, in the end no auth has requests in flight.
func TestNothingStaysInFlight(t *testing.T) {
	gw := startGateway(t, 4, GatewayOptions{Affinity: true})
	all := gw.pool.All()
	gw.sim.SetFault(all[0].Key, simulator.Fault{HangUp: true, Times: 2})
	gw.sim.SetFault(all[1].Key, simulator.Fault{Status: http.StatusServiceUnavailable})
	gw.sim.SetFault(all[2].Key, simulator.Fault{HangUp: true, HangUpAfter: 2, Times: 2})
	var clients sync.WaitGroup
	for i := range 24 {
		clients.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body := `{"model":"m","stream":true,"messages":[{"role":"user","content":"tell me"}]}`
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, gw.url+"/v1/chat/completions", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("X-Session-Id", fmt.Sprint("s", i))
			resp, err := gw.client.Do(req)
			if err != nil {
				return // the fault: the provider has closed the connection
			}
			defer resp.Body.Close()
			if i%3 == 0 {
				cancel() // this client leaves
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		})
	}
	clients.Wait()
	require.Eventually(t, func() bool {
		for _, a := range all {
			if gw.g.transport.InFlight(a.Name) != 0 {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
}
