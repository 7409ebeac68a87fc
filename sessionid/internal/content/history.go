package content

import "encoding/binary"

// History is what a request's messages tell of its conversation. The zero
// History has no messages. Copies share memory.
type History struct {
	// keys are the end, its tail or the zero Key, what finds the conversation, and
	// what is bound besides. Nil if there are no messages.
	keys       []Key
	first      int // of what finds the conversation
	lead       int // keys that stand before the boundaries
	boundaries int // before the end
	marks      int // at the end of keys: bound besides
	past       Past
	tip        pair    // the chain at the end, without any state
	last       message // of the conversation
}

// Places in keys.
const (
	endKey = iota
	tailKey

	maxStates      = 2 // that stand for messages that are not in the request
	foundKeys      = tailKey + 1 + maxStates
	maxBoundMarks  = 4
	maxLookedMarks = 24
)

// History returns what finds the conversation of the messages walked so far, the
// surest first: ids that an answer may have given in the latest run of a model's
// messages, the boundaries, the tails, marks, and the ids in earlier messages.
func (ch *Chain) History() (h History) {
	if ch.n == 0 {
		return h
	}
	inFirst := min(ch.n, len(ch.first))
	inRecent := min(ch.n-inFirst, len(ch.recent))
	tails := min(ch.n, maxTails)
	h.boundaries, h.first, h.past = inFirst+inRecent-1, foundKeys, ch.past()
	h.tip, h.last = ch.end, ch.latest[(ch.n-1)%len(ch.latest)]
	h.keys = make([]Key, foundKeys, foundKeys+h.boundaries+tails-1+min(ch.ids.n, maxIDs)+ch.likelyMarks())
	boundary := func(i int) Key { // counted back from the end
		if i < inRecent {
			return ch.recent[(ch.n-inFirst-1-i)%len(ch.recent)]
		}
		return ch.first[inFirst-1-(i-inRecent)]
	}
	h.keys[endKey] = boundary(0)
	h.keys = ch.answered(h.keys, ch.run, false)
	h.lead = len(h.keys) - foundKeys
	for i := range h.boundaries {
		h.keys = append(h.keys, boundary(i+1))
	}
	for back := range tails {
		p, ok := ch.latest.tail(ch.n-1-back, ch.n)
		switch {
		case !ok:
		case back == 0:
			h.keys[tailKey] = MakeKey(p.lo, p.hi)
		default:
			h.keys = append(h.keys, MakeKey(p.lo, p.hi))
		}
	}
	h.keys = ch.answered(ch.sought(h.keys), ch.run, true)
	at := len(h.keys)
	h.keys = ch.fresh(h.keys)
	h.marks = len(h.keys) - at
	return h
}

// likelyMarks is room for the marks of most conversations.
func (ch *Chain) likelyMarks() int {
	return min(ch.n+min(ch.ids.n, maxIDs), maxLookedMarks) + maxBoundMarks
}

// End returns the boundary after the last message, or the zero Key.
func (h *History) End() (k Key) {
	if h.keys != nil {
		k = h.keys[endKey]
	}
	return k
}

// Tail returns the tail at the end. It is the zero Key if there is none.
func (h *History) Tail() (k Key) {
	if h.keys != nil {
		k = h.keys[tailKey]
	}
	return k
}

// Earlier returns what finds the conversation, the surest first. The slice is
// shared.
func (h *History) Earlier() []Key {
	if h.keys == nil {
		return nil
	}
	to := len(h.keys) - h.marks
	return h.keys[h.first:to:to]
}

// Marks returns the marks of the messages from the latest run of a model's messages
// on. The slice is shared.
func (h *History) Marks() []Key {
	if h.keys == nil {
		return nil
	}
	return h.keys[len(h.keys)-h.marks:]
}

// Boundaries returns the boundaries before the end, longest first. The slice is
// shared.
func (h *History) Boundaries() []Key {
	if h.keys == nil {
		return nil
	}
	from := foundKeys + h.lead
	return h.keys[from : from+h.boundaries : from+h.boundaries]
}

// Past returns what the messages show of a conversation that goes on.
func (h *History) Past() Past { return h.past }

// Behind marks all boundaries as following on a history that is not part of the
// request and that state names. Equal words behind two such histories are two
// conversations. Tails do not reach back to the beginning and stay. The state itself
// stands where the boundary before the first message would, and finds the
// conversation before all others.
func (h *History) Behind(state Key) {
	if h.keys == nil {
		return
	}
	h.keys[endKey] = Join(h.keys[endKey], state)
	for i, k := range h.Boundaries() {
		h.keys[foundKeys+h.lead+i] = Join(k, state)
	}
	if h.first > tailKey+1 {
		h.first--
		h.keys[h.first] = state
	}
	h.last = message{} // what is said next follows on another state
	h.tip = pair{}
	if h.past == PastNone {
		h.past = PastTurns
	}
}

// Join returns the digest of b inside a.
func Join(a, b Key) Key {
	return MakeKey(Fold(low(a), low(b)), Fold(high(a), high(b)))
}

func low(k Key) uint64  { return binary.LittleEndian.Uint64(k[:8]) }
func high(k Key) uint64 { return binary.LittleEndian.Uint64(k[8:]) }
