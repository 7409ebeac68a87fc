package jsontext

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Value is a value that a [Cursor] has found.
type Value struct {
	// Raw is the value as the text spells it. Of an Open value it is the
	// opening bracket alone. It shares memory with the text.
	Raw  []byte
	Form Form
}

// Form says how a [Value] is spelled.
type Form uint8

const (
	// Other is every spelling but Plain.
	Other Form = iota
	// Plain is the shortest spelling: no white space between tokens, and no
	// escape \uXXXX or \/ in a string.
	Plain
	// Open is an object or a list before whose bracket the Cursor still stands.
	Open
)

// Cursor walks forward through the objects and lists of one JSON text.
//
// A Cursor that has just returned an Open value stands before its bracket. The
// next [Cursor.Member] or [Cursor.Element] enters it; [Cursor.Skip] steps over
// it. A Cursor that has failed finds nothing more.
type Cursor struct {
	// At is the index of the next byte. Of an Open value that was just returned
	// it is the index of the bracket. Read it, do not set it.
	At int
	// Failed reports that the text did not continue as JSON must. Read it, do not
	// set it.
	Failed bool

	text   []byte
	open   bool // at At stands an opening bracket that was not entered
	buffer nameBuffer
}

// NewCursor returns a Cursor before the value that text begins with, and
// reports whether that is an object. White space may stand before the value.
func NewCursor(text []byte) (c Cursor, isObject bool) {
	c = Cursor{text: text, At: skipSpace(text, 0)}
	c.open = c.At < len(text) && text[c.At] == '{'
	return c, c.open
}

// AtEnd reports whether nothing but white space follows.
func (c *Cursor) AtEnd() bool { return skipSpace(c.text, c.At) == len(c.text) }

// Since returns the text between start, an earlier At, and the Cursor.
func (c *Cursor) Since(start int) []byte { return c.text[start:c.At] }

// Again returns a second Cursor before the bracket at start, an earlier
// [Cursor.At]. It sees the text up to this Cursor.
func (c *Cursor) Again(start int) Cursor { return Cursor{text: c.text[:c.At], At: start, open: true} }

// SkipFrom goes back to the bracket at start, an earlier At, and
// steps over the value that it opens.
func (c *Cursor) SkipFrom(start int) Value {
	if c.Failed {
		return Value{}
	}
	c.At = start
	return c.Skip()
}

// Skip steps over the Open value that was just returned, and returns it whole.
func (c *Cursor) Skip() Value {
	c.open = false
	start := c.At
	end, plain := ValueEnd(c.text, start)
	if end < 0 {
		c.fail()
		return Value{}
	}
	c.At = end
	return Value{c.text[start:end], formOf(plain)}
}

// Pass is Skip for a caller that does not need the value.
func (c *Cursor) Pass() {
	c.open = false
	if c.At = ValueOver(c.text, c.At); c.At < 0 {
		c.fail()
	}
}

// PassFrom goes back to the bracket at start, an earlier At, and returns the text
// of the value that it opens.
func (c *Cursor) PassFrom(start int) []byte {
	if c.Failed {
		return nil
	}
	c.At = start
	if c.Pass(); c.Failed {
		return nil
	}
	return c.text[start:c.At]
}

// Member returns the next member of the object. It has stepped over the value
// unless that is Open. The name has its escapes resolved; one of more than 64
// bytes that has escapes is returned as it is spelled. The name is good until the
// next call. At the object's end, and on failure, ok is false.
func (c *Cursor) Member() (name []byte, v Value, ok bool) {
	// Almost always there is no white space, and the name is short.
	b, i := c.text, c.At
	if i+1 < len(b) && b[i+1] == '"' && (c.open || b[i] == ',') {
		i += 2
		end := memberEnd(b, i)
		if end >= 0 {
			name = b[i : end-2]
		} else if end == escapeFirst {
			if name, end = c.buffer.read(b, i); end >= 0 && end+1 < len(b) && b[end] == ':' {
				end++
			} else {
				end = -1
			}
		}
		if end >= 0 && b[end] > ' ' {
			c.open = false
			c.At = end
			v = c.value()
			return name, v, v.Raw != nil
		}
	}
	if !c.next('}') {
		return nil, v, false
	}
	name, ok = c.name()
	if !ok {
		return nil, v, false
	}
	v = c.value()
	return name, v, v.Raw != nil
}

