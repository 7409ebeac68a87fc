package affinityws_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/affinityws"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Each session has one auth: over all turns of a connection, over its connections, and
// over HTTP. Sessions are spread.
func TestASessionStaysOverConnectionsAndOverHTTP(t *testing.T) {
	g := start(t, affinityws.Options{})
	used := map[string]bool{}
	turns := 0
	for n := range 8 {
		session := fmt.Sprintf("0197f0d1-9f63-7c12-9d4e-00000000000%d", n)
		c := g.dial(t, session)
		require.Equal(t, "true", c.resp.Header.Get("X-Reasoning-Included"))
		home := c.turn()
		require.Contains(t, auths, home)
		used[home] = true
		for range 3 { // what the connection holds is gone on with
			require.Equal(t, home, c.turn("previous_response_id", c.last))
		}
		require.NoError(t, c.conn.Close(websocket.StatusNormalClosure, ""))
		again := g.dial(t, session)
		require.Equal(t, home, again.turn())
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.server.URL+"/v1/responses", strings.NewReader(`{"model":"m","input":"go on"}`))
		require.NoError(t, err)
		r.Header = header(session)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		turns += 6
		came := g.sentTo()
		require.Len(t, came, turns)
		require.Equal(t, home, came[turns-1])
	}
	require.Len(t, used, len(auths))
	for _, h := range g.handshakes {
		require.NotContains(t, h.Get("Authorization"), "caller")
		require.Equal(t, "responses_websockets=2026-02-06", h.Get("Openai-Beta"))
	}
	for _, e := range g.reports(t, turns) {
		require.Equal(t, affinity.Served, e.Report.Result)
		require.Equal(t, "openai", e.Pool)
		require.Equal(t, "m", e.Model)
		if e.Report.Usage.Prompt != 0 { // those over HTTP say nothing of it
			require.Equal(t, affinity.Usage{Prompt: 100, Cached: 60, Output: 5}, e.Report.Usage)
			require.Positive(t, e.Report.FirstToken)
			turns--
		}
	}
	require.Equal(t, 8, turns)
}

// An auth that asks to be left alone is: a turn that goes on with its response is to be
// sent whole, and then goes to another auth. After that it is the session's again.
func TestAnAuthIsTakenAwayBetweenTwoTurns(t *testing.T) {
	g := start(t, affinityws.Options{})
	c := g.dial(t, "s")
	home := c.turn()
	held := c.last
	g.when(home, func(u *turned) {
		u.send(`{"type":"error","status":429,"error":{"type":"usage_limit_reached","message":"wait"},"headers":{"retry-after":60}}`)
		u.done = true
	})
	for range 2 { // the auth refuses it, and then it is known to
		status, code := c.refused("previous_response_id", held)
		require.Equal(t, []any{400, "previous_response_not_found"}, []any{status, code})
	}
	other := c.turn()
	require.NotEqual(t, home, other)
	require.Equal(t, other, c.turn("previous_response_id", c.last))
	require.Equal(t, other, g.dial(t, "s").turn())
	require.Equal(t, []string{home, home, other, other, other}, g.sentTo(), "nothing is sent twice")
	reports := g.reports(t, 5)
	require.Equal(t, []any{affinity.Transient, time.Minute}, []any{reports[1].Report.Result, reports[1].Report.Away})

	g.when(home, nil)
	require.NoError(t, g.Back(t.Context(), home))
	require.Equal(t, home, c.turn(), "its auth is back")
}

// A turn that an auth has refused is the client's to send again, if another auth can serve
// it. If none can, the client is told what the auth has said.
func TestARefusedTurnIsSentAgainByTheClient(t *testing.T) {
	g := start(t, affinityws.Options{}, "A", "B")
	refuse := func(u *turned) {
		u.send(`{"type":"error","status":429,"error":{"type":"usage_limit_reached","code":"wait","message":"wait"},"headers":{"retry-after":60}}`)
		u.done = true
	}
	c := g.dial(t, "s")
	home := c.turn()
	g.when(home, refuse)
	status, code := c.refused()
	require.Equal(t, []any{502, "account_refused"}, []any{status, code})
	other := c.turn()
	require.NotEqual(t, home, other)
	g.when(other, refuse)
	status, code = c.refused()
	require.Equal(t, []any{429, "wait"}, []any{status, code})
	require.Equal(t, []string{home, home, other, other}, g.sentTo())
}

