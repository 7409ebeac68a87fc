package content

import "encoding/binary"

// History is what a request's messages tell of its conversation. The zero
// History has no messages. Copies share memory.
type History struct {
	// keys are the end, its tail or the zero Key, the boundaries before the end,
	// and the tails before the end. Nil if there are no messages.
	keys       []Key
	boundaries int // before the end
}

// Places in keys.
const (
	endKey = iota
	tailKey
	earlierKeys
)

// History returns the boundaries and tails of the messages walked so far.
func (ch *Chain) History() (h History) {
	if ch.n == 0 {
		return h
	}
	inFirst := min(ch.n, len(ch.first))
	inRecent := min(ch.n-inFirst, len(ch.recent))
	tails := min(ch.n, maxTails)
	h.boundaries = inFirst + inRecent - 1
	h.keys = make([]Key, earlierKeys, earlierKeys+h.boundaries+tails-1)
	boundary := func(i int) Key { // counted back from the end
		if i < inRecent {
			return ch.recent[(ch.n-inFirst-1-i)%len(ch.recent)]
		}
		return ch.first[inFirst-1-(i-inRecent)]
	}
	h.keys[endKey] = boundary(0)
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
	return h
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

// Earlier returns the boundaries before the end, longest first, and behind them
// the tails before the end, latest first. The slice is shared.
func (h *History) Earlier() []Key {
	if h.keys == nil {
		return nil
	}
	return h.keys[earlierKeys:len(h.keys):len(h.keys)]
}

// Boundaries returns how many boundaries stand before the end.
func (h *History) Boundaries() int { return h.boundaries }

// Behind marks all boundaries as following on a history that is not part of the
// request and that state names. Equal words behind two such histories are two
// conversations. Tails do not reach back to the beginning and stay.
func (h *History) Behind(state Key) {
	if h.keys == nil {
		return
	}
	h.keys[endKey] = Join(h.keys[endKey], state)
	for i := range h.boundaries {
		k := &h.keys[earlierKeys+i]
		*k = Join(*k, state)
	}
}

// Join returns the digest of b inside a.
func Join(a, b Key) Key {
	return MakeKey(Fold(low(a), low(b)), Fold(high(a), high(b)))
}

func low(k Key) uint64  { return binary.LittleEndian.Uint64(k[:8]) }
func high(k Key) uint64 { return binary.LittleEndian.Uint64(k[8:]) }
