package affinityhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// proxy is a reverse proxy with a Transport, in front of a provider of the test's own.
type proxy struct {
	*affinityhttp.Transport[string]
	url    string
	client *http.Client

	mu       sync.Mutex
	attempts []affinityhttp.Attempt
}

// provider answers by the auth that a request presents.
type provider func(auth string, w http.ResponseWriter, r *http.Request)

var names = []string{"a", "b", "c", "d"}

func itself(auth string) string { return auth }

// start starts a proxy over four auths.
func start(t *testing.T, upstream provider, o *affinityhttp.Options[string]) *proxy {
	t.Helper()
	return startOn(t, serving(t, upstream), o)
}

// serving starts a provider.
func serving(t *testing.T, upstream provider) *url.URL {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upstream(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer key-"), w, r)
	}))
	t.Cleanup(up.Close)
	base, err := url.Parse(up.URL)
	require.NoError(t, err)
	return base
}

func startOn(t *testing.T, base *url.URL, o *affinityhttp.Options[string]) *proxy {
	t.Helper()
	return startNamed(t, base, names, o)
}

func startNamed(t *testing.T, base *url.URL, names []string, o *affinityhttp.Options[string]) *proxy {
	t.Helper()
	var all affinityhttp.Options[string]
	if o != nil {
		all = *o
	}
	if all.DecisionHeader == "" {
		all.DecisionHeader = "X-Decision"
	}
	p := &proxy{}
	all.ReuseBodies = true // what can go wrong with them is seen by all tests
	all.OnAttempt = func(_ context.Context, a affinityhttp.Attempt) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.attempts = append(p.attempts, a)
	}
	var err error
	p.Transport, err = affinityhttp.New(selector.RoundRobin[string](), itself,
		func(*http.Request, affinity.Request) []string { return names },
		func(out *http.Request, auth string) error {
			affinityhttp.SetURL(out, base)
			out.Header.Set("Authorization", "Bearer key-"+auth)
			return nil
		}, &all)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, Transport: p, ErrorHandler: affinityhttp.WriteError, FlushInterval: -1,
		ErrorLog: log.New(io.Discard, "", 0), // answers that break off are what is tested
	})
	t.Cleanup(front.Close)
	p.url, p.client = front.URL, &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// told waits until there were at least n attempts, and returns them. An attempt is reported
// when its answer has ended, and the client may know that earlier.
func (p *proxy) told(t *testing.T, n int) []affinityhttp.Attempt {
	t.Helper()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.attempts) >= n
	}, 10*time.Second, time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.attempts)
}

// got is an answer as the client has it.
type got struct {
	*http.Response
	text     string
	decision map[string]string
	err      error // of reading
}

func (p *proxy) send(t *testing.T, method, path, body string, header ...string) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return p.do(t, req)
}

func (p *proxy) do(t *testing.T, req *http.Request) got {
	t.Helper()
	resp, err := p.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	g := got{Response: resp, decision: map[string]string{}}
	text, err := io.ReadAll(resp.Body)
	g.text, g.err = string(text), err
	for part := range strings.SplitSeq(resp.Header.Get("X-Decision"), "; ") {
		k, v, _ := strings.Cut(part, "=")
		g.decision[k] = v
	}
	return g
}

// turn is a turn of a session with an id.
func (p *proxy) turn(t *testing.T, session string) got {
	t.Helper()
	return p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"q"}]}`, "X-Session-Id", session)
}

func ok(auth string, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"chatcmpl-1","choices":[{"message":{"role":"assistant","content":"from %s"},"finish_reason":"stop"}]}`, auth)
}

// failing is a provider of which some auths answer a status.
type failing struct {
	mu     sync.Mutex
	status map[string]int
	after  map[string]string // Retry-After
	calls  []string
}

func (f *failing) set(auth string, status int, after string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status == nil {
		f.status, f.after = map[string]int{}, map[string]string{}
	}
	f.status[auth], f.after[auth] = status, after
}

