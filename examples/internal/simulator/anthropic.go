package simulator

import (
	"encoding/json"
	"time"
)

func readMessages(body object) *question {
	q := readTurns(body)
	q.tool = offered(body["tools"], anthropicTool)
	if at(body, "tool_choice", "type") == "none" {
		q.asked = false
	}
	q.names = names{thread: body["thread"] != nil, container: idOf(body["container"])}
	if at(body, "thread", "type") == "continue" {
		q.names.previous = str(at(body, "thread", "previous_message_id"))
	}
	runs := offered(body["tools"], codeExecution) != ""
	q.names.newContainer = q.names.container == "" && (body["container"] != nil || runs)
	return q
}

func anthropicUsage(a *answer) object {
	return object{
		"input_tokens":                a.prompt - a.cached - a.written, // unlike OpenAI's
		"cache_read_input_tokens":     a.cached,
		"cache_creation_input_tokens": a.written,
		"output_tokens":               a.output,
	}
}

func anthropicMessage(a *answer, content list) object {
	return object{
		"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": a.model, "content": content,
		"stop_reason": stopReason(a), "stop_sequence": nil, "usage": anthropicUsage(a),
	}
}

func stopReason(a *answer) string {
	if a.call != nil {
		return "tool_use"
	}
	return "end_turn"
}

func anthropicContent(a *answer) list {
	if a.call == nil {
		return list{object{"type": "text", "text": a.text}}
	}
	return list{object{"type": "tool_use", "id": "toolu_" + a.id, "name": a.call.name, "input": json.RawMessage(a.call.arguments)}}
}

// containerLife is how long a container can be named again.
const containerLife = 30 * 24 * time.Hour

// containerOf returns the container of the answer, nil if it has none. Its expires_at is
// earlier than containerLife allows, and is later in each answer.
func containerOf(a *answer) object {
	if a.state.container == "" {
		return nil
	}
	return object{"id": a.state.container, "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}
}

func wholeMessage(a *answer) any {
	m := anthropicMessage(a, anthropicContent(a))
	if c := containerOf(a); c != nil {
		m["container"] = c
	}
	return m
}

func repeatMessage(a *answer) []part { return partsOf("assistant", anthropicContent(a)) }

func messageEvents(a *answer) []event {
	start := anthropicMessage(a, list{})
	start["stop_reason"] = nil
	open := object{"type": "text", "text": ""}
	text, kind, member := a.text, "text_delta", "text"
	if a.call != nil {
		open = object{"type": "tool_use", "id": "toolu_" + a.id, "name": a.call.name, "input": object{}}
		text, kind, member = a.call.arguments, "input_json_delta", "partial_json"
	}
	out := []event{
		{"message_start", object{"type": "message_start", "message": start}},
		{"content_block_start", object{"type": "content_block_start", "index": 0, "content_block": open}},
	}
	for _, d := range deltas(text) {
		out = append(out, event{"content_block_delta", object{"type": "content_block_delta", "index": 0, "delta": object{"type": kind, member: d}}})
	}
	end := object{"stop_reason": stopReason(a), "stop_sequence": nil}
	if c := containerOf(a); c != nil {
		end["container"] = c
	}
	return append(out,
		event{"content_block_stop", object{"type": "content_block_stop", "index": 0}},
		event{"message_delta", object{"type": "message_delta", "delta": end, "usage": object{"output_tokens": a.output}}},
		event{"message_stop", object{"type": "message_stop"}})
}

func brokenMessage(*answer, int) event {
	return event{"error", anthropicFailure(&refusal{status: 529, message: "Overloaded"})}
}

// countMessage answers /v1/messages/count_tokens.
func (s *Server) countMessage(c *inquiry) (any, *refusal) {
	q := readMessages(c.body)
	if r := s.known(&messages, q.model); r != nil {
		return nil, r
	}
	return object{"input_tokens": q.tokens()}, nil
}