// A connection that ends in the middle of an answer is told, and nothing is sent again.
func TestAnAuthIsTakenAwayInTheMiddleOfATurn(t *testing.T) {
	g := start(t, affinityws.Options{})
	c := g.dial(t, "s")
	home := c.turn()
	g.when(home, func(u *turned) {
		u.send(`{"type":"response.created","response":{"id":"resp_x"}}`)
		u.conn.CloseNow()
		u.done = true
	})
	status, code := c.refused()
	require.Equal(t, []any{502, "upstream_closed"}, []any{status, code})
	require.Equal(t, []string{home, home}, g.sentTo())
	g.when(home, nil)
	require.Equal(t, affinity.Transient, g.reports(t, 2)[1].Report.Result)
	other := c.turn() // it has failed a moment ago
	require.NotEqual(t, home, other)
}

// An auth whose connection ends between two turns is dialled again.
func TestAnAuthMayEndAnIdleConnection(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	c := g.dial(t, "s")
	var first *websocket.Conn
	g.when("A", func(u *turned) { first = u.conn })
	require.Equal(t, "A", c.turn())
	require.NoError(t, first.Close(websocket.StatusGoingAway, "an hour is over"))
	require.Equal(t, "A", c.turn())
	require.Len(t, g.handshakes, 2)
	first.CloseNow()
	require.Equal(t, affinity.Served, g.reports(t, 2)[1].Report.Result)
}

// Before a frame is sent another auth is asked.
func TestAHandshakeThatFailsIsTriedElsewhere(t *testing.T) {
	g := start(t, affinityws.Options{})
	c := g.dial(t, "s")
	home := c.turn()
	require.NoError(t, c.conn.Close(websocket.StatusNormalClosure, ""))
	g.refuse(home, 503)
	c = g.dial(t, "s")
	other := c.turn()
	require.NotEqual(t, home, other)
	require.Equal(t, []string{home, other}, g.sentTo())
	for _, auth := range auths {
		g.refuse(auth, 429)
	}
	c = g.dial(t, "another")
	status, code := c.refused()
	require.Equal(t, []any{429, "because"}, []any{status, code}, "the last refusal")
	// Now all have asked to be left alone for a minute.
	c.send(create())
	e := c.event()
	require.Equal(t, []any{503, "no_account"}, []any{int(e.Get("status").Int()), e.Get("error.code").Str})
	require.InDelta(t, 60, e.Get("headers.retry-after").Int(), 5)
}

// If nobody may serve, the client is told so, with the time to come back, and no auth is
// asked.
func TestNobodyMayServe(t *testing.T) {
	g := start(t, affinityws.Options{})
	until := time.Now().Add(time.Hour)
	require.NoError(t, g.Reconfigure(selector.RoundRobin[string](), &affinityhttp.Options[string]{Affinity: affinity.Options[string]{
		State: func(string, affinity.Request) affinity.State {
			return affinity.State{Fitness: affinity.Away, Until: until}
		},
	}}))
	c := g.dial(t, "s")
	c.send(create())
	e := c.event()
	require.Equal(t, []any{503, "no_account"}, []any{int(e.Get("status").Int()), e.Get("error.code").Str})
	require.InDelta(t, 3600, e.Get("headers.retry-after").Int(), 5)
	require.Empty(t, g.handshakes)
}

// If the gateway cannot choose, the client is told that it is not the provider's fault, and no
// auth gets the message.
func TestTheGatewayCannotChoose(t *testing.T) {
	g := start(t, affinityws.Options{}, "A", "A")
	c := g.dial(t, "s")
	c.send(create())
	e := c.event()
	require.Equal(t, []any{500, "no_choice"}, []any{int(e.Get("status").Int()), e.Get("error.code").Str})
	require.NoError(t, g.Reconfigure(selector.Filter(func(context.Context, string) bool { return false }, selector.RoundRobin[string]()), nil))
	c.send(create())
	e = c.event()
	require.Equal(t, []any{503, "no_account"}, []any{int(e.Get("status").Int()), e.Get("error.code").Str})
	require.Empty(t, g.sentTo())
	g.mu.Lock()
	defer g.mu.Unlock()
	require.Equal(t, affinity.ReasonName, g.events[0].Decision.Reason)
}

