package cache

import (
	"slices"
	"sync/atomic"
)

// Bounds of the keys of one session, so that an endless session cannot fill the store.
const (
	maxKeptNames = 8
	firstEnds    = 2 // kept for conversations that go back to their beginning
	recentEnds   = 6
	recentAlso   = 6
	recentMarks  = 8
	answerKeys   = 8
)

// kind is one of the lists of a session's keys. Each list has its oldest key first.
type kind uint8

const (
	names kind = iota // besides the home
	ends
	also
	marks
	answers
	kinds
)

// most is how many keys of a kind a session may have.
var most = [kinds]int{maxKeptNames - 1, firstEnds + recentEnds, recentAlso, recentMarks, answerKeys}

// extras are what only some sessions have: keys besides the home, and facts about the latest
// end. They are an item on a shelf, or nil: a head of two words, and then the keys, kind after
// kind. The methods that only read work on nil, too.
type extras []digest

// The first word of the head has the number of keys of each kind, four bits each. Then it has
// a bit for each key, set if the key is dead: a mark that came with two sessions, and that
// finds neither. Then it has flags. The second word has how many requests came with the latest
// end (upper half), and how many of them were served (lower half).
const (
	headWords  = 2
	kindBits   = 4
	deadShift  = kindBits * uint(kinds)
	deadMask   = 1<<(8*kindBits+5) - 1 // as many bits as there can be keys
	isAnswered = 1 << 62               // the latest end was answered
	hasTwin    = 1 << 63
	oneAsked   = 1 << 32
)

// sizes are the lengths of the items on each shelf. The longest item has room for all keys
// that a session may have.
var sizes = [...]int{headWords + 4, headWords + 8, headWords + 14, headWords + 22, headWords + 24, headWords + 30,
	headWords + maxKeptNames - 1 + firstEnds + recentEnds + recentAlso + recentMarks + answerKeys}

// The field more of a record says where its extras are. The lower bits are the number of the
// item, and above them is the number of the shelf, from 1. Then there is a bit that is set if
// there is a memo, and one that is set once the session has an end.
const (
	shelfShift = 27
	itemMask   = 1<<shelfShift - 1
	shelfMask  = 7
	hasMemo    = 1 << 30
	hasEnds    = 1 << 31

	_ = uint(shelfMask - len(sizes)) // there is a number for each shelf
)

// extras returns the extras of a record, or nil if it has none.
func (s *shard) extras(r *record) extras {
	more := r.more.Load()
	shelf := more >> shelfShift & shelfMask
	if shelf == 0 {
		return nil
	}
	return s.shelves[shelf-1].item(more&itemMask, sizes[shelf-1])
}

// needExtras returns the extras of a record with room for one more key, unless the session
// has as many keys as it may have. It makes them if there are none.
func (s *shard) needExtras(r *record) extras {
	e := s.extras(r)
	if e != nil && (headWords+e.len() < len(e) || len(e) == sizes[len(sizes)-1]) {
		return e
	}
	old := r.more.Load()
	shelf := old >> shelfShift & shelfMask
	i := s.shelves[shelf].take(sizes[shelf])
	to := extras(s.shelves[shelf].item(i, sizes[shelf]))
	copy(to, e)
	r.more.Store(old&(hasMemo|hasEnds) | (shelf+1)<<shelfShift | i)
	if e != nil {
		s.shelves[shelf-1].give(old&itemMask, len(e))
	}
	return to
}

// give makes d the latest key in one of a record's lists.
func (s *shard) give(r *record, in kind, d digest) extras {
	e := s.needExtras(r)
	e.add(in, d)
	if in == ends {
		r.more.Store(r.more.Load() | hasEnds)
	}
	return e
}

// dropExtras frees the extras of a record, the memo included.
func (s *shard) dropExtras(i uint32, r *record) {
	more := r.more.Load()
	if more == 0 {
		return
	}
	if more&hasMemo != 0 {
		delete(s.memos, i)
	}
	if e := s.extras(r); e != nil {
		if e[0]&hasTwin != 0 {
			delete(s.twins, i)
		}
		s.shelves[more>>shelfShift&shelfMask-1].give(more&itemMask, len(e))
	}
	r.more.Store(0)
}

// memo returns the memo of a record, empty if it has none.
func (s *shard) memo(i uint32, r *record) string {
	if r.more.Load()&hasMemo == 0 {
		return ""
	}
	return s.memos[i]
}

// setMemo replaces the memo of a record.
func (s *shard) setMemo(i uint32, r *record, memo string) {
	if memo == "" {
		delete(s.memos, i)
		r.change(func() { r.more.Store(r.more.Load() &^ hasMemo) })
		return
	}
	s.memos[i] = memo
	r.change(func() { r.more.Store(r.more.Load() | hasMemo) })
}

