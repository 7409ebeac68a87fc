package llmsession

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// Caddy writes its files into a temporary directory.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "llmsession")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(name, dir)
	}
	caddy.DefaultStorage.Path = dir
	caddy.ConfigAutosavePath = dir + "/autosave.json"
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const globals = `{
	admin off
	persist_config off
	auto_https off
	%s
	log {
		output discard
	}
}
`

// adapt turns a Caddyfile into JSON. options are global options.
func adapt(t *testing.T, options, caddyfile string) ([]byte, error) {
	t.Helper()
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(fmt.Sprintf(globals, options)+caddyfile), map[string]any{"filename": "Caddyfile"})
	for _, w := range warnings {
		require.Contains(t, w.Message, "not formatted")
	}
	return config, err
}

// load makes Caddy run the configuration in a Caddyfile.
func (f *front) load(t *testing.T, caddyfile string) error {
	t.Helper()
	config, err := adapt(t, f.options, caddyfile)
	require.NoError(t, err)
	err = caddy.Load(config, true)
	f.client.CloseIdleConnections() // the old server closes its own
	f.loaded.Add(1)
	return err
}

// front is a running Caddy.
type front struct {
	options string // global options
	port    string
	url     string
	client  *http.Client
	loaded  atomic.Int32 // how many configurations were loaded
}

// site returns the Caddyfile of a site at the front's port.
func (f *front) site(body string) string {
	return "http://127.0.0.1:" + f.port + " {\nbind 127.0.0.1\n" + body + "\n}\n"
}

// start runs Caddy with one site until the test ends.
func start(t *testing.T, body string, options ...string) *front {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	f := &front{options: strings.Join(options, "\n\t"), client: &http.Client{Transport: transport}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		require.NoError(t, caddy.Stop())
	})
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		f.port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		require.NoError(t, l.Close())
		err = f.load(t, f.site(body))
		if err == nil {
			break
		}
		if try == 9 || !strings.Contains(err.Error(), "address already in use") {
			require.NoError(t, err)
		}
	}
	f.url = "http://127.0.0.1:" + f.port
	return f
}

// sessionsOf returns the sessions of a name.
func sessionsOf(t *testing.T, name string) (s *sessions) {
	t.Helper()
	named.Range(func(key, value any) bool {
		if key == name {
			s = value.(*sessions)
		}
		return s == nil
	})
	require.NotNil(t, s, "no policy uses this name")
	return s
}

// upstream is an upstream of Caddy.
type upstream struct {
	name   string // its address, as Caddy knows it
	server *httptest.Server
	ill    atomic.Bool  // it fails its health checks
	status atomic.Int32 // the status of its answers; 0: it serves; hangsUp: it closes the connection
	asked  atomic.Int32 // requests that have arrived
}

const hangsUp = -1

func (u *upstream) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.URL.Path == "/health" {
		if u.ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	u.asked.Add(1)
	w.Header().Set("X-Upstream", u.name)
	if status := u.status.Load(); status != 0 {
		_, _ = io.Copy(io.Discard, r.Body)
		if status == hangsUp {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(int(status))
		return
	}
	next.ServeHTTP(w, r)
}

// upstreams starts n upstreams with a handler. If it is nil, each is a simulated provider of its
// own.
func upstreams(t *testing.T, n int, h http.Handler) (all []*upstream, to string) {
	t.Helper()
	for range n {
		u, next := &upstream{}, h
		if next == nil {
			sim, err := simulator.New(simulator.Options{MinTokens: 1})
			require.NoError(t, err)
			next = sim
		}
		u.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { u.serve(w, r, next) }))
		t.Cleanup(u.server.Close)
		u.name = strings.TrimPrefix(u.server.URL, "http://")
		all = append(all, u)
		to += " " + u.name
	}
	return all, to
}

func byName(all []*upstream, name string) *upstream {
	for _, u := range all {
		if u.name == name {
			return u
		}
	}
	return nil
}

// api describes the API of a provider, as a client uses it.
type api struct {
	name, path, streamPath string
	credential             string // the header with the credential
	body                   func(c *conversation, stream bool) string
	text, delta            string // paths of the answer's words: in a whole answer, and in an event
}

func messages(c *conversation, format string) string {
	var all []string
	for i, text := range c.texts {
		all = append(all, fmt.Sprintf(format, []string{"user", c.api.name}[i%2], text))
	}
	s := "[" + strings.Join(all, ",") + "]"
	model := "assistant"
	if c.api.name == "gemini" {
		model = "model"
	}
	return strings.ReplaceAll(s, `"role":"`+c.api.name+`"`, `"role":"`+model+`"`)
}

