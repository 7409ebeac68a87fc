package simulator

import (
	"math"
	"slices"
	"strings"
)

// known refuses a model that is not one of Options.Models.
func (s *Server) known(d *dialect, model string) *refusal {
	if len(s.opts.Models) == 0 || slices.Contains(s.opts.Models, strings.TrimPrefix(model, "models/")) {
		return nil
	}
	return unknownModel(d, model)
}

// models returns the models to list. A server that accepts any model lists one.
func (s *Server) models(each func(model string) object) list {
	names := s.opts.Models
	if len(names) == 0 {
		names = []string{"sim-1"}
	}
	var out list
	for _, m := range names {
		out = append(out, each(m))
	}
	return out
}

// listModels answers /v1/models, which two providers have.
func (s *Server) listModels(c *inquiry) (any, *refusal) {
	if c.request.Header.Get("Anthropic-Version") == "" {
		return object{"object": "list", "data": s.models(func(m string) object {
			return object{"id": m, "object": "model", "created": 0, "owned_by": "simulator"}
		})}, nil
	}
	data := s.models(func(m string) object {
		return object{"type": "model", "id": m, "display_name": m, "created_at": "1970-01-01T00:00:00Z"}
	})
	return object{"data": data, "has_more": false, "first_id": idOf(data[0]), "last_id": idOf(data[len(data)-1])}, nil
}

func (s *Server) listGeminiModels(*inquiry) (any, *refusal) {
	return object{"models": s.models(func(m string) object {
		return object{"name": "models/" + m, "displayName": m, "supportedGenerationMethods": list{"generateContent", "countTokens", "embedContent"}}
	})}, nil
}

// vector returns an embedding: the same one for the same input.
func vector(q *question) list {
	h := q.hash()
	var out list
	for range 8 {
		out = append(out, math.Round(float64(h%2000)-1000)/1000)
		h = h*6364136223846793005 + 1442695040888963407
	}
	return out
}

func (s *Server) embed(c *inquiry) (any, *refusal) {
	model := str(c.body["model"])
	if r := s.known(&chat, model); r != nil {
		return nil, r
	}
	inputs := asList(c.body["input"])
	if len(inputs) > 0 {
		if _, tokens := inputs[0].(float64); tokens {
			inputs = list{inputs}
		}
	}
	data, tokens := list{}, 0
	for i, input := range inputs {
		q := &question{said: partOf("input", input)}
		data = append(data, object{"object": "embedding", "index": i, "embedding": vector(q)})
		tokens += q.tokens()
	}
	return object{"object": "list", "data": data, "model": model, "usage": object{"prompt_tokens": tokens, "total_tokens": tokens}}, nil
}

func (s *Server) embedGemini(c *inquiry) (any, *refusal) {
	model, _, _ := strings.Cut(c.request.PathValue("call"), ":")
	if r := s.known(&gemini, model); r != nil {
		return nil, r
	}
	return object{"embedding": object{"values": vector(&question{said: partsOf("input", at(c.body, "content", "parts"))})}}, nil
}
