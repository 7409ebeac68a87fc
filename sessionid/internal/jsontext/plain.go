package jsontext

import (
	"encoding/binary"
	"math/bits"
)

// The state in which a vector scanner stops. The plain scanner continues from there.
const (
	stateFound     = 1 << iota // the end was found
	stateRespelled             // something so far is not spelled the shortest way
	stateEscaped               // the next byte is escaped
	stateInString              // the next byte is inside a string
)

// stringRest does what StringEnd does, from after the opening quote or from
// where a vector scanner stopped.
func stringRest(b []byte, i int, state uint64) (end int, plain bool) {
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

// nestedRest does what ValueEnd does for an object or a list, from its opening
// bracket or from where a vector scanner stopped.
func nestedRest(b []byte, i int, state uint64, depth int) (end int, plain bool) {
	plain = state&stateRespelled == 0
	if state&stateInString == 0 && state&stateEscaped != 0 {
		i = strayEscape(b, i, &plain)
	}
	if state&stateInString != 0 {
		var p bool
		if i, p = stringRest(b, i, state); i < 0 {
			return -1, false
		}
		plain = plain && p
	}
	for i < len(b) {
		switch b[i] {
		case '"':
			var p bool
			if i, p = stringRest(b, i+1, 0); i < 0 {
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

// strayEscape steps over the byte after a backslash that stands outside a
// string. That is not JSON. The plain scanner reads it as the vector scanner does, so
// that all machines give the same answer.
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
