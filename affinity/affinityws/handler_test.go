package affinityws_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
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

// If nobody may serve, the handshake says so, with the time to come back.
func TestAHandshakeIsRefusedIfNobodyMayServe(t *testing.T) {
	g := start(t, affinityws.Options{})
	until := time.Now().Add(time.Hour)
	require.NoError(t, g.Reconfigure(selector.RoundRobin[string](), &affinityhttp.Options[string]{Affinity: affinity.Options[string]{
		State: func(string, affinity.Request) affinity.State {
			return affinity.State{Fitness: affinity.Away, Until: until}
		},
	}}))
	_, resp, err := websocket.Dial(t.Context(), g.server.URL+"/v1/responses", &websocket.DialOptions{HTTPHeader: header("s")})
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Empty(t, g.handshakes)
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
		require.Equal(t, 1, g.dials)
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
	home := idle.turn()
	busy := g.dial(t, "busy")
	hold := make(chan struct{})
	for _, auth := range auths {
		if auth != home {
			g.when(auth, func(u *turned) { <-hold })
		}
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
	require.ErrorContains(t, err, "no Transport")
	_, err = affinityws.New(g.Transport, http.NotFoundHandler(), &affinityws.Options{MaxMessage: -1})
	require.ErrorContains(t, err, "MaxMessage")
}
