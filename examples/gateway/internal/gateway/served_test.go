package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// anthropicClient has the headers of Anthropic's SDKs, without a session.
var anthropicClient = []string{"Anthropic-Version", "2023-06-01", "X-Api-Key", "client"}

// tries returns how many requests the provider has got.
func (gw *testGateway) tries() (n int) {
	for _, s := range gw.sim.Stats() {
		n += s.Requests
	}
	return n
}

func TestAMistypedModelReachesTwoAuthsAtMostAndTheProviderSaysSo(t *testing.T) {
	gw := startSimulated(t, 8, simulator.Options{Models: []string{"m"}}, GatewayOptions{Affinity: true, DecisionHeader: true, Attempts: 8})
	session := []string{"X-Session-Id", "the-session", "Authorization", "Bearer client"}
	home := gw.send("POST", "/v1/chat/completions", `{"model":"m","messages":[]}`, session...).auth()
	for path, body := range map[string]string{
		"/v1/messages":                                 `{"model":"n","max_tokens":9,"messages":[{"role":"user","content":"q"}]}`,
		"/v1/messages?beta=true":                       `{"model":"n","stream":true,"messages":[{"role":"user","content":"q"}]}`,
		"/v1/messages/count_tokens":                    `{"model":"n","messages":[]}`,
		"/v1/chat/completions":                         `{"model":"n","messages":[]}`,
		"/v1/chat/completions?":                        `{"model":"n","stream":true,"messages":[]}`,
		"/v1/responses":                                `{"model":"n","input":"q"}`,
		"/v1/responses?":                               `{"model":"n","stream":true,"input":"q"}`,
		"/v1/embeddings":                               `{"model":"n","input":"q"}`,
		"/v1beta/models/n:generateContent":             `{"contents":[]}`,
		"/v1beta/models/n:streamGenerateContent":       `{"contents":[]}`,
		"/v1beta/models/n:streamGenerateContent?alt=x": `{"contents":[]}`,
		"/v1beta/models/n:countTokens":                 `{"contents":[]}`,
		"/v1beta/models/n:embedContent":                `{"content":{}}`,
		"/v1beta/cachedContents":                       `{"model":"models/n"}`,
		"/v1beta/interactions":                         `{"model":"n","input":"q"}`,
	} {
		direct := httptest.NewRecorder()
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer directly")
		gw.sim.ServeHTTP(direct, r)
		require.Equal(t, http.StatusNotFound, direct.Code, path)
		before := gw.tries()
		got := gw.send("POST", path, body, session...)
		require.Equal(t, http.StatusNotFound, got.status, path)
		require.Equal(t, strings.TrimSpace(direct.Body.String()), got.text, path)
		n := gw.tries() - before
		require.GreaterOrEqual(t, n, 1, path)
		require.LessOrEqual(t, n, 2, path)
	}
	for _, a := range gw.pool.All() {
		require.Empty(t, a.Reason(), "a model that the provider does not have must not count as a failure of an auth")
	}
	for range 3 {
		r := gw.send("POST", "/v1/chat/completions", `{"model":"m","messages":[]}`, session...)
		require.Equal(t, http.StatusOK, r.status)
		require.Equal(t, home, r.auth(), "the session must stay on its auth")
	}
}

