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
	rank   int // place of the member that is walked, counted from 1
	lo, hi uint64
	n      int
	first  [firstBoundaries]Key
	recent [MaxBoundaries - firstBoundaries]Key // a ring
	said   [tailRing]said                       // the most recent messages, a ring
}

// member walks the value of a top-level member that the cursor stands before,
// if it is one that holds a conversation and no stronger one was seen.
func (ch *chain) member(i int, c *cursor) bool {
	rank := i + 1
	if i >= contentMembers || ch.rank != 0 && rank > ch.rank {
		return false
	}
	if ch.rank > rank { // a weaker member came first
		stronger := chain{}
		if stronger.member(i, c) && stronger.n > 0 {
			*ch = stronger
		}
		return true
	}
	if ch.lo, ch.hi, ch.n = 0, 0, 0; c.peek() == '{' {
		switch i {
		case memberPrompt: // a template's name
			return false
		case memberRequest:
			ch.request(c)
		default:
			ch.walk(c)
		}
	} else if i == memberRequest {
		return false
	} else {
		ch.walk(c)
	}
	if ch.n > 0 { // otherwise a weaker member may hold the conversation
		ch.rank = rank
	}
	return true
}

// request walks the contents inside Code Assist's request; an object with more
// than maxFields is none.
func (ch *chain) request(c *cursor) {
	start := c.i
	c.enter()
	for first, n := true, 0; ; n++ {
		if n > maxFields {
			ch.n = 0
			c.i = start
			c.skip()
			return
		}
		name, ok := c.member(&first)
		if !ok {
			return
		}
		if string(name) == contentNames[memberContents] {
			ch.lo, ch.hi, ch.n = 0, 0, 0
			ch.walk(c)
		} else {
			c.skip()
		}
	}
}

// walk takes the value of messages, contents, input or prompt: an array, one
// object (Gemini's contents), or a string, which is one message of a user.
func (ch *chain) walk(c *cursor) {
	if c.peek() != '[' {
		ch.add(c.message())
		return
	}
	c.enter()
	n := 0
	for first := true; c.another(']', &first); {
		if n++; n > maxMessages {
			ch.add(c.asSpelled())
		} else {
			ch.add(c.message())
		}
	}
}

// add extends the chain by one message: two lanes of one multiplication each.
func (ch *chain) add(m said) {
	if m.sum == 0 {
		return
	}
	ch.lo = fold(ch.lo^tagUser, m.sum)
	ch.hi = fold(ch.hi^tagModel, m.sum^tagRole)
	k := makeKey(ch.lo, ch.hi)
	if ch.n < len(ch.first) {
		ch.first[ch.n] = k
	} else {
		ch.recent[(ch.n-len(ch.first))%len(ch.recent)] = k
	}
	ch.said[ch.n%len(ch.said)] = m
	ch.n++
}

// history is what an ID keeps of a chain: boundaries, the longest first, and
// behind them tails, the latest first. Empty if there are no messages, or
// nothing in them that tells one conversation from another.
type history struct {
	keys       []Key
	boundaries int
	ownTail    bool // the first tail is that of the whole, not of an earlier boundary
}

func (ch *chain) history() (h history) {
	if ch.n == 0 {
		return h
	}
	inFirst := min(ch.n, len(ch.first))
	inRecent := min(ch.n-inFirst, len(ch.recent))
	h.boundaries = inFirst + inRecent
	h.keys = make([]Key, 0, h.boundaries+min(ch.n, maxTails))
	for i := range inRecent {
		h.keys = append(h.keys, ch.recent[(ch.n-inFirst-1-i)%len(ch.recent)])
	}
	for i := inFirst - 1; i >= 0; i-- {
		h.keys = append(h.keys, ch.first[i])
	}
	for back := range min(ch.n, maxTails) {
		if k, ok := ch.tail(ch.n - 1 - back); ok {
			h.keys = append(h.keys, k)
			h.ownTail = h.ownTail || back == 0
		}
	}
	return h
}

// behind makes boundaries of what follows on a history that stands somewhere
// else, named by its owner: equal words behind two histories are two
// conversations. Tails stay, they do not reach the beginning.
func (h *history) behind(owner Key) {
	lo, hi := halves(owner)
	for i, k := range h.keys[:h.boundaries] {
		l, r := halves(k)
		h.keys[i] = makeKey(fold(l, lo), fold(r, hi))
	}
}

func makeKey(lo, hi uint64) (k Key) {
	binary.LittleEndian.PutUint64(k[:8], lo)
	binary.LittleEndian.PutUint64(k[8:], hi)
	return k
}

func halves(k Key) (lo, hi uint64) {
	return binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])
}
