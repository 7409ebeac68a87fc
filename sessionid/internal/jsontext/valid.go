package jsontext

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxNesting is how many brackets may be open in a valid text, as in
// encoding/json.
const maxNesting = 10000

// Valid reports whether text is one JSON value, exactly as encoding/json's Valid
// judges. It does not allocate and does not recurse.
func Valid(text []byte) bool {
	// One word has a bit for each of the innermost 64 brackets: is it an object? A text
	// that is nested deeper is read again with more memory.
	var none wanted
	ok, tooDeep := valid(text, nil, &none)
	if tooDeep {
		return validDeep(text, &none)
	}
	return ok
}

// Find returns the raw value of a member of the object that text is. Of duplicate
// members the last one counts. Find returns nil if there is no such member, or if
// text is not [Valid].
func Find(text []byte, name string) []byte {
	w := wanted{name: name}
	ok, tooDeep := valid(text, nil, &w)
	if tooDeep {
		w = wanted{name: name}
		ok = validDeep(text, &w)
	}
	if !ok || w.to == 0 {
		return nil
	}
	return text[w.from:w.to]
}

// wanted is a member of the outermost object, and where its value stands.
type wanted struct {
	name     string // "": none
	here     bool   // the value at hand is that member's
	from, to int
}

// is reports whether a name, as it is spelled, is the wanted one.
func (w *wanted) is(name []byte) bool {
	if bytes.IndexByte(name, '\\') >= 0 {
		var buf nameBuffer
		return string(buf.resolve(name)) == w.name
	}
	return string(name) == w.name
}

//go:noinline
func validDeep(text []byte, w *wanted) bool {
	var outer [maxNesting / 64]uint64
	ok, _ := valid(text, outer[:], w)
	return ok
}

// valid checks a text with at most 64 brackets open, and 64 more for each word of
// outer.
func valid(b []byte, outer []uint64, w *wanted) (ok, tooDeep bool) {
	objects := uint64(0) // a bit for each open bracket, the innermost one lowest: 1 for an object
	depth := 0
	i := skipSpace(b, 0)

value:
	if i >= len(b) {
		return false, false
	}
	switch c := b[i]; c {
	case '"':
		if i = validString(b, i+1); i < 0 {
			return false, false
		}
	case '{', '[':
		if depth&63 == 0 && depth > 0 {
			if depth/64 > len(outer) {
				return false, outer == nil
			}
			outer[depth/64-1] = objects
		}
		if depth++; depth > maxNesting {
			return false, false
		}
		objects <<= 1
		i = skipSpace(b, i+1)
		if i >= len(b) {
			return false, false
		}
		if c == '{' {
			objects |= 1
			if b[i] != '}' {
				goto name
			}
		} else if b[i] != ']' {
			goto value
		}
		goto closed
	case 't':
		if !isWord(b, i, "true") {
			return false, false
		}
		i += 4
	case 'n':
		if !isWord(b, i, "null") {
			return false, false
		}
		i += 4
	case 'f':
		if !isWord(b, i, "false") {
			return false, false
		}
		i += 5
	default:
		if i = validNumber(b, i); i < 0 {
			return false, false
		}
	}

next:
	if depth <= 1 {
		if depth == 0 {
			return skipSpace(b, i) == len(b), false
		}
		if w.here {
			w.to, w.here = i, false
		}
	}
	if i < len(b) && b[i] <= ' ' {
		i = skipSpace(b, i)
	}
	if i >= len(b) {
		return false, false
	}
	switch b[i] {
	case ',':
		i++
		if i < len(b) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
		if objects&1 != 0 {
			goto name
		}
		goto value
	case '}':
		if objects&1 == 0 {
			return false, false
		}
	case ']':
		if objects&1 != 0 {
			return false, false
		}
	default:
		return false, false
	}

closed:
	i++
	objects >>= 1
	if depth--; depth&63 == 0 && depth > 0 {
		objects = outer[depth/64-1]
	}
	goto next

name:
	if i >= len(b) || b[i] != '"' {
		return false, false
	}
	start := i + 1
	if i = validString(b, start); i < 0 {
		return false, false
	}
	if depth == 1 && w.name != "" {
		w.here = w.is(b[start : i-1])
	}
	if i < len(b) && b[i] <= ' ' {
		i = skipSpace(b, i)
	}
	if i >= len(b) || b[i] != ':' {
		return false, false
	}
	i++
	if i < len(b) && b[i] <= ' ' {
		i = skipSpace(b, i)
	}
	if w.here && depth == 1 {
		w.from = i
	}
	goto value
}

// isWord reports whether the word stands at i.
func isWord(b []byte, i int, word string) bool {
	return len(b)-i >= len(word) && string(b[i:i+len(word)]) == word
}

// validString returns the index after the string whose first byte stands at i, or -1
// if there is no valid string. Like encoding/json it accepts any bytes above the control
// characters as text.
func validString(b []byte, i int) int {
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			// Of the marked bytes, the lowest one is sure, and only that one counts.
			if m := (isByte(w, '"') | isByte(w, '\\') | (w-0x20*ones)&^w) & highs; m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return -1
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < 0x20:
			return -1
		case c != '\\':
			i++
			continue
		}
		if i+1 >= len(b) {
			return -1
		}
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if _, ok := hex4(b[i:]); !ok {
				return -1
			}
			i += 6
		default:
			return -1
		}
	}
}

// validNumber returns the index after the number that stands at i, or -1.
func validNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = digits(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits returns the index after the digits at i, or -1 if there are none.
func digits(b []byte, i int) int {
	from := i
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
