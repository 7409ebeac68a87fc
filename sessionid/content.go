package sessionid

import (
	"encoding/binary"
	"math/bits"
)

// MaxBoundaries is how many boundaries of a conversation an ID carries: the
// own end and the most recent ones before it, and the first few. Between two
// requests of one conversation lie a few messages, so the end of the request
// before is among the recent ones; the first few find a history that was cut
// back to its beginning.
const MaxBoundaries = 128

// firstBoundaries is how many of them are kept from the beginning.
const firstBoundaries = 8

// chain is the conversation's boundaries, longest first, or nil if the body
// has none: no messages, or nothing in them that tells one conversation from
// another.
func (b *body) chain() []Key {
	var c chain
	switch {
	case b.raw[memberMessages] != nil:
		c.walk(b.raw[memberMessages])
	case b.raw[memberContents] != nil:
		c.walk(b.raw[memberContents])
	case b.raw[memberInput] != nil:
		c.walk(b.raw[memberInput])
	case b.raw[memberPrompt] != nil && b.raw[memberPrompt][0] != '{': // an object is a template's name
		c.walk(b.raw[memberPrompt])
	case b.raw[memberRequest] != nil: // Code Assist wraps Gemini's request
		c.walk(lookup(b.raw[memberRequest], "contents"))
	}
	return c.boundaries()
}

// chain runs over messages and remembers the boundaries between them.
type chain struct {
	canon  canon
	lo, hi uint64
	n      int
	first  [firstBoundaries]Key
	recent [MaxBoundaries - firstBoundaries]Key // a ring
}

// walk takes the value of messages, contents, input or prompt: an array, one
// object (Gemini's contents), or a string, which is one message of a user.
func (c *chain) walk(raw []byte) {
	if len(raw) == 0 {
		return
	}
	if raw[0] != '[' {
		c.message(raw)
		return
	}
	w, _ := array(raw)
	for {
		v, ok := w.element()
		if !ok {
			return
		}
		c.message(v)
	}
}

func (c *chain) message(raw []byte) {
	sum, ok := c.canon.message(raw)
	if !ok {
		return
	}
	// Two lanes of one multiplication each; the order of messages counts.
	c.lo = mix(c.lo^0x9e3779b97f4a7c15, sum^0xd6e8feb86659fd93)
	c.hi = mix(c.hi^0xa0761d6478bd642f, sum^0xe7037ed1a0b428db)
	k := makeKey(c.lo, c.hi)
	if c.n < len(c.first) {
		c.first[c.n] = k
	} else {
		c.recent[(c.n-len(c.first))%len(c.recent)] = k
	}
	c.n++
}

// boundaries copies what was remembered, longest first.
func (c *chain) boundaries() []Key {
	if c.n == 0 {
		return nil
	}
	inFirst := min(c.n, len(c.first))
	inRecent := min(c.n-inFirst, len(c.recent))
	out := make([]Key, 0, inFirst+inRecent)
	for i := range inRecent {
		out = append(out, c.recent[(c.n-inFirst-1-i)%len(c.recent)])
	}
	for i := inFirst - 1; i >= 0; i-- {
		out = append(out, c.first[i])
	}
	return out
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func makeKey(lo, hi uint64) (k Key) {
	binary.LittleEndian.PutUint64(k[:8], lo)
	binary.LittleEndian.PutUint64(k[8:], hi)
	return k
}
