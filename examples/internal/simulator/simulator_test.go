package simulator

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

var long = strings.Repeat("words ", 1000) // 1,500 tokens

func turn(texts ...string) (chat, input, contents string) {
	var m, c []string
	for i, text := range texts {
		role := []string{"user", "assistant"}[i%2]
		m = append(m, fmt.Sprintf(`{"role":%q,"content":%q}`, role, text))
		c = append(c, fmt.Sprintf(`{"role":%q,"parts":[{"text":%q}]}`, role, text))
	}
	return `"messages":[` + strings.Join(m, ",") + `]`, `"input":[` + strings.Join(m, ",") + `]`, `"contents":[` + strings.Join(c, ",") + `]`
}

type api struct {
	name, path, streamPath    string
	body                      func(texts ...string) string
	text, delta               string // paths of the text: in a whole answer, and in an event
	prompt, cached, cachedSSE string // paths of the usage
	written                   string // path of the tokens written to the cache, which the prompt's number leaves out
}

var apis = []api{
	{
		name: "messages", path: "/v1/messages", streamPath: "/v1/messages",
		body: func(t ...string) string { m, _, _ := turn(t...); return `{"model":"m",` + m + `}` },
		text: "content.0.text", delta: "delta.text",
		prompt: "usage.input_tokens", cached: "usage.cache_read_input_tokens", cachedSSE: "message.usage.cache_read_input_tokens", written: "usage.cache_creation_input_tokens",
	},
	{
		name: "chat", path: "/v1/chat/completions", streamPath: "/v1/chat/completions",
		body: func(t ...string) string {
			m, _, _ := turn(t...)
			return `{"model":"m","stream_options":{"include_usage":true},` + m + `}`
		},
		text: "choices.0.message.content", delta: "choices.0.delta.content",
		prompt: "usage.prompt_tokens", cached: "usage.prompt_tokens_details.cached_tokens", cachedSSE: "usage.prompt_tokens_details.cached_tokens",
	},
	{
		name: "responses", path: "/v1/responses", streamPath: "/v1/responses",
		body: func(t ...string) string { _, m, _ := turn(t...); return `{"model":"m",` + m + `}` },
		text: "output.0.content.0.text", delta: "delta",
		prompt: "usage.input_tokens", cached: "usage.input_tokens_details.cached_tokens", cachedSSE: "response.usage.input_tokens_details.cached_tokens",
	},
	{
		name: "gemini", path: "/v1beta/models/m:generateContent", streamPath: "/v1beta/models/m:streamGenerateContent?alt=sse",
		body: func(t ...string) string { _, _, m := turn(t...); return `{` + m + `}` },
		text: "candidates.0.content.parts.0.text", delta: "candidates.0.content.parts.0.text",
		prompt: "usageMetadata.promptTokenCount", cached: "usageMetadata.cachedContentTokenCount", cachedSSE: "usageMetadata.cachedContentTokenCount",
	},
}

func start(t *testing.T, o Options) (*Server, string) {
	t.Helper()
	s, err := New(o)
	require.NoError(t, err)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, h.URL
}

func post(t *testing.T, url, key, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// dataOf returns the data of a stream's events.
func dataOf(stream string) (out []string) {
	for line := range strings.Lines(stream) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			out = append(out, strings.TrimSpace(data))
		}
	}
	return out
}

// withoutID returns an answer's text without the part that is unique.
func withoutID(t *testing.T, text string) string {
	t.Helper()
	require.Regexp(t, `^Answer [0-9a-f]{16}: `, text)
	return text[len("Answer 0123456789abcdef"):]
}