func TestCallsBesideConversationsAreAnswered(t *testing.T) {
	gw := startSimulated(t, 8, simulator.Options{Models: []string{"m"}}, GatewayOptions{Affinity: true, DecisionHeader: true})
	const contents = `{"contents":[{"role":"user","parts":[{"text":"a question"}]}]}`
	for _, c := range []struct {
		method, path, body string
		header             []string
		at, want           string
	}{
		{method: "GET", path: "/v1/models", at: "data.0.object", want: "model"},
		{method: "GET", path: "/v1/models", header: anthropicClient, at: "data.0.type", want: "model"},
		{method: "GET", path: "/v1beta/models", at: "models.0.name", want: "models/m"},
		{method: "POST", path: "/v1/embeddings", body: `{"model":"m","input":"text"}`, at: "data.0.object", want: "embedding"},
		{method: "POST", path: "/v1beta/models/m:countTokens", body: contents, at: "totalTokens", want: "6"},
		{method: "POST", path: "/v1beta/models/m:embedContent", body: `{"content":{"parts":[{"text":"x"}]}}`, at: "embedding.values.#", want: "8"},
		{method: "HEAD", path: "/"},
		{method: "HEAD", path: "/", header: anthropicClient},
	} {
		r := gw.send(c.method, c.path, c.body, c.header...)
		require.NoError(t, r.err)
		require.Equal(t, http.StatusOK, r.status, "%s %s: %s", c.method, c.path, r.text)
		require.NotEmpty(t, r.auth())
		if c.at != "" {
			require.Equal(t, c.want, gjson.Get(r.text, c.at).String(), "%s %s: %s", c.method, c.path, r.text)
		}
	}
}

// Only the auth that has made a response knows it. The requests have its id only in their path.
func TestAResponseIsShownAndDeletedByTheAuthThatHasMadeIt(t *testing.T) {
	gw := startSimulated(t, 8, simulator.Options{}, GatewayOptions{Affinity: true, DecisionHeader: true})
	made := map[string]string{}
	for i := range 24 {
		r := gw.send("POST", "/v1/responses", fmt.Sprintf(`{"model":"m","stream":%v,"input":"question %d"}`, i%2 == 0, i))
		require.Equal(t, http.StatusOK, r.status)
		made[told(r.text, "id", "response.id")] = r.auth()
	}
	require.Len(t, made, 24)
	require.Len(t, slices.Compact(slices.Sorted(maps.Values(made))), 8)
	for _, method := range []string{"GET", "GET", "DELETE"} {
		for id, auth := range made {
			r := gw.send(method, "/v1/responses/"+id, "")
			require.Equal(t, http.StatusOK, r.status, "%s: %s", method, r.text)
			require.Equal(t, id, gjson.Get(r.text, "id").Str)
			require.Equal(t, auth, r.auth())
		}
	}
	for id, auth := range made {
		r := gw.send("GET", "/v1/responses/"+id, "")
		require.Equal(t, http.StatusNotFound, r.status, "a response that was deleted must not be found")
		require.JSONEq(t, `{"error":{"message":"Response with id '`+id+`' not found.","type":"invalid_request_error","param":null,"code":null}}`, r.text)
		require.Equal(t, auth, r.auth())
	}
}

// With one upstream for each API, each call goes to the upstream of its API, with the credential in
// the form of that API.
func TestEveryCallGoesToAnUpstreamOfItsAPI(t *testing.T) {
	var mu sync.Mutex
	var presented []string
	pool := upstream(t, 3, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		presented = nil
		for _, h := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"} {
			if v := r.Header.Get(h); v != "" {
				presented = append(presented, h+": "+v)
			}
		}
	})
	for i, api := range []API{APIAnthropic, APIOpenAI, APIGemini} {
		pool.auths[i].API = api
	}
	gw := startGatewayOn(t, GatewayOptions{Pool: pool, Affinity: true, DecisionHeader: true})
	const anthropic, openAI, gemini = "X-Api-Key: key-1", "Authorization: Bearer key-2", "X-Goog-Api-Key: key-3"
	ask := func(gw *testGateway, want, method, path string, header ...string) {
		r := gw.send(method, path, "", header...)
		require.Equal(t, http.StatusOK, r.status, path)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{want}, presented, "%s %s", method, path)
	}
	for path, want := range map[string]string{
		"/v1/messages": anthropic, "/v1/messages/count_tokens": anthropic, "/v1/chat/completions": openAI, "/v1/completions": openAI,
		"/v1/embeddings": openAI, "/v1/responses": openAI, "/v1/responses/resp_1/cancel": openAI, "/v1/conversations": openAI,
		"/v1/conversations/conv_1/items": openAI, "/v1beta/models/m:generateContent": gemini, "/v1beta/models/m:countTokens": gemini,
		"/v1beta/cachedContents": gemini, "/v1beta/interactions": gemini,
	} {
		ask(gw, want, "POST", path, "Authorization", "Bearer client")
	}
	ask(gw, anthropic, "GET", "/v1/models", anthropicClient...)
	ask(gw, anthropic, "GET", "/v1/models/m", anthropicClient...)
	ask(gw, openAI, "GET", "/v1/models", "Authorization", "Bearer client")
	ask(gw, gemini, "GET", "/v1beta/models", "X-Goog-Api-Key", "client")
	ask(gw, gemini, "GET", "/v1beta/models?key=client")
	ask(gw, gemini, "GET", "/v1beta/interactions/v1_1")
	ask(gw, anthropic, "HEAD", "/")
	// A call that all APIs have goes to any upstream.
	for i, want := range []string{anthropic, openAI, gemini} {
		alone := startGatewayOn(t, GatewayOptions{Pool: &Pool{auths: pool.auths[i : i+1]}, Affinity: true})
		ask(alone, want, "GET", "/v1/models")
		ask(alone, want, "GET", "/v1/models", anthropicClient...)
		ask(alone, want, "HEAD", "/")
	}
}

