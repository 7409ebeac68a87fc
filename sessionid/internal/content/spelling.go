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
		if i+8 <= len(raw) {
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
			switch e := raw[i+1]; e {
			case 'u':
				i = s.escape(raw, i)
			case '/':
				s.buf[s.n] = '/'
				s.n++
				i += 2
			default:
				s.buf[s.n], s.buf[s.n+1] = c, e
				s.n += 2
				i += 2
			}
			// Where one escape stands the next one often follows.
			for i+1 < len(raw) && raw[i] == '\\' && raw[i+1] != 'u' {
				s.room()
				if raw[i+1] != '/' {
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

// escape writes the escape \uXXXX at i in its shortest spelling, and returns the
// index behind it.
func (s *speller) escape(raw []byte, i int) int {
	const hex = "0123456789abcdef"
	r, n := jsontext.Unescape(raw[i:])
	if n != 0 && r >= utf8.RuneSelf {
		s.n += utf8.EncodeRune(s.buf[s.n:], r)
		return i + n
	}
	out := s.buf[s.n:s.n:len(s.buf)]
	switch letter, short := shortEscape(r); {
	case n == 0: // no four hex digits: as it stands
		out = append(out, '\\', 'u')
		n = 2
	case short:
		out = append(out, '\\', letter)
	case r < 0x20:
		out = append(out, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	default:
		out = append(out, byte(r))
	}
	s.n += len(out)
	return i + n
}
