package sessionid

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A scanner for one purpose: to find members of a JSON object and to step
// over everything else 64 bytes at a time where the machine can. It checks what it
// walks over only as far as it must to find the ends: a value that nobody
// reads may be malformed inside, but every string and bracket must close.
// Nothing here recurses and every byte is seen a bounded number of times.

// skipSpace returns the index of the first byte at or after i that is not
// white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// skipString returns the index after the string whose opening quote stands at
// i, or -1 if it does not end.
func skipString(b []byte, i int) int {
	end, _ := textEnd(b, i)
	return end
}

// skipValue returns the index after the value that starts at i, or -1 if it
// does not end or none starts there.
func skipValue(b []byte, i int) int {
	end, _ := valueEnd(b, i)
	return end
}

// textEnd is skipString for a string that is going to be hashed: it tells
// besides whether the string is plain, that is, has no escape with a second
// spelling (\uXXXX, \/).
func textEnd(b []byte, i int) (end int, plain bool) {
	i++
	if i+8 <= len(b) { // most names are short
		w := binary.LittleEndian.Uint64(b[i:])
		q, e := isByte(w, '"')&highs, isByte(w, '\\')&highs
		if q != 0 && (e == 0 || q&-q < e&-e) {
			return i + bits.TrailingZeros64(q)/8 + 1, true
		}
	}
	return textRest(b, i)
}

// textRest is textEnd behind the opening quote.
func textRest(b []byte, i int) (end int, plain bool) {
	if !vector || i+64 > len(b) {
		return textEndPlain(b, i, 0)
	}
	pos, state := scanString(&b[i], len(b)-i)
	if state&stateFound != 0 {
		return i + pos, state&stateRespelled == 0
	}
	return textEndPlain(b, i+pos, state)
}

// valueEnd is skipValue for a value that is going to be hashed: plain tells
// that it has no insignificant white space and all its strings are plain.
func valueEnd(b []byte, i int) (end int, plain bool) {
	if i >= len(b) {
		return -1, false
	}
	switch b[i] {
	case '"':
		return textEnd(b, i)
	case '{', '[':
		if !vector || i+64 > len(b) {
			return nestedEndPlain(b, i, 0, 0)
		}
		pos, state, depth := scanNested(&b[i], len(b)-i)
		if state&stateFound != 0 {
			return i + pos, state&stateRespelled == 0
		}
		return nestedEndPlain(b, i+pos, state, depth)
	}
	start := i
	for i < len(b) && isScalar(b[i]) {
		i++
	}
	if i == start {
		return -1, false
	}
	return i, true
}

// What the vector scanners know where they stop, for the plain ones to go on.
const (
	stateFound     = 1 << iota // the end was found
	stateRespelled             // not plain so far
	stateEscaped               // the next byte is escaped
	stateInString              // the next byte is inside a string
)

// textEndPlain is textRest in plain Go.
func textEndPlain(b []byte, i int, state uint64) (end int, plain bool) {
	plain = state&stateRespelled == 0
	if state&stateEscaped != 0 && i < len(b) {
		plain = plain && b[i] != 'u' && b[i] != '/'
		i++
	}
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			if m := (isByte(w, '"') | isByte(w, '\\')) & highs; m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
			i += 8
		}
		for {
			if i >= len(b) {
				return -1, false
			}
			c := b[i]
			if c == '"' {
				return i + 1, plain
			}
			if c != '\\' {
				i++
				if i+8 <= len(b) {
					break
				}
				continue
			}
			if i+1 < len(b) && (b[i+1] == 'u' || b[i+1] == '/') {
				plain = false
			}
			i += 2
			break
		}
	}
}

// nestedEndPlain is valueEnd for objects and arrays in plain Go.
func nestedEndPlain(b []byte, i int, state uint64, depth int) (end int, plain bool) {
	plain = state&stateRespelled == 0
	if state&stateInString == 0 && state&stateEscaped != 0 {
		i = strayEscape(b, i, &plain)
	}
	if state&stateInString != 0 {
		var p bool
		if i, p = textEndPlain(b, i, state); i < 0 {
			return -1, false
		}
		plain = plain && p
	}
	for i < len(b) {
		switch b[i] {
		case '"':
			var p bool
			if i, p = textEndPlain(b, i+1, 0); i < 0 {
				return -1, false
			}
			plain = plain && p
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, plain
			}
		case ' ', '\n', '\r', '\t':
			plain = false
		case '\\':
			i = strayEscape(b, i+1, &plain)
			continue
		}
		i++
	}
	return -1, false
}

// strayEscape steps over what a backslash outside a string escapes. That is no
// JSON; it is done as the vector scanner does it, so that all machines agree.
func strayEscape(b []byte, i int, plain *bool) int {
	if i < len(b) {
		switch b[i] {
		case '"', '\\':
			return i + 1
		case 'u', '/':
			*plain = false
		}
	}
	return i
}

// isScalar tells the bytes that numbers, true, false and null are made of.
func isScalar(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '+' || c == '.'
}

// cursor walks through one JSON text. Whoever is told of a member or an
// element must step over its value before asking for the next one. A cursor
// that has failed (bad) stays where it is and finds nothing more.
type cursor struct {
	b    []byte
	i    int
	bad  bool
	said int // bytes of text, arguments and results that were summed up
}

// peek is the first byte of the value that the cursor stands before, 0 at the
// end.
func (c *cursor) peek() byte {
	if c.i < len(c.b) {
		return c.b[c.i]
	}
	return 0
}

func (c *cursor) fail() {
	c.bad = true
	c.i = len(c.b)
}

// enter steps over an opening bracket.
func (c *cursor) enter() { c.i++ }

// another steps to the next member or element of the object or array that was
// entered; first is set by the caller before the first one. At the closing
// bracket it steps over that and returns false.
func (c *cursor) another(closing byte, first *bool) bool {
	c.i = skipSpace(c.b, c.i)
	switch ch := c.peek(); {
	case c.bad:
		return false
	case ch == closing:
		c.i++
		return false
	case *first && ch != 0:
		*first = false
		return true
	case ch == ',':
		c.i = skipSpace(c.b, c.i+1)
		if c.i < len(c.b) {
			return true
		}
	}
	c.fail()
	return false
}

// member is another for objects; name is the member's, escapes resolved, and
// belongs to the text.
func (c *cursor) member(first *bool) (name []byte, ok bool) {
	if !c.another('}', first) {
		return nil, false
	}
	if c.peek() != '"' {
		c.fail()
		return nil, false
	}
	end := skipString(c.b, c.i)
	if end < 0 {
		c.fail()
		return nil, false
	}
	name = c.b[c.i+1 : end-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name = []byte(unquote(c.b[c.i:end], new(scratch)))
	}
	c.i = skipSpace(c.b, end)
	if c.peek() != ':' {
		c.fail()
		return nil, false
	}
	c.i = skipSpace(c.b, c.i+1)
	return name, true
}

// skip steps over a value and returns it, raw.
func (c *cursor) skip() []byte {
	start := c.i
	end := skipValue(c.b, c.i)
	if end < 0 {
		c.fail()
		return nil
	}
	c.i = end
	return c.b[start:end]
}
