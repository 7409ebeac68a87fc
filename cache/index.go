package cache

import "sync/atomic"

// index maps keys to records. It keeps 32 bits of each key, so it answers with candidates, and
// the caller checks whether the record has the key. It has no pointers. Only one goroutine may
// change it at a time. glimpse may run while it changes.
//
// The entries are in the order of their keys' bits, with gaps. The place of an entry is in
// proportion to its bits, or a few places behind that. So a look-up ends at the first greater
// key, found or not. When the index grows, each change moves a few entries from the old array
// to the larger one, so that no operation waits for all of them.
type index struct {
	now     atomic.Pointer[places]
	old     atomic.Pointer[places] // nil if all its entries have moved
	moved   atomic.Uint32          // entries below this place of old have moved
	version atomic.Uint32          // odd while places change
	n       int                    // entries
	full    int                    // the span for a full store of sessions with one key each
}

// places is an array of entries. An entry holds a key's bits in its upper half, and in its
// lower half what the key maps to, which is never 0. The bits select one of the first span
// places; the places behind them are for entries that find theirs taken.
type places struct {
	at   []atomic.Uint64
	span uint64
}

const (
	minSpan  = 16
	moveSome = 16 // places that one change moves
)

// newPlaces makes span places for bits to select, and more places behind them.
func newPlaces(span, more int) *places {
	return &places{make([]atomic.Uint64, span+more), uint64(span)}
}

// from returns the place that a key's bits select.
func (p *places) from(bits uint32) int { return int(uint64(bits) * p.span >> 32) }

// first returns the place of the first entry with a key's bits, from place i on, or -1 if
// there is none.
func (p *places) first(bits uint32, i int) int {
	for ; i < len(p.at); i++ {
		switch e := p.at[i].Load(); {
		case e == 0 || uint32(e>>32) > bits:
			return -1
		case uint32(e>>32) == bits:
			return i
		}
	}
	return -1
}

// nth returns what the n-th entry with a key's bits maps to, from place i on. If there are not
// so many, it returns 0 and how many are missing.
func (p *places) nth(bits uint32, i, n int) (to uint32, missing int) {
	for i = p.first(bits, i); i >= 0; i = p.first(bits, i+1) {
		if n == 0 {
			return uint32(p.at[i].Load()), 0
		}
		n--
	}
	return 0, n
}

// put adds an entry. It returns false if there is no room for it up to the last place.
func (p *places) put(e uint64) bool {
	i := p.from(uint32(e >> 32))
	for ; i < len(p.at); i++ {
		if have := p.at[i].Load(); have == 0 {
			p.at[i].Store(e)
			return true
		} else if have > e {
			break
		}
	}
	end := i // the next gap: all entries from i to there move by one
	for ; end < len(p.at) && p.at[end].Load() != 0; end++ {
	}
	if end >= len(p.at) {
		return false
	}
	for ; end > i; end-- {
		p.at[end].Store(p.at[end-1].Load())
	}
	p.at[i].Store(e)
	return true
}

// cut removes the entry at place i. Each entry behind it moves forward by one, up to the first
// gap or the first entry that is where its bits select.
func (p *places) cut(i int) {
	for ; i+1 < len(p.at); i++ {
		e := p.at[i+1].Load()
		if e == 0 || p.from(uint32(e>>32)) > i {
			break
		}
		p.at[i].Store(e)
	}
	p.at[i].Store(0)
}

func (x *index) clear() {
	x.now.Store(newPlaces(minSpan, minSpan))
	x.old.Store(nil)
	x.moved.Store(0)
	x.n = 0
}

// find returns what the n-th entry with a key's bits maps to, or 0 if there are not so many.
// While the index grows, it asks first the array that has most keys with such bits.
func (x *index) find(bits uint32, n int) (to uint32) {
	now, old := x.now.Load(), x.old.Load()
	if old == nil {
		to, _ = now.nth(bits, now.from(bits), n)
		return to
	}
	moved := int(x.moved.Load())
	if i := old.from(bits); i >= moved {
		if to, n = old.nth(bits, i, n); to == 0 {
			to, _ = now.nth(bits, now.from(bits), n)
		}
		return to
	}
	if to, n = now.nth(bits, now.from(bits), n); to == 0 {
		to, _ = old.nth(bits, moved, n)
	}
	return to
}

// glimpse is find for the first entry. It may run while another goroutine changes the index;
// sure is false if one did.
func (x *index) glimpse(bits uint32) (to uint32, sure bool) {
	version := x.version.Load()
	if version&1 != 0 {
		return 0, false
	}
	to = x.find(bits, 0)
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
	if x.old.Load() == nil && uint64(x.n)*5 >= p.span*4 { // four fifths full
		x.moved.Store(0)
		x.old.Store(p)
		p = newPlaces(x.larger(int(p.span)), 4*minSpan)
		x.now.Store(p)
	}
	for e := uint64(bits)<<32 | uint64(to); !p.put(e); p = x.now.Load() {
		x.rebuild()
	}
	x.n++
}

// larger returns the next larger span. The spans are such that one of them is x.full.
func (x *index) larger(span int) int {
	if span+minSpan/2 > x.full {
		return span*5/4 + minSpan/2
	}
	to := x.full
	for to*4/5 >= span+minSpan/2 {
		to = to * 4 / 5
	}
	return to
}

func (x *index) remove(bits, to uint32) {
	x.step()
	e := uint64(bits)<<32 | uint64(to)
	p := x.now.Load()
	i := p.from(bits)
	for old := false; ; old = true {
		for i = p.first(bits, i); i >= 0; i = p.first(bits, i+1) {
			if p.at[i].Load() == e {
				p.cut(i)
				x.n--
				return
			}
		}
		if p = x.old.Load(); p == nil || old {
			return
		}
		i = max(p.from(bits), int(x.moved.Load()))
	}
}

// step moves a few entries to the larger array.
func (x *index) step() {
	p := x.old.Load()
	if p == nil {
		return
	}
	i := int(x.moved.Load())
	for end := min(i+moveSome, len(p.at)); i < end; i++ {
		if e := p.at[i].Load(); e != 0 && !x.now.Load().put(e) {
			x.moved.Store(uint32(i))
			x.rebuild()
			return
		}
	}
	x.moved.Store(uint32(i))
	if i == len(p.at) {
		x.old.Store(nil)
	}
}

// rebuild moves all entries at once, to an array with more places at its end. It is needed if
// some hundred keys select the last places, so in practice never.
func (x *index) rebuild() {
	from := [...]*places{x.now.Load(), x.old.Load()}
	for more := 2 * (len(from[0].at) - int(from[0].span)); ; more *= 2 {
		to, fits := newPlaces(int(from[0].span), more), true
		for j, p := range from {
			for i := j * int(x.moved.Load()); p != nil && i < len(p.at); i++ {
				e := p.at[i].Load()
				fits = fits && (e == 0 || to.put(e))
			}
		}
		if fits {
			x.now.Store(to)
			x.old.Store(nil)
			return
		}
	}
}
