package affinityhttp_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

func event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

// The answers of the four APIs, whole and streamed, with their usage.
var costs = []struct {
	name, path, whole, stream string
	want                      affinity.Usage
}{
	{
		"messages", "/v1/messages",
		`{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":7}}`,
		event("message_start", `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"usage":{"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":1}}}`) +
			event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`) +
			event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}`) +
			event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}`) +
			event("message_stop", `{"type":"message_stop"}`),
		affinity.Usage{Prompt: 123, Cached: 100, CacheWritten: 20, Output: 7},
	},
	{
		"chat", "/v1/chat/completions",
		`{"id":"c","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":123,"completion_tokens":7,"total_tokens":130,"prompt_tokens_details":{"cached_tokens":100}}}`,
		"data: " + strings.Join([]string{`{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, `{"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}]}`,
			`{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"id":"c","choices":[],"usage":{"prompt_tokens":123,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":100}}}`, `[DONE]`}, "\n\ndata: ") + "\n\n",
		affinity.Usage{Prompt: 123, Cached: 100, Output: 7},
	},
	{
		"responses", "/v1/responses",
		`{"id":"resp_1","object":"response","output":[],"usage":{"input_tokens":123,"input_tokens_details":{"cached_tokens":100},"output_tokens":7,"total_tokens":130}}`,
		event("response.created", `{"type":"response.created","response":{"id":"resp_1","output":[],"usage":null}}`) +
			event("response.output_text.delta", `{"type":"response.output_text.delta","delta":"hi"}`) +
			event("response.completed", `{"type":"response.completed","response":{"id":"resp_1","output":[],"usage":{"input_tokens":123,"input_tokens_details":{"cached_tokens":100},"output_tokens":7,"total_tokens":130}}}`),
		affinity.Usage{Prompt: 123, Cached: 100, Output: 7},
	},
	{
		"generateContent", "/v1beta/models/m:generateContent",
		`{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":123,"cachedContentTokenCount":100,"candidatesTokenCount":4,"thoughtsTokenCount":3}}`,
		`data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":123,"cachedContentTokenCount":100,"candidatesTokenCount":4,"thoughtsTokenCount":3}}` + "\n\n",
		affinity.Usage{Prompt: 123, Cached: 100, Output: 7},
	},
	{
		"generateContent as a list", "/v1beta/models/m:streamGenerateContent",
		`[{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]}}],"usageMetadata":{"promptTokenCount":123}},` + "\n" + `{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":123,"cachedContentTokenCount":100,"candidatesTokenCount":7}}]`,
		`data: {"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":123,"cachedContentTokenCount":100,"candidatesTokenCount":7}}}` + "\n\n", // Code Assist
		affinity.Usage{Prompt: 123, Cached: 100, Output: 7},
	},
	{
		"interactions", "/v1beta/interactions",
		`{"id":"v1_1","object":"interaction","outputs":[],"usage":{"total_input_tokens":123,"total_cached_tokens":100,"total_output_tokens":7}}`,
		event("interaction.created", `{"event_type":"interaction.created","interaction":{"id":"v1_1"}}`) + event("step.delta", `{"event_type":"step.delta","delta":{"type":"text","text":"hi"}}`) +
			event("interaction.completed", `{"event_type":"interaction.completed","interaction":{"id":"v1_1","usage":{"total_input_tokens":123,"total_cached_tokens":100,"total_output_tokens":7}}}`),
		affinity.Usage{Prompt: 123, Cached: 100, Output: 7},
	},
}