func (f *failing) serve(auth string, w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	f.mu.Lock()
	status, after := f.status[auth], f.after[auth]
	f.calls = append(f.calls, auth)
	f.mu.Unlock()
	switch {
	case status == 0:
		ok(auth, w, r)
	case status < 0:
		if status == -2 {
			w.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	default:
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"message":"%s says %d"}}`, auth, status)
	}
}

func (f *failing) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.calls
	f.calls = nil
	return c
}

func TestASessionStaysAndOthersSpread(t *testing.T) {
	p := start(t, ok, nil)
	where := map[string]bool{}
	for i := range 8 {
		session := fmt.Sprint("s", i)
		first := p.turn(t, session)
		require.Equal(t, "new", first.decision["outcome"])
		where[first.decision["auth"]] = true
		for range 3 {
			again := p.turn(t, session)
			require.Equal(t, first.decision["auth"], again.decision["auth"])
			require.Equal(t, first.decision["session"], again.decision["session"], "the stable name")
			require.Contains(t, again.text, "from "+first.decision["auth"])
		}
	}
	require.Len(t, where, 4)
}

func TestAnotherAuthIsTriedWhereItCanHelp(t *testing.T) {
	for _, status := range []int{401, 402, 403, 408, 429, 500, 502, 503, 504, 529, -1, -2} { // it hangs up, before and behind its header
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var f failing
			p := start(t, f.serve, nil)
			home := p.turn(t, "s").decision["auth"]
			f.set(home, status, "")
			f.called()
			next := p.turn(t, "s")
			require.Equal(t, 200, next.StatusCode)
			require.NotEqual(t, home, next.decision["auth"])
			require.Len(t, f.called(), 2)
			for range 3 {
				require.Equal(t, next.decision["auth"], p.turn(t, "s").decision["auth"], "moved once, and stays")
			}
			require.Len(t, f.called(), 3, "the one that has failed is left alone")
		})
	}
}

func TestTheClientsOwnFaultIsTriedOnce(t *testing.T) {
	for _, status := range []int{400, 405, 413, 422} {
		var f failing
		p := start(t, f.serve, nil)
		for _, auth := range names {
			f.set(auth, status, "")
		}
		g := p.turn(t, "s")
		require.Equal(t, status, g.StatusCode)
		require.Contains(t, g.text, fmt.Sprint("says ", status), "the client gets the provider's own error")
		require.Len(t, f.called(), 1)
	}
}

func TestAModelThatNobodyKnowsIsTriedTwice(t *testing.T) {
	var f failing
	p := start(t, f.serve, &affinityhttp.Options[string]{Affinity: affinity.Options[string]{AllModels: true}})
	home := p.turn(t, "s").decision["auth"]
	for _, auth := range names {
		f.set(auth, 404, "")
	}
	f.called()
	g := p.turn(t, "s")
	require.Equal(t, 404, g.StatusCode)
	require.Contains(t, g.text, "says 404")
	require.Len(t, f.called(), 2)
	for _, auth := range names {
		f.set(auth, 0, "")
	}
	g = p.turn(t, "s")
	require.Equal(t, "hit", g.decision["outcome"], "after a model that no auth knows the session is still bound")
	require.Equal(t, home, g.decision["auth"])

	f.set(home, 404, "")
	g = p.turn(t, "s")
	require.Equal(t, 200, g.StatusCode, "another auth knows the model")
	there := g.decision["auth"]
	f.set(home, 0, "")
	for range 3 {
		require.Equal(t, there, p.turn(t, "s").decision["auth"], "so the session has left the one that does not")
	}
}

// If all fail, the client gets the answer of the one that comes back first.
func TestWhenAllFailTheClientGetsTheSoonestAnswer(t *testing.T) {
	var f failing
	p := start(t, f.serve, nil)
	for i, auth := range names {
		f.set(auth, 500+i%2*29, fmt.Sprint(30+i))
	}
	g := p.turn(t, "s")
	calls := f.called()
	require.Len(t, calls, 4)
	require.ElementsMatch(t, names, calls)
	require.Equal(t, 500, g.StatusCode)
	require.Equal(t, "30", g.Header.Get("Retry-After"))
	require.Contains(t, g.text, names[0]+" says")

	// All auths have asked to be left alone, so none is called.
	g = p.turn(t, "s")
	require.Equal(t, 503, g.StatusCode)
	require.NotEmpty(t, g.Header.Get("Retry-After"))
	require.Equal(t, "application/json", g.Header.Get("Content-Type"))
	require.Contains(t, g.text, `"error"`)
	require.Empty(t, f.called())
}

// The client can do nothing about a credential that is refused, so it gets the answer of
// another auth.
func TestTheClientIsNotToldOfACredentialThatIsNotItsOwn(t *testing.T) {
	for _, first := range []int{401, 429} {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Attempts: 2})
		home := p.turn(t, "s").decision["auth"]
		for _, auth := range names {
			f.set(auth, 401+429-first, "20")
		}
		f.set(home, first, "20")
		g := p.turn(t, "s")
		require.Equal(t, 429, g.StatusCode)
		require.Equal(t, "20", g.Header.Get("Retry-After"))
		require.Len(t, p.told(t, 3), 3)
	}
	var f failing
	p := start(t, f.serve, nil)
	for _, auth := range names {
		f.set(auth, 401, "")
	}
	require.Equal(t, 401, p.turn(t, "s").StatusCode, "the client gets the 401 if no auth has another answer")

	// All but one are refused, and that one comes back at a time that is known. The client hears
	// of that, also when it is no longer asked.
	for _, status := range []int{401, 402, 403} {
		var f failing
		p := start(t, f.serve, nil)
		for _, auth := range names {
			f.set(auth, status, "")
		}
		f.set("b", 429, "30")
		for i := range 4 {
			g := p.turn(t, fmt.Sprint("s", i))
			require.Contains(t, []int{429, 503}, g.StatusCode, "%d, request %d", status, i)
			after, err := strconv.Atoi(g.Header.Get("Retry-After"))
			require.NoError(t, err)
			require.InDelta(t, 30, after, 10)
		}
	}
}

// An answer after which the client may try again says more than one that is final for it, whatever
// came first.
func TestAnAccountThatHasNoModelHidesNoOther(t *testing.T) {
	for _, home := range []string{"a", "b"} {
		var f failing
		p := startNamed(t, serving(t, f.serve), []string{"a", "b"}, nil)
		session := "s"
		for p.turn(t, session).decision["auth"] != home {
			session += "s"
		}
		f.set("a", 404, "")
		f.set("b", 429, "30")
		require.Equal(t, 429, p.turn(t, session).StatusCode, home)
	}
}

// What an auth has asked for is known by its new name, too.
func TestARenamedAuthStillRests(t *testing.T) {
	var f failing
	p := start(t, f.serve, nil)
	f.set("a", 429, "60")
	for i := range 4 {
		p.turn(t, fmt.Sprint("s", i))
	}
	require.NotZero(t, p.RestsUntil("a", "m"))
	_, err := p.RenameAuth(t.Context(), "a", "z")
	require.NoError(t, err)
	require.Zero(t, p.RestsUntil("a", "m"))
	require.InDelta(t, 60, time.Until(p.RestsUntil("z", "m")).Seconds(), 20)
	_, err = p.RenameAuth(t.Context(), "b", "z")
	require.NoError(t, err)
	require.NotZero(t, p.RestsUntil("z", "m"))
}

// The timeout of an http.Client that uses a Transport is the client's.
func TestAClientsTimeoutBlamesNobody(t *testing.T) {
	p := start(t, func(_ string, _ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server looks whether the client is there
		<-r.Context().Done()
	}, nil)
	for range 20 {
		c := &http.Client{Transport: p, Timeout: 2 * time.Millisecond}
		_, err := c.Post("http://gateway/v1/messages", "application/json", strings.NewReader(`{"model":"m"}`))
		require.Error(t, err)
	}
	for _, a := range p.told(t, 1) {
		require.Equal(t, affinity.Cancelled, a.Result)
	}
}

// A request that reads state may ask all auths if nobody knows which auth has the state.
func TestALookAtStateAsksAllThatCouldHaveIt(t *testing.T) {
	var f failing
	p := start(t, f.serve, nil)
	for _, auth := range names[:3] {
		f.set(auth, 404, "")
	}
	g := p.send(t, http.MethodGet, "/v1/messages/batches/msgbatch_1", "")
	require.Equal(t, 200, g.StatusCode)
	require.Len(t, f.called(), 4)
	f.set("d", 404, "")
	require.Equal(t, 404, p.send(t, http.MethodGet, "/v1/messages/batches/msgbatch_1", "").StatusCode)
	require.Len(t, f.called(), 4)
}

// A function of the host's that panics leaves nothing in flight, and no pick without a report.
func TestAPanicLeavesNothingBehind(t *testing.T) {
	options := &affinityhttp.Options[string]{Affinity: affinity.Options[string]{
		Classify: func(*http.Response, error) (affinity.Result, time.Duration) { panic("the host's, too") },
	}}
	for _, prepare := range []func(*http.Request, string) error{
		func(*http.Request, string) error { panic("the host's") },
		func(*http.Request, string) error { return errors.New("not now") },
	} {
		tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
			func(*http.Request, affinity.Request) []string { return names }, prepare, options)
		require.NoError(t, err)
		defer tr.Close()
		require.Panics(t, func() {
			_, _ = tr.RoundTrip(httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader("{}")))
		})
		require.Zero(t, tr.InFlight("a"))
		require.EqualValues(t, 1, tr.Stats().Results[affinity.Cancelled])
	}
}

// Nor does one that is asked whether a request may be repeated, nor a Base that returns nothing.
func TestHostsThatAreWrong(t *testing.T) {
	var repeats atomic.Bool
	tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
		func(*http.Request, affinity.Request) []string { return names }, func(*http.Request, string) error { return nil },
		&affinityhttp.Options[string]{
			Base: roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil }),
			Repeat: func(*http.Request, affinity.Request) bool {
				if repeats.Load() {
					return false
				}
				panic("the host's")
			},
		})
	require.NoError(t, err)
	defer tr.Close()
	send := func() {
		_, err = tr.RoundTrip(httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader("{}")))
	}
	require.Panics(t, send)
	require.Zero(t, tr.InFlight("a"))
	require.Zero(t, tr.Stats().Unreported())
	repeats.Store(true)
	send()
	require.ErrorContains(t, err, "neither an answer nor an error")
	require.Zero(t, tr.InFlight("a"))
	require.Zero(t, tr.Stats().Unreported())
}

// deadline is a context whose deadline ends when the auth has the request.
type deadline struct {
	context.Context
	over chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.over }

func (d deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// A client that is slow to send its request, or that has a deadline of its own, is not
// the auth's fault.
func TestASlowClientBlamesNobody(t *testing.T) {
	var results []affinity.Result
	o := &affinityhttp.Options[string]{Within: 30 * time.Millisecond, MaxBody: 8, OnAttempt: func(_ context.Context, a affinityhttp.Attempt) { results = append(results, a.Result) }}
	release := make(chan struct{})
	late := deadline{t.Context(), make(chan struct{})}
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			close(late.over)
		}
		<-release
	}))
	defer up.Close()
	defer close(release)
	base, err := url.Parse(up.URL)
	require.NoError(t, err)
	tr, err := affinityhttp.New(selector.FillFirst[string](), itself, func(*http.Request, affinity.Request) []string { return names },
		func(out *http.Request, _ string) error {
			affinityhttp.SetURL(out, base)
			return nil
		}, o)
	require.NoError(t, err)
	defer tr.Close()
	slow, in := io.Pipe()
	defer in.Close()
	go func() { _, _ = in.Write([]byte(strings.Repeat("x", 100))) }() // and no more, until it breaks off
	time.AfterFunc(60*time.Millisecond, func() { in.CloseWithError(io.ErrUnexpectedEOF) })
	_, err = tr.RoundTrip(httptest.NewRequest(http.MethodPost, "/v1/messages", slow))
	require.Error(t, err)
	require.NoError(t, tr.Reconfigure(selector.FillFirst[string](), &affinityhttp.Options[string]{OnAttempt: o.OnAttempt}))
	_, err = tr.RoundTrip(httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader("{}")).WithContext(late))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, []affinity.Result{affinity.Cancelled, affinity.Cancelled}, results)
}

// If the last auth closes the connection without an answer, the client gets the answer of the
// auth before.
func TestAnAnswerIsKeptIfNoOtherComes(t *testing.T) {
	var f failing
	p := start(t, f.serve, &affinityhttp.Options[string]{Attempts: 2})
	home := p.turn(t, "s").decision["auth"]
	for _, auth := range names {
		f.set(auth, -1, "")
	}
	f.set(home, 529, "")
	g := p.turn(t, "s")
	require.Equal(t, 529, g.StatusCode)
	require.Contains(t, g.text, home+" says 529")
	for _, auth := range names {
		f.set(auth, -1, "")
	}
	g = p.turn(t, "another")
	require.Equal(t, http.StatusBadGateway, g.StatusCode)
	require.Contains(t, g.text, `"api_error"`)
	require.NotContains(t, g.text, "127.0.0.1")
}

// A request that may have had an effect is not sent again.
func TestNothingIsDoneTwice(t *testing.T) {
	mcp := `{"model":"m","input":"q","tools":[{"type":"mcp","server_url":"x"}]}`
	for _, c := range []struct {
		name, path, body string
		status, calls    int
	}{
		{"a turn", "/v1/responses", `{"model":"m","input":"q"}`, 500, 4},
		{"a turn that breaks", "/v1/responses", `{"model":"m","input":"q"}`, -1, 4},
		{"a turn in a conversation", "/v1/responses", `{"model":"m","input":"q","conversation":"conv_1"}`, 500, 1},
		{"a turn in the background", "/v1/responses", `{"model":"m","input":"q","background":true}`, -1, 1},
		{"tools that the provider calls", "/v1/responses", mcp, 502, 1},
		{"the same, refused", "/v1/responses", mcp, 503, 4},
		{"the same, Anthropic's", "/v1/messages", `{"model":"m","messages":[],"mcp_servers":[{"url":"x"}]}`, 500, 1},
		{"duplicate members", "/v1/responses", `{"model":"m","input":"q","background":false,"background":true}`, 500, 1},
		{"code in a container", "/v1/responses", `{"model":"m","input":"q","tools":[{"type":"code_interpreter","container":"cntr_1"}]}`, 500, 1},
		{"code in a new container", "/v1/responses", `{"model":"m","input":"q","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}`, 500, 4},
		{"a container", "/v1/messages", `{"model":"m","messages":[],"container":"c"}`, 500, 1},
		{"a new conversation", "/v1/conversations", `{}`, 500, 1},
		{"a new conversation, refused", "/v1/conversations", `{}`, 429, 4},
		{"a count", "/v1/messages/count_tokens", `{"messages":[]}`, 500, 4},
		{"embeddings", "/v1/embeddings", `{"model":"m","input":"q"}`, 500, 4},
		{"images", "/v1/images/generations", `{"model":"m"}`, 500, 1},
		{"something that nobody knows", "/v1/things", `{}`, 500, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f failing
			p := start(t, f.serve, nil)
			for _, auth := range names {
				f.set(auth, c.status, "")
			}
			g := p.send(t, http.MethodPost, c.path, c.body)
			require.Equal(t, map[bool]int{true: 502, false: c.status}[c.status < 0], g.StatusCode)
			require.Len(t, f.called(), c.calls)
		})
	}
	t.Run("unless the host allows it", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Repeat: func(*http.Request, affinity.Request) bool { return true }})
		for _, auth := range names {
			f.set(auth, 500, "")
		}
		p.send(t, http.MethodPost, "/v1/things", `{}`)
		require.Len(t, f.called(), 4)
	})
	t.Run("a request that could not be sent had no effect", func(t *testing.T) {
		nobody, err := url.Parse("http://127.0.0.1:1")
		require.NoError(t, err)
		p := startOn(t, nobody, nil)
		g := p.send(t, http.MethodPost, "/v1/things", `{}`)
		require.Equal(t, http.StatusBadGateway, g.StatusCode)
		require.Len(t, p.told(t, 4), 4)
	})
}

