package cache

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// index maps keys to records. It keeps only some bits of each key, so it answers with candidates,
// and the caller checks whether the record has the key. It has no pointers. Only one goroutine
// may change it at a time. glimpse may run while it changes.
//
// The entries are in the order of their keys' bits, with gaps. The place of an entry is in
// proportion to its bits, or a few places behind that. So a look-up ends at the first greater
// key, found or not. When the index grows, each change moves some entries from the old array
// to the larger one, so that no operation waits for all of them.
type index struct {
	now     atomic.Pointer[places]
	old     atomic.Pointer[places] // nil if all its entries have moved
	moved   atomic.Uint32          // entries below this place of old have moved
	version atomic.Uint32          // odd while places change
	n       int                    // entries
	full    int                    // the span for a full store of sessions with one key each
	drop    uint                   // how many of a key's 32 bits are not kept
}

// places is an array of entries. An entry is a key's bits and what the key maps to, in as few bits
// as the size of the store allows: from 32 to 64. The upper part of an entry has 32 bits: the key's
// bits, which are never 0, and below them, in drop bits, the upper bits of what the key maps to.
// The other bits of that are in the lower part, which has 0, 8, 16 or 32. The parts of eight entries
// lie together: the upper ones, and then the lower ones.
//
// The key's bits select one of the first span places; the places behind them are for entries
// that find theirs taken.
type places struct {
	words        []atomic.Uint64
	span         uint64
	len          int // places
	eight        int // words of eight entries
	drop         uint
	upper, lower part
}

// part says where one of the parts of entries is: the first word of it in those of eight
// entries, and how many bits it has.
type part struct {
	first int
	bits  uint
}

const (
	minSpan  = 16
	moveSome = 256 // places that one change moves
)

// newPlaces makes span places for bits to select, and more places behind them.
func newPlaces(span, more int, low, drop uint) *places {
	n := (span + more + 7) / 8
	eight := 4 + int(low)/8
	return &places{make([]atomic.Uint64, n*eight), uint64(span), 8 * n, eight, drop, part{0, 32}, part{4, low}}
}

// wider returns how many bits the lower parts must have, low or more, so that an entry has room
// for to.
func wider(low, drop uint, to uint32) uint {
	for uint64(to)>>(low+drop) != 0 {
		low = max(2*low, 8)
	}
	return low
}

// at returns the word that has a part of the entry at place i, and the part's first bit in it.
func (p *places) at(of part, i int) (w *atomic.Uint64, bit uint) {
	bit = uint(i&7) * of.bits
	return &p.words[i>>3*p.eight+of.first+int(bit>>6)], bit & 63
}

// mask returns a mask for n parts.
func (of part) mask(n int) uint64 { return 1<<(uint(n)*of.bits) - 1 }

// look returns the upper part of the entry at place i, 0 if there is none.
func (p *places) look(i int) uint32 {
	return uint32(p.words[i>>3*p.eight+i&7>>1].Load() >> (i & 1 * 32))
}

// to returns what the key of the entry at place i maps to, whose upper part is e.
func (p *places) to(i int, e uint32) uint32 {
	to := e & (1<<p.drop - 1) << p.lower.bits
	if p.lower.bits > 0 {
		w, bit := p.at(p.lower, i)
		to |= uint32(w.Load() >> bit & p.lower.mask(1))
	}
	return to
}

// set makes the entry at place i.
func (p *places) set(i int, key, to uint32) {
	low := p.lower.bits
	p.write(p.upper, i, key<<p.drop|uint32(uint64(to)>>low))
	if low > 0 {
		p.write(p.lower, i, to)
	}
}

func (p *places) write(of part, i int, v uint32) {
	w, bit := p.at(of, i)
	mask := of.mask(1)
	w.Store(w.Load()&^(mask<<bit) | uint64(v)&mask<<bit)
}

// back moves parts of the entries from place i to the one before end by one place, up to the one
// at end. It writes each word once, because that is what takes the time.
func (p *places) back(of part, i, end int) {
	if of.bits == 0 {
		return
	}
	in := int(64 / of.bits) // parts in a word
	for end > i {
		w, bit := p.at(of, end)
		first := end &^ (in - 1)
		from := max(first, i+1)
		old := w.Load()
		moved := old << of.bits
		if from == first {
			before, _ := p.at(of, first-1)
			moved |= before.Load() >> (64 - of.bits)
		}
		mask := of.mask(end+1-from) << (bit - uint(end-from)*of.bits)
		w.Store(old&^mask | moved&mask)
		end = from - 1
	}
}

