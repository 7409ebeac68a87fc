package sessionid

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A scanner for one purpose: to find members of a JSON object and to step
// over everything else at the speed of bytes.IndexByte. It checks what it
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

// skipString returns the index after the string whose opening quote stands at
// i, or -1 if it does not end.
func skipString(b []byte, i int) int {
	start := i + 1
	for i = start; ; i++ {
		q := bytes.IndexByte(b[i:], '"')
		if q < 0 {
			return -1
		}
		i += q
		// A quote ends the string unless an odd number of backslashes stands
		// before it. Each run of backslashes is counted for the one quote
		// behind it, so a megabyte of them stays linear.
		n := 0
		for j := i - 1; j >= start && b[j] == '\\'; j-- {
			n++
		}
		if n%2 == 0 {
			return i + 1
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// textEnd is skipString for a string that is going to be hashed: it tells
// besides whether the string is plain, that is, has no escape with a second
// spelling (\uXXXX, \/).
func textEnd(b []byte, i int) (end int, plain bool) {
	plain = true
	i++
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			x, y := w^('"'*ones), w^('\\'*ones)
			m := ((x-ones)&^x | (y-ones)&^y) & highs
			if m != 0 {
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

// skipValue returns the index after the value that starts at i, or -1 if it
// does not end or none starts there.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				if i = skipString(b, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	default:
		start := i
		for i < len(b) && isScalar(b[i]) {
			i++
		}
		if i == start {
			return -1
		}
		return i
	}
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
		plain = true
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				var p bool
				if i, p = textEnd(b, i); i < 0 {
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
			}
			i++
		}
		return -1, false
	}
	return skipValue(b, i), true
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