var apis = []api{
	{
		name: "chat", path: "/v1/chat/completions", streamPath: "/v1/chat/completions", credential: "Authorization",
		body: func(c *conversation, stream bool) string {
			return fmt.Sprintf(`{"model":"m","stream":%t,"messages":%s}`, stream, messages(c, `{"role":%q,"content":%q}`))
		},
		text: "choices.0.message.content", delta: "choices.0.delta.content",
	},
	{
		name: "messages", path: "/v1/messages", streamPath: "/v1/messages", credential: "X-Api-Key",
		body: func(c *conversation, stream bool) string {
			return fmt.Sprintf(`{"model":"m","max_tokens":99,"stream":%t,"messages":%s}`, stream, messages(c, `{"role":%q,"content":%q}`))
		},
		text: "content.0.text", delta: "delta.text",
	},
	{
		name: "responses", path: "/v1/responses", streamPath: "/v1/responses", credential: "Authorization",
		body: func(c *conversation, stream bool) string {
			return fmt.Sprintf(`{"model":"m","store":false,"stream":%t,"input":%s}`, stream, messages(c, `{"role":%q,"content":%q}`))
		},
		text: "output.0.content.0.text", delta: "delta",
	},
	{
		// The upstream stores the history, so another upstream refuses the second turn.
		name: "responses with state", path: "/v1/responses", streamPath: "/v1/responses", credential: "Authorization",
		body: func(c *conversation, stream bool) string {
			previous := ""
			if c.previous != "" {
				previous = fmt.Sprintf(`"previous_response_id":%q,`, c.previous)
			}
			return fmt.Sprintf(`{"model":"m",%s"stream":%t,"input":%q}`, previous, stream, c.texts[len(c.texts)-1])
		},
		text: "output.0.content.0.text", delta: "delta",
	},
	{
		name: "gemini", path: "/v1beta/models/m:generateContent", streamPath: "/v1beta/models/m:streamGenerateContent?alt=sse", credential: "X-Goog-Api-Key",
		body: func(c *conversation, _ bool) string {
			return fmt.Sprintf(`{"contents":%s}`, messages(c, `{"role":%q,"parts":[{"text":%q}]}`))
		},
		text: "candidates.0.content.parts.0.text", delta: "candidates.0.content.parts.0.text",
	},
}

// conversation is a conversation of a client.
type conversation struct {
	api      api
	stream   bool
	caller   string
	texts    []string // the words of the user and of the model, alternately
	previous string
}

// say sends the user's next words, and returns the upstream that has answered.
func (c *conversation) say(t *testing.T, f *front, words string) string {
	t.Helper()
	c.texts = append(c.texts, words)
	path := c.api.path
	if c.stream {
		path = c.api.streamPath
	}
	r, err := http.NewRequest(http.MethodPost, f.url+path, strings.NewReader(c.api.body(c, c.stream)))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	credential := c.caller
	if c.api.credential == "Authorization" {
		credential = "Bearer " + credential
	}
	r.Header.Set(c.api.credential, credential)
	if c.api.name == "messages" {
		r.Header.Set("Anthropic-Version", "2023-06-01")
	}
	resp, body := f.do(t, r)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", c.api.name, body)
	answer := ""
	if c.stream {
		require.Contains(t, resp.Header.Get("Content-Type"), "text/event-stream")
		for line := range strings.Lines(body) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if gjson.Get(data, c.api.delta).Type == gjson.String {
					answer += gjson.Get(data, c.api.delta).Str
				}
				if id := gjson.Get(data, "response.id"); id.Exists() {
					c.previous = id.Str
				}
			}
		}
	} else {
		answer = gjson.Get(body, c.api.text).Str
		c.previous = gjson.Get(body, "id").Str
	}
	require.NotEmpty(t, answer, "%s: %s", c.api.name, body)
	c.texts = append(c.texts, answer)
	return resp.Header.Get("X-Upstream")
}

// do sends a request and reads the answer. For a moment after a reload the old server may
// accept a connection and close it unused.
func (f *front) do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := f.client.Do(r)
	for try := 0; f.loaded.Load() > 1 && try < 100 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)); try++ {
		r.Body, err = r.GetBody()
		require.NoError(t, err)
		resp, err = f.client.Do(r)
	}
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

// post sends a body of JSON, with pairs of header names and values.
func (f *front) post(t *testing.T, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, f.url+"/v1/chat/completions", body)
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return f.do(t, r)
}

// ask sends a request with a session id, and returns the upstream that has answered.
func (f *front) ask(t *testing.T, session string, header ...string) string {
	t.Helper()
	resp, body := f.post(t, strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`),
		append([]string{"X-Session-Id", session, "Authorization", "Bearer somebody"}, header...)...)
	require.Equal(t, http.StatusOK, resp.StatusCode, body)
	return resp.Header.Get("X-Upstream")
}

// echo answers with the body of the request.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	header, _ := json.Marshal(r.Header)
	w.Header().Set("X-Seen", string(header))
	_, _ = io.Copy(w, bytes.NewReader(body))
})
