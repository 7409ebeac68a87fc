package cache

import (
	"sync/atomic"
	"unsafe"
)

// slab holds records in blocks and numbers them from 1. So a record has no allocation of its
// own, and the garbage collector has no pointer to follow. A record never moves: any goroutine
// may look at a number that was ever given, while another one takes or gives records.
type slab struct {
	blocks atomic.Pointer[[]*block]
	used   uint32 // numbers that were ever given
	free   uint32 // the first number that was given back; these are linked by auth
	n      int    // records that are in use
}

// block fills 8 KiB, a size class of the allocator, so that each record is in one line of the
// processor's cache.
type block struct {
	records [slabBlock]record
	byAuth  [slabBlock]links
}

const slabBlock = 113

// record returns &b.records[i]. That expression would also read the first line of the block, to
// see whether b is nil. b is not nil, and i is less than slabBlock.
func (b *block) record(i uint32) *record {
	return (*record)(unsafe.Add(unsafe.Pointer(b), uintptr(i)*unsafe.Sizeof(record{})))
}

// auth returns &b.byAuth[i] in the same way.
func (b *block) auth(i uint32) *links {
	return (*links)(unsafe.Add(unsafe.Pointer(b), unsafe.Offsetof(b.byAuth)+uintptr(i)*unsafe.Sizeof(links{})))
}

func (s *slab) clear() {
	s.blocks.Store(&[]*block{})
	s.used, s.free, s.n = 0, 0, 0
}

func (s *slab) at(i uint32) *record {
	return (*s.blocks.Load())[(i-1)/slabBlock].record((i - 1) % slabBlock)
}

// look is at for any number: it returns nil if the number was never given. It may be called at
// any time.
func (s *slab) look(i uint32) *record {
	blocks := *s.blocks.Load()
	if n := (i - 1) / slabBlock; n < uint32(len(blocks)) {
		return blocks[n].record((i - 1) % slabBlock)
	}
	return nil
}

func (s *slab) take() uint32 {
	s.n++
	if i := s.free; i != 0 {
		s.free = s.links(i, byAuth).next
		return i
	}
	if blocks := *s.blocks.Load(); int(s.used) == len(blocks)*slabBlock {
		blocks = append(blocks, new(block)) // look may still read the shorter slice
		s.blocks.Store(&blocks)
	}
	s.used++
	return s.used
}

func (s *slab) give(i uint32) {
	s.n--
	s.links(i, byAuth).next = s.free
	s.free = i
}

// linked says which of a record's links are meant.
type linked uint8

const (
	byAuth linked = iota // the bound records of an auth
	byUse                // the records of a tenant, most recently used first
)

type links struct{ prev, next uint32 }

func (s *slab) links(i uint32, by linked) *links {
	b := (*s.blocks.Load())[(i-1)/slabBlock]
	i = (i - 1) % slabBlock
	if by == byAuth {
		return b.auth(i)
	}
	return &b.record(i).byUse
}

// list is a list of linked records: its head, tail and length.
type list struct {
	head, tail, n uint32
}

// push adds a record at the front.
func (s *slab) push(l *list, i uint32, by linked) {
	*s.links(i, by) = links{next: l.head}
	if l.head != 0 {
		s.links(l.head, by).prev = i
	} else {
		l.tail = i
	}
	l.head = i
	l.n++
}

// cut removes a record.
func (s *slab) cut(l *list, i uint32, by linked) {
	k := *s.links(i, by)
	if k.prev != 0 {
		s.links(k.prev, by).next = k.next
	} else {
		l.head = k.next
	}
	if k.next != 0 {
		s.links(k.next, by).prev = k.prev
	} else {
		l.tail = k.prev
	}
	l.n--
}

// each calls do for every record of a list. do may remove the record that it is given.
func (s *slab) each(l *list, by linked, do func(uint32, *record)) {
	for next := l.head; next != 0; {
		i := next
		next = s.links(i, by).next
		do(i, s.at(i))
	}
}
