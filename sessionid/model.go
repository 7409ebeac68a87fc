package sessionid

import (
	"strings"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// Model returns the model that a body asks for in its member "model", or "" if no such member
// is a string. A host that has read the body calls it for affinity.Request.Model. Gemini's
// requests have the model in their path. If the member is there twice, Model may return
// either. It looks before the first list and behind the last one, and if the model is at
// neither place, it walks over all of the body. (Anthropic's SDK for Python sends messages
// before model, and tools after it.)
func Model(body []byte) string {
	var buf jsontext.Scratch
	return strings.Clone(jsontext.Unquote(rawModel(body), &buf))
}

func rawModel(body []byte) []byte {
	c, ok := jsontext.NewCursor(body)
	if !ok {
		return nil
	}
	atFront := true
	for range maxTopLevel {
		name, v, ok := c.Member()
		switch {
		case !ok:
			return nil
		case v.Form != jsontext.Open:
			if string(name) == "model" {
				return v.Raw
			}
			continue
		case atFront:
			if raw := modelAtEnd(body); raw != nil {
				return raw
			}
			atFront = false
		}
		c.Pass()
	}
	return nil
}

func modelAtEnd(body []byte) []byte {
	var walk jsontext.Backward
	if !walk.Begin(body) {
		return nil
	}
	for range maxTopLevel {
		if walk.BehindList() {
			return nil
		}
		name, raw, ok := walk.Member()
		if !ok || string(name) == "model" {
			return raw
		}
	}
	return nil
}
