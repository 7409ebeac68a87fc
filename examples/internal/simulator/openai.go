package simulator

func openAIFailure(status int, message string) any {
	return object{"error": object{"message": message, "type": "api_error", "code": status}}
}

func chatUsage(a *answer) object {
	return object{
		"prompt_tokens": a.prompt, "completion_tokens": a.output, "total_tokens": a.prompt + a.output,
		"prompt_tokens_details": object{"cached_tokens": a.cached},
	}
}

func wholeChat(a *answer) any {
	return object{
		"id": "chatcmpl-" + a.id, "object": "chat.completion", "created": 0, "model": a.model, "usage": chatUsage(a),
		"choices": list{object{"index": 0, "finish_reason": "stop", "message": object{"role": "assistant", "content": a.text}}},
	}
}

func chatEvents(a *answer) []event {
	chunk := func(choices list) object {
		return object{"id": "chatcmpl-" + a.id, "object": "chat.completion.chunk", "created": 0, "model": a.model, "choices": choices}
	}
	out := []event{{"", chunk(list{object{"index": 0, "delta": object{"role": "assistant", "content": ""}, "finish_reason": nil}})}}
	for _, d := range a.deltas() {
		out = append(out, event{"", chunk(list{object{"index": 0, "delta": object{"content": d}, "finish_reason": nil}})})
	}
	out = append(out, event{"", chunk(list{object{"index": 0, "delta": object{}, "finish_reason": "stop"}})})
	if a.usage {
		last := chunk(list{})
		last["usage"] = chatUsage(a)
		out = append(out, event{"", last})
	}
	return append(out, event{"", "[DONE]"})
}

func wholeResponse(a *answer) any {
	return object{
		"id": "resp_" + a.id, "object": "response", "created_at": 0, "status": "completed", "model": a.model,
		"output": list{responseItem(a)},
		"usage": object{
			"input_tokens": a.prompt, "input_tokens_details": object{"cached_tokens": a.cached},
			"output_tokens": a.output, "output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": a.prompt + a.output,
		},
	}
}

func responseItem(a *answer) object {
	return object{
		"id": "msg_" + a.id, "type": "message", "role": "assistant", "status": "completed",
		"content": list{object{"type": "output_text", "text": a.text, "annotations": list{}}},
	}
}

func responseEvents(a *answer) []event {
	var out []event
	add := func(kind string, more object) {
		more["type"], more["sequence_number"] = kind, len(out)
		out = append(out, event{kind, more})
	}
	begun := object{"id": "resp_" + a.id, "object": "response", "created_at": 0, "status": "in_progress", "model": a.model, "output": list{}}
	open := responseItem(a)
	open["status"], open["content"] = "in_progress", list{}
	at := func(o object) object {
		o["item_id"], o["output_index"], o["content_index"] = "msg_"+a.id, 0, 0
		return o
	}
	add("response.created", object{"response": begun})
	add("response.output_item.added", object{"output_index": 0, "item": open})
	add("response.content_part.added", at(object{"part": object{"type": "output_text", "text": "", "annotations": list{}}}))
	for _, d := range a.deltas() {
		add("response.output_text.delta", at(object{"delta": d}))
	}
	add("response.output_text.done", at(object{"text": a.text}))
	add("response.content_part.done", at(object{"part": object{"type": "output_text", "text": a.text, "annotations": list{}}}))
	add("response.output_item.done", object{"output_index": 0, "item": responseItem(a)})
	add("response.completed", object{"response": wholeResponse(a)})
	return out
}
