package requests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Formats are the APIs for which bodies can be made.
var Formats = []string{"claude", "chat", "responses", "gemini"}

// Texts are kinds of text for the messages of a body. Captured bodies have one escape in 70 to 130
// bytes. prose has fewer escapes, code has more, and json has twice as many as code.
var Texts = []string{"prose", "code", "json", "metadata"}

var texts = map[string]struct{ words, ends []string }{
	"prose": {strings.Fields("the of a session request cache account provider model tokens where which until answer question morning water paper"), []string{"\n", "\n\n", ". ", ", ", " "}},
	"code":  {strings.Fields(`func return if err != nil { } m[i] := range make(map[string]int) 'm' // for i++ import mmap request.Header body candidates`), []string{"\n", "\n\t", "\n", " \"x\" "}},
	"json":  {strings.Fields(`"id":1, "name":"a", {"data":[1,2,3]}, "metadata":{"m":"\"quoted\""}, "message":"m" true null`), []string{"\n", ",", "}", "]"}},
	// Only beginnings of a member for which the library may search.
	"metadata": {[]string{`metadata`, `metadata"`, `"metadata`, `metadat`, `user_id`, `"metadata":`}, []string{" ", "\n", `"`}},
}

// said returns n bytes of a kind of text, as a JSON string.
func said(rng *rand.Rand, kind string, n int) string {
	t := texts[kind]
	var b strings.Builder
	for b.Len() < n {
		for range 4 + rng.IntN(10) {
			b.WriteString(t.words[rng.IntN(len(t.words))])
			b.WriteByte(' ')
		}
		b.WriteString(t.ends[rng.IntN(len(t.ends))])
	}
	s, err := json.Marshal(b.String()[:n])
	if err != nil {
		panic(err) // a string can be marshalled
	}
	return string(s)
}

// turn returns the messages that one turn of a coding agent adds: the user's words, a tool call,
// and its result.
func turn(format string, i int, say, call, result string) []string {
	id := fmt.Sprintf("%s_%d", hole, i) // unique, like the ids that a provider makes
	switch format {
	case "claude":
		return []string{
			fmt.Sprintf(`{"role":"user","content":[{"type":"text","text":%s}]}`, say),
			fmt.Sprintf(`{"role":"assistant","content":[{"type":"tool_use","id":"toolu_%s","name":"Bash","input":{"command":%s}}]}`, id, call),
			fmt.Sprintf(`{"role":"user","content":[{"tool_use_id":"toolu_%s","type":"tool_result","content":%s,"is_error":false}]}`, id, result),
		}
	case "chat":
		return []string{
			fmt.Sprintf(`{"role":"user","content":%s}`, say),
			fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":"call_%s","type":"function","function":{"name":"bash","arguments":%s}}]}`, id, call),
			fmt.Sprintf(`{"role":"tool","tool_call_id":"call_%s","content":%s}`, id, result),
		}
	case "responses":
		return []string{
			fmt.Sprintf(`{"type":"message","role":"user","content":[{"type":"input_text","text":%s}]}`, say),
			fmt.Sprintf(`{"type":"function_call","name":"bash","arguments":%s,"call_id":"call_%s"}`, call, id),
			fmt.Sprintf(`{"type":"function_call_output","call_id":"call_%s","output":%s}`, id, result),
		}
	case "gemini":
		return []string{
			fmt.Sprintf(`{"parts":[{"text":%s}],"role":"user"}`, say),
			fmt.Sprintf(`{"parts":[{"functionCall":{"id":"f_%s","name":"bash","args":{"command":%s}}}],"role":"model"}`, id, call),
			fmt.Sprintf(`{"parts":[{"functionResponse":{"id":"f_%s","name":"bash","response":{"output":%s}}}],"role":"user"}`, id, result),
		}
	}
	panic("unknown format: " + format)
}

var listOf = map[string]string{"claude": "messages", "chat": "messages", "responses": "input", "gemini": "contents"}

// Plain returns a body of about size bytes without a session's id: 60 % are messages, and 30 % are
// tools. Set makes another conversation of it, by another id in the text of the first message and
// in the ids of the tool calls.
func Plain(format, text string, size int) *Body { return holed(content(format, text, size, "")) }

