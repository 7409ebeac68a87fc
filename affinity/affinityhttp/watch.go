package affinityhttp

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// watch reads an answer, decompressed, while it is passed on: what it has cost, whether a
// token has come, how it ends. sessionid reads what identifies the conversation.
type watch struct {
	answer sessionid.AnswerWriter
	words  bool // the answer's text is needed, and not only the state that it creates
	named  bool // the name of the model is needed
	form   form
	name   []byte // the name of the event whose data comes next
	kind   string // the name of the last event
	held   hold   // the JSON value, or the unfinished line
	lost   bool   // a line was too long, or nothing can be read

	usage  usage
	model  string // as the answer names it first
	spoke  bool   // a token has come
	begun  bool   // a stream of a known API has begun …
	ended  bool   // … and has come to its end
	failed string // the type of an error that came in the stream, or "error"
	id     string // of a message of Anthropic
}

type form uint8

const (
	formUnknown form = iota
	formWhole        // one JSON value
	formEvents       // server-sent events
)

// Write reads the next bytes. It never fails.
func (w *watch) Write(p []byte) (int, error) {
	n := len(p)
	if w.form == formUnknown {
		if p = bytes.TrimLeft(p, " \t\r\n\ufeff"); len(p) == 0 {
			return n, nil
		}
		w.form = formEvents
		if p[0] == '{' || p[0] == '[' {
			w.form = formWhole
		}
	}
	if w.form == formWhole {
		w.held.add(p)
		return n, nil
	}
	if w.words {
		_, _ = w.answer.Write(p)
	}
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			w.held.add(p)
			return n, nil
		}
		line := p[:i]
		if !w.held.isEmpty() {
			w.held.add(line)
			line = w.held.text
		}
		if w.lost = w.lost || w.held.over; !w.held.over {
			w.line(line)
		}
		w.held.reset()
		p = p[i+1:]
	}
}

// beginnings are events that come before the first token.
var beginnings = map[string]bool{
	"message_start": true, "ping": true,
	"response.created": true, "response.in_progress": true, "response.queued": true,
	"interaction.created": true, "interaction.start": true, "interaction.status_update": true,
	"keepalive": true,
}

// statements are the events that say what state the answer creates, and how it ends.
var statements = map[string]bool{
	"message_start": true, "message_delta": true, "message_stop": true,
	"response.created": true, "response.completed": true, "response.incomplete": true,
	"interaction.created": true, "interaction.start": true, "interaction.complete": true, "interaction.completed": true,
}

// line reads a line of a stream.
func (w *watch) line(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		if name, ok := bytes.CutPrefix(line, []byte("event:")); ok {
			w.name = append(w.name[:0], bytes.TrimSpace(name)...)
		}
		return
	}
	data = bytes.TrimSpace(data)
	if string(data) == "[DONE]" {
		w.ended = true
		return
	}
	if len(data) == 0 || data[0] != '{' {
		return
	}
	if w.kind != string(w.name) { // most events have the name of the one before
		w.kind = string(w.name)
	}
	kind := w.kind
	if kind == "" || kind == "message" { // the default of server-sent events
		kind = kindOf(data)
	}
	w.name = w.name[:0]
	if strings.HasSuffix(kind, "delta") && kind != "message_delta" { // words, and nothing beside them
		w.spoke = true
		return
	}
	if !w.words && statements[kind] {
		_, _ = w.answer.Write(line)
		_, _ = w.answer.Write([]byte{'\n'})
	}
	switch kind {
	case "message_start":
		w.begun = true
		w.id = gjson.GetBytes(data, "message.id").Str
	case "response.created":
		w.begun = true
	case "message_stop", "response.completed", "response.incomplete", "response.cancelled", "interaction.complete", "interaction.completed":
		w.ended = true
	case "response.failed":
		w.ended = true
		w.fail(gjson.GetBytes(data, "response.error"))
	case "error":
		w.ended = true
		if e := gjson.GetBytes(data, "error"); e.IsObject() {
			w.fail(e)
		} else {
			w.fail(gjson.ParseBytes(data)) // of the responses API
		}
	case "": // chat, Gemini
		if bytes.Contains(data, []byte(`"error"`)) {
			if e := gjson.GetBytes(data, "error"); e.IsObject() {
				w.ended = true
				w.fail(e)
			}
		}
		if bytes.Contains(data, []byte(`"finish`)) {
			w.ended = w.ended || isLast(data)
		}
	}
	if bytes.Contains(data, []byte(`"usage`)) {
		w.usage.take(gjson.ParseBytes(data))
	}
	if w.named && w.model == "" && bytes.Contains(data, []byte(`"model`)) {
		w.takeModel(gjson.ParseBytes(data))
	}
	if !w.spoke && !beginnings[kind] && (kind != "" || !onlyRole(data)) {
		w.spoke = true
	}
}