// squeeze returns a text in a content encoding, flushed in the middle as streams are.
func squeeze(t *testing.T, encoding, text string) []byte {
	var b bytes.Buffer
	var z interface {
		io.WriteCloser
		Flush() error
	}
	switch encoding {
	case "":
		return []byte(text)
	case "gzip":
		z = gzip.NewWriter(&b)
	case "deflate":
		z = zlib.NewWriter(&b)
	case "deflate, bare":
		z, _ = flate.NewWriter(&b, 6)
	case "zstd": // of the test's own: the decoder is handed in
		return append([]byte("zstd:"), text...)
	}
	for i := 0; i < len(text); i += 100 {
		_, err := z.Write([]byte(text[i:min(i+100, len(text))]))
		require.NoError(t, err)
		require.NoError(t, z.Flush())
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

func openTestZstd(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReader(r)
	_, err := b.Discard(len("zstd:"))
	return io.NopCloser(b), err
}

func TestWhatAnAnswerHasCostIsTold(t *testing.T) {
	for _, c := range costs {
		for _, encoding := range []string{"", "gzip", "deflate", "deflate, bare", "zstd"} {
			for form, text := range map[string]string{"whole": c.whole, "stream": c.stream} {
				t.Run(c.name+", "+form+", "+encoding, func(t *testing.T) {
					sent := squeeze(t, encoding, text)
					p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
						if form == "stream" {
							w.Header().Set("Content-Type", "text/event-stream")
						}
						name, _, _ := strings.Cut(encoding, ",")
						if name != "" {
							w.Header().Set("Content-Encoding", name)
						}
						for i := 0; i < len(sent); i += 50 {
							_, _ = w.Write(sent[i:min(i+50, len(sent))])
							w.(http.Flusher).Flush()
						}
					}, &affinityhttp.Options[string]{Zstd: openTestZstd})
					g := p.send(t, http.MethodPost, c.path, `{"model":"m"}`)
					require.Equal(t, string(sent), g.text, "byte for byte")
					told := p.told(t, 1)[0]
					require.Equal(t, c.want, told.Usage)
					require.Equal(t, affinity.Served, told.Result)
					require.NoError(t, told.Err)
					require.Equal(t, g.decision["auth"], told.Decision.Auth)
					if form == "stream" {
						require.NotZero(t, told.FirstToken)
					} else {
						require.Zero(t, told.FirstToken, "an answer in one piece has no time of a first token")
					}
				})
			}
		}
	}
}

// The first token of a stream is the first event with content. Events before it do not show how
// fast the auth is.
func TestTheFirstTokenIsTheFirstThatSaysSomething(t *testing.T) {
	for _, c := range []struct{ before, token string }{
		{event("message_start", `{"type":"message_start","message":{"id":"m"}}`) + event("ping", `{"type":"ping"}`) + ": a comment\n\n", event("content_block_start", `{"type":"content_block_start","index":0}`)},
		{event("response.created", `{"type":"response.created"}`) + event("response.in_progress", `{"type":"response.in_progress"}`), event("response.output_item.added", `{"type":"response.output_item.added"}`)},
		{"data: " + `{"choices":[{"delta":{"role":"assistant","content":"","refusal":null}}]}` + "\n\n", "data: " + `{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}` + "\n\n"},
		{": ping\n\n", "data: " + `{"candidates":[{"content":{}}]}` + "\n\n"},
	} {
		step := make(chan struct{})
		p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, c.before)
			w.(http.Flusher).Flush()
			<-step
			_, _ = io.WriteString(w, c.token)
		}, nil)
		begin := time.Now()
		resp, err := p.client.Post(p.url+"/v1/messages", "application/json", strings.NewReader("{}"))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.ReadFull(resp.Body, make([]byte, len(c.before))) // the client has it at once
		require.NoError(t, err)
		time.Sleep(20 * time.Millisecond)
		waited := time.Since(begin)
		close(step)
		_, _ = io.Copy(io.Discard, resp.Body)
		require.Greater(t, p.told(t, 1)[0].FirstToken, 20*time.Millisecond, "%v", waited)
	}
}

