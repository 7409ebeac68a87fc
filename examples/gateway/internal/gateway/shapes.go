package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// shape is how one kind of client writes a conversation. The members are like those that
// captured clients send, reduced to what matters here.
type shape struct {
	name   string
	path   string
	model  string
	header func(*conversation) http.Header
	body   func(*conversation) any
	delta  func(event gjson.Result) string // text in one event of the stream
}

// conversation is one session as its client knows it.
type conversation struct {
	shape *shape
	id    string // the client's session id
	rng   *rand.Rand
	turns []turn
	auth  string // the auth that served it last
}

// turn is what the user said and the assistant answered. The last turn has no answer yet.
type turn struct{ user, assistant string }

type object = map[string]any

func text(kind, s string) object { return object{"type": kind, "text": s} }

var shapes = []*shape{
	{
		name: "Claude Code", path: "/v1/messages", model: "claude-sim-1",
		header: func(c *conversation) http.Header {
			return http.Header{"X-Claude-Code-Session-Id": {c.id}, "Anthropic-Version": {"2023-06-01"}}
		},
		body: func(c *conversation) any {
			var messages []any
			for i, t := range c.turns {
				block := text("text", t.user)
				if i == len(c.turns)-1 { // it moves to the newest block every turn
					block["cache_control"] = object{"type": "ephemeral"}
				}
				messages = append(messages, object{"role": "user", "content": []any{block}})
				if t.assistant != "" {
					messages = append(messages, object{"role": "assistant", "content": []any{text("text", t.assistant)}})
				}
			}
			return object{
				"model": c.shape.model, "max_tokens": 1024, "stream": true, "messages": messages,
				"system":   []any{text("text", boilerplate("claude"))},
				"metadata": object{"user_id": fmt.Sprintf(`{"device_id":"demo","session_id":%q}`, c.id)},
			}
		},
		delta: func(e gjson.Result) string { return e.Get("delta.text").String() },
	},
	{
		name: "Codex", path: "/v1/responses", model: "gpt-sim-1",
		header: func(c *conversation) http.Header { return http.Header{"Session-Id": {c.id}} },
		body: func(c *conversation) any {
			input := []any{object{"type": "message", "role": "developer", "content": []any{text("input_text", boilerplate("codex"))}}}
			for _, t := range c.turns {
				input = append(input, object{"type": "message", "role": "user", "content": []any{text("input_text", t.user)}})
				if t.assistant != "" {
					input = append(input, object{"type": "message", "role": "assistant", "content": []any{text("output_text", t.assistant)}})
				}
			}
			return object{"model": c.shape.model, "stream": true, "input": input, "prompt_cache_key": c.id}
		},
		delta: func(e gjson.Result) string {
			if e.Get("type").Str != "response.output_text.delta" {
				return ""
			}
			return e.Get("delta").String()
		},
	},
	{
		name: "OpenCode", path: "/v1/chat/completions", model: "gpt-sim-1",
		header: func(c *conversation) http.Header { return http.Header{"X-Session-Id": {c.id}} },
		body:   chatBody("opencode"),
		delta:  chatDelta,
	},
	{
		name: "Gemini CLI, no id", path: "/v1beta/models/gemini-sim-1:streamGenerateContent?alt=sse", model: "gemini-sim-1",
		header: func(*conversation) http.Header { return http.Header{} },
		body: func(c *conversation) any {
			var contents []any
			for i, t := range c.turns {
				parts := []any{object{"text": t.user}}
				if i == 0 {
					parts = []any{object{"text": "<session_context>\nThe same for all sessions of a project.\n</session_context>"}, parts[0]}
				}
				contents = append(contents, object{"role": "user", "parts": parts})
				if t.assistant != "" {
					contents = append(contents, object{"role": "model", "parts": []any{object{"text": t.assistant}}})
				}
			}
			return object{"contents": contents, "systemInstruction": object{"parts": []any{object{"text": boilerplate("gemini")}}}}
		},
		delta: func(e gjson.Result) string { return e.Get("candidates.0.content.parts.0.text").String() },
	},
	{
		name: "plain SDK, no id", path: "/v1/chat/completions", model: "gpt-sim-1",
		header: func(*conversation) http.Header { return http.Header{} },
		body:   chatBody("sdk"),
		delta:  chatDelta,
	},
}

func chatBody(system string) func(*conversation) any {
	return func(c *conversation) any {
		messages := []any{object{"role": "system", "content": boilerplate(system)}}
		for _, t := range c.turns {
			messages = append(messages, object{"role": "user", "content": t.user})
			if t.assistant != "" {
				messages = append(messages, object{"role": "assistant", "content": t.assistant})
			}
		}
		return object{"model": c.shape.model, "stream": true, "messages": messages, "stream_options": object{"include_usage": true}}
	}
}

func chatDelta(e gjson.Result) string { return e.Get("choices.0.delta.content").String() }

// newConversation makes the i-th conversation of a run: the same one in each run.
func newConversation(i int) *conversation {
	rng := rand.New(rand.NewPCG(uint64(i), 7))
	return &conversation{
		shape: shapes[i%len(shapes)],
		id:    fmt.Sprintf("%08x-0000-4000-8000-%012x", rng.Uint32(), rng.Uint64()&0xffffffffffff),
		rng:   rng,
	}
}

// ask begins a turn and returns its request, without the address.
func (c *conversation) ask() (path string, header http.Header, body []byte) {
	// A turn adds a question, and sometimes a file or a tool's output.
	c.turns = append(c.turns, turn{user: prose(c.rng, 40+c.rng.IntN(600))})
	body, err := json.Marshal(c.shape.body(c))
	if err != nil {
		panic(err) // maps of strings: cannot fail
	}
	header = c.shape.header(c)
	header.Set("Content-Type", "application/json")
	return c.shape.path, header, body
}

// answered ends the turn with what the provider streamed.
func (c *conversation) answered(stream []byte) {
	var b strings.Builder
	for line := range strings.Lines(string(stream)) {
		if data, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "data: "); ok && gjson.Valid(data) {
			b.WriteString(c.shape.delta(gjson.Parse(data)))
		}
	}
	c.turns[len(c.turns)-1].assistant = b.String()
}

var words = strings.Fields(`the request of a session goes back to its account because
the cache of the provider lives there and every other place would have to read
the whole history again which costs money and time so keep it where it is warm
until that account is away then move once and stay test error function return
value file line package build result output found none changed added removed`)

// prose returns n words.
func prose(rng *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(words[rng.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

// boilerplate returns a client's system prompt: the same for all its sessions.
func boilerplate(client string) string {
	seed := uint64(len(client))
	for _, c := range client {
		seed = seed*31 + uint64(c)
	}
	return "You are " + client + ". " + prose(rand.New(rand.NewPCG(seed, 1)), 1200)
}
