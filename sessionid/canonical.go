package sessionid

import (
	"bytes"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// canon hashes what a message says, in whatever shape its API says it. Every
// piece is written with a tag and a length, so that no two different
// sequences of pieces give the same bytes.
type canon struct {
	d       xxhash.Digest
	wrote   bool   // the message has said anything at all
	lastHas bool   // the piece before was a tool result …
	lastSum uint64 // … with this hash
}

// Tags of the pieces.
const (
	tagRole   = 'R'
	tagText   = 'T'
	tagCall   = 'C'
	tagResult = 'O'
	tagMedia  = 'M'
	tagOther  = 'X'
)

// message hashes one message, item or content. ok is false for what is no
// part of the conversation's identity: system and developer messages,
// reasoning, and messages that say nothing.
func (c *canon) message(raw []byte) (sum uint64, ok bool) {
	c.d.Reset()
	c.wrote, c.lastHas = false, false
	if len(raw) > 0 && raw[0] == '"' { // a bare string is what a user says
		c.role("user")
		c.text(raw)
		return c.d.Sum64(), c.wrote
	}
	var f fields
	if !f.read(raw) {
		return 0, false
	}
	switch {
	case is(f.role, "system"), is(f.role, "developer"):
		return 0, false
	case is(f.role, "assistant"), is(f.role, "model"):
		c.role("assistant")
	case is(f.role, "tool"), is(f.role, "function"):
		c.role("tool")
	case f.role != nil && !is(f.role, "user"):
		c.piece(tagRole)
		c.value(f.role)
	case f.role == nil && f.typ != nil && !is(f.typ, "message"):
		// An item of the Responses API that is not a message: a call, its
		// output, reasoning.
		c.part(raw)
		return c.d.Sum64(), c.wrote
	default:
		c.role("user")
	}
	switch {
	case f.toolCallID != nil: // chat's role "tool"
		c.result(f.toolCallID, nil, f.content)
	case is(f.role, "function"):
		c.result(f.name, nil, f.content)
	default:
		c.content(f.content)
		c.content(f.parts)
	}
	c.content(f.toolCalls)
	if f.functionCall != nil {
		c.part(raw) // chat's function_call of old: the message is the call
	}
	return c.d.Sum64(), c.wrote
}

// content hashes a string, a list of parts, or a single part.
func (c *canon) content(raw []byte) {
	if len(raw) == 0 {
		return
	}
	switch raw[0] {
	case '"':
		c.text(raw)
	case '{':
		c.part(raw)
	case '[':
		w, _ := array(raw)
		for {
			v, ok := w.element()
			if !ok {
				return
			}
			if len(v) > 0 && v[0] == '"' {
				c.text(v)
			} else {
				c.part(v)
			}
		}
	}
}

// part hashes one content block, part or item.
func (c *canon) part(raw []byte) {
	var f fields
	if !f.read(raw) {
		return
	}
	t := f.typ
	switch {
	case is(t, "thinking"), is(t, "redacted_thinking"), is(t, "reasoning"), string(f.thought) == "true":
		// Clients drop and re-sign these between turns.
	case f.functionCall != nil:
		if g := (fields{}); g.read(f.functionCall) {
			c.call(g.id, g.name, first(g.args, g.arguments))
		}
	case f.functionResponse != nil:
		if g := (fields{}); g.read(f.functionResponse) {
			c.result(g.id, g.name, g.response)
		}
	case f.function != nil: // chat's tool_calls
		if g := (fields{}); g.read(f.function) {
			c.call(f.id, g.name, first(g.arguments, g.input))
		}
	case f.toolUseID != nil:
		c.result(f.toolUseID, nil, f.content)
	case f.callID != nil && f.output != nil:
		c.result(f.callID, nil, f.output)
	case f.callID != nil, is(t, "tool_use"), is(t, "server_tool_use"), is(t, "mcp_tool_use"):
		c.call(first(f.callID, f.id), f.name, first(f.arguments, f.input, f.action))
	case f.media != nil:
		c.piece(tagMedia)
		c.value(f.media)
		c.wrote = true
	case f.text != nil:
		c.text(f.text)
	case f.refusal != nil:
		c.text(f.refusal)
	default:
		c.other(raw)
	}
}

func (c *canon) role(name string) {
	c.piece(tagRole)
	c.d.WriteString(name)
}

// text hashes a text; an empty one says nothing.
func (c *canon) text(raw []byte) {
	if len(raw) <= 2 || raw[0] != '"' {
		return
	}
	c.piece(tagText)
	c.str(raw)
	c.wrote, c.lastHas = true, false
}

// call hashes a tool call: the id is what tells twins apart.
func (c *canon) call(id, name, args []byte) {
	c.piece(tagCall)
	c.value(id)
	c.value(name)
	c.value(args)
	c.wrote, c.lastHas = true, false
}

// result hashes the result of a tool call. A repetition of the one before
// counts once: Gemini CLI repeats a functionResponse when it rewrites its
// history.
func (c *canon) result(id, name, output []byte) {
	outer := c.d
	c.d.Reset()
	c.value(id)
	c.value(name)
	// In any shape that a text can have; elements that are no text count whole.
	c.output(output)
	sum := c.d.Sum64()
	c.d = outer
	if c.lastHas && c.lastSum == sum {
		return
	}
	c.lastHas, c.lastSum = true, sum
	c.piece(tagResult)
	c.uint64(sum)
	c.wrote = true
}

// output hashes a tool's output; unlike content it may hold anything.
func (c *canon) output(raw []byte) {
	if len(raw) == 0 {
		return
	}
	if raw[0] == '"' {
		c.piece(tagText)
		c.str(raw)
		return
	}
	if raw[0] != '[' {
		c.value(raw)
		return
	}
	w, _ := array(raw)
	for {
		v, ok := w.element()
		if !ok {
			return
		}
		var f fields
		if len(v) > 0 && v[0] == '{' && f.read(v) {
			switch {
			case f.text != nil:
				c.piece(tagText)
				c.str(f.text)
				continue
			case f.media != nil:
				c.piece(tagMedia)
				c.value(f.media)
				continue
			}
		}
		c.value(v)
	}
}

// volatile are members that clients change between turns, in blocks of a
// kind that this package does not know.
var volatile = map[string]bool{
	"cache_control": true, "signature": true, "thoughtSignature": true,
	"thought_signature": true, "id": true, "status": true, "annotations": true,
	"encrypted_content": true, "logprobs": true, "is_error": true,
}

// other hashes a block of an unknown kind by all that it says.
func (c *canon) other(raw []byte) {
	w, ok := object(raw)
	if !ok {
		return
	}
	begun := false
	for {
		name, v, ok := w.member()
		if !ok {
			return
		}
		if volatile[string(name)] {
			continue
		}
		if !begun {
			begun = true
			c.piece(tagOther)
			c.wrote, c.lastHas = true, false
		}
		c.uint64(uint64(len(name)))
		c.d.Write(name)
		c.value(v)
	}
}

// value hashes any JSON value: without insignificant white space, strings in
// one spelling. It does not recurse.
func (c *canon) value(raw []byte) {
	for i := 0; i < len(raw); {
		switch ch := raw[i]; ch {
		case ' ', '\n', '\r', '\t':
			i++
		case '"':
			end := skipString(raw, i)
			if end < 0 {
				c.d.Write(raw[i:])
				return
			}
			c.str(raw[i:end])
			i = end
		default:
			start := i
			for i < len(raw) && raw[i] != '"' && raw[i] != ' ' && raw[i] != '\n' && raw[i] != '\r' && raw[i] != '\t' {
				i++
			}
			c.d.Write(raw[start:i])
		}
	}
	c.piece(0)
}

// str hashes a raw JSON string, quotes included, in one spelling: the
// shortest. Most strings are spelled so already and are hashed as they are.
func (c *canon) str(raw []byte) {
	if bytes.IndexByte(raw, '\\') >= 0 && (bytes.Contains(raw, []byte(`\u`)) || bytes.Contains(raw, []byte(`\/`))) {
		c.respell(raw)
		return
	}
	c.d.Write(raw)
}

// shortEscapes are the characters that JSON spells with one letter.
var shortEscapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`,
}

// respell writes a string with \uXXXX and \/ resolved wherever there is a
// shorter spelling.
func (c *canon) respell(raw []byte) {
	var buf [256]byte
	out := buf[:0]
	for i := 0; i < len(raw); {
		if len(out) > len(buf)-16 {
			c.d.Write(out)
			out = buf[:0]
		}
		if raw[i] != '\\' || i+1 >= len(raw) {
			out = append(out, raw[i])
			i++
			continue
		}
		switch raw[i+1] {
		case '/':
			out = append(out, '/')
			i += 2
		case 'u':
			r, n := unescape(raw[i:])
			switch short, ok := shortEscapes[r]; {
			case n == 0: // no four hex digits: as it stands
				out = append(out, '\\', 'u')
				n = 2
			case ok:
				out = append(out, short...)
			case r < 0x20:
				const hex = "0123456789abcdef"
				out = append(out, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
			default:
				out = utf8.AppendRune(out, r)
			}
			i += n
		default:
			out = append(out, raw[i], raw[i+1])
			i += 2
		}
	}
	c.d.Write(out)
}

// unescape reads \uXXXX at the beginning of b, with its low surrogate if it
// has one; n is how many bytes it took, 0 if there is none. A surrogate that
// stands alone becomes U+FFFD, as in encoding/json.
func unescape(b []byte) (r rune, n int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if r < 0xd800 || r > 0xdfff {
		return r, 6
	}
	if r < 0xdc00 {
		if low, ok := hex4(b[6:]); ok && low >= 0xdc00 && low <= 0xdfff {
			return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, 12
		}
	}
	return utf8.RuneError, 6
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// piece starts a piece. Strings keep their quotes and values end in a tag, so
// no length is needed: the bytes can be read back in one way only.
func (c *canon) piece(tag byte) {
	c.d.Write([]byte{tag})
}

func (c *canon) uint64(v uint64) {
	k := makeKey(v, 0)
	c.d.Write(k[:8])
}

func first(values ...[]byte) []byte {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}