func (e extras) count(k kind) int {
	if e == nil {
		return 0
	}
	return int(e[0] >> (kindBits * k) & (1<<kindBits - 1))
}

// len returns the number of keys.
func (e extras) len() (n int) {
	for k := range kinds {
		n += e.count(k)
	}
	return n
}

// start returns the index of the first key of a kind.
func (e extras) start(k kind) int {
	at := headWords
	for j := range k {
		at += e.count(j)
	}
	return at
}

// keys returns the keys of a kind. The slice is a part of e.
func (e extras) keys(k kind) []digest {
	if e == nil {
		return nil
	}
	at := e.start(k)
	return e[at : at+e.count(k)]
}

// all returns the keys of all kinds.
func (e extras) all() []digest {
	if e == nil {
		return nil
	}
	return e[headWords : headWords+e.len()]
}

func (e extras) has(d digest) bool     { return slices.Contains(e.all(), d) }
func (e extras) hasName(d digest) bool { return slices.Contains(e.keys(names), d) }

// add makes d the latest key of a kind. There must be room for it.
func (e extras) add(k kind, d digest) {
	at, end := e.start(k)+e.count(k), headWords+e.len()
	copy(e[at+1:end+1], e[at:end])
	e[at] = d
	e[0] += 1 << (kindBits * k)
	low := digest(1)<<(at-headWords) - 1
	e.setDead(e.dead()&low | e.dead()&^low<<1)
}

// remove removes the i-th key of a kind.
func (e extras) remove(k kind, i int) {
	at, end := e.start(k)+i, headWords+e.len()
	copy(e[at:end-1], e[at+1:end])
	e[end-1] = 0
	e[0] -= 1 << (kindBits * k)
	low := digest(1)<<(at-headWords) - 1
	e.setDead(e.dead()&low | e.dead()>>1&^low)
}

// forget removes d, unless it is a name. It reports whether it did.
func (e extras) forget(d digest) bool {
	for k := ends; k < kinds; k++ {
		if i := slices.Index(e.keys(k), d); i >= 0 {
			e.remove(k, i)
			return true
		}
	}
	return false
}

// forgetName is forget for a name.
func (e extras) forgetName(d digest) bool {
	i := slices.Index(e.keys(names), d)
	if i >= 0 {
		e.remove(names, i)
	}
	return i >= 0
}

// renew makes d the latest key of its kind. It reports whether the kind has d.
func (e extras) renew(k kind, d digest) bool {
	i := slices.Index(e.keys(k), d)
	if i < 0 {
		return false
	}
	dead := e.killed(d)
	e.remove(k, i)
	e.add(k, d)
	if dead {
		e.kill(d)
	}
	return true
}

// dead returns the bits of the dead keys, one bit for each key.
func (e extras) dead() digest { return e[0] >> deadShift & deadMask }

func (e extras) setDead(bits digest) {
	e[0] = e[0]&^(deadMask<<deadShift) | bits<<deadShift
}

// kill makes d dead: it finds no session.
func (e extras) kill(d digest) {
	e.setDead(e.dead() | 1<<slices.Index(e.all(), d))
}

// killed reports whether d is a dead key.
func (e extras) killed(d digest) bool {
	if e == nil || e.dead() == 0 {
		return false
	}
	i := slices.Index(e.all(), d)
	return i >= 0 && e.dead()>>i&1 != 0
}

// latest returns the latest end, or 0 if there is none.
func (e extras) latest() digest {
	n := e.count(ends)
	if n == 0 {
		return 0
	}
	return e[e.start(ends)+n-1]
}

func (e extras) answered() bool { return e != nil && e[0]&isAnswered != 0 }

// serve counts a request that came with the latest end and was served. Goroutines may call it
// at once.
func (e extras) serve() { atomic.AddUint64((*uint64)(&e[1]), 1) }

func (e extras) served() uint32 { return uint32(atomic.LoadUint64((*uint64)(&e[1]))) }

// ask counts a request that came with the latest end, and returns how many have.
func (e extras) ask() uint32 {
	return uint32(atomic.AddUint64((*uint64)(&e[1]), oneAsked) >> 32)
}

func (e extras) asked() uint32 { return uint32(atomic.LoadUint64((*uint64)(&e[1])) >> 32) }

// set replaces the facts about the latest end.
func (e extras) set(answered bool, asked, served uint32) {
	e[0] &^= isAnswered
	if answered {
		e[0] |= isAnswered
	}
	atomic.StoreUint64((*uint64)(&e[1]), uint64(asked)<<32|uint64(served))
}