// forms reads the kind and the message of an error in the form of each API.
var forms = map[API]func(text string) (kind, message string){
	APIAnthropic: func(text string) (string, string) {
		if gjson.Get(text, "type").Str != "error" {
			return "", ""
		}
		return gjson.Get(text, "error.type").Str, gjson.Get(text, "error.message").Str
	},
	APIOpenAI: func(text string) (string, string) {
		if gjson.Get(text, "type").Exists() || !gjson.Get(text, "error.param").Exists() {
			return "", ""
		}
		return gjson.Get(text, "error.type").Str, gjson.Get(text, "error.message").Str
	},
	APIGemini: func(text string) (string, string) {
		if gjson.Get(text, "error.code").Type != gjson.Number {
			return "", ""
		}
		return gjson.Get(text, "error.status").Str, gjson.Get(text, "error.message").Str
	},
}

// requireForm requires that an answer is a JSON error in the form of an API.
func requireForm(t *testing.T, api API, r reply, kind, message string) {
	t.Helper()
	require.NoError(t, r.err)
	require.Equal(t, "application/json", r.header.Get("Content-Type"))
	require.True(t, gjson.Valid(r.text), r.text)
	gotKind, gotMessage := forms[api](r.text)
	require.Equal(t, kind, gotKind, "%s: %s", api, r.text)
	require.Equal(t, message, gotMessage)
}

var notFound = map[API]string{APIAnthropic: "not_found_error", APIOpenAI: "not_found_error", APIGemini: "NOT_FOUND"}