// Where the provider has no WebSockets the client is told so, as Codex needs it, and the
// provider is asked once an hour.
func TestAProviderWithoutWebSockets(t *testing.T) {
	for _, status := range []int{404, 405, 426, 501} {
		g := start(t, affinityws.Options{})
		for _, auth := range auths {
			g.refuse(auth, status)
		}
		for range 3 {
			_, resp, err := websocket.Dial(t.Context(), g.server.URL+"/v1/responses", &websocket.DialOptions{HTTPHeader: header("s")})
			require.Error(t, err)
			require.Equal(t, http.StatusUpgradeRequired, resp.StatusCode)
		}
		require.Zero(t, g.Stats().Total(), "no request was made")
		require.Equal(t, len(auths), g.dials, "each was asked once")
	}
}

// An auth without WebSockets among others is no place for a turn that comes by one.
func TestAnAuthWithoutWebSocketsIsPassedOver(t *testing.T) {
	g := start(t, affinityws.Options{})
	for _, auth := range []string{"B", "C", "D"} {
		g.refuse(auth, 404)
	}
	for n := range 6 {
		require.Equal(t, "A", g.dial(t, fmt.Sprint("session ", n)).turn())
	}
	for _, a := range g.attempts {
		require.NotEqual(t, affinity.Terminal, a.Result, "not to know WebSockets is no failure")
	}
}

// cacheKey is one as Codex sends it.
func cacheKey(session string) string {
	return fmt.Sprintf("0197f0d1-9f63-7c12-9d4e-%012x", session)
}

// Several sessions can share a connection. Each has its auth and its order.
func TestStreamsOfOneConnection(t *testing.T) {
	g := start(t, affinityws.Options{})
	c := g.dial(t, "")
	hold := make(chan struct{})
	home := map[string]string{}
	for _, s := range []string{"one", "two", "three", "four"} {
		home[s] = c.turn("stream_id", s, "prompt_cache_key", cacheKey(s))
	}
	require.Len(t, map[string]bool{home["one"]: true, home["two"]: true, home["three"]: true, home["four"]: true}, 4)
	g.when(home["one"], func(u *turned) { <-hold })
	came := len(g.sentTo())
	c.send(create("stream_id", "one", "prompt_cache_key", cacheKey("one")))
	c.send(create("stream_id", "one", "prompt_cache_key", cacheKey("one")))
	require.Equal(t, home["two"], c.turn("stream_id", "two", "prompt_cache_key", cacheKey("two")), "another stream goes on")
	require.Eventually(t, func() bool { return len(g.sentTo()) >= came+2 }, 20*time.Second, time.Millisecond)
	require.Len(t, g.sentTo(), came+2, "the second turn of the stream waits for the first")
	close(hold)
	require.Equal(t, home["one"], c.answer())
	require.Equal(t, home["one"], c.answer())
	require.Len(t, g.sentTo(), came+3)
}

// A client that leaves in the middle of an answer is no failure of the auth.
func TestTheClientLeavesInTheMiddle(t *testing.T) {
	g := start(t, affinityws.Options{})
	c := g.dial(t, "s")
	home := c.turn()
	g.when(home, func(u *turned) {
		u.send(`{"type":"response.created","response":{"id":"resp_x"}}`)
		u.done = true
	})
	c.send(create())
	require.Equal(t, "response.created", c.event().Get("type").Str)
	c.conn.CloseNow()
	require.Equal(t, affinity.Cancelled, g.reports(t, 2)[1].Report.Result)
	require.Eventually(t, func() bool {
		g.provider.mu.Lock()
		defer g.provider.mu.Unlock()
		return g.open == 0
	}, 20*time.Second, time.Millisecond, "the auth's connection is closed")
	g.when(home, nil)
	require.Equal(t, home, g.dial(t, "s").turn())
}

