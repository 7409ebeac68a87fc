package sessionid

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// maxAnswer bounds what an AnswerWriter holds, in bytes. An answer has at most some
// hundred thousand tokens.
const maxAnswer = 4 << 20

// AnswerWriter reads an answer as it passes. Write to it the bytes that the client gets,
// decompressed, for example by an io.TeeReader. The zero AnswerWriter is ready to use. It
// holds at most some MiB. From a longer stream it takes the ids and no words, and from a
// longer JSON value nothing. Only one goroutine may use it at a time.
type AnswerWriter struct {
	line    []byte // the JSON value, or the line of the stream that has not ended
	kind    answerKind
	size    int
	over    bool // the answer is too long to be held
	whole   bool // the answer has ended
	skipped bool // the line is too long

	items  []string // messages or items as the answer spells them
	blocks []answerBlock
	chat   answerBlock
	calls  []answerBlock
	parts  []answerBlock
	chunks []string // the lists of parts as they came
	joined bool     // chunks and parts differ: a text came in pieces, or an empty one
	states []Key
	owners []Owner
}

type answerKind uint8

const (
	answerUnknown answerKind = iota
	answerWhole              // one JSON value
	answerStream             // server-sent events
)

// answerBlock is a block, a part or a call that a stream builds up.
type answerBlock struct {
	raw   string // the block as it came, if it does not grow
	typ   string
	id    string
	name  []byte
	text  []byte // words, or the JSON of arguments
	there bool
}

// Write takes the next bytes of the answer. It never fails.
func (w *AnswerWriter) Write(p []byte) (int, error) {
	n := len(p)
	if w.kind == answerUnknown {
		if p = bytes.TrimLeft(p, " \t\r\n\ufeff"); len(p) == 0 {
			return n, nil
		}
		w.kind = answerStream
		if p[0] == '{' || p[0] == '[' {
			w.kind = answerWhole
		}
	}
	if w.kind == answerWhole {
		w.hold(p)
		return n, nil
	}
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			w.hold(p)
			return n, nil
		}
		w.hold(p[:i])
		w.endLine()
		p = p[i+1:]
	}
}

// hold keeps bytes until their line or value ends.
func (w *AnswerWriter) hold(p []byte) {
	if w.skipped || len(w.line)+len(p) > maxAnswer {
		w.skipped, w.over = true, true
		w.line = nil
		return
	}
	w.line = append(w.line, p...)
}

// endLine reads the line that has just ended.
func (w *AnswerWriter) endLine() {
	line := w.line
	w.line, w.skipped = w.line[:0], false
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if data = bytes.TrimSpace(data); ok && string(data) == "[DONE]" {
		w.whole = true
		return
	}
	if !ok || len(data) == 0 || data[0] != '{' || w.piece(data) || !jsontext.Valid(data) {
		return
	}
	// The event shares no memory with the line, which is written over.
	w.event(gjson.Parse(string(data)))
}

// IsWhole reports whether the bytes written so far include the end of a stream. It costs
// nothing. If the answer is one JSON value, use [Answer.IsWhole].
func (w *AnswerWriter) IsWhole() bool { return w.whole }

// Answer returns what was read of the answer. Call it when the answer has ended: its
// cost is proportional to the answer's length. If a stream broke off, the Answer has
// the part that came, and is not whole.
func (w *AnswerWriter) Answer() Answer {
	if w.kind != answerWhole {
		return w.made()
	}
	var all AnswerWriter
	if !w.skipped {
		all.readWhole(w.line)
	}
	return all.made()
}

func (w *AnswerWriter) made() Answer {
	list := "[" + strings.Join(w.messages(), ",") + "]"
	a := Answer{states: w.states, owners: w.owners, whole: w.whole}
	if list != "[]" {
		a.reply = content.ReplyOf([]byte(list))
		if w.over {
			a.reply = a.reply.OnlyIDs()
		} else if w.joined {
			a.kept = w.kept()
		}
	}
	return a
}

// grow reports whether there is room for n more bytes.
func (w *AnswerWriter) grow(n int) bool {
	if w.size += n; w.size > maxAnswer {
		w.over = true
	}
	return !w.over
}

const maxAnswerParts = 1024

// at returns block i of a list, which grows if necessary, or nil if i is too large.
func (w *AnswerWriter) at(list *[]answerBlock, i int) *answerBlock {
	if i < 0 || i >= maxAnswerParts {
		w.over = true
		return nil
	}
	for len(*list) <= i {
		*list = append(*list, answerBlock{})
	}
	b := &(*list)[i]
	b.there = true
	return b
}

// block begins a block of Claude's API.
func (w *AnswerWriter) block(i int, v gjson.Result) {
	b := w.at(&w.blocks, i)
	if b == nil {
		return
	}
	b.typ, b.id, b.name = v.Get("type").Str, v.Get("id").Str, []byte(v.Get("name").Str)
	switch b.typ {
	case "text":
		b.text = append(b.text[:0], v.Get("text").Str...)
	case "tool_use", "server_tool_use", "mcp_tool_use":
		if in := v.Get("input"); in.IsObject() && in.Raw != "{}" {
			b.text = append(b.text[:0], in.Raw...)
		}
	default:
		if w.grow(len(v.Raw)) {
			b.raw = v.Raw
		}
	}
}