func TestAnAPIThatNoUpstreamSpeaksIsNotFoundInItsForm(t *testing.T) {
	asked := map[API][]string{
		APIAnthropic: {"/v1/messages", "/v1/messages/count_tokens"},
		APIOpenAI:    {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/conversations", "/v1/embeddings", "/v1/responses/resp_1/cancel"},
		APIGemini:    {"/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent?alt=sse", "/v1beta/interactions", "/v1beta/cachedContents"},
	}
	for _, only := range []API{APIAnthropic, APIOpenAI, APIGemini} {
		pool := upstream(t, 2, func(http.ResponseWriter, *http.Request) {})
		for _, a := range pool.auths {
			a.API = only
		}
		gw := startGatewayOn(t, GatewayOptions{Pool: pool, Affinity: true})
		for api, paths := range asked {
			for _, path := range paths {
				r := gw.send("POST", path, `{"model":"m"}`, "Authorization", "Bearer client")
				if api == only {
					require.Equal(t, http.StatusOK, r.status, path)
					continue
				}
				require.Equal(t, http.StatusNotFound, r.status, path)
				requireForm(t, api, r, notFound[api], "no upstream of this gateway serves that API")
			}
		}
	}
}

func TestAnUnknownPathIsNotFoundInTheFormOfItsAPI(t *testing.T) {
	gw := startGatewayOn(t, GatewayOptions{Affinity: true, Pool: upstream(t, 1, func(http.ResponseWriter, *http.Request) {
		t.Error("the upstream has got a request that the gateway must refuse")
	})})
	for _, c := range []struct {
		method, path string
		header       []string
		api          API
	}{
		{"POST", "/v1/messages/batches", nil, APIAnthropic},
		{"GET", "/v1/organizations/me", anthropicClient, APIAnthropic},
		{"GET", "/v1/files", anthropicClient, APIAnthropic},
		{"GET", "/v1/files", nil, APIOpenAI},
		{"POST", "/v1/images/generations", nil, APIOpenAI},
		{"DELETE", "/v1/organization/admin_api_keys/1", nil, APIOpenAI},
		{"GET", "/v1beta/files", nil, APIGemini},
		{"POST", "/v1beta/tunedModels/x:generateContent", nil, APIGemini},
		{"GET", "/", nil, APIOpenAI},
		{"POST", "/", nil, APIOpenAI},
		{"GET", "/metrics", nil, APIOpenAI},
	} {
		r := gw.send(c.method, c.path, "", c.header...)
		require.Equal(t, http.StatusNotFound, r.status, c.path)
		requireForm(t, c.api, r, notFound[c.api], "this gateway does not serve that path")
	}
}

// lines collects log lines. Several goroutines may use it.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// taken returns the lines since the last call.
func (l *lines) taken(t *testing.T) (out []gjson.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		require.True(t, json.Valid([]byte(line)), line)
		out = append(out, gjson.Parse(line))
	}
	l.buf.Reset()
	return out
}

// A session has the same name in each answer, in all turns and after a move, and in the log of -v.
// Nothing that the client has sent is in the name.
func TestASessionHasOneNameInAnswersAndInTheLog(t *testing.T) {
	var log lines
	gw := startSimulated(t, 4, simulator.Options{}, GatewayOptions{Affinity: true, DecisionHeader: true,
		Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	names := map[string]bool{}
	for _, session := range []string{"session-one", "session-two", ""} {
		name, home := "", ""
		messages := []any{object{"role": "user", "content": "a question"}}
		for turn := range 6 {
			header := []string{"Authorization", "Bearer client"}
			if session != "" {
				header = append(header, "X-Session-Id", session)
			}
			if turn == 4 {
				gw.sim.SetFault(gw.pool.Named(home).Key, simulator.Fault{Status: http.StatusServiceUnavailable, Times: 1})
			}
			r := gw.send("POST", "/v1/chat/completions", written(object{"model": "m", "stream": turn%2 == 1, "messages": messages}), header...)
			require.Equal(t, http.StatusOK, r.status)
			messages = append(messages, object{"role": "assistant", "content": joined(r.text, "choices.0.message.content", "choices.0.delta.content")},
				object{"role": "user", "content": "go on"})
			d := decisionOf(&http.Response{Header: r.header})
			if turn == 0 {
				name, home = d["session"], d["auth"]
			}
			require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, d["session"])
			require.Equal(t, name, d["session"], "turn %d", turn)
			logged := log.taken(t)
			if turn == 4 {
				require.NotEqual(t, home, d["auth"])
				require.Len(t, logged, 2)
				require.Equal(t, "an auth has failed", logged[0].Get("msg").Str)
				require.Equal(t, home, logged[0].Get("auth").Str)
				logged = logged[1:]
			}
			require.Len(t, logged, 1, "want one log line for each request")
			require.Equal(t, "DEBUG", logged[0].Get("level").Str)
			require.Equal(t, name, logged[0].Get("session").Str)
			require.EqualValues(t, 200, logged[0].Get("status").Int())
			require.NotContains(t, logged[0].Raw, "session-")
			require.NotContains(t, logged[0].Raw, "client")
			require.Equal(t, turn%2 == 1, logged[0].Get("first_token").Int() > 0, logged[0].Raw)
		}
		names[name] = true
	}
	require.Len(t, names, 3)
}

// Only the first token of a stream shows whether an auth is slow. The time of an answer in one
// piece depends on its length.
func TestOnlyStreamsMakeAnAuthSlow(t *testing.T) {
	for _, api := range []struct{ name, path, stream, body string }{
		{"messages", "/v1/messages", "/v1/messages", `{"model":"m","stream":%v,"max_tokens":9,"messages":[{"role":"user","content":"q"}]}`},
		{"chat completions", "/v1/chat/completions", "/v1/chat/completions", `{"model":"m","stream":%v,"messages":[{"role":"user","content":"q"}]}`},
		{"responses", "/v1/responses", "/v1/responses", `{"model":"m","stream":%v,"input":"q"}`},
		{"gemini", "/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent?alt=sse", `{"x":%v,"contents":[{"role":"user","parts":[{"text":"q"}]}]}`},
	} {
		t.Run(api.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const above, samples = 50 * time.Millisecond, 2
				gw := startInside(t, 4, simulator.Options{}, GatewayOptions{Affinity: true, DecisionHeader: true,
					Slow: affinity.SlowPolicy{Above: above, Samples: samples}})
				ask := func(stream bool) map[string]string {
					path := api.path
					if stream {
						path = api.stream
					}
					r := gw.send("POST", path, fmt.Sprintf(api.body, stream), "X-Session-Id", "the-session")
					require.Equal(t, http.StatusOK, r.status)
					return decisionOf(&http.Response{Header: r.header})
				}
				home := ask(true)["auth"]
				gw.sim.SetFault(gw.pool.Named(home).Key, simulator.Fault{Delay: 2 * above})
				for range 3 * samples {
					d := ask(false)
					require.Equal(t, home, d["auth"])
					require.Equal(t, "hit", d["outcome"])
				}
				for range samples {
					require.Equal(t, home, ask(true)["auth"], "an auth must count as slow only after as many slow streams as SlowPolicy.Samples")
				}
				d := ask(true)
				require.NotEqual(t, home, d["auth"])
				require.Equal(t, "slow", d["reason"])
			})
		})
	}
}

