package content

import (
	"encoding/binary"
	"slices"
)

// History holds the keys that a request's messages give its conversation. The zero
// History has no messages. Copies share memory.
type History struct {
	// keys are the end, its tail or the zero Key, the states, and then the parts. It is
	// nil if there are no messages.
	keys  []Key
	first uint8        // the index of the first state, or of the first part if there is no state
	parts [parts]uint8 // how many keys each part has
	past  Past
	calls bool                  // the last message has the results of tool calls
	asks  bool                  // the last message may ask for a summary
	from  [maxBoundMarks]uint16 // for each mark to be bound: see MarksFrom
	tip   pair                  // the chain at the end, without any state
	opens Key                   // see Opening
	last  message               // of the conversation
}

// Places in keys.
const (
	endKey = iota
	tailKey
	maxStates = 2 // places for states that stand for messages that are not in the request
	foundKeys = tailKey + 1 + maxStates
)

// Parts of keys. Those that find the conversation come first, the surest first.
const (
	boundaries = iota // before the end
	givenIDs          // ids that an answer may have given, in the latest run of a model's messages
	lightNear         // boundaries after few words, of the latest messages
	tailsPart
	wordsSought
	idsSought
	olderIDs   // ids as in givenIDs, in earlier messages
	lightOnes  // boundaries after few words with which many conversations begin
	idsFresh   // to be bound
	wordsFresh // to be bound
	parts
)

// nearEnd is how many messages most requests add to the request before.
const nearEnd = 3

// at returns the index in keys at which a part begins.
func (h *History) at(part int) int {
	at := foundKeys
	for _, n := range h.parts[:part] {
		at += int(n)
	}
	return at
}

// part returns a part of the keys.
func (h *History) part(part int) []Key {
	at := h.at(part)
	to := at + int(h.parts[part])
	return h.keys[at:to:to]
}

// History returns the keys of the messages walked so far.
func (ch *Chain) History() (h History) {
	if ch.n == 0 {
		return h
	}
	inFirst := min(ch.n, len(ch.first))
	inRecent := min(ch.n-inFirst, len(ch.recent))
	tails := min(ch.n, maxTails)
	h.first, h.past = foundKeys, ch.past()
	h.tip, h.last = ch.end, ch.latest.message(ch.n-1)
	h.opens = ch.opens
	h.keys = make([]Key, foundKeys, foundKeys+inFirst+inRecent+tails-2+ch.likelyMarks())
	boundary := func(i int) Key { // counted back from the end
		if i < inRecent {
			return ch.recent[(ch.n-inFirst-1-i)%len(ch.recent)]
		}
		return ch.first[inFirst-1-(i-inRecent)]
	}
	h.keys[endKey] = boundary(0)
	begun := foundKeys
	ends := func(part int) {
		h.parts[part] = uint8(len(h.keys) - begun)
		begun = len(h.keys)
	}
	inner := inFirst + inRecent - 1
	light := min(ch.light, inner)
	for i := range inner - light {
		h.keys = append(h.keys, boundary(i+1))
	}
	ends(boundaries)
	h.keys = ch.ids.answered(h.keys, ch.run, false)
	ends(givenIDs)
	near := max(inner-light, min(inner, nearEnd))
	for i := inner - light; i < near; i++ {
		h.keys = append(h.keys, boundary(i+1))
	}
	ends(lightNear)
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
	ends(tailsPart)
	h.keys = ch.latest.sought(h.keys, ch.n, h.past == PastCut || h.past == PastSummary || ch.n <= shortWindow)
	ends(wordsSought)
	h.keys = ch.ids.marks(h.keys, max(0, ch.n-maxMarked), ch.n-2)
	ends(idsSought)
	h.keys = ch.ids.answered(h.keys, ch.run, true)
	ends(olderIDs)
	for i := near; i < inner; i++ {
		h.keys = append(h.keys, boundary(i+1))
	}
	ends(lightOnes)
	first := ch.run
	if !ch.spoke {
		first = ch.n - 1
	}
	h.calls = h.last.kind == toolResults
	h.asks = ch.asks
	var marks bounds
	ch.ids.fresh(&marks, first)
	h.parts[idsFresh] = uint8(marks.n)
	if !h.calls {
		ch.latest.fresh(&marks, ch.n, first)
	}
	h.parts[wordsFresh] = uint8(marks.n) - h.parts[idsFresh]
	for i, m := range marks.at[:marks.n] {
		h.keys = append(h.keys, m.key)
		// The boundary before the message, or nowhere.
		back, heavy := ch.n-1-m.message, int(h.parts[boundaries])
		switch {
		case m.message == 0 || back < 0 || back >= inner:
			h.from[i] = nowhere
		case back < heavy:
			h.from[i] = uint16(back)
		case back < near:
			h.from[i] = uint16(h.at(lightNear) - foundKeys + back - heavy)
		default:
			h.from[i] = uint16(h.at(lightOnes) - foundKeys + back - near)
		}
	}
	return h
}

