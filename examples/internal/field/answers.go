package field

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// itemsOf returns the messages or items of a request in the API's own shape. A plain
// string is one user message.
func itemsOf(t testing.TB, body string) (items []json.RawMessage) {
	if body == "" {
		return nil
	}
	var b struct {
		Messages []json.RawMessage `json:"messages"`
		Input    json.RawMessage   `json:"input"`
		Contents []json.RawMessage `json:"contents"`
		Request  struct {
			Contents []json.RawMessage `json:"contents"`
		} `json:"request"`
	}
	must(t, json.Unmarshal([]byte(body), &b))
	switch {
	case b.Messages != nil:
		return b.Messages
	case b.Contents != nil:
		return b.Contents
	case b.Request.Contents != nil:
		return b.Request.Contents
	case len(b.Input) > 0 && b.Input[0] == '"':
		return []json.RawMessage{json.RawMessage(`{"role":"user","content":` + string(b.Input) + `}`)}
	case len(b.Input) > 0:
		must(t, json.Unmarshal(b.Input, &items))
	}
	return items
}

// fromModel reports whether the model has written an item. A compaction item answers another
// request than the conversation's.
func fromModel(t testing.TB, item json.RawMessage) bool {
	var v struct{ Type, Role string }
	must(t, json.Unmarshal(item, &v))
	switch v.Type {
	case "reasoning", "function_call", "custom_tool_call", "local_shell_call", "web_search_call":
		return true
	}
	return v.Role == "assistant" || v.Role == "model"
}

// typed reports whether an item is one of several that a Responses answer can have.
// With the other APIs an answer is one message.
func typed(t testing.TB, item json.RawMessage) bool {
	var v struct{ Type string }
	must(t, json.Unmarshal(item, &v))
	return v.Type != ""
}

// plainly returns an item in the form for comparison: without the marks that clients move or
// drop between two requests.
func plainly(t testing.TB, item json.RawMessage) string {
	var v any
	must(t, json.Unmarshal(item, &v))
	var clean func(any)
	clean = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			delete(v, "cache_control")
			delete(v, "thoughtSignature")
			for _, member := range v {
				clean(member)
			}
		case []any:
			for _, member := range v {
				clean(member)
			}
		}
	}
	clean(v)
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

// answersOf returns the answer to each request of one session, as the next request of the main
// line repeats it: messages or items in the API's own shape. An answer is nil if the request
// is beside the main line or is the last one, or if the next request does not repeat the
// answer.
func answersOf(t testing.TB, session []Request) [][]json.RawMessage {
	answers, _ := findAnswers(t, session)
	return answers
}

// findAnswers is answersOf. It also reports which answers the next request has repeated while
// it continued the history. The others come from a history that was rewritten.
func findAnswers(t testing.TB, session []Request) (answers [][]json.RawMessage, continued []bool) {
	answers, continued = make([][]json.RawMessage, len(session)), make([]bool, len(session))
	before := -1
	for i, r := range session {
		if !r.Main {
			continue
		}
		if before >= 0 {
			answers[before], continued[before] = answerIn(t, itemsOf(t, session[before].Body), itemsOf(t, r.Body))
		}
		before = i
	}
	return answers, continued
}

// answerIn finds the answer to one request in the next request.
func answerIn(t testing.TB, asked, next []json.RawMessage) (answer []json.RawMessage, continued bool) {
	known := map[string]bool{}
	continued = len(asked) > 0 && len(asked) <= len(next)
	for i, item := range asked {
		text := plainly(t, item)
		known[text] = true
		continued = continued && text == plainly(t, next[i])
	}
	start := len(asked)
	if !continued {
		// The last items of the model before the last input.
		end := len(next)
		for end > 0 && fromModel(t, next[end-1]) {
			end--
		}
		for end > 0 && !fromModel(t, next[end-1]) {
			end--
		}
		start = end
		for start > 0 && fromModel(t, next[start-1]) {
			start--
			if !typed(t, next[start]) {
				break // two messages in a row are two answers; one may be a summary
			}
		}
		next = next[:end]
	}
	end := start
	for end < len(next) && fromModel(t, next[end]) {
		end++
	}
	// What the request already had answers an older request: the client has sent that again
	// with other words at the end.
	if start == end || known[plainly(t, next[end-1])] {
		return nil, false
	}
	return slices.Clone(next[start:end]), continued
}

// Answers returns the answers to the requests of one session, each as the API's whole body. An
// answer is what the next request repeats of it, and empty if that repeats nothing.
func Answers(t testing.TB, session []Request) []string {
	out := make([]string, len(session))
	seen := map[string]bool{}
	for i, items := range answersOf(t, session) {
		// A compaction is the answer to a request of its own, and stands first.
		if i+1 < len(session) {
			for _, item := range itemsOf(t, session[i+1].Body) {
				var v struct{ Type, ID string }
				must(t, json.Unmarshal(item, &v))
				if v.Type == "compaction" && !seen[v.ID] {
					seen[v.ID] = true
					items = append(items, item)
				}
			}
		}
		if len(items) == 0 {
			continue
		}
		body := map[string]any{}
		switch path := session[i].Path; {
		case strings.Contains(path, "/responses"):
			body["object"], body["output"] = "response", items
		case strings.Contains(path, "/messages"):
			var m struct{ Content json.RawMessage }
			must(t, json.Unmarshal(items[0], &m))
			body["type"], body["content"] = "message", m.Content
			if len(m.Content) > 0 && m.Content[0] == '"' {
				body["content"] = []map[string]any{{"type": "text", "text": m.Content}}
			}
		case strings.Contains(path, "generateContent"), strings.Contains(path, "GenerateContent"):
			body["candidates"] = []map[string]any{{"content": items[0]}}
		default:
			body["choices"] = []map[string]any{{"message": items[0]}}
		}
		text, err := json.Marshal(body)
		must(t, err)
		out[i] = string(text)
	}
	return out
}
