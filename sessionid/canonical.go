package sessionid

import (
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Canonical content: what a message says, in whatever shape its API says it.
// Every value becomes one 64-bit sum, and the sums are folded in a fixed
// order, so that the order of members does not count and everything is read
// once.

// Tags keep sums of different kinds apart.
const (
	tagText   = 0x9fb21c651e98df25
	tagCall   = 0xd6e8feb86659fd93
	tagResult = 0xa0761d6478bd642f
	tagMedia  = 0xe7037ed1a0b428db
	tagOther  = 0x8ebc6af09c88c6e3
	tagUser   = 0x589965cc75374cc3
	tagModel  = 0x1d8e4e27c47d124f
	tagTool   = 0xeb44accab455d165
	tagRole   = 0x2d358dccaa6c78a5
	tagTail   = 0x8bb84b93962eacc9
)

// fold adds x to a sequence; it is never 0, which means: nothing was said.
func fold(acc, x uint64) uint64 {
	hi, lo := bits.Mul64(acc^0x9e3779b97f4a7c15, bits.RotateLeft64(x, 32)^0xc2b2ae3d27d4eb4f)
	if s := hi ^ lo + x; s != 0 {
		return s
	}
	return 1
}

// sum hashes the value that the cursor stands before, in its one spelling:
// the shortest, without white space. Most values are spelled so already. null
// is 0, as if it was not there.
func (c *cursor) sum() uint64 {
	start := c.i
	end, plain := valueEnd(c.b, c.i)
	if end < 0 {
		c.fail()
		return 0
	}
	c.i = end
	raw := c.b[start:end]
	switch {
	case string(raw) == "null":
		return 0
	case plain:
		return max(xxhash.Sum64(raw), 1)
	}
	return max(respelled(raw), 1)
}

// respelled hashes a value as sum would if it had no white space between its
// tokens and every string was spelled the shortest way.
func respelled(raw []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	for i := 0; i < len(raw); {
		switch {
		case isSpace(raw[i]):
			i++
		case raw[i] == '"':
			end, plain := textEnd(raw, i)
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
			for i < len(raw) && raw[i] != '"' && !isSpace(raw[i]) {
				i++
			}
			d.Write(raw[start:i])
		}
	}
	return d.Sum64()
}

// shortEscape is the one-letter escape of a character that must be escaped.
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

// respell writes a string with \uXXXX and \/ resolved wherever there is a
// shorter spelling.
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
			r, n := unescape(raw[i:])
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

// unescape reads \uXXXX at the beginning of b, with its low surrogate if it
// has one; n is how many bytes it took, 0 if there is none. A surrogate that
// stands alone becomes U+FFFD, as in encoding/json.
func unescape(b []byte) (r rune, n int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if r < 0xd800 || r > 0xdfff {
		return r, 6
	}
	if r < 0xdc00 {
		if low, ok := hex4(b[6:]); ok && low >= 0xdc00 && low <= 0xdfff {
			return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, 12
		}
	}
	return utf8.RuneError, 6
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	// What is no hex digit sets bits above the sixteen.
	x := hexValue[b[2]]<<12 | hexValue[b[3]]<<8 | hexValue[b[4]]<<4 | hexValue[b[5]]
	return rune(x), x <= 0xffff
}

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