// State that an answer creates leads to its auth, however later requests name it.
func TestStateGoesToTheAuthThatHasIt(t *testing.T) {
	thread := []string{"Anthropic-Beta", "message-threads-2026-08-12"}
	for _, c := range []struct {
		name, path, body, answer string
		stream                   bool
		header                   []string
		next                     [][2]string // a path and a body; without a body it is a GET
	}{
		{name: "a response", path: "/v1/responses", body: `{"model":"m","input":"q"}`, answer: `{"id":"resp_1","object":"response","output":[]}`,
			next: [][2]string{{"/v1/responses", `{"model":"m","input":"q2","previous_response_id":"resp_1"}`}, {"/v1/responses/resp_1", ""}, {"/v1/responses/resp_1/cancel", "{}"}}},
		{name: "a response that streams", path: "/v1/responses", body: `{"model":"m","input":"q","stream":true}`, stream: true,
			answer: event("response.created", `{"type":"response.created","response":{"id":"resp_1"}}`) + event("response.completed", `{"type":"response.completed","response":{"id":"resp_1"}}`),
			next:   [][2]string{{"/v1/responses", `{"model":"other","input":"q2","previous_response_id":"resp_1"}`}}},
		{name: "a conversation", path: "/v1/conversations", body: `{}`, answer: `{"id":"conv_1","object":"conversation"}`,
			next: [][2]string{{"/v1/conversations/conv_1/items", ""}, {"/v1/responses", `{"model":"m","input":"q","conversation":"conv_1"}`}, {"/v1/responses", `{"model":"m","input":"q","conversation":{"id":"conv_1"}}`}}},
		{name: "an interaction", path: "/v1beta/interactions", body: `{"model":"m","input":"q"}`, answer: `{"id":"v1_1","object":"interaction","outputs":[]}`,
			next: [][2]string{{"/v1beta/interactions", `{"model":"m","input":"q2","previous_interaction_id":"v1_1"}`}, {"/v1beta/interactions/v1_1", ""}}},
		{name: "an interaction that streams", path: "/v1beta/interactions", body: `{"model":"m","input":"q"}`, stream: true,
			answer: event("interaction.created", `{"event_type":"interaction.created","interaction":{"id":"v1_1"}}`) + event("interaction.completed", `{"event_type":"interaction.completed","interaction":{"id":"v1_1"}}`),
			next:   [][2]string{{"/v1beta/interactions", `{"model":"m","input":"q2","previous_interaction_id":"v1_1"}`}}},
		{name: "a message thread", path: "/v1/messages", body: `{"model":"m","thread":{"type":"create"},"messages":[{"role":"user","content":"q"}]}`, header: thread,
			answer: `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}`,
			next:   [][2]string{{"/v1/messages", `{"model":"m","thread":{"type":"continue","previous_message_id":"msg_1"},"messages":[{"role":"user","content":"q2"}]}`}}},
		{name: "a message thread that streams", path: "/v1/messages", body: `{"model":"m","thread":{"type":"create"},"messages":[{"role":"user","content":"q"}]}`, header: thread, stream: true,
			answer: event("message_start", `{"type":"message_start","message":{"id":"msg_1"}}`) + event("message_stop", `{"type":"message_stop"}`),
			next:   [][2]string{{"/v1/messages", `{"model":"m","thread":{"type":"continue","previous_message_id":"msg_1"},"messages":[{"role":"user","content":"q2"}]}`}}},
		{name: "a container", path: "/v1/messages", body: `{"model":"m","messages":[{"role":"user","content":"q"}]}`, stream: true,
			answer: event("message_start", `{"type":"message_start","message":{"id":"msg_1"}}`) + event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn","container":{"id":"container_1"}}}`) + event("message_stop", `{"type":"message_stop"}`),
			next:   [][2]string{{"/v1/messages", `{"model":"m","container":"container_1","messages":[{"role":"user","content":"other"}]}`}}},
		{name: "a container of OpenAI's", path: "/v1/containers", body: `{"name":"x"}`, answer: `{"id":"cntr_1","object":"container"}`,
			next: [][2]string{{"/v1/containers/cntr_1/files", ""}}},
		{name: "a container that code has run in", path: "/v1/responses", body: `{"model":"m","input":"q","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}`,
			answer: `{"id":"resp_1","object":"response","store":false,"output":[{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1"}]}`,
			next: [][2]string{{"/v1/responses", `{"model":"m","input":"other","tools":[{"type":"code_interpreter","container":"cntr_1"}]}`},
				{"/v1/responses", `{"model":"m","input":"third","tools":[{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_1"}}]}`},
				{"/v1/containers/cntr_1/files/cfile_1/content", ""}}},
		{name: "a container that code of a session with an id has run in", path: "/v1/responses", body: `{"model":"m","input":"q"}`, stream: true, header: []string{"X-Session-Id", "s"},
			answer: event("response.created", `{"type":"response.created","response":{"id":"resp_1","store":false,"output":[]}}`) +
				event("response.completed", `{"type":"response.completed","response":{"id":"resp_1","store":false,"output":[{"type":"code_interpreter_call","container_id":"cntr_1"}]}}`),
			next: [][2]string{{"/v1/responses", `{"model":"m","input":"other","tools":[{"type":"code_interpreter","container":"cntr_1"}]}`}}},
		{name: "a cached content", path: "/v1beta/cachedContents", body: `{"model":"models/m","contents":[{"role":"user","parts":[{"text":"long"}]}]}`, answer: `{"name":"cachedContents/1"}`,
			next: [][2]string{{"/v1beta/models/m:generateContent", `{"cachedContent":"cachedContents/1","contents":[{"role":"user","parts":[{"text":"q"}]}]}`}, {"/v1beta/cachedContents/1", ""}}},
	} {
		for _, encoding := range []string{"", "gzip"} {
			t.Run(c.name+" "+encoding, func(t *testing.T) {
				first := true
				p := start(t, func(auth string, w http.ResponseWriter, r *http.Request) {
					if !first {
						ok(auth, w, r)
						return
					}
					first = false
					if c.stream {
						w.Header().Set("Content-Type", "text/event-stream")
					}
					if encoding != "" {
						w.Header().Set("Content-Encoding", encoding)
					}
					_, _ = w.Write(squeeze(t, encoding, c.answer))
				}, nil)
				home := p.send(t, http.MethodPost, c.path, c.body, c.header...).decision["auth"]
				for range 3 {
					for _, next := range c.next {
						p.send(t, http.MethodGet, "/v1/models", "") // the balancer's turn goes on
						method := http.MethodPost
						if next[1] == "" {
							method = http.MethodGet
						}
						g := p.send(t, method, next[0], next[1], c.header...)
						require.Equal(t, home, g.decision["auth"], next)
						require.Equal(t, "owner", g.decision["outcome"], next)
					}
				}
			})
		}
	}
	t.Run("a token of Codex's", func(t *testing.T) {
		p := start(t, func(auth string, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Codex-Turn-State", "token-of-"+auth)
			ok(auth, w, r)
		}, nil)
		home := p.send(t, http.MethodPost, "/v1/responses", `{"model":"m","input":"q"}`, "Session-Id", "one")
		for range 4 {
			p.send(t, http.MethodGet, "/v1/models", "")
			g := p.send(t, http.MethodPost, "/v1/responses", `{"model":"m","input":"other"}`, "Session-Id", "another", "X-Codex-Turn-State", home.Header.Get("X-Codex-Turn-State"))
			require.Equal(t, home.decision["auth"], g.decision["auth"])
		}
	})
	t.Run("what is gone is no fault of the auth", func(t *testing.T) {
		for _, gone := range []struct {
			status int
			body   string
		}{
			{404, `{"type":"error","error":{"type":"not_found_error","message":"gone","details":{"error_code":"thread_not_found"}}}`},
			{404, `{"error":{"message":"Previous response with id 'resp_9' not found.","code":"previous_response_not_found"}}`},
			{400, `{"error":{"message":"Previous response with id 'resp_9' not found.","code":"previous_response_not_found"}}`},
			{404, `{"error":{"message":"Conversation with id 'conv_9' not found."}}`},
			{403, `{"error":{"code":403,"message":"CachedContent not found (or permission denied)","status":"PERMISSION_DENIED"}}`},
		} {
			for _, encoding := range []string{"", "gzip"} {
				is := false
				calls := 0
				p := start(t, func(auth string, w http.ResponseWriter, r *http.Request) {
					if !is {
						ok(auth, w, r)
						return
					}
					calls++
					w.Header().Set("Content-Type", "application/json")
					if encoding != "" {
						w.Header().Set("Content-Encoding", encoding)
					}
					w.WriteHeader(gone.status)
					_, _ = w.Write(squeeze(t, encoding, gone.body))
				}, nil)
				home := p.turn(t, "s").decision["auth"]
				is = true
				g := p.turn(t, "s")
				require.Equal(t, gone.status, g.StatusCode)
				require.Equal(t, string(squeeze(t, encoding, gone.body)), g.text)
				require.Equal(t, 1, calls)
				is = false
				for range 4 {
					g := p.turn(t, "s")
					require.Equal(t, home, g.decision["auth"], gone.body)
					require.Equal(t, "hit", g.decision["outcome"])
				}
			}
		}
	})
}

