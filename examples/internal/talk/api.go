package talk

import (
	"encoding/json"
	"net/http"
)

// api is the form of requests and answers in one API.
type api struct {
	name               string
	path, stream       string // where requests go
	credential, prefix string // how a client presents its key
	text, delta        string // where the text of an answer is
	list               string // the member that has the messages
	also               object // members beside the model and the messages
	items              func(Message) []any
	setID              func(id string, h http.Header, body map[string]any) // puts a session's id into a request
}

// Message is a message of a conversation, in no API's form.
type Message struct {
	Role string // "system", "user", "assistant" or "tool"
	Text string
	// Call is the call of a tool that an assistant's message makes, or that a tool's message
	// answers.
	Call *Call
}

// Call is a call of a tool.
type Call struct {
	ID, Name  string
	Arguments string // JSON
}

type object = map[string]any

var apis = []api{
	{
		name: "chat", path: "/v1/chat/completions", stream: "/v1/chat/completions",
		credential: "Authorization", prefix: "Bearer ",
		text: "choices.0.message.content", delta: "choices.0.delta.content",
		list: "messages", also: object{"model": Model}, items: chatItems,
		setID: func(id string, h http.Header, _ map[string]any) { h.Set("X-Session-Id", id) },
	},
	{
		name: "responses", path: "/v1/responses", stream: "/v1/responses",
		credential: "Authorization", prefix: "Bearer ",
		text: `output.#(type=="message").content.0.text`, delta: "delta",
		list: "input", also: object{"model": Model, "store": false}, items: responseItems,
		setID: func(id string, _ http.Header, body map[string]any) { body["prompt_cache_key"] = id },
	},
	{
		name: "anthropic", path: "/v1/messages", stream: "/v1/messages",
		credential: "X-Api-Key",
		text:       `content.#(type=="text").text`, delta: "delta.text",
		list: "messages", also: object{"model": Model, "max_tokens": 1000}, items: anthropicItems,
		setID: func(id string, h http.Header, _ map[string]any) { h.Set("X-Claude-Code-Session-Id", id) },
	},
	{
		name: "gemini", path: "/v1beta/models/" + Model + ":generateContent", stream: "/v1beta/models/" + Model + ":streamGenerateContent?alt=sse",
		credential: "X-Goog-Api-Key",
		text:       "candidates.0.content.parts.0.text", delta: "candidates.0.content.parts.0.text",
		list: "contents", items: geminiItems,
		setID: func(id string, h http.Header, _ map[string]any) { h.Set("X-Session-Affinity", id) },
	},
}

// body returns the body of a request that says all this.
func (a *api) body(said []Message) map[string]any {
	out := object{}
	for k, v := range a.also {
		out[k] = v
	}
	var list []any
	for _, m := range said {
		list = append(list, a.items(m)...)
	}
	out[a.list] = list
	return out
}

func chatItems(m Message) []any {
	o := object{"role": m.Role, "content": m.Text}
	switch {
	case m.Role == "tool":
		o["tool_call_id"], o["name"] = m.Call.ID, m.Call.Name
	case m.Call != nil:
		if m.Text == "" {
			o["content"] = nil
		}
		o["tool_calls"] = []any{object{"id": m.Call.ID, "type": "function", "function": object{"name": m.Call.Name, "arguments": m.Call.Arguments}}}
	}
	return []any{o}
}

func responseItems(m Message) (items []any) {
	if m.Role == "tool" {
		return []any{object{"type": "function_call_output", "call_id": m.Call.ID, "output": m.Text}}
	}
	if m.Text != "" || m.Call == nil {
		items = append(items, object{"role": m.Role, "content": m.Text})
	}
	if m.Call != nil {
		items = append(items, object{"type": "function_call", "call_id": m.Call.ID, "name": m.Call.Name, "arguments": m.Call.Arguments})
	}
	return items
}

func anthropicItems(m Message) []any {
	if m.Role == "tool" {
		return []any{object{"role": "user", "content": []any{object{"type": "tool_result", "tool_use_id": m.Call.ID, "content": m.Text}}}}
	}
	if m.Call == nil {
		return []any{object{"role": m.Role, "content": m.Text}}
	}
	var blocks []any
	if m.Text != "" {
		blocks = append(blocks, object{"type": "text", "text": m.Text})
	}
	blocks = append(blocks, object{"type": "tool_use", "id": m.Call.ID, "name": m.Call.Name, "input": json.RawMessage(m.Call.Arguments)})
	return []any{object{"role": m.Role, "content": blocks}}
}

func geminiItems(m Message) []any {
	role, parts := m.Role, []any{}
	if role == "assistant" {
		role = "model"
	}
	switch {
	case m.Role == "tool":
		role = "user"
		parts = append(parts, object{"functionResponse": object{"id": m.Call.ID, "name": m.Call.Name, "response": object{"output": m.Text}}})
	default:
		if m.Text != "" || m.Call == nil {
			parts = append(parts, object{"text": m.Text})
		}
		if m.Call != nil {
			parts = append(parts, object{"functionCall": object{"id": m.Call.ID, "name": m.Call.Name, "args": json.RawMessage(m.Call.Arguments)}})
		}
	}
	return []any{object{"role": role, "parts": parts}}
}
