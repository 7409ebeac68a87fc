package affinityws_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/affinityws"
	"github.com/llmaffinity/llmaffinity/selector"
)

// provider simulates the Responses API, and stores no responses: only the last response of a
// stream can be continued, and only over the connection that has it.
type provider struct {
	t   *testing.T
	url *url.URL

	mu         sync.Mutex
	refusal    map[string]int           // the status that refuses a handshake, by auth
	before     map[string]func(*turned) // is called when a turn arrives, and may answer it; by auth
	turns      []string                 // the auth of each turn that has arrived
	handshakes []http.Header
	open       int // open connections
	dials      int // handshakes, with those that were refused
	count      int
}

// turned is a turn that has arrived at an auth.
type turned struct {
	auth   string
	frame  gjson.Result
	conn   *websocket.Conn
	done   bool // the provider must not answer it, because a before function has done so
	ctx    context.Context
	stream string
}

func (u *turned) send(event string) {
	if u.stream != "" {
		event = strings.Replace(event, "{", fmt.Sprintf(`{"stream_id":%q,`, u.stream), 1)
	}
	_ = u.conn.Write(u.ctx, websocket.MessageText, []byte(event))
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	auth := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer key-")
	p.mu.Lock()
	refusal := p.refusal[auth]
	if r.Method == http.MethodGet {
		p.dials++
	}
	p.mu.Unlock()
	if r.Method == http.MethodPost {
		_, _ = io.Copy(io.Discard, r.Body)
		p.came(auth)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"resp_%d","object":"response","status":"completed","output":[]}`, p.number())
		return
	}
	if refusal != 0 {
		w.Header().Set("Retry-After", "60")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(refusal)
		fmt.Fprintf(w, `{"error":{"type":"refused","code":"because","message":"no %s"}}`, auth)
		return
	}
	w.Header().Set("X-Reasoning-Included", "true")
	w.Header().Set("X-Codex-Turn-State", "state of "+auth)
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 26)
	p.mu.Lock()
	p.open++
	p.handshakes = append(p.handshakes, r.Header.Clone())
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.open--
		p.mu.Unlock()
	}()
	last := map[string]string{}
	for {
		_, frame, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if gjson.GetBytes(frame, "type").Str != "response.create" {
			continue
		}
		p.came(auth)
		u := &turned{auth: auth, frame: gjson.ParseBytes(frame), conn: conn, ctx: r.Context()}
		u.stream = u.frame.Get("stream_id").Str
		p.mu.Lock()
		before := p.before[auth]
		p.mu.Unlock()
		if before != nil {
			before(u)
		}
		if u.done {
			continue
		}
		if prev := u.frame.Get("previous_response_id").Str; prev != "" && prev != last[u.stream] {
			u.send(`{"type":"error","status":400,"error":{"type":"invalid_request_error","code":"previous_response_not_found","message":"Previous response with id '` + prev + `' not found.","param":"previous_response_id"}}`)
			delete(last, u.stream)
			continue
		}
		last[u.stream] = fmt.Sprintf("resp_%d", p.number())
		u.send(`{"type":"response.created","response":{"id":"` + last[u.stream] + `","status":"in_progress"}}`)
		u.send(`{"type":"response.output_text.delta","delta":"from ` + auth + `"}`)
		u.send("{\n \"type\":\"response.completed\",\"response\":{\"id\":\"" + last[u.stream] + "\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":100,\"input_tokens_details\":{\"cached_tokens\":60},\"output_tokens\":5}}}")
	}
}

func (p *provider) number() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	return p.count
}

func (p *provider) came(auth string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns = append(p.turns, auth)
}

func (p *provider) when(auth string, do func(*turned)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before[auth] = do
}

func (p *provider) refuse(auth string, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusal[auth] = status
}

func (p *provider) sentTo() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.turns)
}

// gateway is a proxy with the auths A, B, C and D of the provider.
type gateway struct {
	*provider
	*affinityhttp.Transport[string]
	sockets *affinityws.Handler[string]
	server  *httptest.Server

	mu       sync.Mutex
	events   []affinity.Event
	attempts []affinityhttp.Attempt
}

var auths = []string{"A", "B", "C", "D"}

func start(t *testing.T, o affinityws.Options, names ...string) *gateway {
	t.Helper()
	if names == nil {
		names = auths
	}
	g := &gateway{provider: &provider{t: t, refusal: map[string]int{}, before: map[string]func(*turned){}}}
	upstream := httptest.NewServer(g.provider)
	t.Cleanup(upstream.Close)
	var err error
	g.url, err = url.Parse(upstream.URL)
	require.NoError(t, err)
	prepare := func(out *http.Request, auth string) error {
		require.Empty(t, out.Header.Get("Authorization"))
		affinityhttp.SetURL(out, g.url)
		out.Header.Set("Authorization", "Bearer key-"+auth)
		return nil
	}
	g.Transport, err = affinityhttp.New(selector.RoundRobin[string](), func(s string) string { return s },
		func(*http.Request, affinity.Request) []string { return names }, prepare, &affinityhttp.Options[string]{
			Affinity: affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.events = append(g.events, e)
			}},
			OnAttempt: func(_ context.Context, a affinityhttp.Attempt) {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.attempts = append(g.attempts, a)
			},
		})
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: g.Transport, ErrorHandler: affinityhttp.WriteError}
	g.sockets, err = affinityws.New(g.Transport, proxy, &o)
	require.NoError(t, err)
	g.server = httptest.NewServer(g.sockets)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = g.sockets.Shutdown(ctx)
		g.server.Close()
		require.NoError(t, g.Transport.Close())
	})
	return g
}

// reports waits until there are n reports, and returns them.
func (g *gateway) reports(t *testing.T, n int) (all []affinity.Event) {
	t.Helper()
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		all = nil
		for _, e := range g.events {
			if e.Reported {
				all = append(all, e)
			}
		}
		return len(all) >= n
	}, 20*time.Second, time.Millisecond)
	require.Len(t, all, n)
	return all
}

// client is a client's WebSocket.
type client struct {
	t    *testing.T
	conn *websocket.Conn
	resp *http.Response
	last string // the id of the last response
}

func header(session string) http.Header {
	return http.Header{"Authorization": {"Bearer caller"}, "Session_id": {session}, "Openai-Beta": {"responses_websockets=2026-02-06"}}
}

func (g *gateway) dial(t *testing.T, session string) *client {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), g.server.URL+"/v1/responses", &websocket.DialOptions{HTTPHeader: header(session)})
	require.NoError(t, err)
	t.Cleanup(func() { conn.CloseNow() })
	return &client{t: t, conn: conn, resp: resp}
}

func (c *client) send(frame map[string]any) {
	c.t.Helper()
	text, err := json.Marshal(frame)
	require.NoError(c.t, err)
	require.NoError(c.t, c.conn.Write(c.t.Context(), websocket.MessageText, text))
}

func create(more ...string) map[string]any {
	frame := map[string]any{"type": "response.create", "model": "m", "store": false, "input": []any{map[string]any{"role": "user", "content": "go on"}}}
	for i := 0; i < len(more); i += 2 {
		frame[more[i]] = more[i+1]
	}
	return frame
}

// event returns the next event.
func (c *client) event() gjson.Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	_, text, err := c.conn.Read(ctx)
	require.NoError(c.t, err)
	return gjson.ParseBytes(text)
}

// answer reads to the end of an answer, and returns the auth that has given it.
func (c *client) answer() (from string) {
	c.t.Helper()
	for {
		e := c.event()
		switch e.Get("type").Str {
		case "response.output_text.delta":
			from = strings.TrimPrefix(e.Get("delta").Str, "from ")
		case "response.completed":
			c.last = e.Get("response.id").Str
			return from
		case "error":
			require.FailNow(c.t, "want an answer, but the client got an error event", "%v", e)
		}
	}
}

// turn sends a turn and returns the auth that has answered it.
func (c *client) turn(more ...string) string {
	c.t.Helper()
	c.send(create(more...))
	return c.answer()
}

// refused sends a turn that fails, and returns the error's status and code.
func (c *client) refused(more ...string) (int, string) {
	c.t.Helper()
	c.send(create(more...))
	return c.failure()
}

func (c *client) failure() (int, string) {
	c.t.Helper()
	for {
		if e := c.event(); e.Get("type").Str == "error" {
			return int(e.Get("status").Int()), e.Get("error.code").Str
		}
	}
}