// Conversations without an id that begin with the same words are distinguished by their
// answers.
func TestConversationsThatBeginAlikeAreToldApart(t *testing.T) {
	t.Run("whole", func(t *testing.T) { beginAlike(t, false) })
	t.Run("streamed", func(t *testing.T) { beginAlike(t, true) })
}

func beginAlike(t *testing.T, streamed bool) {
	var mu sync.Mutex
	n := 0
	p := start(t, func(auth string, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n++
		if streamed {
			fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"this is answer number %d\"}}]}\n\ndata: [DONE]\n\n", n)
			return
		}
		fmt.Fprintf(w, `{"choices":[{"message":{"role":"assistant","content":"this is answer number %d"},"finish_reason":"stop"}]}`, n)
	}, nil)
	type user struct{ history, auth string }
	users := make([]*user, 40)
	perAuth := map[string]int{}
	for turn := range 4 {
		for i, u := range users {
			if u == nil {
				u = &user{history: `{"role":"user","content":"hi"}`}
				users[i] = u
			}
			g := p.send(t, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[`+u.history+`]}`)
			_, said, _ := strings.Cut(g.text, `"content":"`)
			said, _, _ = strings.Cut(said, `"`)
			u.history += `,{"role":"assistant","content":"` + said + `"},{"role":"user","content":"go on"}`
			switch turn {
			case 0:
			case 1:
				u.auth = g.decision["auth"]
				perAuth[u.auth]++
			default:
				require.Equal(t, u.auth, g.decision["auth"])
				require.Equal(t, "hit", g.decision["outcome"])
			}
		}
	}
	for _, auth := range names {
		require.LessOrEqual(t, perAuth[auth], 13, "max/mean of at most 1.25: %v", perAuth)
	}
}

