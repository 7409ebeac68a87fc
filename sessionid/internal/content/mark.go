package content

import "github.com/cespare/xxhash/v2"

// A history that lost its first messages, or was rewritten, has none of its old
// boundaries, and a short one none of its old tails. But it still has single messages
// that no other conversation has: messages with an id that a machine has made, and words
// of enough length. They are marks. The request in which a message is new binds its
// mark, and later requests look it up.
//
// The lengths were tried on tau-bench's conversations, which share the ids of their tool
// calls and many sentences (examples/internal/field). With shorter lengths, two
// conversations had the same mark.
const (
	leastWords    = 80  // a user's
	leastAnswer   = 300 // a model's words
	leastReply    = 80  // a user's words and the model's message after them
	leastFollowUp = 200 // a model's words and the user's after them
)

// maxMarked is how many of the latest messages are searched for marks. maxBoundMarks is
// how many marks are bound.
const (
	shortWindow   = 9 // messages
	maxMarked     = 16
	maxBoundMarks = 4
)

// sought appends the marks of words that an earlier request may have bound, those of
// the newest of n messages first. The last message is new and has none.
//
// The words of one message alone count only in a history that has visibly lost its first
// messages, or is as short as a window. Agents repeat some long sentences in every
// conversation.
func (w *window) sought(to []Key, n int, alone bool) []Key {
	for i := n - 2; i >= max(0, n-maxMarked); i-- {
		before, m := w[uint(i-1)%uint(len(w))], w[uint(i)%uint(len(w))]
		if i > 0 && exchanged(before, m) {
			to = append(to, exchange(before, m))
		}
		to = appendWords(to, before, m, i, alone)
	}
	return to
}

// exchange returns the key of a message and the answer to it. It is bound when the answer
// is given. So an opening that a client has made up does not have it.
func exchange(asked, answer message) Key { return markOf(tagModel, Fold(asked.sum, answer.sum)) }

// exchanged reports whether two messages may be one and its answer, and say enough.
func exchanged(asked, answer message) bool {
	return answer.kind >= modelBrief && asked.kind < modelBrief && asked.weight+answer.weight >= leastReply
}

// bound is a mark that is to be bound, and the message that it is of.
type bound struct {
	key     Key
	message int
}

// bounds are the marks of one request that are to be bound.
type bounds struct {
	n  int
	at [maxBoundMarks]bound
}

func (b *bounds) add(k Key, message int) {
	for _, have := range b.at[:b.n] {
		if have.key == k {
			return
		}
	}
	if b.n < len(b.at) {
		b.at[b.n] = bound{k, message}
		b.n++
	}
}

// fresh adds the marks of words in messages that are new in this request: those from
// first on, which are the latest answer and the messages after it. If no model has
// spoken, first must be the last message: the others may be an opening that many
// conversations share. For the same reason a user's words count only in the last
// message: a client may put an opening before them again.
func (w *window) fresh(to *bounds, n, first int) {
	for i := n - 1; i >= max(first, n-maxMarked); i-- {
		m := &w[uint(i)%uint(len(w))]
		var keys [2]Key
		for _, k := range appendWords(keys[:0], w[uint(i-1)%uint(len(w))], *m, i, i == n-1 || m.kind >= modelBrief) {
			to.add(k, i)
		}
	}
}

// fresh adds the marks of the ids in the messages from first on.
func (s *ids) fresh(to *bounds, first int) {
	for j := s.n - 1; j >= max(0, s.n-maxIDs) && to.n < len(to.at); j-- {
		if at := &s.ring[j%maxIDs]; at.message >= first && (at.made == byMachine || at.made == notAsked && at.isMade()) {
			to.add(markOf(tagCall, at.sum), at.message)
		}
	}
}

// marks appends the marks of the ids in the messages from first to last, those of
// the newest message first.
func (s *ids) marks(to []Key, first, last int) []Key {
	for j := s.n - 1; j >= max(0, s.n-maxIDs); j-- {
		at := &s.ring[j%maxIDs]
		if at.message >= first && at.message <= last && (at.made == byMachine || at.made == notAsked && at.isMade()) {
			to = add(to, markOf(tagCall, at.sum))
		}
	}
	return to
}

// appendWords appends the marks of words of message i: of the message with the one before
// it, and, if alone is true, of the message alone. The first message has none before it.
func appendWords(to []Key, before, m message, i int, alone bool) []Key {
	switch {
	case i == 0:
	case before.kind == userWords && m.kind >= modelWords && before.weight+m.weight >= leastReply,
		before.kind == modelWords && m.kind == userWords && before.weight+m.weight >= leastFollowUp:
		to = append(to, markOf(tagRole, Fold(before.sum, m.sum)))
	}
	if alone && (m.kind == userWords && m.weight >= leastWords || m.kind == modelWords && m.weight >= leastAnswer) {
		to = append(to, markOf(tagText, m.sum))
	}
	return to
}

// add appends a key unless it is among the latest: a call and its result have the same
// id.
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
func (s *ids) answered(to []Key, first int, before bool) []Key {
	for j := s.n - 1; j >= max(0, s.n-maxIDs); j-- {
		at := &s.ring[j%maxIDs]
		if at.message < first == before && (at.made == byMachine || at.made == notAsked && at.isMade()) {
			to = add(to, answerID(at.raw))
		}
	}
	return to
}

// answerID returns the key of an id that an answer has given, a raw JSON string.
func answerID(raw []byte) Key { return markOf(tagResult, xxhash.Sum64(raw)) }

func markOf(tag, sum uint64) Key { return MakeKey(Fold(tag, sum), Fold(tag^tagTail, sum)) }
