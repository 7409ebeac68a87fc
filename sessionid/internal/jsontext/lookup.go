package jsontext

import (
	"encoding/binary"
	"math/bits"
)

// maxLookup is how many members of an object Lookup reads.
const maxLookup = 256

// Lookup returns the raw value of a member of an object, whose opening bracket
// is the first byte of raw. It returns nil if raw is no object, has no such
// member, or has 256 members or more. The last of duplicate members counts, as
// it does for the decoders of the providers.
func Lookup(raw []byte, name string) []byte {
	var found [1][]byte
	LookupAll(raw, []string{name}, found[:])
	return found[0]
}

// LookupAll does for several names at once what [Lookup] does for one. It writes into
// found, which has as many elements and is nil.
func LookupAll(raw []byte, names []string, found [][]byte) {
	if len(raw) == 0 || raw[0] != '{' {
		return
	}
	c := Cursor{text: raw, open: true}
	for range maxLookup {
		if !c.next('}') {
			return
		}
		n, ok := c.name()
		if !ok {
			return
		}
		wanted := -1
		for k, name := range names {
			if string(n) == name {
				wanted = k
			}
		}
		start, v := c.At, c.value()
		if v.Form == Open {
			c.Pass()
			v.Raw = nil
			if !c.Failed {
				v.Raw = c.Since(start)
			}
		}
		if wanted >= 0 {
			found[wanted] = v.Raw // nil if the value is broken
		}
	}
	clear(found)
}

// FindQuoted finds a member of an object that stands inside a raw JSON string, as
// Claude Code sends it: an object of strings without escapes and without white space,
// {\"a\":\"b\",…}. It reads the string once and resolves nothing. Of duplicate
// members the last one counts. ok is false if the string holds anything else, or if
// the value is empty or missing: then use [Unquote] and [Find].
func FindQuoted(raw []byte, name string) (value []byte, ok bool) {
	if len(raw) < 4 || raw[1] != '{' {
		return nil, false
	}
	for i := 2; ; i++ {
		n, at := quoted(raw, i)
		if at < 0 || raw[at] != ':' {
			return nil, false
		}
		v, at := quoted(raw, at+1)
		if at < 0 {
			return nil, false
		}
		if string(n) == name {
			value = v
		}
		switch i = at; raw[i] {
		case ',':
		case '}':
			return value, i+2 == len(raw) && raw[i+1] == '"' && len(value) > 0
		default:
			return nil, false
		}
	}
}

// quoted returns the text between \" and \" at i, and the index after them, at which
// a byte stands. The index is -1 if the text has escapes or control characters.
func quoted(b []byte, i int) (text []byte, end int) {
	if i+2 > len(b) || b[i] != '\\' || b[i+1] != '"' {
		return nil, -1
	}
	i += 2
	from := i
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		// Of the marked bytes, the lowest one is sure.
		if m := (isByte(w, '"') | isByte(w, '\\') | (w-0x20*ones)&^w) & highs; m != 0 {
			i += bits.TrailingZeros64(m) / 8
			break
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	if i+2 >= len(b) || b[i] != '\\' || b[i+1] != '"' {
		return nil, -1
	}
	return b[from:i], i + 2
}
