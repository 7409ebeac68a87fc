package simulator

import "net/http"

func readResponses(body object) *question {
	q := readCommon(body, body["instructions"])
	q.input = asList(body["input"])
	q.said, q.asked = responseParts(q.input)
	q.tool = offered(body["tools"], functionTool)
	if body["tool_choice"] == "none" {
		q.asked = false
	}
	q.names = names{previous: str(body["previous_response_id"]), conversation: idOf(body["conversation"]), store: body["store"] != false}
	return q
}

// responseParts reads items, and reports whether the last one is the user's.
func responseParts(items list) (out []part, asked bool) {
	for _, item := range items {
		switch item := item.(type) {
		case string:
			out, asked = append(out, partsOf("user", item)...), true
		case object:
			if item["role"] != nil {
				out = append(out, partsOf(str(item["role"]), item["content"])...)
			} else {
				out = append(out, partOf("item", item)...)
			}
			if item["role"] != "system" && item["role"] != "developer" {
				asked = item["role"] == "user"
			}
		}
	}
	return out, asked
}

func responseObject(a *answer, status string, output list) object {
	o := object{
		"id": "resp_" + a.id, "object": "response", "created_at": 0, "status": status, "model": a.model, "output": output,
		"error": nil, "store": a.state.store, "previous_response_id": nil,
	}
	if a.state.previous != "" {
		o["previous_response_id"] = a.state.previous
	}
	if a.state.conversation != "" {
		o["conversation"] = object{"id": a.state.conversation}
	}
	return o
}

func wholeResponse(a *answer) any {
	o := responseObject(a, "completed", responseOutput(a))
	o["usage"] = object{
		"input_tokens": a.prompt, "input_tokens_details": object{"cached_tokens": a.cached},
		"output_tokens": a.output, "output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": a.prompt + a.output,
	}
	return o
}

func responseOutput(a *answer) list {
	if a.call != nil {
		return list{object{
			"id": "fc_" + a.id, "type": "function_call", "status": "completed",
			"call_id": "call_" + a.id, "name": a.call.name, "arguments": a.call.arguments,
		}}
	}
	return list{object{
		"id": "msg_" + a.id, "type": "message", "role": "assistant", "status": "completed",
		"content": list{object{"type": "output_text", "text": a.text, "annotations": list{}}},
	}}
}

func repeatResponse(a *answer) []part {
	out, _ := responseParts(responseOutput(a))
	return out
}

func responseEvents(a *answer) []event {
	var out []event
	add := func(kind string, more object) {
		more["type"], more["sequence_number"] = kind, len(out)
		out = append(out, event{kind, more})
	}
	item, _ := responseOutput(a)[0].(object)
	at := func(o object) object {
		o["item_id"], o["output_index"] = item["id"], 0
		if a.call == nil {
			o["content_index"] = 0
		}
		return o
	}
	open := responseOutput(a)[0].(object)
	open["status"] = "in_progress"
	add("response.created", object{"response": responseObject(a, "in_progress", list{})})
	if a.call != nil {
		open["arguments"] = ""
		add("response.output_item.added", object{"output_index": 0, "item": open})
		for _, d := range deltas(a.call.arguments) {
			add("response.function_call_arguments.delta", at(object{"delta": d}))
		}
		add("response.function_call_arguments.done", at(object{"name": a.call.name, "arguments": a.call.arguments}))
	} else {
		open["content"] = list{}
		add("response.output_item.added", object{"output_index": 0, "item": open})
		add("response.content_part.added", at(object{"part": object{"type": "output_text", "text": "", "annotations": list{}}}))
		for _, d := range deltas(a.text) {
			add("response.output_text.delta", at(object{"delta": d}))
		}
		add("response.output_text.done", at(object{"text": a.text}))
		add("response.content_part.done", at(object{"part": object{"type": "output_text", "text": a.text, "annotations": list{}}}))
	}
	add("response.output_item.done", object{"output_index": 0, "item": item})
	add("response.completed", object{"response": wholeResponse(a)})
	return out
}

func brokenResponse(a *answer, n int) event {
	failed := responseObject(a, "failed", list{})
	failed["error"] = object{"code": "server_error", "message": overloaded.message}
	return event{"response.failed", object{"type": "response.failed", "sequence_number": n, "response": failed}}
}

func noResponse(id string) *refusal {
	return &refusal{status: http.StatusNotFound, message: "Response with id '" + id + "' not found."}
}

func getResponse(c *inquiry) (any, *refusal) {
	if st := c.account.states.get(c.id, 0); st != nil {
		return st.shown, nil
	}
	return nil, noResponse(c.id)
}

func deleteResponse(c *inquiry) (any, *refusal) {
	if !c.account.states.byID.Remove(c.id) {
		return nil, noResponse(c.id)
	}
	return object{"id": c.id, "object": "response", "deleted": true}, nil
}
