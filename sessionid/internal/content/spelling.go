package content

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// respelled hashes a value as if it had its shortest spelling: no white space
// between tokens, and \uXXXX and \/ only where there is no shorter escape.
func respelled(raw []byte) uint64 {
	// The output is gathered in a buffer, because the hash is slow on short pieces.
	var buf [512]byte
	var d xxhash.Digest
	const spare = 16 // room for one write
	n, flushed, inString := 0, false, false
	for i := 0; i < len(raw); {
		if n > len(buf)-2*spare {
			if !flushed {
				d.Reset()
				flushed = true
			}
			d.Write(buf[:n])
			n = 0
		}
		// The output is never longer than the input, so there is room up to limit.
		for limit := min(len(raw), i+len(buf)-spare-n); i < limit; {
			c := raw[i]
			if !inString {
				buf[n] = c // a blank is overwritten by the next byte
				n += int(counts[c])
				i++
				inString = c == '"'
				continue
			}
			switch {
			case c == '"':
				inString = false
			case c == '\\' && i+1 < len(raw):
				switch e := raw[i+1]; e {
				case 'u':
					wrote, took := unicode((*[8]byte)(buf[n:]), raw[i:])
					n += wrote
					i += took
				case '/':
					buf[n] = e
					n++
					i += 2
				default:
					buf[n], buf[n+1] = c, e
					n += 2
					i += 2
				}
				continue
			case i+8 <= len(raw):
				w := binary.LittleEndian.Uint64(raw[i:])
				binary.LittleEndian.PutUint64(buf[n:], w) // the bytes that are too many are overwritten
				step := plainBytes(w)
				n += step
				i += step
				continue
			}
			buf[n] = c
			n++
			i++
		}
	}
	if !flushed {
		return xxhash.Sum64(buf[:n])
	}
	d.Write(buf[:n])
	return d.Sum64()
}

// counts is 1 for every byte that counts outside a string: all bytes but white space.
var counts = func() (table [256]uint8) {
	for c := range table {
		if !jsontext.IsSpace(byte(c)) {
			table[c] = 1
		}
	}
	return table
}()

// plainBytes returns how many bytes of w, which a text begins with, stand before
// the first quote or backslash.
func plainBytes(w uint64) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, escape := w^ones*'"', w^ones*'\\'
	return bits.TrailingZeros64(((quote-ones)&^quote|(escape-ones)&^escape)&highs) / 8
}

// shortEscape returns the letter after the backslash of the shortest escape of
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

// unicode spells the escape \uXXXX that raw begins with the shortest way. It
// returns how many bytes it wrote and how many it took.
func unicode(out *[8]byte, raw []byte) (wrote, took int) {
	const hex = "0123456789abcdef"
	r, n := jsontext.Unescape(raw)
	switch {
	case r >= 0x800 && r <= 0xffff: // most escaped characters
		out[0], out[1], out[2] = 0xe0|byte(r>>12), 0x80|byte(r>>6)&0xbf, 0x80|byte(r)&0xbf
		return 3, n
	case r >= 0x80 && r < 0x800:
		out[0], out[1] = 0xc0|byte(r>>6), 0x80|byte(r)&0xbf
		return 2, n
	case r > 0xffff:
		return utf8.EncodeRune(out[:], r), n
	case n == 0: // no four hex digits: as it stands
		return copy(out[:], `\u`), 2
	}
	if letter, short := shortEscape(r); short {
		out[0], out[1] = '\\', letter
		return 2, n
	}
	if r < 0x20 {
		copy(out[:], `\u00`)
		out[4], out[5] = hex[r>>4], hex[r&15]
		return 6, n
	}
	out[0] = byte(r)
	return 1, n
}