func TestEachAPITellsWhatIsCachedInItsOwnWords(t *testing.T) {
	for _, a := range apis {
		t.Run(a.name, func(t *testing.T) {
			s, url := start(t, Options{})
			_, one, err := post(t, url+a.path, "k", a.body(long))
			require.NoError(t, err)
			require.NotEmpty(t, gjson.Get(one, a.text).Str)
			require.Zero(t, gjson.Get(one, a.cached).Int())
			total := gjson.Get(one, a.prompt).Int()
			if a.written != "" {
				require.Zero(t, total, "a long prompt must be written to the cache completely")
				total = gjson.Get(one, a.written).Int()
			}
			require.Greater(t, total, int64(1024))
			_, two, err := post(t, url+a.path, "k", a.body(long, "answer", "more"))
			require.NoError(t, err)
			require.Equal(t, total, gjson.Get(two, a.cached).Int(), "the first prompt is a prefix of the second one, so all of it must be cached")
			uncached := gjson.Get(two, a.prompt).Int() - total
			if a.written != "" {
				uncached = gjson.Get(two, a.written).Int()
			}
			require.Positive(t, uncached)
			require.Less(t, uncached, int64(100))
			require.Equal(t, 2, s.Stats()["k"].Served)
			require.EqualValues(t, total, s.Stats()["k"].CachedTokens)
			require.EqualValues(t, total+uncached, s.Stats()["k"].CacheWrites)
			require.EqualValues(t, total+total+uncached, s.Stats()["k"].PromptTokens)
		})
	}
}

func TestEachAPIStreams(t *testing.T) {
	for _, a := range apis {
		t.Run(a.name, func(t *testing.T) {
			_, url := start(t, Options{})
			_, whole, err := post(t, url+a.path, "other", a.body(long))
			require.NoError(t, err)
			body := strings.Replace(a.body(long), "{", `{"stream":true,`, 1)
			for turn := range 2 {
				resp, stream, err := post(t, url+a.streamPath, "k", body)
				require.NoError(t, err)
				require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
				var text strings.Builder
				cached := int64(-1)
				for line := range strings.Lines(stream) {
					data, ok := strings.CutPrefix(line, "data: ")
					if !ok || !gjson.Valid(data) {
						continue
					}
					if kind := gjson.Get(data, "type").Str; kind == "" || strings.HasSuffix(kind, "delta") {
						text.WriteString(gjson.Get(data, a.delta).Str)
					}
					if v := gjson.Get(data, a.cachedSSE); v.Exists() {
						cached = v.Int()
					}
				}
				require.Equal(t, withoutID(t, gjson.Get(whole, a.text).Str), withoutID(t, text.String()), "a streamed answer must have the same words as a whole one")
				if turn == 0 {
					require.Zero(t, cached)
				} else {
					require.Greater(t, cached, int64(1024))
				}
			}
		})
	}
	t.Run("gemini without sse is a JSON array", func(t *testing.T) {
		_, url := start(t, Options{})
		_, text, err := post(t, url+"/v1beta/models/m:streamGenerateContent", "k", apis[3].body("x"))
		require.NoError(t, err)
		var pieces []json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(text), &pieces), text)
		require.Len(t, pieces, 4)
	})
}

// Each answer is unique, so that a test notices if a gateway gives a client the answer of another
// one. All answers have the same length, so that two runs of the same conversations have the same
// number of tokens.
func TestNoTwoAnswersAreTheSame(t *testing.T) {
	for _, a := range apis {
		_, url := start(t, Options{})
		id := map[string]string{"gemini": "responseId"}[a.name]
		if id == "" {
			id = "id"
		}
		_, one, err := post(t, url+a.path, "k", a.body("x"))
		require.NoError(t, err)
		_, two, err := post(t, url+a.path, "k", a.body("x"))
		require.NoError(t, err)
		require.NotEqual(t, gjson.Get(one, id).Str, gjson.Get(two, id).Str, a.name)
		said, again := gjson.Get(one, a.text).Str, gjson.Get(two, a.text).Str
		require.Contains(t, gjson.Get(one, id).Str, said[len("Answer "):][:16], "the text must contain the answer's id")
		require.NotEqual(t, said, again)
		require.Equal(t, withoutID(t, said), withoutID(t, again))
		_, three, err := post(t, url+a.path, "k", a.body("something else"))
		require.NoError(t, err)
		require.Len(t, gjson.Get(three, a.text).Str, len(said), "the length of an answer must not depend on the prompt")
	}
	for tokens := 1; tokens < 100; tokens++ {
		text := answerTo(&question{}, tokens, false).text
		require.Len(t, text, max(25, 4*tokens-8))
		require.True(t, strings.HasSuffix(text, "."), text)
	}
}