// A stream arrives as it comes: no event waits for the next one.
func TestNothingIsHeldBack(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		step := make(chan struct{})
		p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			var out interface {
				io.Writer
				Flush() error
			} = flushed{w}
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
				out = gzip.NewWriter(w)
			}
			for _, e := range strings.SplitAfter(costs[0].stream, "\n\n") {
				_, _ = io.WriteString(out, e)
				out.Flush()
				w.(http.Flusher).Flush()
				<-step // the next one is not written before the client has this one
			}
		}, nil)
		resp, err := p.client.Post(p.url+"/v1/messages", "application/json", strings.NewReader("{}"))
		require.NoError(t, err)
		defer resp.Body.Close()
		var in io.Reader = resp.Body
		if encoding != "" {
			in, err = gzip.NewReader(resp.Body)
			require.NoError(t, err)
		}
		for _, e := range strings.SplitAfter(costs[0].stream, "\n\n") {
			text := make([]byte, len(e))
			_, err := io.ReadFull(in, text)
			require.NoError(t, err)
			require.Equal(t, e, string(text))
			step <- struct{}{}
		}
	}
}

type flushed struct{ io.Writer }

func (flushed) Flush() error { return nil }

// An answer of 100 MB passes in any form, and the memory stays the same.
func TestALongAnswerTakesNoMemory(t *testing.T) {
	const size = 100 << 20
	line := []byte("data: " + `{"choices":[{"delta":{"content":"` + strings.Repeat("words ", 1000) + `"}}]}` + "\n\n")
	for form, piece := range map[string][]byte{"stream": line, "one line": bytes.Repeat([]byte("x"), 1<<16), "JSON": bytes.Repeat([]byte(" "), 1<<16)} {
		t.Run(form, func(t *testing.T) {
			sum := sha256.New()
			p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
				out := io.MultiWriter(w, sum)
				if form == "JSON" {
					_, _ = io.WriteString(out, "{")
				}
				for n := 0; n < size; n += len(piece) {
					_, _ = out.Write(piece)
				}
			}, nil)
			resp, err := p.client.Post(p.url+"/v1/chat/completions", "application/json", strings.NewReader("{}"))
			require.NoError(t, err)
			defer resp.Body.Close()
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			got := sha256.New()
			most := uint64(0)
			for n := int64(0); ; {
				m, err := io.CopyN(got, resp.Body, 8<<20)
				if n += m; err == io.EOF {
					break
				}
				require.NoError(t, err)
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
			require.Equal(t, sum.Sum(nil), got.Sum(nil))
			require.Less(t, most, before.HeapAlloc+24<<20, "MB: %d before, %d at most", before.HeapAlloc>>20, most>>20)
		})
	}
}

