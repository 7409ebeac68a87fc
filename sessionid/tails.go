package sessionid

// A history that lost its head (compaction, a rolling window) or that was
// edited far back has no boundary in common with what it was: every boundary
// counts from the beginning. Its tail does not. It is the hash of the last
// few messages before a boundary, as many as it takes to be unlike others,
// and it is used as boundaries are: bound where a request ends, looked up at
// the boundaries inside a request. An opening that many conversations share
// is harmless for the same reason as there: no request ended inside it.

const (
	// maxTails is at how many of the latest boundaries a tail is made: the
	// request before ended a few messages ago.
	maxTails = 24
	// tailMessages is how many messages a tail may span, tailFewest how many
	// it must.
	tailMessages = 8
	tailFewest   = 3
	// tailWeight is how many bytes of text, arguments and results a tail must
	// have said. Measured on conversations that were cut (see
	// examples/internal/field): with less, conversations about the same task
	// met.
	tailWeight = 256

	tailRing = 32 // at least maxTails+tailMessages
)

// said is what one message said: its sum, and how many bytes of JSON.
type said struct {
	sum    uint64
	weight int
}

// tail is the hash of the messages up to the n-th one, counted from 0; ok is
// false if there are not enough of them.
func (ch *chain) tail(n int) (k Key, ok bool) {
	var lo, hi uint64
	weight := 0
	for back := range tailMessages {
		i := n - back
		if i < 0 || ch.n-i > len(ch.said) {
			return k, false
		}
		m := ch.said[i%len(ch.said)]
		lo = fold(lo^tagTail, m.sum)
		hi = fold(hi^tagResult, m.sum^tagTail)
		if weight += m.weight; weight >= tailWeight && back+1 >= tailFewest {
			return makeKey(lo, hi), true
		}
	}
	return k, false
}
