package sessionid

import (
	"bytes"
	"unicode/utf8"
	"unsafe"
)

// scratch is room to resolve the escapes of an id on the stack.
type scratch [1 << 10]byte

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
	out := buf[:0]
	if len(raw) > len(buf) {
		out = make([]byte, 0, len(raw)) // nothing gets longer by being resolved
	}
	out = append(out, raw[:i]...)
	for i < len(raw) {
		if raw[i] != '\\' {
			run := bytes.IndexByte(raw[i:], '\\')
			if run < 0 {
				run = len(raw) - i
			}
			out = append(out, raw[i:i+run]...)
			i += run
			continue
		}
		if i+1 == len(raw) {
			return ""
		}
		switch c := raw[i+1]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, n := unescape(raw[i:])
			if n == 0 {
				return ""
			}
			out = utf8.AppendRune(out, r)
			i += n
			continue
		default:
			return "" // no JSON
		}
		i += 2
	}
	if len(out) == 0 {
		return ""
	}
	return unsafe.String(&out[0], len(out))
}

// is reports whether a raw JSON value is the string want, without allocating.
// want has no character that JSON must escape.
func is(raw []byte, want string) bool {
	return len(raw) == len(want)+2 && raw[0] == '"' && string(raw[1:len(raw)-1]) == want
}

// lookup returns the raw value of a member of a raw object, nil if it has
// none. Of duplicates the last counts, as it does for the decoders of the
// providers.
func lookup(raw []byte, name string) (found []byte) {
	c := cursor{b: raw}
	if c.peek() != '{' {
		return nil
	}
	c.enter()
	first := true
	for {
		n, ok := c.member(&first)
		if !ok {
			return found
		}
		v := c.skip()
		if string(n) == name {
			found = v
		}
	}
}

// bytesOf is the memory of a string, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