func TestCountTokensTouchesNothing(t *testing.T) {
	_, url := start(t, Options{})
	_, count, err := post(t, url+"/v1/messages/count_tokens", "k", apis[0].body(long))
	require.NoError(t, err)
	_, one, err := post(t, url+"/v1/messages", "k", apis[0].body(long))
	require.NoError(t, err)
	require.Equal(t, gjson.Get(count, "input_tokens").Int(), gjson.Get(one, "usage.input_tokens").Int()+gjson.Get(one, "usage.cache_creation_input_tokens").Int())
	require.Zero(t, gjson.Get(one, "usage.cache_read_input_tokens").Int())
}

func bodyOf(t *testing.T, body string) (o object) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(body), &o))
	return o
}

func questionOf(t *testing.T, body string) *question {
	t.Helper()
	return readMessages(bodyOf(t, body))
}

func TestThePromptCache(t *testing.T) {
	one := func(model, system string) *question {
		return questionOf(t, fmt.Sprintf(`{"model":%q,"system":%q,"messages":[{"role":"user","content":"x"}]}`, model, system))
	}
	t.Run("is kept per model", func(t *testing.T) {
		c := newPromptCache(time.Hour, 1, 100)
		c.store(one("a", long))
		require.Positive(t, c.hit(one("a", long)))
		require.Zero(t, c.hit(one("b", long)))
	})
	t.Run("has a minimum length", func(t *testing.T) {
		c := newPromptCache(time.Hour, 1024, 100)
		c.store(one("a", "short"))
		require.Zero(t, c.hit(one("a", "short")))
		require.Zero(t, c.writes(one("a", "short"), 0), "a prompt that is too short must not be written to the cache")
		require.Positive(t, c.writes(one("a", long), 0))
	})
	t.Run("holds what is pinned, also if it holds less by itself", func(t *testing.T) {
		c := newPromptCache(time.Hour, 1, 100)
		parts := partsOf("user", list{"first part", "second part"})
		c.store(&question{said: parts[:1]})
		require.Equal(t, tokensOf(parts...), c.hit(&question{pinned: parts}))
	})
	t.Run("slides", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newPromptCache(5*time.Minute, 1, 100)
			c.store(one("a", long))
			for range 3 {
				time.Sleep(4 * time.Minute)
				require.Positive(t, c.hit(one("a", long)))
				c.store(one("a", long))
			}
			time.Sleep(5 * time.Minute)
			require.Zero(t, c.hit(one("a", long)))
			c.store(one("b", "x"))
			require.Equal(t, 2, c.prefixes.Len(), "prefixes that have expired must be freed")
		})
	})
	t.Run("is bounded", func(t *testing.T) {
		c := newPromptCache(time.Hour, 1, 10)
		for i := range 100 {
			c.store(one("a", fmt.Sprint(i)))
		}
		require.Equal(t, 10, c.prefixes.Len())
	})
	t.Run("a moved cache_control and a string for a block change nothing", func(t *testing.T) {
		a := questionOf(t, `{"messages":[{"role":"user","content":[{"type":"text","text":"q","cache_control":{"type":"ephemeral"}}]}]}`)
		b := questionOf(t, `{"messages":[{"role":"user","content":"q"}]}`)
		require.Equal(t, a.hash(), b.hash())
		c := questionOf(t, `{"messages":[{"role":"user","content":[{"type":"output_text","text":"q","annotations":[]}]}]}`)
		require.Equal(t, a.hash(), c.hash())
	})
	t.Run("a prefix that differs is none", func(t *testing.T) {
		c := newPromptCache(time.Hour, 1, 100)
		c.store(one("a", long))
		require.Zero(t, c.hit(one("a", "x"+long)))
	})
}

