package cache

// shelf holds items: lists of numbers, all of one length. They are the extras of sessions that
// have up to so many keys. As in a slab, no item has an allocation of its own.
type shelf struct {
	blocks [][]digest
	used   uint32 // items that were ever taken
	free   uint32 // the first item that was given back; each holds the number of the next
}

// shelfBlock is how many numbers a block holds: 2,304 bytes, a size class of the allocator of which
// items of nearly each length leave little. The first block is smaller. On some shelves sessions
// stay for one turn only, so these never need more.
const (
	shelfBlock = 288
	firstShelf = 64
)

// item returns the i-th item, counted from 1.
func (s *shelf) item(i uint32, size int) []digest {
	i--
	block, first, some := uint32(0), uint32(firstShelf/size), uint32(shelfBlock/size)
	if i >= first {
		i -= first
		block = 1 + i/some
		i %= some
	}
	at := int(i) * size
	return s.blocks[block][at : at+size : at+size]
}

// take returns the number of an item that is all zeros.
func (s *shelf) take(size int) uint32 {
	if i := s.free; i != 0 {
		it := s.item(i, size)
		s.free = uint32(it[0])
		it[0] = 0
		return i
	}
	switch n := len(s.blocks); {
	case n == 0:
		s.blocks = append(s.blocks, make([]digest, firstShelf))
	case int(s.used) == firstShelf/size+(n-1)*(shelfBlock/size):
		s.blocks = append(s.blocks, make([]digest, shelfBlock))
	}
	s.used++
	return s.used
}

func (s *shelf) give(i uint32, size int) {
	it := s.item(i, size)
	clear(it)
	it[0] = digest(s.free)
	s.free = i
}
