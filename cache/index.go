package cache

import "sync/atomic"

// index leads from keys to records. It knows 32 bits of each key, so it answers with
// candidates: whoever asks looks whether the record has the key. It has no pointers. One
// goroutine changes it at a time; the methods that say so may be called meanwhile.
//
// The places are in the order of the keys' bits, with gaps: a key is at the place that
// its bits stand for in proportion, or behind it. So a look-up ends at the first greater
// key, found or not. A larger array takes over the old one's entries a few with each
// change, so that no operation waits for all of them.
type index struct {
	now     atomic.Pointer[places]
	old     atomic.Pointer[places] // nil if its entries have all moved
	moved   atomic.Uint32          // entries below this place of old have moved
	version atomic.Uint32          // odd while places change
	n       int                    // entries
}

// places hold a key's bits in their upper half and what it leads to in the lower, which
// is never 0. Behind the places that keys stand for there are some more.
type places struct {
	at   []atomic.Uint64
	span uint64
}

const (
	minSpan  = 16
	moveSome = 16 // places at a time
)

// newPlaces has more places behind the last one that a key stands for.
func newPlaces(span, more int) *places {
	return &places{make([]atomic.Uint64, span+more), uint64(span)}
}

// from is the place that a key stands for.
func (p *places) from(bits uint32) int { return int(uint64(bits) * p.span >> 32) }

// first is the place of the first entry of a key's bits, from a place on; -1 if there
// is none.
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

// put adds an entry. It fails if there is no room behind.
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
	end := i // the next gap, to which all from i on move by one
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

// cut takes the entry of a place out. Those behind it that are not where they stand for
// move by one.
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

// find is what the n-th entry of a key's bits leads to, 0 if there are not so many.
func (x *index) find(bits uint32, n int) (to uint32) {
	p := x.now.Load()
	for i := p.first(bits, p.from(bits)); i >= 0; i = p.first(bits, i+1) {
		if n == 0 {
			return uint32(p.at[i].Load())
		}
		n--
	}
	if p = x.old.Load(); p == nil {
		return 0
	}
	for i := p.first(bits, max(p.from(bits), int(x.moved.Load()))); i >= 0; i = p.first(bits, i+1) {
		if n == 0 {
			return uint32(p.at[i].Load())
		}
		n--
	}
	return 0
}

// glimpse is find for the first entry, while another goroutine may change the index. It
// is not sure if one did.
func (x *index) glimpse(bits uint32) (to uint32, sure bool) {
	version := x.version.Load()
	if version&1 != 0 {
		return 0, false
	}
	to = x.find(bits, 0)
	return to, x.version.Load() == version
}

// put adds an entry, also one that is there already: then there are two of it.
func (x *index) put(bits, to uint32) {
	x.version.Add(1)
	x.step()
	p := x.now.Load()
	if x.old.Load() == nil && uint64(x.n)*5 >= p.span*4 { // four fifths full
		x.moved.Store(0)
		x.old.Store(p)
		p = newPlaces(int(p.span)*5/4+minSpan/2, 4*minSpan)
		x.now.Store(p)
	}
	for e := uint64(bits)<<32 | uint64(to); !p.put(e); p = x.now.Load() {
		x.rebuild()
	}
	x.n++
	x.version.Add(1)
}

// cut takes one entry out.
func (x *index) cut(bits, to uint32) {
	x.version.Add(1)
	defer x.version.Add(1)
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

// rebuild moves all entries at once, to an array with more places behind the last one
// that a key stands for. That there are too few happens to a few hundred keys that stand
// for the last places, so in practice to none.
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