// Answers that break off after each of their parts: the result is right, and nothing stays in
// flight.
func TestAnAnswerMayBreakOffAnywhere(t *testing.T) {
	for _, c := range costs[:4] {
		for form, text := range map[string]string{"whole": c.whole, "stream": c.stream} {
			rng := rand.New(rand.NewPCG(1, uint64(len(text))))
			for range 12 {
				at := rng.IntN(len(text))
				if form == "stream" && at > strings.Index(text, `"hi"`) {
					at = strings.Index(text, `"hi"`) - 1
				}
				for _, hidden := range []bool{false, true} { // a proxy on the way may end a stream well that has broken off
					if hidden && (form == "whole" || at < strings.IndexByte(text, '\n') || c.name != "messages" && c.name != "responses") {
						continue
					}
					p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
						if form == "stream" {
							w.Header().Set("Content-Type", "text/event-stream")
						}
						_, _ = io.WriteString(w, text[:at])
						w.(http.Flusher).Flush()
						if !hidden {
							panic(http.ErrAbortHandler)
						}
					}, &affinityhttp.Options[string]{Attempts: 1})
					before := runtime.NumGoroutine()
					g := p.send(t, http.MethodPost, c.path, `{"model":"m"}`)
					told := p.told(t, 1)[0]
					if hidden && !strings.Contains(text[:at], "\n\n") {
						continue // nothing shows that this is a stream of a known API
					}
					require.Equal(t, affinity.Transient, told.Result, "%s, %s, %d", c.name, form, at)
					require.Error(t, told.Err)
					if at > 0 {
						require.Equal(t, text[:at], g.text)
						require.Equal(t, !hidden, g.err != nil)
					}
					p.settled(t, before)
				}
			}
		}
	}
}

// settled waits until nothing is in flight, and until there are only the goroutines of before
// and of idle connections.
func (p *proxy) settled(t *testing.T, before int) {
	t.Helper()
	require.Eventually(t, func() bool {
		p.client.CloseIdleConnections()
		p.CloseIdleConnections()
		for _, auth := range names {
			if p.InFlight(auth) != 0 {
				return false
			}
		}
		return runtime.NumGoroutine() <= before+2
	}, 10*time.Second, time.Millisecond)
}

// The client may leave at any point of the answer.
func TestTheClientMayLeaveAnywhere(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		text := string(squeeze(t, encoding, costs[0].stream))
		for at := 0; at < len(text); at += 40 {
			gone := make(chan struct{})
			p := start(t, func(_ string, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				if encoding != "" {
					w.Header().Set("Content-Encoding", encoding)
				}
				_, _ = io.WriteString(w, text[:at])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				close(gone)
			}, nil)
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithCancel(t.Context())
			patience := time.Minute
			if at == 0 {
				time.AfterFunc(5*time.Millisecond, cancel) // before the first byte
				patience = 5 * time.Second                 // the auth may never have had the request
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/v1/messages", strings.NewReader(`{"model":"m"}`))
			require.NoError(t, err)
			resp, err := p.client.Do(req)
			if err == nil {
				_, _ = io.ReadFull(resp.Body, make([]byte, at))
				cancel()
				resp.Body.Close()
			}
			cancel()
			select {
			case <-gone: // what the client cancels is cancelled at the auth
				told := p.told(t, 1)
				require.Len(t, told, 1)
				want := affinity.Cancelled
				if encoding == "" && strings.Contains(text[:at], "\"output_tokens\":7}}\n") || encoding != "" && told[0].Result == affinity.Served && at > len(text)-40 {
					want = affinity.Served // the client has all of it, but for the end of the body
				}
				require.Equal(t, want, told[0].Result, at)
			case <-time.After(patience):
				require.Zero(t, at, "the auth still works for a client that has left")
			}
			p.settled(t, before)
		}
	}
}