func TestPreparingMayFail(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ok("x", w, r) }))
	defer up.Close()
	base, err := url.Parse(up.URL)
	require.NoError(t, err)
	prepared := []string{}
	tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
		func(*http.Request, affinity.Request) []string { return names },
		func(out *http.Request, auth string) error {
			prepared = append(prepared, auth)
			if auth != "c" {
				return errors.New(`oauth2: "invalid_grant"`)
			}
			affinityhttp.SetURL(out, base)
			return nil
		}, nil)
	require.NoError(t, err)
	defer tr.Close()
	client := &http.Client{Transport: tr}
	defer client.CloseIdleConnections()
	for range 2 {
		resp, err := client.Post("http://gateway/v1/things", "application/json", strings.NewReader("{}"))
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Equal(t, []string{"a", "b", "c", "c"}, prepared, "an auth whose credential cannot be renewed is not used for a while")
}

func TestPatience(t *testing.T) {
	t.Run("a warm session waits for its auth", func(t *testing.T) {
		var f failing
		p := start(t, func(auth string, w http.ResponseWriter, r *http.Request) {
			f.serve(auth, w, r)
			f.set(auth, 0, "") // it fails once
		}, &affinityhttp.Options[string]{Patience: 3 * time.Second})
		home := p.turn(t, "s").decision["auth"]
		f.set(home, 429, "1")
		g := p.turn(t, "s")
		require.Equal(t, 200, g.StatusCode)
		require.Equal(t, home, g.decision["auth"], "the request waits for the auth with its prompt cache")
		require.Equal(t, "hit", g.decision["outcome"])
		require.NotZero(t, p.Stats().Outcome(affinity.OutcomeWaits))
	})
	t.Run("so does a request that comes while its auth rests", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Patience: 3 * time.Second})
		home := p.turn(t, "s").decision["auth"]
		other := ""
		for i := 0; other != home; i++ {
			other = p.turn(t, fmt.Sprint("other", i)).decision["auth"]
		}
		f.set(home, 429, "1")
		// A request without a session is told until when, and does not wait.
		for range 4 {
			require.Equal(t, 200, p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[]}`).StatusCode)
		}
		f.set(home, 0, "")
		require.Equal(t, home, p.turn(t, "s").decision["auth"])
	})
	t.Run("not for longer than it has", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Patience: 3 * time.Second})
		home := p.turn(t, "s").decision["auth"]
		f.set(home, 429, "4")
		g := p.turn(t, "s")
		require.NotEqual(t, home, g.decision["auth"])
		require.Zero(t, p.Stats().Outcome(affinity.OutcomeWaits))
	})
	t.Run("and then another auth is asked", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Patience: 3 * time.Second, Attempts: 2})
		home := p.turn(t, "s").decision["auth"]
		f.set(home, 429, "0.05")
		f.called()
		g := p.turn(t, "s")
		require.Equal(t, 200, g.StatusCode, "waiting does not count as an attempt")
		require.NotEqual(t, home, g.decision["auth"])
		require.Equal(t, []string{home, home, home, home, g.decision["auth"]}, f.called())
	})
	t.Run("also if the wait is over before it begins", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Patience: 3 * time.Second, Attempts: 2, Within: 20 * time.Second})
		home := p.turn(t, "s").decision["auth"]
		f.set(home, 429, "0.000001")
		f.called()
		g := p.turn(t, "s")
		require.Equal(t, 200, g.StatusCode)
		require.NotEqual(t, home, g.decision["auth"])
		require.Equal(t, []string{home, home, home, home, g.decision["auth"]}, f.called())
	})
	t.Run("in all, not each time", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Patience: 1500 * time.Millisecond})
		home := p.turn(t, "s").decision["auth"]
		f.set(home, 429, "1")
		f.called()
		g := p.turn(t, "s")
		require.NotEqual(t, home, g.decision["auth"])
		require.Equal(t, []string{home, home, g.decision["auth"]}, f.called())
	})
	t.Run("not where the prompt cache is cold", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Patience: 3 * time.Second})
		for _, auth := range names[:3] {
			f.set(auth, 429, "1")
		}
		g := p.turn(t, "new")
		require.Equal(t, "d", g.decision["auth"])
		require.Zero(t, p.Stats().Outcome(affinity.OutcomeWaits))
	})
	t.Run("not for longer than the client", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Patience: time.Hour})
		home := p.turn(t, "s").decision["auth"]
		f.set(home, 429, "300")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway/v1/chat/completions", strings.NewReader(`{"model":"m"}`))
		require.NoError(t, err)
		req.Header.Set("X-Session-Id", "s")
		_, err = p.RoundTrip(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// If an auth has said for how long to leave it alone, all sessions do, for that model. If it
// only fails, only its session leaves it, until it has failed several times.
func TestAuthsRest(t *testing.T) {
	var f failing
	p := start(t, f.serve, nil)
	ask := func(model string) string {
		return p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"`+model+`","messages":[]}`).decision["auth"]
	}
	f.set("a", 429, "30")
	for range 4 {
		require.NotEqual(t, "a", ask("m"))
	}
	f.called()
	for range 8 {
		ask("m")
	}
	require.NotContains(t, f.called(), "a")
	require.InDelta(t, 30, time.Until(p.RestsUntil("a", "m")).Seconds(), 20)
	require.Zero(t, p.RestsUntil("a", "another"))
	f.set("a", 0, "")
	require.NoError(t, p.Back(t.Context(), "a"))
	for range 4 {
		ask("m")
	}
	require.Contains(t, f.called(), "a", "the auth is used again after Back")

	// After one failure without a time, only its session leaves the auth. Other sessions stay,
	// and new sessions go elsewhere.
	var there []string
	for i := 0; len(there) < 3; i++ {
		if session := fmt.Sprint("s", i); p.turn(t, session).decision["auth"] == "b" {
			there = append(there, session)
		}
	}
	f.set("b", 500, "")
	require.NotEqual(t, "b", p.turn(t, there[0]).decision["auth"])
	require.Zero(t, p.RestsUntil("b", "m"), "after one failure the auth does not rest")
	f.set("b", 0, "")
	f.called()
	for range 8 {
		ask("m")
	}
	require.Zero(t, count(f.called(), "b"), "new sessions do not go to the auth that has failed")
	require.Equal(t, "b", p.turn(t, there[1]).decision["auth"])
	f.set("b", 500, "")
	require.NotEqual(t, "b", p.turn(t, there[1]).decision["auth"])
	require.NotZero(t, p.RestsUntil("b", "m"), "after two failures the auth rests")
	f.called()
	require.NotEqual(t, "b", p.turn(t, there[2]).decision["auth"])
	require.Zero(t, count(f.called(), "b"))

	// The same holds for one refusal, because the request may be at fault. Two in a row are the
	// auth's fault.
	there = nil
	for i := 0; len(there) < 3; i++ {
		if session := fmt.Sprint("t", i); p.turn(t, session).decision["auth"] == "c" {
			there = append(there, session)
		}
	}
	f.set("c", 401, "")
	for i, session := range there {
		f.called()
		require.NotEqual(t, "c", p.turn(t, session).decision["auth"])
		require.Equal(t, map[bool]int{true: 1, false: 0}[i < 2], count(f.called(), "c"))
	}
	require.NotZero(t, p.RestsUntil("c", "another"), "a credential that is refused is refused for all models")

	// Without Retry-After the absence is a guess: the last auth is asked all the same.
	for _, auth := range []string{"a", "d"} {
		f.set(auth, 401, "")
	}
	for range 3 {
		p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	}
	g := p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	require.Contains(t, []int{401, 500}, g.StatusCode, "the provider's own answer")
	f.set("b", 0, "")
	require.Equal(t, "b", ask("m"), "the auth that was guessed to be away answers")
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// If an auth may not serve a model, it is away for that model only. So nobody can take an auth
// from others by asking for such a model.
func TestAForbiddenModelStopsNobody(t *testing.T) {
	var mu sync.Mutex
	calls := map[string]int{}
	p := start(t, func(auth string, w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(string(body), "forbidden") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		calls[auth]++
		ok(auth, w, r)
	}, nil)
	for range 3 {
		require.Equal(t, 403, p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"forbidden","messages":[]}`).StatusCode)
	}
	for range 8 {
		p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	}
	require.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2, "d": 2}, calls)
}

func TestAnUpgradeIsAnsweredWith426(t *testing.T) {
	p := start(t, func(string, http.ResponseWriter, *http.Request) { t.Error("an auth was asked") }, nil)
	req, err := http.NewRequest(http.MethodGet, p.url+"/v1/responses", nil)
	require.NoError(t, err)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		req.Header.Set(k, v)
	}
	g := p.do(t, req)
	require.Equal(t, http.StatusUpgradeRequired, g.StatusCode)
	require.Equal(t, "application/json", g.Header.Get("Content-Type"))
	require.Zero(t, p.Stats().Outcome(affinity.OutcomeNone))
}

// The JDK's client asks for h2c in each first request. That may be ignored.
func TestOtherUpgradesAreIgnored(t *testing.T) {
	var got arrived
	p := start(t, got.serve, nil)
	g := p.send(t, http.MethodPost, "/v1/messages", `{"model":"m"}`, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
	require.Equal(t, 200, g.StatusCode)
	require.NotContains(t, got.header, "Upgrade")
	require.NotContains(t, got.header, "Http2-Settings")
}

func TestAttemptsAndTimeAreBounded(t *testing.T) {
	t.Run("attempts", func(t *testing.T) {
		var f failing
		p := start(t, f.serve, &affinityhttp.Options[string]{Attempts: 2})
		for _, auth := range names {
			f.set(auth, 503, "")
		}
		require.Equal(t, 503, p.turn(t, "s").StatusCode)
		require.Len(t, f.called(), 2)
	})
	t.Run("time", func(t *testing.T) {
		p := start(t, func(_ string, _ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, &affinityhttp.Options[string]{Within: 50 * time.Millisecond})
		require.Equal(t, http.StatusGatewayTimeout, p.turn(t, "s").StatusCode)
		require.Equal(t, affinity.Transient, p.told(t, 1)[0].Result)
		require.Len(t, p.told(t, 1), 1)
	})
	t.Run("but not the time of an answer that has begun", func(t *testing.T) {
		p := start(t, func(auth string, w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("begun, "))
			w.(http.Flusher).Flush()
			time.Sleep(1100 * time.Millisecond)
			w.Write([]byte("ended"))
		}, &affinityhttp.Options[string]{Within: time.Second}) // a busy machine may take some of it to begin
		require.Equal(t, "begun, ended", p.turn(t, "s").text)
	})
}

func TestConfigurationErrors(t *testing.T) {
	auths := func(*http.Request, affinity.Request) []string { return names }
	prepare := func(*http.Request, string) error { return nil }
	balancer := selector.RoundRobin[string]()
	for want, make := range map[string]func() (*affinityhttp.Transport[string], error){
		"the balancer is nil": func() (*affinityhttp.Transport[string], error) {
			return affinityhttp.New(nil, itself, auths, prepare, nil)
		},
		"names an auth": func() (*affinityhttp.Transport[string], error) {
			return affinityhttp.New(balancer, nil, auths, prepare, nil)
		},
		"returns the auths": func() (*affinityhttp.Transport[string], error) {
			return affinityhttp.New(balancer, itself, nil, prepare, nil)
		},
		"prepares": func() (*affinityhttp.Transport[string], error) {
			return affinityhttp.New(balancer, itself, auths, nil, nil)
		},
	} {
		_, err := make()
		require.ErrorContains(t, err, want)
	}
	for want, o := range map[string]affinityhttp.Options[string]{
		"MaxBody": {MaxBody: -1}, "Attempts": {Attempts: -1}, "Within": {Within: -1}, "Patience": {Patience: -1},
		"DecisionHeader": {DecisionHeader: "no header"}, "TenantKey": {TenantKey: []byte("short")},
		"Options.Warm": {Affinity: affinity.Options[string]{Warm: -1}},
	} {
		_, err := affinityhttp.New(balancer, itself, auths, prepare, &o)
		require.ErrorContains(t, err, want)
	}
}

func TestReconfigureKeepsWhatIsKnown(t *testing.T) {
	var f failing
	p := start(t, f.serve, nil)
	home := p.turn(t, "s").decision["auth"]
	f.set("a", 429, "30")
	p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	for range 4 {
		p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	}
	require.NotZero(t, p.RestsUntil("a", "m"))
	require.Error(t, p.Reconfigure(selector.FillFirst[string](), &affinityhttp.Options[string]{MaxBody: -1}))
	require.Error(t, p.Reconfigure(selector.FillFirst[string](), &affinityhttp.Options[string]{Affinity: affinity.Options[string]{Warm: -1}}))
	require.NoError(t, p.Reconfigure(selector.FillFirst[string](), &affinityhttp.Options[string]{DecisionHeader: "X-Decision"}))
	g := p.turn(t, "s")
	if home == "a" {
		require.Equal(t, "detour", g.decision["outcome"])
	} else {
		require.Equal(t, home, g.decision["auth"])
	}
	require.Equal(t, "b", p.turn(t, "new").decision["auth"], "the strategy takes the first auth that does not rest, and a rests")
}

// The list of auths is asked for before each attempt, so a reload counts at once.
func TestTheListOfAuthsIsThatOfEachAttempt(t *testing.T) {
	list := []string{"a", "b"}
	var sent []string
	tr, err := affinityhttp.New(selector.FillFirst[string](), itself, func(*http.Request, affinity.Request) []string { return list },
		func(out *http.Request, auth string) error { out.Header.Set("X-Auth", auth); return nil },
		&affinityhttp.Options[string]{Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			auth := r.Header.Get("X-Auth")
			status := http.StatusNoContent
			if sent = append(sent, auth); auth == "a" {
				list, status = []string{"a", "c"}, http.StatusServiceUnavailable // b is gone
			}
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}, nil
		})})
	require.NoError(t, err)
	defer tr.Close()
	send := func() {
		in := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(`{"model":"m"}`))
		in.Header.Set("X-Session-Id", "s")
		resp, err := tr.RoundTrip(in)
		require.NoError(t, err)
		require.Equal(t, http.StatusNoContent, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	}
	send()
	require.Equal(t, []string{"a", "c"}, sent)
	list = []string{"d"}
	n, err := tr.InvalidateAuth(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	send()
	require.Equal(t, []string{"a", "c", "d"}, sent)
}
