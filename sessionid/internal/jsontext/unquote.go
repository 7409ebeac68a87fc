package jsontext

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Scratch is memory for [Unquote]. On the caller's stack it saves an allocation
// for most strings.
type Scratch [512]byte

// Unquote returns the text of a raw JSON string. It resolves escapes as
// encoding/json does. It returns "" for a raw value that is no string, and for a
// string with an escape that JSON does not know. The text may share memory with
// raw or buf.
func Unquote(raw []byte, buf *Scratch) string {
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
		out = make([]byte, len(raw)+8) // a text without escapes is never longer
	}
	n := copy(out, raw[:i])
	for i < len(raw) {
		// A word at a time. Bytes that are copied too far are overwritten.
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
			r, took := Unescape(raw[i:])
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

// nameBuffer is memory for the name of a member that has escapes. Almost no name has
// escapes. But a body may consist of such names, so they must not allocate.
type nameBuffer [72]byte

// resolve returns the name without its escapes, or as it is spelled if it is too long or
// has an escape that JSON does not know. A name as it is spelled matches no known name,
// because it contains a backslash.
func (buf *nameBuffer) resolve(name []byte) []byte {
	n, i := buf.text(name, 0)
	if i < len(name) {
		return name
	}
	return buf[:n]
}

// read returns the name that begins at i, without its escapes, and the index
// after its closing quote. end is -1 if the name cannot be resolved.
func (buf *nameBuffer) read(b []byte, i int) (name []byte, end int) {
	n, i := buf.text(b, i)
	if i < len(b) && b[i] == '"' {
		return buf[:n], i + 1
	}
	return nil, -1
}

// text resolves the escapes of b from i on, up to a quote that is not escaped. It
// returns how many bytes it wrote, and where it stopped.
func (buf *nameBuffer) text(b []byte, i int) (n, stopped int) {
	for i < len(b) && b[i] != '"' && n+utf8.UTFMax <= len(buf) {
		if b[i] != '\\' {
			buf[n] = b[i]
			i++
			n++
			continue
		}
		if i+1 == len(b) {
			return n, i
		}
		switch c := b[i+1]; c {
		case '"', '\\', '/':
			buf[n] = c
		case 'b':
			buf[n] = '\b'
		case 'f':
			buf[n] = '\f'
		case 'n':
			buf[n] = '\n'
		case 'r':
			buf[n] = '\r'
		case 't':
			buf[n] = '\t'
		case 'u':
			r, took := Unescape(b[i:])
			if took == 0 {
				return n, i
			}
			n += utf8.EncodeRune(buf[n:], r)
			i += took
			continue
		default:
			return n, i
		}
		i += 2
		n++
	}
	return n, i
}

// Unescape reads an escape \uXXXX at the beginning of b, together with the low
// surrogate after a high one. n is how many bytes the escape has, 0 if b does
// not begin with one. A surrogate that stands alone becomes U+FFFD, as in
// encoding/json.
func Unescape(b []byte) (r rune, n int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if r < 0xd800 || r > 0xdfff {
		return r, 6
	}
	// The second half is \uDC00 to \uDFFF. Two of its digits exclude most other
	// escapes.
	if r < 0xdc00 && len(b) >= 12 && b[8]|0x20 == 'd' && b[9] >= 'C' {
		if low, ok := hex4(b[6:]); ok && low >= 0xdc00 && low <= 0xdfff {
			return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads one \uXXXX.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	// A byte that is no hex digit sets a bit above the lowest sixteen.
	x := hexValue[b[2]]<<12 | hexValue[b[3]]<<8 | hexValue[b[4]]<<4 | hexValue[b[5]]
	return rune(x), x <= 0xffff
}

// hexValue has the value of each hex digit, and for every other byte a bit above the
// lowest sixteen.
var hexValue = func() (table [256]uint32) {
	const none = 1 << 16
	for c := range table {
		table[c] = none
		if strings.IndexByte("0123456789abcdefABCDEF", byte(c)) >= 0 {
			v, _ := strconv.ParseUint(string(rune(c)), 16, 8)
			table[c] = uint32(v)
		}
	}
	return table
}()