// delta extends a block of Claude's API.
func (w *AnswerWriter) delta(i int, v gjson.Result) {
	b := w.at(&w.blocks, i)
	if b == nil {
		return
	}
	for _, more := range [...]string{v.Get("text").Str, v.Get("partial_json").Str} {
		if w.grow(len(more)) {
			b.text = append(b.text, more...)
		}
	}
}

// chatDelta extends the message of the chat API.
func (w *AnswerWriter) chatDelta(v gjson.Result) {
	if more := v.Get("content").Str; w.grow(len(more)) {
		w.chat.there = true
		w.chat.text = append(w.chat.text, more...)
	}
	v.Get("tool_calls").ForEach(func(i, call gjson.Result) bool {
		at := int(i.Int())
		if index := call.Get("index"); index.Exists() {
			at = int(index.Int())
		}
		b := w.at(&w.calls, at)
		if b == nil {
			return false
		}
		if id := call.Get("id").Str; id != "" {
			b.id = id
		}
		if more := call.Get("function.name").Str; w.grow(len(more)) {
			b.name = append(b.name, more...)
		}
		if more := call.Get("function.arguments").Str; w.grow(len(more)) {
			b.text = append(b.text, more...)
		}
		return true
	})
}

// geminiContent extends the parts of Gemini's API. Some clients keep the pieces of a
// text as one part. Google's SDKs keep them as they came, in one content, and their chat
// helper keeps a content for each chunk (captured).
func (w *AnswerWriter) geminiContent(v gjson.Result) {
	if parts := v.Get("parts"); parts.IsArray() && len(w.chunks) < maxAnswerParts {
		w.chunks = append(w.chunks, parts.Raw)
	}
	v.Get("parts").ForEach(func(_, part gjson.Result) bool {
		if !w.grow(len(part.Raw)) || len(w.parts) == maxAnswerParts {
			w.over = true
			return false
		}
		text := part.Get("text")
		if text.Type != gjson.String || part.Get("thought").Bool() {
			w.parts = append(w.parts, answerBlock{raw: part.Raw, there: true})
			return true
		}
		if n := len(w.parts); n == 0 || w.parts[n-1].typ != "text" {
			w.parts = append(w.parts, answerBlock{typ: "text", there: true})
		}
		b := &w.parts[len(w.parts)-1]
		w.joined = w.joined || len(b.text) > 0 || text.Str == ""
		b.text = append(b.text, text.Str...)
		return true
	})
}

// messages returns the answer in the shape in which requests repeat it.
func (w *AnswerWriter) messages() []string {
	out := w.items
	var list []string
	for i := range w.blocks {
		switch b := &w.blocks[i]; {
		case b.raw != "":
			list = append(list, b.raw)
		case b.typ == "text" && len(b.text) > 0:
			list = append(list, `{"type":"text","text":`+quoted(b.text)+`}`)
		case b.typ != "" && b.typ != "text":
			list = append(list, `{"type":`+quoted([]byte(b.typ))+`,"id":`+quoted([]byte(b.id))+`,"name":`+quoted(b.name)+`,"input":`+arguments(b.text)+`}`)
		}
	}
	if len(list) > 0 {
		out = append(out, `{"role":"assistant","content":[`+strings.Join(list, ",")+`]}`)
	}
	list = nil
	for i := range w.calls {
		if b := &w.calls[i]; b.there {
			list = append(list, `{"type":"function","id":`+quoted([]byte(b.id))+`,"function":{"name":`+quoted(b.name)+`,"arguments":`+quoted(b.text)+`}}`)
		}
	}
	if len(list) > 0 || len(w.chat.text) > 0 {
		m := `{"role":"assistant","content":` + quoted(w.chat.text)
		if len(list) > 0 {
			m += `,"tool_calls":[` + strings.Join(list, ",") + `]`
		}
		out = append(out, m+`}`)
	}
	list = nil
	for i := range w.parts {
		if b := &w.parts[i]; b.raw != "" {
			list = append(list, b.raw)
		} else if len(b.text) > 0 {
			list = append(list, `{"text":`+quoted(b.text)+`}`)
		}
	}
	if len(list) > 0 {
		out = append(out, `{"role":"model","parts":[`+strings.Join(list, ",")+`]}`)
	}
	return out
}

// kept returns an answer of Gemini's in the two shapes of clients that do not join its
// texts.
func (w *AnswerWriter) kept() (as [2]content.Reply) {
	var all, each []string
	for _, parts := range w.chunks {
		each = append(each, `{"role":"model","parts":`+parts+`}`)
		if inner := strings.TrimSpace(parts[1 : len(parts)-1]); inner != "" {
			all = append(all, inner)
		}
	}
	as[0] = content.ReplyOf([]byte(`[{"role":"model","parts":[` + strings.Join(all, ",") + `]}]`))
	as[1] = content.ReplyOf([]byte("[" + strings.Join(each, ",") + "]"))
	return as
}

// arguments returns the JSON of a call's arguments, or {} if text is no JSON.
func arguments(text []byte) string {
	if !jsontext.Valid(text) {
		return "{}"
	}
	return string(text)
}

// quoted returns a text as a JSON string.
func quoted(text []byte) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(string(text)) // a string can be encoded
	return strings.TrimSuffix(b.String(), "\n")
}
