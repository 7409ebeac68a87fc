package sessionid

import "encoding/binary"

// MaxBoundaries is how many boundaries of a conversation an ID carries: the
// own end and the most recent ones before it, and the first few. Between two
// requests of one conversation lie a few messages, so the end of the request
// before is among the recent ones; the first few find a history that was cut
// back to its beginning.
const MaxBoundaries = 128

// firstBoundaries is how many of them are kept from the beginning.
const firstBoundaries = 8

// chain runs over messages and remembers the boundaries between them.
type chain struct {
	rank   int // place of the member in contentMembers, counted from 1
	lo, hi uint64
	n      int
	first  [firstBoundaries]Key
	recent [MaxBoundaries - firstBoundaries]Key // a ring
}

// member walks the value of a top-level member that the cursor stands before,
// if it is one that holds a conversation and no stronger one was seen.
func (ch *chain) member(i int, c *cursor) bool {
	for rank, m := range contentMembers {
		if m != i {
			continue
		}
		rank++
		if ch.rank != 0 && rank > ch.rank {
			return false
		}
		if ch.rank > rank { // a weaker member came first
			stronger := chain{}
			if stronger.member(i, c) && stronger.n > 0 {
				*ch = stronger
			}
			return true
		}
		ch.rank, ch.lo, ch.hi, ch.n = rank, 0, 0, 0
		switch {
		case m != memberRequest && !(m == memberPrompt && c.peek() == '{'):
			ch.walk(c)
		case m == memberRequest && c.peek() == '{':
			c.enter()
			first := true
			for {
				name, ok := c.member(&first)
				if !ok {
					break
				}
				if string(name) == "contents" {
					ch.lo, ch.hi, ch.n = 0, 0, 0
					ch.walk(c)
				} else {
					c.skip()
				}
			}
		default: // prompt as an object is a template's name
			return false
		}
		if ch.n == 0 {
			ch.rank = 0 // nothing here: a weaker member may hold the conversation
		}
		return true
	}
	return false
}

// walk takes the value of messages, contents, input or prompt: an array, one
// object (Gemini's contents), or a string, which is one message of a user.
func (ch *chain) walk(c *cursor) {
	if c.peek() != '[' {
		ch.add(c.message())
		return
	}
	c.enter()
	for first := true; c.another(']', &first); {
		ch.add(c.message())
	}
}

// add extends the chain by one message: two lanes of one multiplication each.
func (ch *chain) add(sum uint64) {
	if sum == 0 {
		return
	}
	ch.lo = fold(ch.lo^tagUser, sum)
	ch.hi = fold(ch.hi^tagModel, sum^tagRole)
	k := makeKey(ch.lo, ch.hi)
	if ch.n < len(ch.first) {
		ch.first[ch.n] = k
	} else {
		ch.recent[(ch.n-len(ch.first))%len(ch.recent)] = k
	}
	ch.n++
}

// boundaries copies what was remembered, longest first; nil if there is none:
// no messages, or nothing in them that tells one conversation from another.
func (ch *chain) boundaries() []Key {
	if ch.n == 0 {
		return nil
	}
	inFirst := min(ch.n, len(ch.first))
	inRecent := min(ch.n-inFirst, len(ch.recent))
	out := make([]Key, 0, inFirst+inRecent)
	for i := range inRecent {
		out = append(out, ch.recent[(ch.n-inFirst-1-i)%len(ch.recent)])
	}
	for i := inFirst - 1; i >= 0; i-- {
		out = append(out, ch.first[i])
	}
	return out
}

func makeKey(lo, hi uint64) (k Key) {
	binary.LittleEndian.PutUint64(k[:8], lo)
	binary.LittleEndian.PutUint64(k[8:], hi)
	return k
}