// nowhere is an index after all keys.
const nowhere = ^uint16(0)

func (ch *Chain) past() Past {
	switch {
	case ch.n == 0:
		return PastNone
	case ch.ids.summary:
		return PastSummary
	case !ch.begun:
		return PastCut
	case ch.n >= longTurns || ch.spoke:
		return PastTurns
	}
	return PastNone
}

// likelyMarks is room for the marks of most conversations.
func (ch *Chain) likelyMarks() int {
	return min(ch.n, maxMarked) + min(ch.ids.n, maxIDs) + maxBoundMarks
}

// End returns the boundary after the last message, or the zero Key.
func (h *History) End() (k Key) {
	if h.keys != nil {
		k = h.keys[endKey]
	}
	return k
}

// Opening returns the boundary before the first answer, or the end if there is no answer.
// Short words of a model are no answer: clients put them into openings. It is the zero Key
// if the conversation begins with an answer, or if a state stands for earlier messages.
func (h *History) Opening() Key { return h.opens }

// Tail returns the tail at the end. It is the zero Key if there is none.
func (h *History) Tail() (k Key) {
	if h.keys != nil {
		k = h.keys[tailKey]
	}
	return k
}

// Earlier returns the keys that find the conversation, the surest first. The slice is
// shared.
func (h *History) Earlier() []Key {
	if h.keys == nil {
		return nil
	}
	to := h.at(idsFresh)
	return h.keys[h.first:to:to]
}

// Marks returns the marks of the messages that are new in this request. The slice is
// shared.
func (h *History) Marks() []Key {
	if h.keys == nil {
		return nil
	}
	return h.keys[h.at(idsFresh):]
}

// IDMarks returns how many of the Marks, from the first on, are ids.
func (h *History) IDMarks() int { return int(h.parts[idsFresh]) }

// MarksFrom returns, for one of the Marks, the index in Earlier of the boundary before
// the mark's message. The message is new to a session that is found by a key at this index
// or after it.
func (h *History) MarksFrom(i int) uint16 {
	if h.from[i] == nowhere {
		return nowhere
	}
	return h.from[i] + uint16(foundKeys-int(h.first))
}

// Ongoing reports whether the last message has the results of tool calls. Then the
// conversation surely began before this request.
func (h *History) Ongoing() bool { return h.calls }

// WithoutIDs returns the History without the marks that are ids.
func (h *History) WithoutIDs() History {
	if h.keys == nil || h.parts[givenIDs] == 0 && h.parts[idsSought] == 0 && h.parts[olderIDs] == 0 && h.parts[idsFresh] == 0 {
		return *h
	}
	out := *h
	out.keys = slices.Concat(h.keys[:h.at(givenIDs)], h.keys[h.at(lightNear):h.at(idsSought)], h.part(lightOnes), h.part(wordsFresh))
	copy(out.from[:], h.from[h.parts[idsFresh]:])
	for i, at := range out.from[:h.parts[wordsFresh]] {
		switch {
		case at == nowhere || at < uint16(h.parts[boundaries]):
		case int(at) < h.at(tailsPart)-foundKeys:
			out.from[i] -= uint16(h.parts[givenIDs])
		default:
			out.from[i] -= uint16(h.parts[givenIDs]) + uint16(h.parts[idsSought]) + uint16(h.parts[olderIDs])
		}
	}
	for _, part := range [...]int{givenIDs, idsSought, olderIDs, idsFresh} {
		out.parts[part] = 0
	}
	return out
}

// Boundaries returns the boundaries before the end, longest first.
func (h *History) Boundaries() []Key {
	if h.keys == nil {
		return nil
	}
	if h.parts[lightNear] == 0 && h.parts[lightOnes] == 0 {
		return h.part(boundaries)
	}
	return slices.Concat(h.part(boundaries), h.part(lightNear), h.part(lightOnes))
}

// Past returns what the messages show of earlier turns of the conversation.
func (h *History) Past() Past { return h.past }

// Behind adds state, which stands for messages that are not in the request, to all
// boundaries. So equal words after two different states are two conversations. Tails do
// not reach back to the beginning, and stay as they are. The state itself takes the place
// of the boundary before the first message, and is the surest of all keys.
func (h *History) Behind(state Key) {
	if h.keys == nil {
		return
	}
	h.keys[endKey] = Join(h.keys[endKey], state)
	for _, part := range [...]int{boundaries, lightNear, lightOnes} {
		for i, k := range h.part(part) {
			h.part(part)[i] = Join(k, state)
		}
	}
	if h.first > tailKey+1 {
		h.first--
		h.keys[h.first] = state
	}
	h.last = message{} // the next message follows another state
	h.tip, h.opens = pair{}, Key{}
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