func TestShutdownWaitsForAnswers(t *testing.T) {
	g := start(t, affinityws.Options{})
	idle := g.dial(t, "idle")
	idle.turn()
	busy := g.dial(t, "busy")
	hold := make(chan struct{})
	for _, auth := range auths {
		g.when(auth, func(u *turned) { <-hold })
	}
	busy.send(create())
	require.Eventually(t, func() bool { return len(g.sentTo()) == 2 }, 20*time.Second, time.Millisecond)
	done := make(chan error)
	go func() { done <- g.sockets.Shutdown(context.Background()) }()
	_, _, err := idle.conn.Read(t.Context())
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	_, resp, err := websocket.Dial(t.Context(), g.server.URL+"/v1/responses", nil)
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	close(hold)
	require.NotEmpty(t, busy.answer())
	_, _, err = busy.conn.Read(t.Context())
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	require.NoError(t, <-done)
}

func TestShutdownCutsOffWhatDoesNotEnd(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	c := g.dial(t, "s")
	g.when("A", func(u *turned) { u.done = true })
	c.send(create())
	require.Eventually(t, func() bool { return len(g.sentTo()) == 1 }, 20*time.Second, time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, g.sockets.Shutdown(ctx), context.Canceled)
	require.Equal(t, affinity.Cancelled, g.reports(t, 1)[0].Report.Result)
}

// What is no turn goes where the last turn of its stream went, or is answered.
func TestMessagesThatAreNoTurns(t *testing.T) {
	g := start(t, affinityws.Options{MaxMessage: 10_000})
	c := g.dial(t, "s")
	for message, code := range map[string]string{"nonsense": "invalid_json", `{"type":"response.processed"}`: "invalid_event"} {
		require.NoError(t, c.conn.Write(t.Context(), websocket.MessageText, []byte(message)))
		_, got := c.failure()
		require.Equal(t, code, got)
	}
	home := c.turn()
	require.NoError(t, c.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"response.processed","response_id":"x"}`)))
	require.Equal(t, home, c.turn(), "and nothing came back for it")
	for n := range 33 {
		c.send(map[string]any{"type": "response.processed", "stream_id": fmt.Sprint(n)})
		_, code := c.failure()
		if n < 32 {
			require.Equal(t, "invalid_event", code)
		} else {
			require.Equal(t, "websocket_stream_limit_reached", code)
		}
	}
	c = g.dial(t, "s")
	require.NoError(t, c.conn.Write(t.Context(), websocket.MessageBinary, []byte("x")))
	_, _, err := c.conn.Read(t.Context())
	require.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(err))
	c = g.dial(t, "s")
	_ = c.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"response.create","input":"`+strings.Repeat("x", 20_000)+`"}`))
	_, _, err = c.conn.Read(t.Context()) // the close frame can be lost behind what nobody has read
	require.Error(t, err)
	require.Len(t, g.sentTo(), 2)
}

