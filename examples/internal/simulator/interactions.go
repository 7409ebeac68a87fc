package simulator

import "encoding/json"

func readInteraction(body object) *question {
	q := readCommon(body, body["system_instruction"])
	for _, item := range asList(body["input"]) {
		kind := str(at(item, "type"))
		role := str(at(item, "role"))
		switch {
		case role != "":
			q.said = append(q.said, partsOf(role, at(item, "content"))...)
		case kind == "user_input", kind == "model_output":
			q.said = append(q.said, partsOf(map[string]string{"user_input": "user", "model_output": "model"}[kind], at(item, "content"))...)
		default:
			q.said = append(q.said, partsOf("user", item)...)
		}
		q.asked = role != "model" && kind != "model_output" && kind != "function_call" && kind != "function_result"
	}
	q.tool = offered(body["tools"], functionTool)
	if at(body, "generation_config", "tool_choice") == "none" {
		q.asked = false
	}
	q.names = names{previous: str(body["previous_interaction_id"]), store: body["store"] != false}
	return q
}

func interactionObject(a *answer, status string) object {
	o := object{"id": "v1_" + a.id, "object": "interaction", "model": a.model, "status": status}
	if a.state.previous != "" {
		o["previous_interaction_id"] = a.state.previous
	}
	return o
}

func interactionStatus(a *answer) string {
	if a.call != nil {
		return "requires_action"
	}
	return "completed"
}

func interactionUsage(a *answer) object {
	return object{
		"total_input_tokens": a.prompt, "total_cached_tokens": a.cached,
		"total_output_tokens": a.output, "total_tokens": a.prompt + a.output,
	}
}

func interactionCall(a *answer, arguments any) object {
	return object{"type": "function_call", "id": "call_" + a.id, "name": a.call.name, "arguments": arguments}
}

// wholeInteraction has the answer twice: as steps, the form since May 2026, and as outputs,
// the form before that.
func wholeInteraction(a *answer) any {
	o := interactionObject(a, interactionStatus(a))
	o["usage"] = interactionUsage(a)
	if a.call != nil {
		o["steps"] = list{interactionCall(a, json.RawMessage(a.call.arguments))}
		o["outputs"] = o["steps"]
		return o
	}
	text := list{object{"type": "text", "text": a.text}}
	o["outputs"], o["steps"] = text, list{object{"type": "model_output", "content": text}}
	return o
}

func repeatInteraction(a *answer) []part {
	if a.call != nil {
		return partOf("model", interactionCall(a, json.RawMessage(a.call.arguments)))
	}
	return partsOf("model", a.text)
}

func interactionEvents(a *answer) []event {
	var out []event
	add := func(kind string, more object) {
		more["event_type"] = kind
		out = append(out, event{kind, more})
	}
	add("interaction.created", object{"interaction": interactionObject(a, "in_progress")})
	step, text, kind, member := object{"type": "model_output"}, a.text, "text", "text"
	if a.call != nil {
		step, text, kind, member = interactionCall(a, object{}), a.call.arguments, "arguments_delta", "arguments"
	}
	add("step.start", object{"index": 0, "step": step})
	for _, d := range deltas(text) {
		add("step.delta", object{"index": 0, "delta": object{"type": kind, member: d}})
	}
	add("step.stop", object{"index": 0})
	last := interactionObject(a, interactionStatus(a))
	last["usage"] = interactionUsage(a)
	add("interaction.completed", object{"interaction": last})
	return append(out, event{"done", "[DONE]"})
}

func brokenInteraction(*answer, int) event {
	e, _ := interactionFailure(overloaded).(object)
	e["event_type"] = "error"
	return event{"error", e}
}