func TestFaults(t *testing.T) {
	body := strings.Replace(apis[0].body("x"), "{", `{"stream":true,`, 1)
	for _, status := range []int{401, 429, 503, 529} {
		s, url := start(t, Options{})
		s.SetFault("k", Fault{Status: status, RetryAfter: 1500 * time.Millisecond, Times: 2})
		for range 2 {
			resp, text, err := post(t, url+"/v1/messages", "k", body)
			require.NoError(t, err)
			require.Equal(t, status, resp.StatusCode)
			require.Equal(t, "2", resp.Header.Get("Retry-After"))
			require.Equal(t, "error", gjson.Get(text, "type").Str)
		}
		resp, _, err := post(t, url+"/v1/messages", "other", body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, "a fault must not apply to another credential")
		resp, _, err = post(t, url+"/v1/messages", "k", body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, "after two requests the fault must be over")
		require.Equal(t, 3, s.Stats()["k"].Requests)
		require.Equal(t, 1, s.Stats()["k"].Served)
	}
	t.Run("hang up", func(t *testing.T) {
		s, url := start(t, Options{})
		s.SetFault("k", Fault{HangUp: true})
		_, _, err := post(t, url+"/v1/messages", "k", body)
		require.Error(t, err, "the connection must be closed before the first byte of an answer")
		s.SetFault("k", Fault{HangUp: true, HangUpAfter: 3})
		_, text, err := post(t, url+"/v1/messages", "k", body)
		require.Error(t, err, "the connection must be closed in the middle of the stream")
		require.Equal(t, 3, strings.Count(text, "data: "))
		s.SetFault("k", Fault{HangUp: true, HangUpAfter: 8})
		_, _, err = post(t, url+"/v1/messages", "k", body)
		require.Error(t, err, "the connection must be closed before the last event")
		require.Zero(t, s.Stats()["k"].Served)
		s.SetFault("k", Fault{})
		_, _, err = post(t, url+"/v1/messages", "k", body)
		require.NoError(t, err)
		require.Equal(t, 1, s.Stats()["k"].Served)
	})
	t.Run("a body", func(t *testing.T) {
		s, url := start(t, Options{})
		s.SetFault("k", Fault{Status: 400, Body: `{"error":{"code":"mine"}}`})
		resp, text, err := post(t, url+"/v1/messages", "k", body)
		require.NoError(t, err)
		require.Equal(t, 400, resp.StatusCode)
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
		require.Equal(t, `{"error":{"code":"mine"}}`, text)
	})
	t.Run("an error in the stream", func(t *testing.T) {
		last := map[string]string{
			"messages":  `{"error":{"message":"Overloaded","type":"overloaded_error"},"type":"error"}`,
			"chat":      `{"error":{"code":null,"message":"The server is overloaded. Please try again later.","param":null,"type":"server_error"}}`,
			"responses": "response.failed",
			"gemini":    `{"error":{"code":503,"message":"The server is overloaded. Please try again later.","status":"UNAVAILABLE"}}`,
		}
		for _, a := range apis {
			s, url := start(t, Options{})
			s.SetFault("k", Fault{EventError: 2})
			resp, text, err := post(t, url+a.streamPath, "k", strings.Replace(a.body("x"), "{", `{"stream":true,`, 1))
			require.NoError(t, err, "a stream with an error must end without a connection error")
			require.Equal(t, 200, resp.StatusCode)
			data := dataOf(text)
			require.Len(t, data, 3)
			if a.name == "responses" {
				require.Equal(t, "failed", gjson.Get(data[2], "response.status").Str)
				require.Equal(t, "server_error", gjson.Get(data[2], "response.error.code").Str)
				require.EqualValues(t, 2, gjson.Get(data[2], "sequence_number").Int())
				data[2] = gjson.Get(data[2], "type").Str
			}
			require.Equal(t, last[a.name], data[2])
			require.Zero(t, s.Stats()["k"].Served)
		}
		s, url := start(t, Options{})
		s.SetFault("k", Fault{EventError: 100})
		_, text, err := post(t, url+"/v1/messages", "k", body)
		require.NoError(t, err)
		require.Contains(t, text, "message_stop", "a stream with fewer events than EventError must be complete")
	})
	t.Run("a client that does not wait", func(t *testing.T) {
		s, _ := start(t, Options{})
		s.SetFault("k", Fault{Delay: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/messages", strings.NewReader(body))
		r.Header.Set("X-Api-Key", "k")
		s.ServeHTTP(httptest.NewRecorder(), r)
		require.Equal(t, 0, s.Stats()["k"].Served)
	})
}

func TestWhoIsLetIn(t *testing.T) {
	_, url := start(t, Options{Credentials: []string{"good"}})
	for key, want := range map[string]int{"good": 200, "bad": 401, "": 401} {
		resp, _, err := post(t, url+"/v1/messages", key, apis[0].body("x"))
		require.NoError(t, err)
		require.Equal(t, want, resp.StatusCode, key)
	}
	for _, header := range []string{"X-Api-Key", "X-Goog-Api-Key"} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set(header, "k")
		require.Equal(t, "k", credentialOf(r))
	}
	require.Equal(t, "k", credentialOf(httptest.NewRequest(http.MethodPost, "/?key=k", nil)))
	resp, err := http.Get(url + "/v1/messages")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 404, resp.StatusCode)
}