// A client that sends faster than its turns are answered is stopped.
func TestTurnsThatWaitAreBounded(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	c := g.dial(t, "s")
	g.when("A", func(u *turned) { u.done = true })
	for range 30 {
		if c.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"response.create","model":"m"}`)) != nil {
			break
		}
	}
	_, _, err := c.conn.Read(t.Context())
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err))
	require.LessOrEqual(t, len(g.sentTo()), 1)
}

// Everything else is the next handler's, as the Transport serves it.
func TestWhatIsNoWebSocketOfTheAPIGoesOn(t *testing.T) {
	g := start(t, affinityws.Options{})
	_, resp, err := websocket.Dial(t.Context(), g.server.URL+"/v1/realtime", nil)
	require.Error(t, err)
	require.Equal(t, http.StatusUpgradeRequired, resp.StatusCode)
	h := header("s")
	h.Set("Origin", "https://elsewhere.example")
	_, resp, err = websocket.Dial(t.Context(), g.server.URL+"/v1/responses", &websocket.DialOptions{HTTPHeader: h})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "a web page of another origin")
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	g := start(t, affinityws.Options{})
	_, err := affinityws.New(g.Transport, nil, nil)
	require.ErrorContains(t, err, "next handler")
	_, err = affinityws.New[string](nil, http.NotFoundHandler(), nil)
	require.ErrorContains(t, err, "the Transport is nil")
	_, err = affinityws.New(g.Transport, http.NotFoundHandler(), &affinityws.Options{MaxMessage: -1})
	require.ErrorContains(t, err, "MaxMessage")
}

// A function of the host's that panics costs a connection, as in net/http.
func TestAPanicOfTheHostEndsOneConnection(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	var said lockedBuffer
	g.server.Config.ErrorLog = log.New(&said, "", 0)
	require.Equal(t, "A", g.dial(t, "well").turn())
	require.NoError(t, g.Reconfigure(selector.RoundRobin[string](), &affinityhttp.Options[string]{Describe: func(_ *http.Request, r *affinity.Request) {
		if r.Model == "panic" {
			panic("on purpose")
		}
	}}))
	c := g.dial(t, "ill")
	c.send(create("model", "panic"))
	_, _, err := c.conn.Read(t.Context())
	require.Error(t, err)
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "on purpose") }, 20*time.Second, time.Millisecond)
	require.Equal(t, "A", g.dial(t, "well").turn())
}

// lockedBuffer is what a log writes to.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A handshake has no model: auths that serve some models only are there all the same.
func TestAHandshakeHasNoModel(t *testing.T) {
	g := start(t, affinityws.Options{})
	require.NoError(t, g.Reconfigure(selector.RoundRobin[string](), &affinityhttp.Options[string]{Affinity: affinity.Options[string]{
		State: func(auth string, r affinity.Request) (s affinity.State) {
			if r.Model != "m" || auth != "C" {
				s.Fitness = affinity.Unfit
			}
			return s
		},
	}}))
	require.Equal(t, "C", g.dial(t, "s").turn())
}

// A web page of another origin is refused, and leaves no connection to an auth behind.
func TestARefusedClientLeavesNothingBehind(t *testing.T) {
	g := start(t, affinityws.Options{})
	h := header("s")
	h.Set("Origin", "https://elsewhere.example")
	for range 3 {
		_, _, err := websocket.Dial(t.Context(), g.server.URL+"/v1/responses", &websocket.DialOptions{HTTPHeader: h})
		require.Error(t, err)
	}
	require.Eventually(t, func() bool {
		g.provider.mu.Lock()
		defer g.provider.mu.Unlock()
		return g.open == 0
	}, 20*time.Second, time.Millisecond)
}

// Whoever cannot hand over its connection is told to go on over HTTP.
func TestAConnectionThatCannotBeTakenOver(t *testing.T) {
	g := start(t, affinityws.Options{})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v1/responses", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	g.sockets.ServeHTTP(w, r)
	require.Equal(t, http.StatusUpgradeRequired, w.Code)
	require.Empty(t, g.handshakes)
}

// A client that leaves is noticed although an auth takes nothing any more.
func TestAClientLeavesAnAuthThatTakesNothing(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	c := g.dial(t, "s")
	hold := make(chan struct{})
	defer close(hold)
	g.when("A", func(u *turned) {
		u.done = true
		<-hold
	})
	c.send(create())
	require.Eventually(t, func() bool { return len(g.sentTo()) == 1 }, 20*time.Second, time.Millisecond)
	for range 10 {
		c.send(map[string]any{"type": "response.steer", "input": strings.Repeat("x", 1<<20)})
	}
	c.conn.CloseNow()
	require.Equal(t, affinity.Cancelled, g.reports(t, 1)[0].Report.Result)
	require.Zero(t, g.InFlight("A"))
}

// An event that names no stream is of the only turn that runs. Of several nobody knows.
func TestAnErrorThatNamesNoStream(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	c := g.dial(t, "")
	nameless := func(u *turned) {
		u.stream, u.done = "", true
		u.send(`{"type":"error","status":400,"error":{"type":"invalid_request_error","code":"invalid"}}`)
	}
	g.when("A", nameless)
	_, code := c.refused("stream_id", "one")
	require.Equal(t, "invalid", code)
	n := 0
	g.when("A", func(u *turned) {
		if u.done = true; n == 1 {
			nameless(u)
		}
		n++
	})
	c.send(create("stream_id", "one"))
	require.Eventually(t, func() bool { return len(g.sentTo()) == 2 }, 20*time.Second, time.Millisecond)
	c.send(create("stream_id", "two"))
	broken := map[string]bool{}
	for len(broken) < 2 {
		if e := c.event(); e.Get("error.code").Str == "upstream_closed" {
			broken[e.Get("stream_id").Str] = true
		}
	}
	require.Equal(t, map[string]bool{"one": true, "two": true}, broken)
	g.when("A", nil)
	require.Equal(t, "A", c.turn("stream_id", "one"))
}

// Streams that come to an auth at once share its connection.
func TestStreamsOpenOneConnectionToAnAuth(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	g.dial(t, "other").turn()
	c := g.dial(t, "")
	for n := range 8 {
		c.send(create("stream_id", fmt.Sprint(n)))
	}
	for ended := 0; ended < 8; {
		if c.event().Get("type").Str == "response.completed" {
			ended++
		}
	}
	require.Len(t, g.handshakes, 2)
}

// Some read the first of two members, and some the last.
func TestMembersThatStandTwiceAreRefused(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	c := g.dial(t, "s")
	for message, want := range map[string]string{
		`{"type":"x","type":"response.create"}`:                                          "invalid_json",
		`{"type":"response.create","model":"a","model":"b"}`:                             "invalid_json",
		`{"type":"response.create","\u006dodel":"a","model":"b"}`:                        "invalid_json",
		`{"type":"response.create","previous_response_id":"a","previous_response_id":1}`: "invalid_json",
		`{"type":"response.create","stream_id":"a b"}`:                                   "invalid_stream_id",
		`{"type":"response.create","stream_id":1}`:                                       "invalid_stream_id",
		`{"type":"response.create","stream_id":"` + strings.Repeat("x", 257) + `"}`:      "invalid_stream_id",
		`[]`: "invalid_json", `{"input":1}`: "invalid_event",
	} {
		require.NoError(t, c.conn.Write(t.Context(), websocket.MessageText, []byte(message)))
		_, code := c.failure()
		require.Equal(t, want, code, message)
	}
	require.Empty(t, g.sentTo())
}

// An auth that says nothing is found out.
func TestAnAuthThatSaysNothing(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	require.NoError(t, g.Reconfigure(selector.RoundRobin[string](), &affinityhttp.Options[string]{Within: 50 * time.Millisecond, OnAttempt: func(a affinityhttp.Attempt) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.attempts = append(g.attempts, a)
	}}))
	c := g.dial(t, "s")
	g.when("A", func(u *turned) { u.done = true })
	status, code := c.refused()
	require.Equal(t, []any{504, "upstream_silent"}, []any{status, code})
	g.mu.Lock()
	defer g.mu.Unlock()
	require.Len(t, g.attempts, 1)
	require.Equal(t, affinity.Transient, g.attempts[0].Result)
}

// What comes late of a response is not the next one's.
func TestALateEventIsNotTheNextTurns(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	c := g.dial(t, "s")
	g.when("A", func(u *turned) {
		u.done = true
		u.send(`{"type":"response.created","response":{"id":"resp_one"}}`)
		u.send(`{"type":"error","status":400,"error":{"type":"invalid_request_error","code":"invalid_event"}}`)
	})
	_, code := c.refused()
	require.Equal(t, "invalid_event", code)
	g.when("A", func(u *turned) {
		u.send(`{"type":"response.completed","response":{"id":"resp_one","usage":{"input_tokens":777,"output_tokens":1}}}`)
	})
	c.send(create())
	require.Equal(t, "A", func() string { c.answer(); return c.answer() }(), "both ends are passed on")
	require.Equal(t, 100, g.reports(t, 2)[1].Report.Usage.Prompt)
}