// content returns such a body, with back behind its last member.
func content(format, text string, size int, back string) []byte {
	rng := rand.New(rand.NewPCG(uint64(size), 3))
	var messages []string
	for n, i := 0, 0; n < size*6/10 || i == 0; i++ {
		say := said(rng, text, min(size/20+10, 50+rng.IntN(500)))
		if i == 0 {
			say = begin(say)
		}
		for _, t := range turn(format, i, say, said(rng, text, 80), said(rng, text, min(size/8, 200+rng.IntN(4000)))) {
			n += len(t)
			messages = append(messages, t)
		}
	}
	return body(format, messages, tools(rng, text, size*3/10), back)
}

// begin puts the hole at the front of a text.
func begin(say string) string { return `"` + hole + `: ` + say[1:] }

func tools(rng *rand.Rand, text string, size int) []string {
	var all []string
	for n := 0; n < size; {
		t := fmt.Sprintf(`{"name":"tool%d","description":%s,"input_schema":{"type":"object","properties":{"a":{"type":"string","description":%s}},"required":["a"]}}`,
			len(all), said(rng, text, min(size/3+20, 1500)), said(rng, text, 60))
		n += len(t)
		all = append(all, t)
	}
	return all
}

func body(format string, messages, tools []string, back string) []byte {
	return []byte(`{"model":"claude-opus","` + listOf[format] + `":[` + strings.Join(messages, ",") + `],"tools":[` + strings.Join(tools, ",") + `],"max_tokens":64000,"stream":true` + back + `}`)
}

// hole marks the places for an id. No text above contains it.
const hole = "01234567-89ab-4cde-8f01-23456789abcd"

// ends has the members behind the tools, as Claude Code and Codex send them.
var ends = map[string]string{
	"metadata.user_id": `,"metadata":{"user_id":"{\"device_id\":\"59f432d6821c56208bc0d1f50e70243049740e8ddd99a0f0e7ab4ec3a5d5d4a1\",\"account_uuid\":\"\",\"session_id\":\"` + hole + `\"}"}` +
		`,"thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}`,
	"prompt_cache_key": `,"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"effort":"medium","summary":"auto"},"store":false,` +
		`"include":["reasoning.encrypted_content"],"prompt_cache_key":"` + hole + `"`,
	"client_metadata": `,"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"effort":"medium","summary":"auto"},"store":false,` +
		`"include":["reasoning.encrypted_content"],"prompt_cache_key":"` + hole + `","client_metadata":{"originator":"codex_cli_rs","session_id":"` + hole + `"}`,
}

// Body is a body whose id can be replaced in place. That is possible because a pick keeps nothing
// of a body.
type Body struct {
	Bytes []byte
	at    []int
	lists int // where the tools end: clients put their ids behind them
}

// WithEnd returns a body of about size bytes with an id behind its lists. The member is Claude
// Code's metadata.user_id, or Codex's prompt_cache_key, with or without its client_metadata. Set
// puts the id there, and makes another conversation of the body, see Plain.
func WithEnd(member string, size int) *Body {
	format := "responses"
	if member == "metadata.user_id" {
		format = "claude"
	}
	return holed(content(format, "code", size, ends[member]))
}

func holed(b []byte) *Body {
	body := &Body{Bytes: b, lists: bytes.LastIndex(b, []byte(`],"max_tokens"`))}
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(hole))
		if i < 0 {
			return body
		}
		body.at = append(body.at, from+i)
		from += i + len(hole)
	}
}

// Set puts an id of SessionID into all its places in the body.
func (b *Body) Set(id string) {
	for _, at := range b.at {
		copy(b.Bytes[at:at+idLen], id)
	}
}

// SetEnd puts the id only into the places behind the lists. A large body has hundreds of other
// places. To write these would take time in the measurement of a pick that reads only the end.
func (b *Body) SetEnd(id string) {
	for i := len(b.at) - 1; i >= 0 && b.at[i] > b.lists; i-- {
		copy(b.Bytes[b.at[i]:b.at[i]+idLen], id)
	}
}
