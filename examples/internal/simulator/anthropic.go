package simulator

func anthropicUsage(a *answer) object {
	return object{
		"input_tokens":                a.prompt - a.cached, // what is not cached, unlike OpenAI's
		"cache_read_input_tokens":     a.cached,
		"cache_creation_input_tokens": 0,
		"output_tokens":               a.output,
	}
}

func anthropicMessage(a *answer, content list) object {
	return object{
		"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": a.model, "content": content,
		"stop_reason": "end_turn", "stop_sequence": nil, "usage": anthropicUsage(a),
	}
}

func wholeMessage(a *answer) any {
	return anthropicMessage(a, list{object{"type": "text", "text": a.text}})
}

func messageEvents(a *answer) []event {
	start := anthropicMessage(a, list{})
	start["stop_reason"] = nil
	out := []event{
		{"message_start", object{"type": "message_start", "message": start}},
		{"content_block_start", object{"type": "content_block_start", "index": 0, "content_block": object{"type": "text", "text": ""}}},
	}
	for _, d := range a.deltas() {
		out = append(out, event{"content_block_delta", object{"type": "content_block_delta", "index": 0, "delta": object{"type": "text_delta", "text": d}}})
	}
	return append(out,
		event{"content_block_stop", object{"type": "content_block_stop", "index": 0}},
		event{"message_delta", object{"type": "message_delta", "delta": object{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": object{"output_tokens": a.output}}},
		event{"message_stop", object{"type": "message_stop"}})
}

func anthropicFailure(status int, message string) any {
	kind := map[int]string{400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 529: "overloaded_error"}[status]
	if kind == "" {
		kind = "api_error"
	}
	return object{"type": "error", "error": object{"type": kind, "message": message}}
}
