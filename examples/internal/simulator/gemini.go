package simulator

func geminiPiece(a *answer, text, finish string) object {
	candidate := object{"index": 0, "content": object{"role": "model", "parts": list{object{"text": text}}}}
	o := object{"candidates": list{candidate}, "modelVersion": a.model, "responseId": a.id}
	if finish != "" {
		candidate["finishReason"] = finish
		o["usageMetadata"] = object{
			"promptTokenCount": a.prompt, "cachedContentTokenCount": a.cached,
			"candidatesTokenCount": a.output, "totalTokenCount": a.prompt + a.output,
		}
	}
	return o
}

func wholeGemini(a *answer) any { return geminiPiece(a, a.text, "STOP") }

func geminiEvents(a *answer) []event {
	var out []event
	deltas := a.deltas()
	for i, d := range deltas {
		finish := ""
		if i == len(deltas)-1 {
			finish = "STOP"
		}
		out = append(out, event{"", geminiPiece(a, d, finish)})
	}
	return out
}

func geminiFailure(status int, message string) any {
	return object{"error": object{"code": status, "message": message, "status": "UNAVAILABLE"}}
}
