package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// dialect is one provider's API.
type dialect struct {
	read      func(body map[string]any) *question
	whole     func(*answer) any     // the answer in one piece
	events    func(*answer) []event // the answer as a stream
	failure   func(status int, message string) any
	countOnly bool
}

// answer is what the provider says, before it is put into a form.
type answer struct {
	id, model, text        string
	prompt, cached, output int // tokens
	usage                  bool
}

// event is one event of a stream.
type event struct {
	name string // "": none is sent
	data any    // a string is sent as it is
}

type object = map[string]any
type list = []any

var (
	messages    = dialect{read: readMessages, whole: wholeMessage, events: messageEvents, failure: anthropicFailure}
	countTokens = dialect{read: readMessages, failure: anthropicFailure, countOnly: true}
	chat        = dialect{read: readMessages, whole: wholeChat, events: chatEvents, failure: openAIFailure}
	responses   = dialect{read: readResponses, whole: wholeResponse, events: responseEvents, failure: openAIFailure}
	gemini      = dialect{read: readGemini, whole: wholeGemini, events: geminiEvents, failure: geminiFailure}
)

// dialectOf tells the API of a path, and the model if the path names it.
func dialectOf(path string) (d *dialect, model string, ok bool) {
	switch path {
	case "/v1/messages":
		return &messages, "", true
	case "/v1/messages/count_tokens":
		return &countTokens, "", true
	case "/v1/chat/completions":
		return &chat, "", true
	case "/v1/responses":
		return &responses, "", true
	}
	if rest, found := strings.CutPrefix(path, "/v1beta/models/"); found {
		model, method, _ := strings.Cut(rest, ":")
		if model != "" && (method == "generateContent" || method == "streamGenerateContent") {
			return &gemini, model, true
		}
	}
	return nil, "", false
}

// send streams the answer; false if it was cut off.
func (d *dialect) send(w http.ResponseWriter, r *http.Request, a *answer, fault Fault) bool {
	flush := http.NewResponseController(w)
	sse := d != &gemini || r.URL.Query().Get("alt") == "sse"
	if sse {
		w.Header().Set("Content-Type", "text/event-stream")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	for i, e := range d.events(a) {
		if fault.HangUp && i == fault.HangUpAfter {
			panic(http.ErrAbortHandler)
		}
		data, raw := e.data.(string)
		if !raw {
			text, err := json.Marshal(e.data)
			if err != nil {
				panic(err) // maps, strings and numbers: cannot fail
			}
			data = string(text)
		}
		switch {
		case !sse:
			fmt.Fprintf(w, "%c%s\n", "[,"[min(i, 1)], data)
		case e.name != "":
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.name, data)
		default:
			fmt.Fprintf(w, "data: %s\n\n", data)
		}
		if flush.Flush() != nil || r.Context().Err() != nil {
			return false
		}
	}
	if !sse {
		fmt.Fprint(w, "]\n")
	}
	return true
}

// deltas are the pieces that the text is streamed in.
func (a *answer) deltas() (out []string) {
	const n = 4
	for i := range n {
		out = append(out, a.text[len(a.text)*i/n:len(a.text)*(i+1)/n])
	}
	return out
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func readCommon(body object) *question {
	q := &question{model: str(body["model"]), stream: body["stream"] == true}
	if o, ok := body["stream_options"].(object); ok {
		q.usage = o["include_usage"] == true
	}
	if t := body["tools"]; t != nil {
		q.add("tools", t)
	}
	return q
}

// readMessages reads Anthropic's messages and OpenAI's chat completions.
func readMessages(body object) *question {
	q := readCommon(body)
	q.parts("system", body["system"])
	for _, m := range asList(body["messages"]) {
		m, ok := m.(object)
		if !ok {
			continue
		}
		role := str(m["role"])
		q.parts(role, m["content"])
		for k, v := range m {
			if k == "tool_calls" || k == "function_call" {
				q.add(role+k, v)
			}
		}
	}
	return q
}

func readResponses(body object) *question {
	q := readCommon(body)
	q.parts("system", body["instructions"])
	for _, item := range asList(body["input"]) {
		switch item := item.(type) {
		case string:
			q.parts("user", item)
		case object:
			if item["role"] != nil {
				q.parts(str(item["role"]), item["content"])
			} else {
				q.add("item", item)
			}
		}
	}
	return q
}

func readGemini(body object) *question {
	q := readCommon(body)
	if s, ok := body["systemInstruction"].(object); ok {
		q.parts("system", s["parts"])
	}
	for _, c := range asList(body["contents"]) {
		if c, ok := c.(object); ok {
			q.parts(str(c["role"]), c["parts"])
		}
	}
	return q
}

// asList is a list, or the one element that stands in its place.
func asList(v any) list {
	switch v := v.(type) {
	case nil:
		return nil
	case list:
		return v
	default:
		return list{v}
	}
}
