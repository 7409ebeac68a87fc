package content

import (
	"encoding/binary"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// Key is a 128-bit digest. No digest is the zero Key.
type Key = [16]byte

// MakeKey returns the digest with these two halves.
func MakeKey(lo, hi uint64) (k Key) {
	binary.LittleEndian.PutUint64(k[:8], lo)
	binary.LittleEndian.PutUint64(k[8:], hi)
	return k
}

// Members are the top-level members of a request that hold the conversation, the
// strongest first.
var Members = [...]string{"messages", "contents", "input", "prompt", "request"}

// Indices in Members.
const (
	memberContents = 1
	memberPrompt   = 3
	memberRequest  = 4 // Code Assist wraps Gemini's request
)

// MaxBoundaries is how many boundaries are kept: the latest ones and the first
// few. Between two requests of one conversation lie a few messages, so the end
// of the request before is among the latest boundaries. The first few boundaries find
// a history that was cut back to its beginning.
const MaxBoundaries = 128

// firstBoundaries is how many of them are kept from the beginning.
const firstBoundaries = 8

// lightPrefix is the least number of bytes of JSON in the messages before a boundary
// that is surer than a mark.
const lightPrefix = 150

// Chain hashes the messages of one request one after the other and remembers
// the boundaries between them. The zero Chain is ready to use.
type Chain struct {
	rank   int // of the member that was walked: its index in Members plus one
	end    pair
	n      int // messages
	first  [firstBoundaries]Key
	weighs int                                  // of all messages
	light  int                                  // how many of the first boundaries say little
	recent [MaxBoundaries - firstBoundaries]Key // a ring
	latest window
	work   work
	ids    ids
	run    int  // the first message of the latest run of a model's messages
	model  bool // the latest message is a model's
	begun  bool // the first message is a user's words, or of an unknown kind
	spoke  bool // a model has said more than an opening has
	asks   bool // the latest message speaks of a summary
	opens  Key  // the boundary before the first answer, or the end; zero if the answer comes first
}

// Empty reports whether no message said anything.
func (ch *Chain) Empty() bool { return ch.n == 0 }

// Walk walks over the value v of the member Members[i], which c has just
// returned. It returns false, and leaves v alone, if v holds no conversation or
// a stronger member was seen.
func (ch *Chain) Walk(i int, c *jsontext.Cursor, v jsontext.Value) bool {
	rank := i + 1
	if i >= len(Members) || ch.rank != 0 && rank > ch.rank {
		return false
	}
	if ch.rank > rank { // a weaker member came first
		stronger := Chain{work: ch.work}
		walked := stronger.Walk(i, c, v)
		if ch.work = stronger.work; stronger.n > 0 {
			*ch = stronger
		}
		return walked
	}
	ch.restart()
	isObject := v.Raw[0] == '{'
	switch {
	case isObject && i == memberPrompt: // a template's name
		return false
	case isObject && i == memberRequest:
		ch.request(c)
	case i == memberRequest:
		return false
	default:
		ch.messages(c, v)
	}
	if ch.n > 0 { // otherwise a weaker member may hold the conversation
		ch.rank = rank
	}
	return true
}

func (ch *Chain) restart() {
	ch.end, ch.n, ch.run, ch.model = pair{}, 0, 0, false
	ch.weighs, ch.light, ch.asks = 0, 0, false
	ch.ids.restart()
}

// request walks over the contents inside Code Assist's request. An object with
// more than maxFields members is no request.
func (ch *Chain) request(c *jsontext.Cursor) {
	start := c.At
	for range maxFields + 1 {
		name, v, ok := c.Member()
		switch {
		case !ok:
			return
		case string(name) == Members[memberContents]:
			ch.restart()
			ch.messages(c, v)
		case v.Form == jsontext.Open:
			c.Pass()
		}
	}
	ch.n = 0
	c.SkipFrom(start)
}

// messages walks over a list of messages, one message (Gemini's contents), or a
// string, which is one message of a user.
func (ch *Chain) messages(c *jsontext.Cursor, v jsontext.Value) {
	start := c.At
	if v.Raw[0] != '[' {
		ch.asks = asksSummary(v.Raw)
		ch.add(messageOf(c, v, ch.work.left(), &ch.work, &ch.ids, &ch.end))
		return
	}
	for n, latest := 1, start; ; n++ {
		at := c.At
		v, ok := c.Element()
		ch.work.walked += c.At - at
		switch left := ch.work.left(); {
		case !ok:
			if ch.n > 0 && ch.latest.message(ch.n-1).kind == userWords {
				ch.asks = asksSummary(c.Since(latest))
			}
			return
		case left < -freeWork: // even one read of each message is too much work
			if list := c.PassFrom(start); list != nil {
				m := spelled(list[at-start:])
				ch.end = ch.end.behind(m)
				ch.add(m)
			}
			return
		case n > maxMessages || left < 2*workMessage:
			ch.add(asSpelled(c, v, &ch.work, &ch.end))
		default:
			ch.add(messageOf(c, v, left, &ch.work, &ch.ids, &ch.end))
		}
		latest = at
	}
}

// left returns how much work is still allowed. It is negative if too much was done.
func (k *work) left() int { return freeWork + k.walked/bytesPerUnit - k.done }

// add extends the chain by one message, which ch.end includes already.
func (ch *Chain) add(m message) {
	if m.sum == 0 {
		return
	}
	ch.weighs += m.weight
	var k *Key
	if ch.n < len(ch.first) {
		k = &ch.first[ch.n]
		if ch.weighs < lightPrefix {
			ch.light++
		}
	} else {
		k = &ch.recent[uint(ch.n-len(ch.first))%uint(len(ch.recent))]
	}
	// Written in place: a copy would have to wait for both halves.
	binary.LittleEndian.PutUint64(k[:8], ch.end.lo)
	binary.LittleEndian.PutUint64(k[8:], ch.end.hi)
	ch.latest[ch.n%len(ch.latest)] = m
	if ch.n == 0 {
		ch.begun, ch.spoke, ch.opens = m.kind == userWords || m.kind == otherKind, false, Key{}
	}
	if ch.spoke = ch.spoke || m.kind >= modelWords; !ch.spoke {
		ch.opens = *k
	}
	if m.kind >= modelBrief && !ch.model {
		ch.run = ch.n
	}
	ch.model = m.kind >= modelBrief
	ch.n++
	ch.ids.message = ch.n
}
