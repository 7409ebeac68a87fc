package content

import "github.com/cespare/xxhash/v2"

// A history that lost its head, or that was rewritten, shares no boundary with what
// it was, and a short one no tail. What survives are single messages that no other
// conversation has: those with an id that a machine has made, and words of enough
// length. They are marks. A mark is bound by the request in which its message is
// new, and looked up in the requests after that.
//
// How much is enough was tried on 200 conversations about 50 tasks, most of which
// share the ids of their tool calls and many a sentence (examples/internal/field):
// with less, two of them met.
const (
	leastWords    = 80  // a user's
	leastAnswer   = 300 // a model's words
	leastReply    = 80  // a user's words and the model's message behind them
	leastFollowUp = 200 // a model's words and the user's behind them
)

// maxIDs is how many of the latest ids are looked at, and maxMarked in how many of
// the latest messages words are.
const (
	maxIDs    = 32
	maxMarked = 16
)

// id is an id of a message, a tool's call or a result.
type id struct {
	raw     []byte // as it is spelled
	sum     uint64 // of all that it stands for
	message int    // in which it stands
}

// ids are the latest ids of a conversation, in a ring.
type ids struct {
	ring    [maxIDs]id
	n       int
	message int  // that is walked now
	summary bool // the first messages stand for others
}

func (s *ids) note(raw []byte, sum uint64) {
	if s != nil && len(raw) > 2 && raw[0] == '"' {
		s.ring[s.n%maxIDs] = id{raw, sum, s.message}
		s.n++
	}
}

// sought appends the marks that an earlier request may have bound, those of the
// newest message first. What the last message says is new.
func (ch *Chain) sought(to []Key) []Key {
	at := len(to)
	next := ch.ids.n - 1
	for i := ch.n - 2; i >= max(0, ch.n-maxMarked); i-- {
		to = appendWords(to, ch.before(i), ch.message(i), true)
		to, next = ch.ids.marks(to, next, i, i)
	}
	return to[:min(len(to), at+maxLookedMarks)]
}

// fresh appends the marks that this request is the first to show, those of the
// newest message first: of the latest answer and what stands behind it. Where no
// model has spoken that is the last message alone: others may be an opening that
// many conversations share. For the same reason the words of a user count only in the
// last message: before these a client may put an opening again.
func (ch *Chain) fresh(to []Key) []Key {
	at := len(to)
	first := ch.run
	if ch.spoke == 0 {
		first = ch.n - 1
	}
	next := ch.ids.n - 1
	for i := ch.n - 1; i >= max(first, ch.n-maxMarked); i-- {
		to = appendWords(to, ch.before(i), ch.message(i), i == ch.n-1 || ch.message(i).kind.fromModel())
		to, next = ch.ids.marks(to, next, i, ch.n)
	}
	return to[:min(len(to), at+maxBoundMarks)]
}

func (ch *Chain) message(i int) message { return ch.latest[i%len(ch.latest)] }

// before is the message before i; none says nothing.
func (ch *Chain) before(i int) (m message) {
	if i > 0 {
		m = ch.message(i - 1)
	}
	return m
}

// marks appends the marks of the ids in the messages from first to last. next is
// where to go on among the ids, backwards, and is returned for the message before.
func (s *ids) marks(to []Key, next, first, last int) ([]Key, int) {
	for ; next >= max(0, s.n-maxIDs); next-- {
		at := &s.ring[next%maxIDs]
		if at.message < first {
			break
		}
		if at.message <= last && IsMade(string(at.raw[1:len(at.raw)-1])) {
			to = add(to, markOf(tagCall, at.sum))
		}
	}
	return to, next
}

// appendWords appends the marks of a message that are words: those of the message
// alone, too, if alone.
func appendWords(to []Key, before, m message, alone bool) []Key {
	switch {
	case before.kind == userWords && m.kind.fromModel() && before.weight+m.weight >= leastReply,
		before.kind == modelWords && m.kind == userWords && before.weight+m.weight >= leastFollowUp:
		to = append(to, markOf(tagRole, Fold(before.sum, m.sum)))
	}
	if alone && (m.kind == userWords && m.weight >= leastWords || m.kind == modelWords && m.weight >= leastAnswer) {
		to = append(to, markOf(tagText, m.sum))
	}
	return to
}

// add appends a key that is not among the latest already: a call and its result have
// one id.
func add(to []Key, k Key) []Key {
	for i := len(to) - 1; i >= 0 && i >= len(to)-4; i-- {
		if to[i] == k {
			return to
		}
	}
	return append(to, k)
}

// answered appends the keys of ids that an answer may have given, in the messages
// from first on, or before first.
func (ch *Chain) answered(to []Key, first int, before bool) []Key {
	for j := ch.ids.n - 1; j >= max(0, ch.ids.n-maxIDs); j-- {
		at := &ch.ids.ring[j%maxIDs]
		if at.message < first == before && IsMade(string(at.raw[1:len(at.raw)-1])) {
			to = add(to, answerID(at.raw))
		}
	}
	return to
}

// answerID is the key of an id that an answer has given, as a raw JSON string.
func answerID(raw []byte) Key { return markOf(tagResult, xxhash.Sum64(raw)) }

func markOf(tag, sum uint64) Key { return MakeKey(Fold(tag, sum), Fold(tag^tagTail, sum)) }