// A stream that ends with an error of the provider counts as failed, although its status is
// 200.
func TestAnErrorInAStream(t *testing.T) {
	begin := event("message_start", `{"type":"message_start","message":{"id":"m"}}`)
	for _, c := range []struct {
		stream string
		want   affinity.Result
		tries  int
	}{
		{event("error", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), affinity.Transient, 4},
		{event("error", `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`), affinity.Rejected, 1},
		{event("error", `{"type":"error","error":{"type":"authentication_error","message":"no"}}`), affinity.Terminal, 4},
		{begin + event("error", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), affinity.Transient, 0},
		{event("response.created", `{"type":"response.created","response":{"id":"r"}}`) + event("response.failed", `{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}`), affinity.Transient, 0},
		{"data: " + `{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}` + "\n\n", affinity.Transient, 4},
		{event("error", `{"type":"error","code":"rate_limit_exceeded","message":"x"}`), affinity.Transient, 4},
	} {
		seen := make(chan struct{})
		p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			begin, rest, _ := strings.Cut(c.stream, "\n\n")
			_, _ = io.WriteString(w, begin+"\n\n")
			w.(http.Flusher).Flush()
			if c.tries == 0 {
				<-seen // the client has the beginning: nobody else can be asked any more
			}
			_, _ = io.WriteString(w, rest)
		}, nil)
		resp, err := p.client.Post(p.url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[]}`))
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		first := make([]byte, 8)
		_, err = io.ReadFull(resp.Body, first)
		require.NoError(t, err)
		close(seen)
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, c.stream, string(first)+string(rest), "the last auth's answer, as it is")
		told := p.told(t, max(c.tries, 1))
		require.Equal(t, c.want, told[len(told)-1].Result, c.stream)
		if c.tries > 0 {
			require.Len(t, told, c.tries, c.stream)
		}
	}
}

// Only one auth has the state. While it cannot serve, no other auth is asked, and the client is
// told when it can. If that auth is gone or refused, its state is lost, and the provider says
// so.
func TestStateWaitsForItsAuth(t *testing.T) {
	var f failing
	p := start(t, func(auth string, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/conversations" {
			fmt.Fprint(w, `{"id":"conv_1","object":"conversation"}`)
			return
		}
		f.serve(auth, w, r)
	}, nil)
	home := p.send(t, http.MethodPost, "/v1/conversations", `{}`).decision["auth"]
	turn := func() got { return p.send(t, http.MethodGet, "/v1/conversations/conv_1/items", "") }
	require.Equal(t, home, turn().decision["auth"])
	f.called()
	f.set(home, 503, "")
	require.Equal(t, 503, turn().StatusCode)
	require.Equal(t, 503, turn().StatusCode)
	require.Equal(t, []string{home, home}, f.called(), "both requests ask only the auth with the state")
	f.set(home, 429, "30")
	g := turn()
	require.Equal(t, 429, g.StatusCode)
	require.Equal(t, "30", g.Header.Get("Retry-After"))
	f.called()
	g = turn()
	require.Equal(t, 503, g.StatusCode)
	require.Contains(t, []string{"28", "29", "30"}, g.Header.Get("Retry-After"))
	require.Empty(t, f.called())
	require.NoError(t, p.Back(t.Context(), home))
	f.set(home, 401, "")
	require.Equal(t, 200, turn().StatusCode)
	require.Equal(t, home, f.called()[0])
	_, err := p.InvalidateAuth(t.Context(), home)
	require.NoError(t, err)
	require.Equal(t, 200, turn().StatusCode)
	require.NotContains(t, f.called(), home, "an auth that was invalidated is not asked for the state")
}

func TestStateOfAnAuthThatIsNoCandidateAnyMore(t *testing.T) {
	auths := names
	var asked []string
	tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
		func(*http.Request, affinity.Request) []string { return auths },
		func(_ *http.Request, auth string) error {
			asked = append(asked, auth)
			return nil
		}, &affinityhttp.Options[string]{Base: roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"id":"resp_1","object":"response","output":[]}`)), ContentLength: -1}, nil
		})})
	require.NoError(t, err)
	defer tr.Close()
	for _, body := range []string{`{"model":"m","input":"q"}`, `{"model":"m","input":"q","previous_response_id":"resp_1"}`} {
		resp, err := tr.RoundTrip(httptest.NewRequest(http.MethodPost, "/v1/responses", strings.NewReader(body)))
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		auths = names[1:]
	}
	require.Equal(t, []string{"a", "b"}, asked, "the provider tells the client that the state is gone")
}