func TestBodiesThatAreNoRequest(t *testing.T) {
	_, url := start(t, Options{})
	for name, body := range map[string]string{
		"empty": "", "not JSON": "x", "truncated": `{"messages":[`, "null": "null", "array": "[]",
		"too deep": `{"messages":` + strings.Repeat("[", 20_000),
	} {
		for _, a := range apis {
			resp, text, err := post(t, url+a.path, "k", body)
			require.NoError(t, err)
			require.Equal(t, 400, resp.StatusCode, "%s, %s", name, a.name)
			require.NotEmpty(t, gjson.Get(text, "error.message").Str)
		}
	}
	for _, body := range []string{`{}`, `{"messages":[1,"x",null,{"role":3}]}`, `{"input":7}`, `{"contents":{"parts":"x"}}`} {
		for _, a := range apis {
			resp, _, err := post(t, url+a.path, "k", body)
			require.NoError(t, err)
			require.Equal(t, 200, resp.StatusCode, "%s, %s", body, a.name)
		}
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(apis[0].body("x")))
	z.Close()
	r := httptest.NewRequest(http.MethodPost, "/v1/messages", &zipped)
	r.Header.Set("Content-Encoding", "gzip")
	r.Header.Set("X-Api-Key", "k")
	w := httptest.NewRecorder()
	s, err := New(Options{})
	require.NoError(t, err)
	s.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code, "the simulator must read a compressed body")
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{TTL: -1}, {MinTokens: -1}, {MaxPrefixes: -1}, {OutputTokens: -1}, {ThreadTTL: -1}, {MaxStates: -1}} {
		_, err := New(o)
		require.Error(t, err)
	}
}

func Example() {
	sim, err := New(Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := func(key string) {
		body := `{"model":"m","messages":[{"role":"user","content":"` + long + `"}]}`
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		sim.ServeHTTP(w, r)
		usage := gjson.Get(w.Body.String(), "usage")
		fmt.Println(key, usage.Get("prompt_tokens"), usage.Get("prompt_tokens_details.cached_tokens"))
	}
	ask("key-1")
	ask("key-1")
	ask("key-2")
	// Output:
	// key-1 1503 0
	// key-1 1503 1503
	// key-2 1503 0
}
