package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// agentAPI describes an API, as an agent's SDK uses it.
type agentAPI struct {
	name, path, stream string // stream is the path of streamed requests
	history            string // the member of the body that has the history
	body               object // the other members of the body
	user               func(text string) object
	result             func(call gjson.Result) object
	// read returns the messages of an answer, which the next request repeats, and the call of
	// the tool in it.
	read func(text string) (repeats []any, call gjson.Result)
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

var agentAPIs = []agentAPI{
	{
		name: "messages", path: "/v1/messages", stream: "/v1/messages", history: "messages",
		body: object{"model": "m", "max_tokens": 99, "tools": []any{object{"name": "look", "input_schema": object{"type": "object"}}}},
		user: func(text string) object { return object{"role": "user", "content": text} },
		result: func(call gjson.Result) object {
			return object{"role": "user", "content": []any{object{"type": "tool_result", "tool_use_id": call.Get("id").Str, "content": "found"}}}
		},
		read: func(text string) ([]any, gjson.Result) {
			content := told(text, "content")
			if content == "" { // streamed
				block := object{}
				_ = json.Unmarshal([]byte(told(text, "content_block")), &block)
				if block["type"] == "tool_use" {
					block["input"] = raw(joined(text, "delta.partial_json"))
				} else {
					block["text"] = joined(text, "delta.text")
				}
				content = written([]any{block})
			}
			return []any{object{"role": "assistant", "content": raw(content)}}, gjson.Get(content, `#(type=="tool_use")`)
		},
	},
	{
		name: "chat completions", path: "/v1/chat/completions", stream: "/v1/chat/completions", history: "messages",
		body: object{"model": "m", "tools": []any{object{"type": "function", "function": object{"name": "look"}}}},
		user: func(text string) object { return object{"role": "user", "content": text} },
		result: func(call gjson.Result) object {
			return object{"role": "tool", "tool_call_id": call.Get("id").Str, "content": "found"}
		},
		read: func(text string) ([]any, gjson.Result) {
			message := told(text, "choices.0.message")
			if message == "" { // streamed
				m := object{"role": "assistant", "content": nil}
				if said := joined(text, "choices.0.delta.content"); said != "" {
					m["content"] = said
				}
				const call = "choices.0.delta.tool_calls.0."
				if id := told(text, call+"id"); id != "" {
					m["tool_calls"] = []any{object{"id": id, "type": "function", "function": object{
						"name": told(text, call+"function.name"), "arguments": joined(text, call+"function.arguments")}}}
				}
				message = written(m)
			}
			return []any{raw(message)}, gjson.Get(message, "tool_calls.0")
		},
	},
	{
		name: "responses", path: "/v1/responses", stream: "/v1/responses", history: "input",
		body: object{"model": "m", "store": false, "tools": []any{object{"type": "function", "name": "look"}}},
		user: func(text string) object { return object{"role": "user", "content": text} },
		result: func(call gjson.Result) object {
			return object{"type": "function_call_output", "call_id": call.Get("call_id").Str, "output": "found"}
		},
		read: func(text string) (repeats []any, call gjson.Result) {
			output := gjson.Parse(told(text, "output", "response.output"))
			for _, item := range output.Array() {
				repeats = append(repeats, raw(item.Raw))
			}
			return repeats, output.Get(`#(type=="function_call")`)
		},
	},
	{
		name: "gemini", path: "/v1beta/models/m:generateContent", stream: "/v1beta/models/m:streamGenerateContent?alt=sse", history: "contents",
		body: object{"tools": []any{object{"functionDeclarations": []any{object{"name": "look"}}}}},
		user: func(text string) object { return object{"role": "user", "parts": []any{object{"text": text}}} },
		result: func(call gjson.Result) object {
			return object{"role": "user", "parts": []any{object{"functionResponse": object{"name": call.Get("name").Str, "response": object{"output": "found"}}}}}
		},
		read: func(text string) ([]any, gjson.Result) {
			var parts []any
			call := gjson.Parse(told(text, "candidates.0.content.parts.0.functionCall"))
			if call.IsObject() {
				parts = append(parts, object{"functionCall": raw(call.Raw)})
			}
			if said := joined(text, "candidates.0.content.parts.0.text"); said != "" {
				parts = append(parts, object{"text": said})
			}
			return []any{object{"role": "model", "parts": parts}}, call
		},
	},
}

// agent is one session of an agent. It sends its whole history and no id.
type agent struct {
	api     *agentAPI
	path    string
	stream  bool
	first   string // the first words of its user
	history []any
	rounds  int
	auths   []string // the auth of each request
}

// step sends the next request, with words of the user or with the tool's result.
func (a *agent) step(t *testing.T, gw *testGateway) {
	t.Helper()
	if len(a.auths)%2 == 0 {
		a.rounds++
		said := a.first
		if a.rounds > 1 {
			said = "go on"
		}
		a.history = append(a.history, a.api.user(said))
	}
	body := object{a.api.history: a.history}
	for k, v := range a.api.body {
		body[k] = v
	}
	if a.stream && a.api.name != "gemini" { // Gemini's API has a path of its own for streams
		body["stream"] = true
	}
	r := gw.send("POST", a.path, written(body), "Authorization", "Bearer agents")
	require.NoError(t, r.err)
	require.Equal(t, http.StatusOK, r.status, r.text)
	a.auths = append(a.auths, r.auth())
	repeats, call := a.api.read(r.text)
	a.history = append(a.history, repeats...)
	if len(a.auths)%2 == 1 {
		require.True(t, call.IsObject(), "want a call of the tool in the answer: %s", r.text)
		a.history = append(a.history, a.api.result(call))
		return
	}
	require.False(t, call.IsObject(), "want words in the answer, and no call of the tool: %s", r.text)
	require.Contains(t, written(repeats), "Answer ")
}

// Agents with four APIs have twelve sessions each, at the same time and without an id. In each of
// three rounds the model calls a tool, the client sends its result, and the model answers. Each
// session stays on one auth. Sessions that begin with the same words are distinguished by their
// first answer.
func TestAgentsThatCallToolsStayOnTheirAuth(t *testing.T) {
	const sessions, rounds = 12, 3
	for _, alike := range []bool{false, true} {
		for _, form := range []string{"whole", "streamed", "streamed, Gemini's as a list"} {
			t.Run(fmt.Sprintf("alike %v, %s", alike, form), func(t *testing.T) {
				gw := startSimulated(t, 8, simulator.Options{ToolCalls: true}, GatewayOptions{Affinity: true, DecisionHeader: true})
				var all, open []*agent
				for i := range agentAPIs {
					api := &agentAPIs[i]
					for n := range sessions {
						a := &agent{api: api, path: api.path, stream: form != "whole", first: fmt.Sprintf("task %d of an agent", n)}
						if a.stream {
							a.path = api.stream
						}
						if strings.HasSuffix(form, "list") {
							a.path = strings.TrimSuffix(a.path, "?alt=sse")
						}
						if alike {
							a.first = "fix the test"
						}
						all = append(all, a)
					}
				}
				rng := rand.New(rand.NewPCG(1, 1))
				for open = append(open, all...); len(open) > 0; {
					i := rng.IntN(len(open))
					open[i].step(t, gw)
					if len(open[i].auths) == 2*rounds {
						open[i] = open[len(open)-1]
						open = open[:len(open)-1]
					}
				}
				requests, elsewhere, perAuth := map[string]int{}, map[string]int{}, map[string]int{}
				for _, a := range all {
					served := a.auths
					if alike {
						served = served[1:] // before their first answer, equal sessions cannot be distinguished
					}
					perAuth[served[0]]++
					for _, auth := range served {
						requests[a.api.name]++
						if auth != served[0] {
							elsewhere[a.api.name]++
						}
					}
				}
				t.Logf("requests %v, elsewhere %v, sessions per auth %v", requests, elsewhere, perAuth)
				require.Empty(t, elsewhere, "requests that went to another auth than their session's, by API")
			})
		}
	}
}
