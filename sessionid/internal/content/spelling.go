package content

import (
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// respelled hashes a value as if it had its shortest spelling: no white space
// between tokens, and \uXXXX and \/ only where there is no shorter escape.
func respelled(raw []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	for i := 0; i < len(raw); {
		switch {
		case jsontext.IsSpace(raw[i]):
			i++
		case raw[i] == '"':
			end, plain := jsontext.StringEnd(raw, i)
			if end < 0 {
				end = len(raw)
			}
			if plain {
				d.Write(raw[i:end])
			} else {
				respell(&d, raw[i:end])
			}
			i = end
		default:
			start := i
			for i < len(raw) && raw[i] != '"' && !jsontext.IsSpace(raw[i]) {
				i++
			}
			d.Write(raw[start:i])
		}
	}
	return d.Sum64()
}

// shortEscape returns the letter behind the backslash of the shortest escape of
// r; ok is false if r has none.
func shortEscape(r rune) (letter byte, ok bool) {
	switch r {
	case '"', '\\':
		return byte(r), true
	case '\b':
		return 'b', true
	case '\f':
		return 'f', true
	case '\n':
		return 'n', true
	case '\r':
		return 'r', true
	case '\t':
		return 't', true
	}
	return 0, false
}

// respell writes a string in its shortest spelling.
func respell(d *xxhash.Digest, raw []byte) {
	const hex = "0123456789abcdef"
	var buf [256]byte
	out := buf[:0]
	for i := 0; i < len(raw); {
		if len(out) > len(buf)-16 {
			d.Write(out)
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
			r, n := jsontext.Unescape(raw[i:])
			switch letter, short := shortEscape(r); {
			case n == 0: // no four hex digits: as it stands
				out = append(out, '\\', 'u')
				n = 2
			case short:
				out = append(out, '\\', letter)
			case r < 0x20:
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
	d.Write(out)
}