// forth moves parts of the entries behind place i, up to the one at end, by one place to the
// front.
func (p *places) forth(of part, i, end int) {
	if of.bits == 0 {
		return
	}
	in := int(64 / of.bits)
	for i < end {
		w, bit := p.at(of, i)
		last := i | (in - 1)
		to := min(last, end-1)
		old := w.Load()
		moved := old >> of.bits
		if to == last {
			behind, _ := p.at(of, last+1)
			moved |= behind.Load() << (64 - of.bits)
		}
		mask := of.mask(to+1-i) << bit
		w.Store(old&^mask | moved&mask)
		i = to + 1
	}
}

// from returns the place that a key's bits select.
func (p *places) from(key uint32) int { return int(uint64(key<<p.drop) * p.span >> 32) }

// nth returns the place of the n-th entry with a key's bits, from place i on, and what the key
// maps to there. If there are not so many, that is 0, and missing says how many are not there.
func (p *places) nth(key uint32, i, n int) (at int, to uint32, missing int) {
	for ; i < p.len; i++ {
		e := p.look(i)
		switch have := e >> p.drop; {
		case have == 0 || have > key:
			return 0, 0, n
		case have < key:
		case n > 0:
			n--
		default:
			return i, p.to(i, e), 0
		}
	}
	return 0, 0, n
}

// where returns the place of an entry, from place i on, or -1 if it is not there.
func (p *places) where(key, to uint32, i int) int {
	for ; ; i++ {
		at, have, _ := p.nth(key, i, 0)
		if have == 0 {
			return -1
		}
		if have == to {
			return at
		}
		i = at
	}
}

// put adds an entry. It returns false if there is no room for it up to the last place.
func (p *places) put(key, to uint32) bool {
	i := p.from(key)
	for ; i < p.len; i++ {
		if have := p.look(i) >> p.drop; have == 0 || have > key {
			break
		}
	}
	gap := i
	for ; gap < p.len && p.look(gap) != 0; gap++ {
	}
	if gap >= p.len {
		return false
	}
	p.back(p.upper, i, gap)
	p.back(p.lower, i, gap)
	p.set(i, key, to)
	return true
}

// cut removes the entry at place i. Each entry behind it moves forward by one, up to the first
// gap or the first entry that is where its bits select.
func (p *places) cut(i int) {
	end := i
	for ; end+1 < p.len; end++ {
		have := p.look(end+1) >> p.drop
		if have == 0 || p.from(have) > end {
			break
		}
	}
	p.forth(p.upper, i, end)
	p.forth(p.lower, i, end)
	p.set(end, 0, 0)
}

// expect says what the index will be for: a part of a store's keys. most is how many sessions the
// part has if the store is full, and shards is how many parts the store has. It comes before
// clear. If there are more sessions later, look-ups see more candidates.
func (x *index) expect(most, shards int) {
	// Shards have different numbers of sessions.
	more := 3 * int(math.Sqrt(float64(most)))
	x.full = (most + more) * 6 / 5
	// If all sessions have so many keys, one entry in four finds another one with its bits. That is
	// rare enough: it costs a look at one more record.
	const keys, rare = 22, 4
	need := min(bits.Len64(uint64(most)*keys*rare), 32)
	to := min(bits.Len64(uint64(most+2*more)*uint64(shards)), 32)
	keep := 32 - to
	for _, low := range []int{8, 16, 32} {
		if keep < need {
			keep = min(32+low-to, 32)
		}
	}
	x.drop = uint(32 - keep)
}

// keep returns the bits of a key that the index keeps.
func (x *index) keep(bits uint32) uint32 { return max(bits>>x.drop, 1) }

func (x *index) clear() {
	x.now.Store(newPlaces(minSpan, minSpan, 0, x.drop))
	x.old.Store(nil)
	x.moved.Store(0)
	x.n = 0
}

