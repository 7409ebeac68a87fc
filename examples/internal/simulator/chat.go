package simulator

func readChat(body object) *question {
	q := readTurns(body)
	q.tool = offered(body["tools"], chatTool)
	if body["tool_choice"] == "none" {
		q.asked = false
	}
	return q
}

func chatUsage(a *answer) object {
	return object{
		"prompt_tokens": a.prompt, "completion_tokens": a.output, "total_tokens": a.prompt + a.output,
		"prompt_tokens_details": object{"cached_tokens": a.cached},
	}
}

func finishReason(a *answer) string {
	if a.call != nil {
		return "tool_calls"
	}
	return "stop"
}

func chatMessage(a *answer) object {
	if a.call == nil {
		return object{"role": "assistant", "content": a.text}
	}
	return object{"role": "assistant", "content": nil, "tool_calls": list{
		object{"id": "call_" + a.id, "type": "function", "function": object{"name": a.call.name, "arguments": a.call.arguments}},
	}}
}

func wholeChat(a *answer) any {
	return object{
		"id": "chatcmpl-" + a.id, "object": "chat.completion", "created": 0, "model": a.model, "usage": chatUsage(a),
		"choices": list{object{"index": 0, "finish_reason": finishReason(a), "message": chatMessage(a)}},
	}
}

func chatEvents(a *answer) []event {
	chunk := func(choices list) object {
		return object{"id": "chatcmpl-" + a.id, "object": "chat.completion.chunk", "created": 0, "model": a.model, "choices": choices}
	}
	var out []event
	add := func(delta object, finish any) {
		out = append(out, event{"", chunk(list{object{"index": 0, "delta": delta, "finish_reason": finish}})})
	}
	if a.call == nil {
		add(object{"role": "assistant", "content": ""}, nil)
		for _, d := range deltas(a.text) {
			add(object{"content": d}, nil)
		}
	} else {
		first := object{"index": 0, "id": "call_" + a.id, "type": "function", "function": object{"name": a.call.name, "arguments": ""}}
		add(object{"role": "assistant", "content": nil, "tool_calls": list{first}}, nil)
		for _, d := range deltas(a.call.arguments) {
			add(object{"tool_calls": list{object{"index": 0, "function": object{"arguments": d}}}}, nil)
		}
	}
	add(object{}, finishReason(a))
	if a.usage {
		last := chunk(list{})
		last["usage"] = chatUsage(a)
		out = append(out, event{"", last})
	}
	return append(out, event{"", "[DONE]"})
}

func brokenChat(*answer, int) event { return event{"", openAIFailure(overloaded)} }