// kindOf returns the type of an event, as its data says it.
func kindOf(data []byte) string {
	if !bytes.Contains(data, []byte(`type"`)) { // as in most events of the chat API
		return ""
	}
	if kind := gjson.GetBytes(data, "type").Str; kind != "" {
		return kind
	}
	return gjson.GetBytes(data, "event_type").Str
}

// isLast reports whether an event of the chat API or of Gemini says that the answer is over.
func isLast(data []byte) bool {
	for _, at := range [...]string{"choices.0.finish_reason", "candidates.0.finishReason", "response.candidates.0.finishReason"} {
		if reason := gjson.GetBytes(data, at); reason.Exists() {
			return reason.Str != ""
		}
	}
	return false
}

// takeModel reads which model has answered.
func (w *watch) takeModel(v gjson.Result) {
	if !w.named || w.model != "" {
		return
	}
	for _, place := range modelPlaces {
		if at := v.Get(place).Str; at != "" && len(at) <= longestModel {
			w.model = strings.Clone(at)
			return
		}
	}
}

// onlyRole reports whether an event of the chat API has a role and nothing else.
func onlyRole(data []byte) bool {
	delta := gjson.GetBytes(data, "choices.0.delta")
	if !delta.IsObject() {
		return false
	}
	only := true
	delta.ForEach(func(name, v gjson.Result) bool {
		only = name.Str == "role" || v.Type == gjson.Null || v.Type == gjson.String && v.Str == ""
		return only
	})
	return only
}

// fail records an error that came in the stream.
func (w *watch) fail(e gjson.Result) {
	for _, at := range [...]string{"type", "code", "status"} {
		if v := e.Get(at); v.String() != "" && v.String() != "error" {
			w.failed = v.String()
			return
		}
	}
	w.failed = "error"
}

// status returns the HTTP status that an error in a stream corresponds to, 0 for no error.
func (w *watch) status() int {
	switch f := strings.ToLower(w.failed); {
	case f == "":
		return 0
	case len(f) == 3 && f[0] >= '4' && f[0] <= '5' && isDigit(f[1]) && isDigit(f[2]):
		return int(f[0]-'0')*100 + int(f[1]-'0')*10 + int(f[2]-'0')
	case strings.Contains(f, "overloaded"), f == "unavailable", f == "server_is_overloaded", f == "slow_down":
		return 529
	case strings.Contains(f, "rate_limit"), f == "resource_exhausted", f == "insufficient_quota", f == "usage_limit_reached":
		return 429
	case strings.Contains(f, "authentication"), f == "unauthenticated", f == "invalid_api_key":
		return 401
	case strings.Contains(f, "permission"), strings.Contains(f, "billing"):
		return 403
	case strings.Contains(f, "invalid"), strings.Contains(f, "too_large"), strings.Contains(f, "not_found"), strings.Contains(f, "policy"),
		f == "context_length_exceeded", f == "failed_precondition", f == "out_of_range":
		return 400
	}
	return 500
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isWhole reports whether the bytes so far are a complete stream.
func (w *watch) isWhole() bool { return w.form == formEvents && (w.ended || w.answer.IsWhole()) }

// end reads what is known only after the last byte.
func (w *watch) end() {
	if w.lost = w.lost || w.held.over; w.held.isEmpty() || w.held.over {
		return
	}
	if w.form == formEvents { // a last line without a line end
		_, _ = w.Write([]byte{'\n'})
		return
	}
	held := w.held.text
	w.held = hold{}
	if !gjson.ValidBytes(held) {
		return
	}
	v := gjson.ParseBytes(held)
	if v.IsArray() { // Gemini's stream without alt=sse
		v.ForEach(func(_, piece gjson.Result) bool {
			w.usage.take(piece)
			w.takeModel(piece)
			return true
		})
	} else {
		w.usage.take(v)
		w.takeModel(v)
		if v.Get("type").Str == "message" {
			w.id = v.Get("id").Str
		}
		if e := v.Get("error"); e.IsObject() { // with status 200, as some gateways answer
			w.fail(e)
		}
	}
	_, _ = w.answer.Write(held)
}
