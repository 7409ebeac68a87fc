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

// A session stays on its auth in all turns of a connection, in its next connection, and over HTTP.
// New sessions are spread over the auths.
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
		for range 3 { // turns that continue the connection's last response
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
		if e.Report.Usage.Prompt != 0 { // the provider's answers over HTTP have no usage
			require.Equal(t, affinity.Usage{Prompt: 100, Cached: 60, Output: 5}, e.Report.Usage)
			require.Positive(t, e.Report.FirstToken)
			turns--
		}
	}
	require.Equal(t, 8, turns)
}

// An auth with a status of 429 is not used until its Retry-After. A turn that continues its
// response gets an error, so that the client sends the whole history; that turn goes to another
// auth. When the first auth is back, the session returns to it.
func TestAnAuthIsTakenAwayBetweenTwoTurns(t *testing.T) {
	g := start(t, affinityws.Options{})
	c := g.dial(t, "s")
	home := c.turn()
	held := c.last
	g.when(home, func(u *turned) {
		u.send(`{"type":"error","status":429,"error":{"type":"usage_limit_reached","message":"wait"},"headers":{"retry-after":60}}`)
		u.done = true
	})
	for range 2 { // first the auth refuses the turn, then the Handler does, without asking it
		status, code := c.refused("previous_response_id", held)
		require.Equal(t, []any{400, "previous_response_not_found"}, []any{status, code})
	}
	other := c.turn()
	require.NotEqual(t, home, other)
	require.Equal(t, other, c.turn("previous_response_id", c.last))
	require.Equal(t, other, g.dial(t, "s").turn())
	require.Equal(t, []string{home, home, other, other, other}, g.sentTo(), "no turn may be sent twice, or to an auth that does not serve")
	reports := g.reports(t, 5)
	require.Equal(t, []any{affinity.Transient, time.Minute}, []any{reports[1].Report.Result, reports[1].Report.Away})

	g.when(home, nil)
	require.NoError(t, g.Back(t.Context(), home))
	require.Equal(t, home, c.turn(), "after Back the session must return to its auth")
}

// If an auth refuses a turn and another auth can serve it, the client gets an error after which it
// sends the turn again. If no other auth can, the client gets the auth's own error.
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

// If an auth's connection ends in the middle of an answer, the client gets an error, and the turn
// is not sent again.
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
	other := c.turn()
	require.NotEqual(t, home, other, "the session must leave an auth that has just failed")
}

// If an auth closes its connection between two turns, the Handler opens a new one for the next
// turn.
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

// If an auth refuses the handshake, no frame was sent, and another auth is tried.
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
	require.Equal(t, []any{429, "because"}, []any{status, code}, "if all auths refuse, the client gets the last refusal")
	// Now no auth is to be used for a minute.
	c.send(create())
	e := c.event()
	require.Equal(t, []any{503, "no_account"}, []any{int(e.Get("status").Int()), e.Get("error.code").Str})
	require.InDelta(t, 60, e.Get("headers.retry-after").Int(), 5)
}

// If no auth may serve, the client gets an error with the time to try again, and no auth is tried.
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

// If the gateway cannot choose an auth, the client gets an error that does not blame the provider,
// and no auth gets the message.
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

// If no auth has WebSockets, a client's handshake gets 426, after which Codex continues over HTTP.
// An auth that was found to have none is not probed again for a while.
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
		require.Zero(t, g.Stats().Total(), "a probe must not count as a pick")
		require.Equal(t, len(auths), g.dials, "each auth must be probed once")
	}
}

// If some auths have WebSockets, a turn over a WebSocket never goes to one of the others.
func TestAnAuthWithoutWebSocketsIsPassedOver(t *testing.T) {
	g := start(t, affinityws.Options{})
	for _, auth := range []string{"B", "C", "D"} {
		g.refuse(auth, 404)
	}
	for n := range 6 {
		require.Equal(t, "A", g.dial(t, fmt.Sprint("session ", n)).turn())
	}
	for _, a := range g.attempts {
		require.NotEqual(t, affinity.Terminal, a.Result, "an auth without WebSockets must not count as failed")
	}
}

