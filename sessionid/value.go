package sessionid

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// scratch is room to resolve the escapes of an id on the stack.
type scratch [512]byte

// unquote returns the text of a raw JSON string, escapes resolved as
// encoding/json does, and "" for anything else: an id is a JSON string, a
// number, boolean, object or array is none. The text may share memory with
// raw or buf.
func unquote(raw []byte, buf *scratch) string {
	if len(raw) <= 2 || raw[0] != '"' {
		return ""
	}
	raw = raw[1 : len(raw)-1]
	i := bytes.IndexByte(raw, '\\')
	if i < 0 {
		return unsafe.String(&raw[0], len(raw))
	}
	out := buf[:]
	if len(raw) > len(buf)-8 {
		out = make([]byte, len(raw)+8) // nothing gets longer by being resolved
	}
	n := copy(out, raw[:i])
	for i < len(raw) {
		// A word at a time; what was copied of it too much is written over.
		for i+8 <= len(raw) {
			w := binary.LittleEndian.Uint64(raw[i:])
			binary.LittleEndian.PutUint64(out[n:], w)
			if m := isByte(w, '\\') & highs; m != 0 {
				i += bits.TrailingZeros64(m) / 8
				n += bits.TrailingZeros64(m) / 8
				break
			}
			i += 8
			n += 8
		}
		if i == len(raw) {
			break
		}
		if raw[i] != '\\' {
			out[n] = raw[i]
			i++
			n++
			continue
		}
		if i+1 == len(raw) {
			return ""
		}
		switch c := raw[i+1]; c {
		case '"', '\\', '/':
			out[n] = c
		case 'b':
			out[n] = '\b'
		case 'f':
			out[n] = '\f'
		case 'n':
			out[n] = '\n'
		case 'r':
			out[n] = '\r'
		case 't':
			out[n] = '\t'
		case 'u':
			r, took := unescape(raw[i:])
			if took == 0 {
				return ""
			}
			n += utf8.EncodeRune(out[n:], r)
			i += took
			continue
		default:
			return "" // no JSON
		}
		i += 2
		n++
	}
	if n == 0 {
		return ""
	}
	return unsafe.String(&out[0], n)
}

// is reports whether a raw JSON value is the string want, without allocating.
// want has no character that JSON must escape.
func is(raw []byte, want string) bool {
	return len(raw) == len(want)+2 && raw[0] == '"' && string(raw[1:len(raw)-1]) == want
}

// lookup returns the raw value of a member of a raw object, nil if it has
// none, or more than maxFields. Of duplicates the last counts, as it does for
// the decoders of the providers.
func lookup(raw []byte, name string) (found []byte) {
	c := cursor{b: raw}
	if c.peek() != '{' {
		return nil
	}
	c.enter()
	first := true
	for range maxFields {
		n, ok := c.member(&first)
		if !ok {
			return found
		}
		v := c.skip()
		if string(n) == name {
			found = v
		}
	}
	return nil
}

// bytesOf is the memory of a string, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