// turnOf has the path and the body of a turn, by API.
var turnOf = map[API][2]string{
	APIAnthropic: {"/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}`},
	APIOpenAI:    {"/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"q"}]}`},
	APIGemini:    {"/v1beta/models/m:generateContent", `{"contents":[{"role":"user","parts":[{"text":"q"}]}]}`},
}

// If all auths fail, the client gets the answer of the one that comes back first. Of refused
// credentials it gets the last one.
func TestWhenAllAuthsFailOneAnswerArrivesWithItsRetryAfter(t *testing.T) {
	for _, status := range []int{429, 503, 529, 401} {
		for api, turn := range turnOf {
			var mu sync.Mutex
			var answers []string
			gw := startGatewayOn(t, GatewayOptions{Affinity: true, DecisionHeader: true, Pool: upstream(t, 3, func(w http.ResponseWriter, _ *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				n := len(answers) + 1
				answers = append(answers, fmt.Sprintf("{\"error\": {\"message\": \"answer %d\"}}", n))
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				w.Header().Set("Retry-After", strconv.Itoa(100+n%2))
				w.Header().Set("X-Request-Id", fmt.Sprint("req-", n))
				w.WriteHeader(status)
				_, _ = io.WriteString(w, answers[n-1])
			})})
			r := gw.send("POST", turn[0], turn[1], "X-Session-Id", "the-session")
			require.NoError(t, r.err)
			require.Len(t, answers, 3, "%d %s: each auth must be tried once", status, api)
			require.Equal(t, status, r.status)
			want := 2
			if status == 401 {
				want = 3
			}
			require.Equal(t, answers[want-1], r.text)
			require.Equal(t, strconv.Itoa(100+want%2), r.header.Get("Retry-After"))
			require.Equal(t, fmt.Sprint("req-", want), r.header.Get("X-Request-Id"))
			require.Equal(t, "application/json; charset=utf-8", r.header.Get("Content-Type"))
			require.NotEmpty(t, r.auth())
		}
	}
}

func TestWhatTheGatewayRefusesItselfSaysWhenAndInTheFormOfTheAPI(t *testing.T) {
	kinds := map[API]string{APIAnthropic: "overloaded_error", APIOpenAI: "overloaded_error", APIGemini: "UNAVAILABLE"}
	for api, turn := range turnOf {
		gw := startSimulated(t, 3, simulator.Options{}, GatewayOptions{Affinity: true, DecisionHeader: true})
		for i, a := range gw.pool.All() {
			gw.sim.SetFault(a.Key, simulator.Fault{Status: 429, RetryAfter: time.Duration(i+10) * time.Minute})
		}
		r := gw.send("POST", turn[0], turn[1])
		require.Equal(t, 429, r.status, "if all auths refuse a request, the client must get the provider's own answer")
		before := gw.tries()
		for range 2 {
			r = gw.send("POST", turn[0], turn[1])
			require.Equal(t, http.StatusServiceUnavailable, r.status, r.text)
			requireForm(t, api, r, kinds[api], "no account can serve this request now")
			seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
			require.NoError(t, err)
			require.LessOrEqual(t, seconds, 600, "Retry-After must be the time until the first auth is back")
			require.Greater(t, seconds, 400)
		}
		require.Equal(t, before, gw.tries(), "no auth may be tried before it is back")
	}
}

func TestAnIdempotencyKeyGoesOnIfTheClientHasSentOne(t *testing.T) {
	var mu sync.Mutex
	var keys [][]string
	gw := startGatewayOn(t, GatewayOptions{Affinity: true, Pool: upstream(t, 3, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, r.Header.Values("Idempotency-Key"))
		if len(keys)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})})
	for _, turn := range turnOf {
		keys = nil
		require.Equal(t, http.StatusOK, gw.send("POST", turn[0], turn[1]).status)
		require.Equal(t, [][]string{nil, nil}, keys, turn[0])
		keys = nil
		require.Equal(t, http.StatusOK, gw.send("POST", turn[0], turn[1], "Idempotency-Key", "the client's").status)
		require.Equal(t, [][]string{{"the client's"}, {"the client's"}}, keys, "each auth must get the client's own Idempotency-Key")
	}
}

