package content

// A history that lost its first messages to a compaction or a rolling window, or was
// edited far back, has none of its old boundaries, because a boundary is a hash of all
// messages from the first one on. But it still has some of its tails. A tail is the hash
// of the last few messages before a boundary, as many as are needed to differ from other
// conversations. Tails are used like boundaries: the tail at the end of a request is
// bound, and the tails at its inner boundaries are looked up. An opening that many
// conversations share does no harm, because no request ended inside it.

const (
	// maxTails is how many of the latest boundaries have a tail. The request before
	// this one ended a few messages ago.
	maxTails = 24
	// A tail spans tailFewest to tailMessages messages.
	tailMessages = 8
	tailFewest   = 3
	// tailWeight is the least weight of a tail's messages together. With less weight,
	// some conversations about the same task had the same tail after they were cut
	// (examples/internal/field).
	tailWeight = 256
)

// window holds the latest messages of a conversation in a ring: message i at
// index i%len. It has room for maxTails+tailMessages.
type window [32]message

func (w *window) message(i int) message { return w[i%len(w)] }

// tail returns the tail that ends with message i, counted from 0, of a
// conversation that has n messages so far. ok is false if the messages before i
// are too few or say too little.
func (w *window) tail(i, n int) (p pair, ok bool) {
	weight := 0
	for span := 1; span <= tailMessages; span++ {
		at := i - span + 1
		if at < 0 || n-at > len(w) {
			return p, false
		}
		m := w.message(at)
		p.lo ^= tagTail
		p.hi ^= tagResult
		p = p.fold(m.sum, m.sum^tagTail)
		if weight += m.weight; weight >= tailWeight && span >= tailFewest {
			return p, true
		}
	}
	return p, false
}