// find returns what the n-th entry with a key's bits maps to, or 0 if there are not so many.
// While the index grows, it asks first the array that has most keys with such bits.
func (x *index) find(bits uint32, n int) (to uint32) {
	now, old, key := x.now.Load(), x.old.Load(), x.keep(bits)
	if old == nil {
		_, to, _ = now.nth(key, now.from(key), n)
		return to
	}
	moved := int(x.moved.Load())
	if i := old.from(key); i >= moved {
		if _, to, n = old.nth(key, i, n); to == 0 {
			_, to, _ = now.nth(key, now.from(key), n)
		}
		return to
	}
	if _, to, n = now.nth(key, now.from(key), n); to == 0 {
		_, to, _ = old.nth(key, moved, n)
	}
	return to
}

// glimpse is find, and may run while another goroutine changes the index; sure is false if one
// did.
func (x *index) glimpse(bits uint32, n int) (to uint32, sure bool) {
	version := x.version.Load()
	if version&1 != 0 {
		return 0, false
	}
	to = x.find(bits, n)
	return to, x.version.Load() == version
}

// put adds an entry. If the same entry is there already, there are two of it.
func (x *index) put(bits, to uint32) {
	x.version.Add(1)
	x.add(bits, to)
	x.version.Add(1)
}

// cut removes one entry of a key that maps to the given record.
func (x *index) cut(bits, to uint32) {
	x.version.Add(1)
	x.remove(bits, to)
	x.version.Add(1)
}

// replace makes one entry of a key, which is there, map to another record. A sure glimpse finds
// one of the two.
func (x *index) replace(bits, from, to uint32) {
	x.version.Add(1)
	x.remove(bits, from)
	x.add(bits, to)
	x.version.Add(1)
}

func (x *index) add(bits, to uint32) {
	x.step()
	p := x.now.Load()
	if x.old.Load() == nil {
		span := int(p.span)
		if uint64(x.n)*6 >= p.span*5 { // five sixths full
			span = x.larger(span)
		}
		if low := wider(p.lower.bits, p.drop, to); span > int(p.span) || low > p.lower.bits {
			x.moved.Store(0)
			x.old.Store(p)
			p = newPlaces(span, 4*minSpan, low, p.drop)
			x.now.Store(p)
		}
	}
	key := x.keep(bits)
	for wider(p.lower.bits, p.drop, to) > p.lower.bits || !p.put(key, to) {
		x.rebuild(to)
		p = x.now.Load()
	}
	x.n++
}

// larger returns the next larger span. The spans are such that one of them is x.full.
func (x *index) larger(span int) int {
	if span+minSpan/2 > x.full {
		return span*12/11 + minSpan/2
	}
	to := x.full
	for to*11/12 >= span+minSpan/2 {
		to = to * 11 / 12
	}
	return to
}

func (x *index) remove(bits, to uint32) {
	x.step()
	p, key := x.now.Load(), x.keep(bits)
	i := p.where(key, to, p.from(key))
	if old := x.old.Load(); i < 0 && old != nil {
		p = old
		i = p.where(key, to, max(p.from(key), int(x.moved.Load())))
	}
	if i >= 0 {
		p.cut(i)
		x.n--
	}
}

// step moves a few entries to the larger array.
func (x *index) step() {
	p := x.old.Load()
	if p == nil {
		return
	}
	i := int(x.moved.Load())
	for end := min(i+moveSome, p.len); i < end; i++ {
		if e := p.look(i); e != 0 && !x.now.Load().put(e>>p.drop, p.to(i, e)) {
			x.moved.Store(uint32(i))
			x.rebuild(0)
			return
		}
	}
	x.moved.Store(uint32(i))
	if i == p.len {
		x.old.Store(nil)
	}
}

// rebuild moves all entries at once, to an array with more places at its end, or with room for a
// greater number. It is needed if some hundred keys select the last places, or if the number is
// too great while the index grows, so in practice never.
func (x *index) rebuild(number uint32) {
	from := [...]*places{x.now.Load(), x.old.Load()}
	for more := 2 * (from[0].len - int(from[0].span)); ; more *= 2 {
		to := newPlaces(int(from[0].span), more, wider(from[0].lower.bits, x.drop, number), x.drop)
		fits := true
		for j, p := range from {
			for i := j * int(x.moved.Load()); p != nil && i < p.len; i++ {
				e := p.look(i)
				fits = fits && (e == 0 || to.put(e>>p.drop, p.to(i, e)))
			}
		}
		if fits {
			x.now.Store(to)
			x.old.Store(nil)
			return
		}
	}
}
