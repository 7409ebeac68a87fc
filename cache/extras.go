package cache

import (
	"slices"
	"sync/atomic"
)

// Bounds of the keys of one session, so that an endless session cannot fill the
// store.
const (
	maxKeptNames = 8
	firstEnds    = 2 // kept for histories that fall back to their beginning
	recentEnds   = 6
	recentAlso   = 6
	recentMarks  = 8
	answerKeys   = 8
)

// kind is a list of a session's keys, oldest first.
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

// extras are what only some sessions have: keys besides the home, and what is known of
// the latest end. They are numbers on a shelf, nil for none: two words of a head, and
// the keys of all kinds, one kind behind the other. What only reads works on nil, too.
type extras []digest

// The first word of the head has how many keys of each kind there are, four bits each;
// then one bit for each key, set if it is a mark of two sessions and leads to neither; then
// flags. The second has how many requests came with the latest end, and how many of them
// were served.
const (
	headWords  = 2
	kindBits   = 4
	deadShift  = kindBits * uint(kinds)
	deadMask   = 1<<(8*kindBits+5) - 1 // as many as there can be keys
	isAnswered = 1 << 62               // the latest end
	hasTwin    = 1 << 63
	oneAsked   = 1 << 32
)

// sizes are those of shelves. The largest holds all keys that a session may have.
var sizes = [...]int{headWords + 4, headWords + 8, headWords + 14, headWords + 22, headWords + 30,
	headWords + maxKeptNames - 1 + firstEnds + recentEnds + recentAlso + recentMarks + answerKeys}

// A record's more says where its extras are: its lower bits are the number of the item,
// above it is the shelf, from 1, and the highest bit is set if there is a memo.
const (
	shelfShift = 28
	itemMask   = 1<<shelfShift - 1
	shelfMask  = 7
	hasMemo    = 1 << 31
)

// extras are those of a record, nil if it has none.
func (s *shard) extras(r *record) extras {
	more := r.more.Load()
	shelf := more >> shelfShift & shelfMask
	if shelf == 0 {
		return nil
	}
	return s.shelves[shelf-1].item(more&itemMask, sizes[shelf-1])
}

// needExtras are the record's, made if there are none, with room for one more key, unless
// there are as many as there may be.
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
	r.more.Store(old&hasMemo | (shelf+1)<<shelfShift | i)
	if e != nil {
		s.shelves[shelf-1].give(old&itemMask, len(e))
	}
	return to
}

// dropExtras frees them, the memo included.
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

// memo is the session's, empty if it has none.
func (s *shard) memo(i uint32, r *record) string {
	if r.more.Load()&hasMemo == 0 {
		return ""
	}
	return s.memos[i]
}

// setMemo keeps a memo.
func (s *shard) setMemo(i uint32, r *record, memo string) {
	if memo == "" {
		delete(s.memos, i)
		r.more.Store(r.more.Load() &^ hasMemo)
		return
	}
	s.memos[i] = memo
	r.more.Store(r.more.Load() | hasMemo)
}

func (e extras) count(k kind) int {
	if e == nil {
		return 0
	}
	return int(e[0] >> (kindBits * k) & (1<<kindBits - 1))
}

// len is how many keys there are.
func (e extras) len() (n int) {
	for k := range kinds {
		n += e.count(k)
	}
	return n
}

// start is where the keys of a kind begin.
func (e extras) start(k kind) int {
	at := headWords
	for j := range k {
		at += e.count(j)
	}
	return at
}

// keys are those of a kind. They are the session's own.
func (e extras) keys(k kind) []digest {
	if e == nil {
		return nil
	}
	at := e.start(k)
	return e[at : at+e.count(k)]
}

// all are the keys of all kinds.
func (e extras) all() []digest {
	if e == nil {
		return nil
	}
	return e[headWords : headWords+e.len()]
}

func (e extras) has(d digest) bool     { return slices.Contains(e.all(), d) }
func (e extras) hasName(d digest) bool { return slices.Contains(e.keys(names), d) }

// add makes a key the latest of a kind. There must be room for it.
func (e extras) add(k kind, d digest) {
	at, end := e.start(k)+e.count(k), headWords+e.len()
	copy(e[at+1:end+1], e[at:end])
	e[at] = d
	e[0] += 1 << (kindBits * k)
	low := digest(1)<<(at-headWords) - 1
	e.setDead(e.dead()&low | e.dead()&^low<<1)
}

// remove takes the i-th key of a kind away.
func (e extras) remove(k kind, i int) {
	at, end := e.start(k)+i, headWords+e.len()
	copy(e[at:end-1], e[at+1:end])
	e[end-1] = 0
	e[0] -= 1 << (kindBits * k)
	low := digest(1)<<(at-headWords) - 1
	e.setDead(e.dead()&low | e.dead()>>1&^low)
}

// forget takes a key away that is not a name. It reports whether it was there.
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

// renew makes a key the latest of its kind. It reports whether the key was there.
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

// dead has a bit for each key.
func (e extras) dead() digest { return e[0] >> deadShift & deadMask }

func (e extras) setDead(bits digest) {
	e[0] = e[0]&^(deadMask<<deadShift) | bits<<deadShift
}

// kill makes a key lead nowhere.
func (e extras) kill(d digest) {
	e.setDead(e.dead() | 1<<slices.Index(e.all(), d))
}

// killed reports whether a key is one that leads nowhere.
func (e extras) killed(d digest) bool {
	if e == nil || e.dead() == 0 {
		return false
	}
	i := slices.Index(e.all(), d)
	return i >= 0 && e.dead()>>i&1 != 0
}

// latest is the latest end, 0 if there is none.
func (e extras) latest() digest {
	n := e.count(ends)
	if n == 0 {
		return 0
	}
	return e[e.start(ends)+n-1]
}

func (e extras) answered() bool { return e != nil && e[0]&isAnswered != 0 }

// serve counts a request that ended in the latest end and was served. Many may do so at
// once.
func (e extras) serve() { atomic.AddUint64((*uint64)(&e[1]), 1) }

func (e extras) served() uint32 { return uint32(atomic.LoadUint64((*uint64)(&e[1]))) }

// ask counts a request that came with the latest end, and returns how many have.
func (e extras) ask() uint32 {
	return uint32(atomic.AddUint64((*uint64)(&e[1]), oneAsked) >> 32)
}

func (e extras) asked() uint32 { return uint32(atomic.LoadUint64((*uint64)(&e[1])) >> 32) }

// set replaces what is known of the latest end.
func (e extras) set(answered bool, asked, served uint32) {
	e[0] &^= isAnswered
	if answered {
		e[0] |= isAnswered
	}
	atomic.StoreUint64((*uint64)(&e[1]), uint64(asked)<<32|uint64(served))
}
