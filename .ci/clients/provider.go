package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// provider simulates the Responses API over WebSockets. Each turn has two requests: the provider
// answers the first one with a call of the tool update_plan, and the tool's result with words.
// It writes a line for each request:
//
//	1 key-1 01a22352-c06a-76e1-bd08-46ab3b417b38 whole call
//	2 key-1 01a22352-c06a-76e1-bd08-46ab3b417b38 continued answer
//
// with the number, the key and the session of the handshake, whether the request is whole or
// continues a response, and the provider's answer.
//
// The fault happens once, at the first tool result that continues a response. With "middle" the
// provider closes the connection in the middle of its answer. With "between" it sends an error
// event with the status 429 and a retry-after of a minute.
type provider struct {
	fault string

	mu    sync.Mutex
	count int
	lines func(format string, args ...any)
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + " " + r.Header.Get("Session-Id")
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(64 << 20)
	send := func(event map[string]any) {
		text, err := json.Marshal(event)
		if err != nil {
			log.Fatal(err) // does not happen: an event has only texts and numbers
		}
		_ = conn.Write(r.Context(), websocket.MessageText, text) // if this fails, the next read fails, too
	}
	held := "" // the response that the client can continue
	for {
		_, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		var frame struct {
			Type     string
			Previous string `json:"previous_response_id"`
			Generate *bool
			Input    []struct{ Type string }
		}
		if err := json.Unmarshal(message, &frame); err != nil || frame.Type != "response.create" {
			continue
		}
		p.mu.Lock()
		p.count++
		number, fault := p.count, ""
		continued := frame.Previous != ""
		last := ""
		if n := len(frame.Input); n > 0 {
			last = frame.Input[n-1].Type
		}
		if continued && last == "function_call_output" {
			fault, p.fault = p.fault, ""
		}
		p.mu.Unlock()
		how, what := "whole", "call"
		if continued {
			how = "continued"
		}
		id := fmt.Sprintf("resp_%d", number)
		output := map[string]any{"type": "function_call", "id": "fc_" + id, "call_id": "call_" + id, "name": "update_plan", "status": "completed",
			"arguments": `{"plan":[{"step":"say hi","status":"completed"}]}`}
		if last == "function_call_output" {
			what = "answer"
			output = map[string]any{"type": "message", "id": "msg_" + id, "role": "assistant", "status": "completed",
				"content": []any{map[string]any{"type": "output_text", "text": "hi", "annotations": []any{}}}}
		}
		response := func(status string, output ...any) map[string]any {
			return map[string]any{"id": id, "object": "response", "status": status, "model": "gpt-5.5", "output": output, "store": false,
				"usage": map[string]any{"input_tokens": 10, "input_tokens_details": map[string]any{"cached_tokens": 5}, "output_tokens": 1, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": 11}}
		}
		switch {
		case continued && frame.Previous != held:
			p.lines("%d %s %s lost\n", number, key, how)
			send(map[string]any{"type": "error", "status": 400, "error": map[string]any{"type": "invalid_request_error", "code": "previous_response_not_found", "message": "Previous response with id '" + frame.Previous + "' not found.", "param": "previous_response_id"}})
			held = ""
			continue
		case fault == "middle":
			p.lines("%d %s %s broken\n", number, key, how)
			send(map[string]any{"type": "response.created", "response": response("in_progress")})
			return
		case fault == "between":
			p.lines("%d %s %s refused\n", number, key, how)
			send(map[string]any{"type": "error", "status": 429, "headers": map[string]any{"retry-after": "60"}, "error": map[string]any{"type": "rate_limit_exceeded", "code": "rate_limit_exceeded", "message": "wait"}})
			held = ""
			continue
		}
		held = id
		send(map[string]any{"type": "response.created", "response": response("in_progress")})
		if frame.Generate != nil && !*frame.Generate {
			p.lines("%d %s %s warm\n", number, key, how)
			send(map[string]any{"type": "response.completed", "response": response("completed")})
			continue
		}
		p.lines("%d %s %s %s\n", number, key, how, what)
		send(map[string]any{"type": "response.output_item.done", "output_index": 0, "item": output})
		send(map[string]any{"type": "response.completed", "response": response("completed", output)})
	}
}