// A gateway that is told to stop accepts no new connections, and ends when all requests under way
// have ended.
func TestARequestUnderWayFinishesWhenTheGatewayIsStopped(t *testing.T) {
	for _, stream := range []bool{false, true} {
		arrived, held := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(held) })
		pool := upstream(t, 2, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if stream {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: {\"n\":1}\n\n")
				_ = http.NewResponseController(w).Flush()
			}
			close(arrived)
			<-held
			_, _ = io.WriteString(w, "data: {\"n\":2}\n\n")
		})
		t.Cleanup(release)
		g, err := NewGateway(GatewayOptions{Pool: pool, Affinity: true})
		require.NoError(t, err)
		defer g.Close()
		addr, stop, err := serve(g, "127.0.0.1:0")
		require.NoError(t, err)
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		gw := &testGateway{url: addr, client: client}
		answered, stopped := make(chan reply, 1), make(chan struct{})
		go func() { answered <- gw.send("POST", "/v1/messages", question) }()
		<-arrived
		go func() {
			defer close(stopped)
			stop()
		}()
		for { // until the gateway accepts no connection, so that it is being stopped
			c, err := net.Dial("tcp", strings.TrimPrefix(addr, "http://"))
			if err != nil {
				break
			}
			c.Close()
		}
		select {
		case <-stopped:
			t.Fatal("the gateway has ended while a request was under way")
		case r := <-answered:
			t.Fatal("the request has ended before the provider has answered it: ", r)
		default:
		}
		release()
		r := <-answered
		require.NoError(t, r.err)
		require.Equal(t, http.StatusOK, r.status)
		require.True(t, strings.HasSuffix(r.text, `{"n":2}`), r.text)
		<-stopped
	}
}
