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
	var s speller
	for i := 0; i < len(raw); {
		c := raw[i]
		i++
		if c <= ' ' && jsontext.IsSpace(c) {
			continue
		}
		s.room()
		s.buf[s.n] = c
		s.n++
		if c == '"' {
			i = s.text(raw, i)
		}
	}
	if !s.flushed {
		return xxhash.Sum64(s.buf[:s.n])
	}
	s.flush()
	return s.d.Sum64()
}

// speller gathers what is hashed, because the hash is slow on short pieces.
type speller struct {
	d       xxhash.Digest
	flushed bool // d has a part of the value
	n       int  // bytes in buf
	buf     [256]byte
}

// room makes room for any one escape.
func (s *speller) room() {
	if s.n > len(s.buf)-16 {
		s.flush()
	}
}

func (s *speller) flush() {
	if !s.flushed {
		s.d.Reset()
		s.flushed = true
	}
	s.d.Write(s.buf[:s.n])
	s.n = 0
}

// text writes the string that goes on at i, and returns the index behind it.
func (s *speller) text(raw []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i < len(raw) {
		s.room()
		if raw[i] != '"' && raw[i] != '\\' && i+8 <= len(raw) {
			w := binary.LittleEndian.Uint64(raw[i:])
			binary.LittleEndian.PutUint64(s.buf[s.n:], w) // what is too much is written over
			quote, escape := w^ones*'"', w^ones*'\\'
			m := ((quote-ones)&^quote | (escape-ones)&^escape) & highs
			if m == 0 {
				i += 8
				s.n += 8
				continue
			}
			i += bits.TrailingZeros64(m) / 8
			s.n += bits.TrailingZeros64(m) / 8
		}
		c := raw[i]
		if c == '\\' && i+1 < len(raw) {
			// Where one escape stands the next one often follows.
			for i+1 < len(raw) && raw[i] == '\\' {
				s.room()
				switch e := raw[i+1]; e {
				case 'u':
					i = s.unicode(raw, i)
					continue
				case '/':
				default:
					s.buf[s.n] = '\\'
					s.n++
				}
				s.buf[s.n] = raw[i+1]
				s.n++
				i += 2
			}
			continue
		}
		s.buf[s.n] = c
		s.n++
		i++
		if c == '"' {
			return i
		}
	}
	return i
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

// unicode writes the escape \uXXXX at i in its shortest spelling, and returns the
// index behind it.
func (s *speller) unicode(raw []byte, i int) int {
	const hex = "0123456789abcdef"
	r, n := jsontext.Unescape(raw[i:])
	out := s.buf[s.n : s.n+8]
	letter, short := byte(0), false
	if r < utf8.RuneSelf {
		letter, short = shortEscape(r)
	}
	switch {
	case r >= 0x800 && r <= 0xffff: // most that are escaped
		out[0], out[1], out[2] = 0xe0|byte(r>>12), 0x80|byte(r>>6)&0xbf, 0x80|byte(r)&0xbf
		s.n += 3
	case r >= 0x80 && r < 0x800:
		out[0], out[1] = 0xc0|byte(r>>6), 0x80|byte(r)&0xbf
		s.n += 2
	case n == 0: // no four hex digits: as it stands
		s.n += copy(out, `\u`)
		n = 2
	case short:
		out[0], out[1] = '\\', letter
		s.n += 2
	case r < 0x20:
		s.n += copy(out, `\u00`)
		out[4], out[5] = hex[r>>4], hex[r&15]
		s.n += 2
	default:
		s.n += utf8.EncodeRune(out, r)
	}
	return i + n
}
