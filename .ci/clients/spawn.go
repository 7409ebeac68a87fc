package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// spawner is a proxy between a gateway and the simulated provider, which calls the first tool of
// a request whatever the user says. If the user asks for a subagent, the spawner answers with a
// call of the tool that starts one, and then with a call of the tool that waits for it, if there
// is such a tool. All other requests go to the simulated provider.
type spawner struct {
	provider    http.Handler
	ask, helper string // the words of the user, and those that the subagent is given
	space       string // namespace of the tools
	spawn, wait call

	mu    sync.Mutex
	count int
}

// call is the call of a tool.
type call struct{ name, arguments string }

// spawn is the command spawn.
func spawn(args []string) {
	f := flag.NewFlagSet("spawn", flag.ExitOnError)
	provider := f.String("provider", "", "`URL` of the simulated provider")
	s := &spawner{}
	f.StringVar(&s.ask, "ask", "", "the `words` of a user that ask for a subagent")
	f.StringVar(&s.helper, "helper", "", "the `words` that the subagent is given")
	f.StringVar(&s.spawn.name, "tool", "", "`name` of the tool that starts a subagent")
	f.StringVar(&s.spawn.arguments, "arguments", "", "the arguments of that tool, a JSON `object`")
	f.StringVar(&s.wait.name, "wait", "", "`name` of the tool that waits for the subagent, if -tool does not wait")
	f.StringVar(&s.space, "namespace", "", "`name` of the namespace of the tools")
	if err := f.Parse(args); err != nil {
		log.Fatal(err)
	}
	to, err := url.Parse(*provider)
	if err != nil || to.Host == "" || s.ask == "" || s.helper == "" || s.spawn.name == "" || !json.Valid([]byte(s.spawn.arguments)) {
		log.Fatal("-provider is not a URL, or -ask, -helper, -tool or -arguments is missing")
	}
	s.wait.arguments = "{}"
	s.provider = &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }, FlushInterval: -1}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	log.Fatal(http.Serve(l, s))
}

func (s *spawner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	// The history in a request has the calls so far. A request that does not offer the tool is
	// the subagent's, or is beside the conversation.
	has := func(text string) bool { return bytes.Contains(body, []byte(text)) }
	var next call
	id := "spawn"
	switch offered := has(`"name":"`+s.spawn.name+`"`) && has(s.ask); {
	case offered && !has(s.helper):
		next = s.spawn
	case offered && s.wait.name != "" && !has("call_wait"):
		next, id = s.wait, "wait"
	default:
		s.provider.ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	s.count++
	id = fmt.Sprintf("%s%08d", id, s.count)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range s.stream(r.URL.Path, id, next) {
		if text, err := json.Marshal(event); err != nil {
			log.Fatal(err)
		} else if kind, ok := event["type"].(string); ok {
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, text)
		} else {
			fmt.Fprintf(w, "data: %s\n\n", text)
		}
	}
	if strings.HasSuffix(r.URL.Path, "/chat/completions") {
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}

// object is a JSON object.
type object = map[string]any

// stream returns the events of an answer that calls a tool, in the form of the API at a path.
func (s *spawner) stream(path, id string, c call) []object {
	switch {
	case strings.HasSuffix(path, "/messages"):
		return []object{
			{"type": "message_start", "message": object{"id": "msg_" + id, "type": "message", "role": "assistant", "model": "simulated", "content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": object{"input_tokens": 10, "output_tokens": 1}}},
			{"type": "content_block_start", "index": 0, "content_block": object{"type": "tool_use", "id": "toolu_" + id, "name": c.name, "input": object{}}},
			{"type": "content_block_delta", "index": 0, "delta": object{"type": "input_json_delta", "partial_json": c.arguments}},
			{"type": "content_block_stop", "index": 0},
			{"type": "message_delta", "delta": object{"stop_reason": "tool_use", "stop_sequence": nil}, "usage": object{"output_tokens": 10}},
			{"type": "message_stop"},
		}
	case strings.HasSuffix(path, "/responses"):
		item := object{"type": "function_call", "id": "fc_" + id, "call_id": "call_" + id, "name": c.name, "arguments": c.arguments, "status": "completed"}
		begun := object{"type": "function_call", "id": "fc_" + id, "call_id": "call_" + id, "name": c.name, "arguments": "", "status": "in_progress"}
		if s.space != "" {
			item["namespace"], begun["namespace"] = s.space, s.space
		}
		response := func(status string, output ...any) object {
			return object{"id": "resp_" + id, "object": "response", "created_at": 1, "model": "simulated", "status": status, "output": append([]any{}, output...), "usage": object{"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}}
		}
		return []object{
			{"type": "response.created", "sequence_number": 0, "response": response("in_progress")},
			{"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": begun},
			{"type": "response.function_call_arguments.delta", "sequence_number": 2, "output_index": 0, "item_id": "fc_" + id, "delta": c.arguments},
			{"type": "response.function_call_arguments.done", "sequence_number": 3, "output_index": 0, "item_id": "fc_" + id, "name": c.name, "arguments": c.arguments},
			{"type": "response.output_item.done", "sequence_number": 4, "output_index": 0, "item": item},
			{"type": "response.completed", "sequence_number": 5, "response": response("completed", item)},
		}
	case strings.HasSuffix(path, "/chat/completions"):
		chunk := func(choices []any, more ...any) object {
			o := object{"id": "chatcmpl-" + id, "object": "chat.completion.chunk", "created": 1, "model": "simulated", "choices": choices}
			for _, usage := range more {
				o["usage"] = usage
			}
			return o
		}
		called := object{"index": 0, "id": "call_" + id, "type": "function", "function": object{"name": c.name, "arguments": c.arguments}}
		return []object{
			chunk([]any{object{"index": 0, "delta": object{"role": "assistant", "content": nil, "tool_calls": []any{called}}, "finish_reason": nil}}),
			chunk([]any{object{"index": 0, "delta": object{}, "finish_reason": "tool_calls"}}),
			chunk([]any{}, object{"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}),
		}
	}
	part := object{"functionCall": object{"name": c.name, "args": json.RawMessage(c.arguments)}}
	return []object{{
		"candidates":    []any{object{"index": 0, "content": object{"role": "model", "parts": []any{part}}, "finishReason": "STOP"}},
		"usageMetadata": object{"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20}, "modelVersion": "simulated", "responseId": id,
	}}
}
