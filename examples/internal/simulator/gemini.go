package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
)

func readGemini(body object) *question {
	q := readCommon(body, at(body, "systemInstruction", "parts"))
	for _, c := range asList(body["contents"]) {
		c, ok := c.(object)
		if !ok {
			continue
		}
		q.said = append(q.said, partsOf(str(c["role"]), c["parts"])...)
		q.asked = c["role"] != "model" && c["role"] != "function" && !has(c["parts"], "functionResponse")
	}
	q.tool = offered(body["tools"], geminiTool)
	if at(body, "toolConfig", "functionCallingConfig", "mode") == "NONE" {
		q.asked = false
	}
	q.names.cached = str(body["cachedContent"])
	return q
}

func geminiParts(a *answer) list {
	if a.call == nil {
		return list{object{"text": a.text}}
	}
	return list{object{"functionCall": object{"name": a.call.name, "args": json.RawMessage(a.call.arguments)}}}
}

func geminiPiece(a *answer, parts list, finish string) object {
	candidate := object{"index": 0, "content": object{"role": "model", "parts": parts}}
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

func wholeGemini(a *answer) any { return geminiPiece(a, geminiParts(a), "STOP") }

func geminiEvents(a *answer) []event {
	if a.call != nil { // a call is never streamed in pieces
		return []event{
			{"", geminiPiece(a, geminiParts(a), "")},
			{"", geminiPiece(a, list{object{"text": ""}}, "STOP")},
		}
	}
	var out []event
	pieces := deltas(a.text)
	for i, d := range pieces {
		finish := ""
		if i == len(pieces)-1 {
			finish = "STOP"
		}
		out = append(out, event{"", geminiPiece(a, list{object{"text": d}}, finish)})
	}
	return out
}

func brokenGemini(*answer, int) event { return event{"", geminiFailure(overloaded)} }

// geminiMethod calls the handler for the last part of the path: model:method.
func (s *Server) geminiMethod(w http.ResponseWriter, r *http.Request) {
	model, method, _ := strings.Cut(r.PathValue("call"), ":")
	switch {
	case model == "":
		s.noPath(w, r)
	case method == "generateContent", method == "streamGenerateContent":
		s.generate(&gemini)(w, r)
	case method == "countTokens":
		s.resource(&gemini, s.countGemini)(w, r)
	case method == "embedContent":
		s.resource(&gemini, s.embedGemini)(w, r)
	default:
		s.noPath(w, r)
	}
}

func (s *Server) countGemini(c *inquiry) (any, *refusal) {
	model, _, _ := strings.Cut(c.request.PathValue("call"), ":")
	if r := s.known(&gemini, model); r != nil {
		return nil, r
	}
	body := c.body
	if inner, ok := body["generateContentRequest"].(object); ok {
		body = inner
	}
	return object{"totalTokens": readGemini(body).tokens()}, nil
}