// A host with a loop of its own reads what a Transport reads, wherever the answer is cut into
// pieces, in whatever order it asks.
func TestAnAnswerWriterReadsWhatATransportReads(t *testing.T) {
	for _, c := range costs {
		for form, text := range map[string]string{"whole": c.whole, "stream": c.stream, "without its last line end": strings.TrimRight(c.stream, "\n")} {
			t.Run(c.name+", "+form, func(t *testing.T) {
				want := sessionid.ReadAnswer([]byte(text + "\n"))
				for length := 1; length <= len(text); length = 3*length - 1 {
					var w affinityhttp.AnswerWriter
					for i := 0; i < len(text); i += length {
						n, err := w.Write([]byte(text[i:min(i+length, len(text))]))
						require.NoError(t, err)
						require.Equal(t, min(length, len(text)-i), n)
					}
					if length%2 == 0 {
						require.Equal(t, c.want, w.Usage())
					}
					if form == "stream" {
						require.Equal(t, want.IsWhole(), w.IsWhole())
					}
					require.Equal(t, want.IsWhole(), w.Answer().IsWhole())
					require.Equal(t, want.Owners(), w.Answer().Owners())
					id := sessionid.Extract(nil, []byte(`{"messages":[{"role":"user","content":"q"}]}`))
					keys, ids := id.After(want)
					gotKeys, gotIDs := id.After(w.Answer())
					require.Equal(t, keys, gotKeys)
					require.Equal(t, ids, gotIDs)
					require.Equal(t, c.want, w.Usage())
				}
			})
		}
	}
}

func TestAnAnswerNamesItsModel(t *testing.T) {
	long := strings.Repeat("m", 257)
	for name, c := range map[string]struct{ text, want string }{
		"chat":                    {`{"id":"c","model":"m-1","choices":[]}`, "m-1"},
		"a stream of chat":        {`data: {"model":"","choices":[]}` + "\n\n" + `data: {"model":"m-1","choices":[]}` + "\n\n" + `data: {"model":"m-2"}` + "\n\ndata: [DONE]\n\n", "m-1"},
		"messages":                {`{"type":"message","model":"m-1"}`, "m-1"},
		"a stream of messages":    {event("message_start", `{"type":"message_start","message":{"model":"m-1"}}`), "m-1"},
		"a stream of responses":   {event("response.created", `{"type":"response.created","response":{"model":"m-1"}}`), "m-1"},
		"Gemini":                  {`{"candidates":[],"modelVersion":"m-1"}`, "m-1"},
		"Gemini as a list":        {`[{"candidates":[]},{"modelVersion":"m-1"},{"modelVersion":"m-2"}]`, "m-1"},
		"Code Assist":             {`data: {"response":{"modelVersion":"m-1"}}`, "m-1"},
		"interactions":            {event("interaction.created", `{"interaction":{"model":"m-1"}}`), "m-1"},
		"no model":                {`{"choices":[]}`, ""},
		"a model that is no name": {`{"model":{"model":7},"choices":[]}`, ""},
		"too long a name":         {`{"model":"` + long + `"}`, ""},
		"broken":                  {`{"model":"m-1"`, ""},
		"nothing":                 {"", ""},
	} {
		var w affinityhttp.AnswerWriter
		_, _ = w.Write([]byte(c.text))
		require.Equal(t, c.want, w.Model(), name)
		require.Equal(t, c.want, w.Model(), name)
	}
	var w affinityhttp.AnswerWriter
	require.Zero(t, w.Usage())
	require.True(t, w.Answer().IsZero())
}