// Element returns the next element of the list. It has stepped over the element
// unless that is Open. At the list's end, and on failure, ok is false.
func (c *Cursor) Element() (v Value, ok bool) {
	if !c.next(']') {
		return v, false
	}
	v = c.value()
	return v, v.Raw != nil
}

// AnotherMember steps to the next member without looking at its value, and
// reports whether there is one. After that only [Cursor.SkipFrom] may be called.
func (c *Cursor) AnotherMember() bool {
	if !c.next('}') {
		return false
	}
	_, ok := c.name()
	return ok
}

// AnotherElement is AnotherMember for lists.
func (c *Cursor) AnotherElement() bool { return c.next(']') }

// next steps to the next member or element, or over the closing bracket.
func (c *Cursor) next(closing byte) bool {
	if c.Failed {
		return false
	}
	b, i, first := c.text, c.At, c.open
	if first {
		c.open = false
		i++
	} else if i+1 < len(b) && b[i] == ',' && b[i+1] > ' ' { // almost always
		c.At = i + 1
		return true
	}
	i = skipSpace(b, i)
	switch {
	case i >= len(b):
	case b[i] == closing:
		c.At = i + 1
		return false
	case first:
		c.At = i
		return true
	case b[i] == ',':
		if i = skipSpace(b, i+1); i < len(b) {
			c.At = i
			return true
		}
	}
	c.fail()
	return false
}

// name steps over a member's name and the colon after it.
func (c *Cursor) name() (name []byte, ok bool) {
	b, i := c.text, c.At
	if b[i] != '"' {
		c.fail()
		return nil, false
	}
	end := shortEnd(b, i+1)
	if end < 0 {
		end = nameEnd(b, i+1)
	}
	if end == escapeFirst {
		name, end = c.buffer.read(b, i+1)
	} else if end >= 0 {
		name = b[i+1 : end-1]
	}
	if end < 0 {
		if end, _ = longEnd(b, i+1); end < 0 {
			c.fail()
			return nil, false
		}
		name = b[i+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name = c.buffer.resolve(name)
		}
	}
	if end+1 < len(b) && b[end] == ':' && b[end+1] > ' ' { // almost always
		c.At = end + 1
		return name, true
	}
	i = skipSpace(b, end)
	if i >= len(b) || b[i] != ':' {
		c.fail()
		return nil, false
	}
	c.At = skipSpace(b, i+1)
	return name, true
}

// value returns the value that the Cursor stands before. Raw is nil if there is no
// value, or if it does not end.
func (c *Cursor) value() Value {
	b, i := c.text, c.At
	end, plain := -1, true
	if i < len(b) {
		switch b[i] {
		case '{', '[':
			c.open = true
			return Value{b[i : i+1], Open}
		case '"':
			if end = shortEnd(b, i+1); end < 0 {
				end, plain = longEnd(b, i+1)
			}
		default:
			end, plain = ValueEnd(b, i)
		}
	}
	if end < 0 {
		c.fail()
		return Value{}
	}
	c.At = end
	return Value{b[i:end], formOf(plain)}
}

func (c *Cursor) fail() {
	c.Failed = true
	c.open = false
	c.At = len(c.text)
}

func formOf(plain bool) Form {
	if plain {
		return Plain
	}
	return Other
}

// skipSpace returns the index of the first byte at or after i that is not white
// space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// StringEnd returns the index after the string whose opening quote stands at
// i, or -1 if it does not end. plain reports that the string has no escape
// \uXXXX or \/.
func StringEnd(b []byte, i int) (end int, plain bool) {
	i++
	if end = shortEnd(b, i); end >= 0 {
		return end, true
	}
	return longEnd(b, i)
}

// longEnd does what StringEnd does, from after the opening quote.
func longEnd(b []byte, i int) (end int, plain bool) {
	var pos int
	var state uint64
	switch {
	case wide && i < len(b):
		pos, state = scanStringWide(&b[i], len(b)-i)
	case vector && i+64 <= len(b):
		pos, state = scanString(&b[i], len(b)-i)
	}
	if state&stateFound != 0 {
		return i + pos, state&stateRespelled == 0
	}
	return stringRest(b, i+pos, state)
}