// cacheKey returns a prompt_cache_key in the form that Codex sends.
func cacheKey(session string) string {
	return fmt.Sprintf("0197f0d1-9f63-7c12-9d4e-%012x", session)
}

// Several sessions can share a client's connection, each in a stream. Each has its own auth, and
// its turns stay in order.
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
	require.Equal(t, home["two"], c.turn("stream_id", "two", "prompt_cache_key", cacheKey("two")), "a stream must not wait for another stream")
	require.Eventually(t, func() bool { return len(g.sentTo()) >= came+2 }, 20*time.Second, time.Millisecond)
	require.Len(t, g.sentTo(), came+2, "the second turn of a stream must wait for the first one")
	close(hold)
	require.Equal(t, home["one"], c.answer())
	require.Equal(t, home["one"], c.answer())
	require.Len(t, g.sentTo(), came+3)
}

// If the client leaves in the middle of an answer, the auth has not failed.
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
	}, 20*time.Second, time.Millisecond, "the connection to the auth must be closed")
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

// A message that is no turn is sent to the auth of its stream's last turn. Without one, the client
// gets an error.
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
	require.Equal(t, home, c.turn(), "the next event must be the turn's: the message before has no answer")
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
	_, _, err = c.conn.Read(t.Context()) // any error: the close frame can be lost, because data was left unread
	require.Error(t, err)
	require.Len(t, g.sentTo(), 2)
}

// A client that sends many turns before the first one is answered is disconnected.
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

// An upgrade for another path goes to the next handler, where the Transport refuses it. An upgrade
// by a web page of another origin is refused.
func TestWhatIsNoWebSocketOfTheAPIGoesOn(t *testing.T) {
	g := start(t, affinityws.Options{})
	_, resp, err := websocket.Dial(t.Context(), g.server.URL+"/v1/realtime", nil)
	require.Error(t, err)
	require.Equal(t, http.StatusUpgradeRequired, resp.StatusCode)
	h := header("s")
	h.Set("Origin", "https://elsewhere.example")
	_, resp, err = websocket.Dial(t.Context(), g.server.URL+"/v1/responses", &websocket.DialOptions{HTTPHeader: h})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "a web page of another origin must not connect")
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

// If a function of the host panics, only that client's connection ends, as in net/http.
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

// lockedBuffer is a buffer that several goroutines may use.
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

// A handshake names no model. So auths that serve only some models must not make it fail.
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

// A web page of another origin is refused, and no connection to an auth stays open for it.
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

// If the connection cannot be hijacked, the client gets 426, and can continue over HTTP.
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

// The Handler notices that a client leaves, even while it waits for an auth that no longer reads.
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

// An error without a stream_id belongs to the only running turn. If several turns run, it is not
// known to which of them it belongs, and all of them get an error.
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

// If several streams need the same auth at the same time, one connection is opened for all.
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

// A message with a duplicate of a member that the package uses is refused, because some readers
// take the first one and some the last.
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

// An auth that sends nothing for Options.Within counts as failed, and the client gets 504.
func TestAnAuthThatSaysNothing(t *testing.T) {
	g := start(t, affinityws.Options{}, "A")
	require.NoError(t, g.Reconfigure(selector.RoundRobin[string](), &affinityhttp.Options[string]{Within: 50 * time.Millisecond, OnAttempt: func(_ context.Context, a affinityhttp.Attempt) {
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

// A late event of a response that has ended does not count for the next turn.
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
	require.Equal(t, "A", func() string { c.answer(); return c.answer() }(), "the client must get the late event and its own answer")
	require.Equal(t, 100, g.reports(t, 2)[1].Report.Usage.Prompt)
}