// shortEnd returns the index after the closing quote if that is one of the eight
// bytes at i and no backslash stands before it, otherwise -1. Most strings of a
// request are names and are that short.
func shortEnd(b []byte, i int) int {
	if i+8 > len(b) {
		return -1
	}
	w := binary.LittleEndian.Uint64(b[i:])
	quote, escape := w^ones*'"', w^ones*'\\'
	quote, escape = (quote-ones)&^quote&highs, (escape-ones)&^escape&highs
	if quote == 0 || escape&(quote^(quote-1)) != 0 {
		return -1
	}
	return i + bits.TrailingZeros64(quote)/8 + 1
}

// memberEnd returns the index after the colon of a member whose name begins at i, if
// a byte stands there, the name has less than 16 bytes and no escape, and the colon
// stands next to it. If there is an escape it returns [escapeFirst], otherwise -1.
func memberEnd(b []byte, i int) int {
	if i+18 > len(b) {
		return -1
	}
	w := binary.LittleEndian.Uint64(b[i:])
	quote, escape := w^ones*'"', w^ones*'\\'
	quote, escape = (quote-ones)&^quote&highs, (escape-ones)&^escape&highs
	if quote|escape == 0 {
		i += 8
		w = binary.LittleEndian.Uint64(b[i:])
		quote, escape = w^ones*'"', w^ones*'\\'
		quote, escape = (quote-ones)&^quote&highs, (escape-ones)&^escape&highs
	}
	if escape&(quote^(quote-1)) != 0 {
		return escapeFirst
	}
	if quote == 0 {
		return -1
	}
	if i += bits.TrailingZeros64(quote)/8 + 1; b[i] != ':' {
		return -1
	}
	return i + 1
}

// escapeFirst is what nameEnd returns if it comes to a backslash.
const escapeFirst = -2

// nameEnd is shortEnd for 24 bytes.
func nameEnd(b []byte, i int) int {
	for range 3 {
		if i+8 > len(b) {
			return -1
		}
		w := binary.LittleEndian.Uint64(b[i:])
		quote, escape := w^ones*'"', w^ones*'\\'
		quote, escape = (quote-ones)&^quote&highs, (escape-ones)&^escape&highs
		switch {
		case quote|escape == 0:
			i += 8
		case quote == 0 || escape&(quote^(quote-1)) != 0:
			return escapeFirst
		default:
			return i + bits.TrailingZeros64(quote)/8 + 1
		}
	}
	return -1
}

// ValueOver returns the end that [ValueEnd] returns, and is faster.
func ValueOver(b []byte, i int) (end int) {
	if !vector || i+64 > len(b) || b[i] != '{' && b[i] != '[' {
		end, _ = ValueEnd(b, i)
		return end
	}
	var pos, depth int
	var state uint64
	if wide {
		pos, state, depth = passNestedWide(&b[i], len(b)-i)
	} else {
		pos, state, depth = passNested(&b[i], len(b)-i)
	}
	if state&stateFound != 0 {
		return i + pos
	}
	end, _ = nestedRest(b, i+pos, state, depth)
	return end
}

// ValueEnd returns the index after the value that begins at i, or -1 if none
// begins there or it does not end. plain reports that its spelling is [Plain].
func ValueEnd(b []byte, i int) (end int, plain bool) {
	if i >= len(b) {
		return -1, false
	}
	switch b[i] {
	case '"':
		return StringEnd(b, i)
	case '{', '[':
		if !vector || i+64 > len(b) {
			return nestedRest(b, i, 0, 0)
		}
		var pos, depth int
		var state uint64
		if wide {
			pos, state, depth = scanNestedWide(&b[i], len(b)-i)
		} else {
			pos, state, depth = scanNested(&b[i], len(b)-i)
		}
		if state&stateFound != 0 {
			return i + pos, state&stateRespelled == 0
		}
		return nestedRest(b, i+pos, state, depth)
	}
	start := i
	for i < len(b) && scalar[b[i]] {
		i++
	}
	if i == start {
		return -1, false
	}
	return i, true
}
