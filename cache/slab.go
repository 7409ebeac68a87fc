package cache

// slab holds records in blocks, by numbers from 1: no allocation for each, and
// no pointer between them for the garbage collector to follow.
type slab struct {
	blocks []*[slabBlock]record
	used   uint32 // numbers that were ever given
	free   uint32 // the first of those that were given back, linked by byAuth
}

// slabBlock is as many as fit into 4 KiB, a size that the allocator has.
const slabBlock = 51

func (s *slab) at(i uint32) *record { return &s.blocks[(i-1)/slabBlock][(i-1)%slabBlock] }

func (s *slab) take() uint32 {
	if i := s.free; i != 0 {
		s.free = s.at(i).byAuth.next
		return i
	}
	if int(s.used) == len(s.blocks)*slabBlock {
		s.blocks = append(s.blocks, new([slabBlock]record))
	}
	s.used++
	return s.used
}

func (s *slab) give(i uint32) {
	s.at(i).byAuth.next = s.free
	s.free = i
}

// Which of a record's links are meant.
type linked uint8

const (
	byAuth linked = iota
	byUse
)

func (r *record) links(by linked) *links {
	if by == byAuth {
		return &r.byAuth
	}
	return &r.byUse
}

// list is the head, the tail and the length of linked records.
type list struct {
	head, tail, n uint32
}

// push puts a record in front.
func (s *slab) push(l *list, i uint32, by linked) {
	*s.at(i).links(by) = links{next: l.head}
	if l.head != 0 {
		s.at(l.head).links(by).prev = i
	} else {
		l.tail = i
	}
	l.head = i
	l.n++
}

// cut takes a record out.
func (s *slab) cut(l *list, r *record, by linked) {
	k := *r.links(by)
	if k.prev != 0 {
		s.at(k.prev).links(by).next = k.next
	} else {
		l.head = k.next
	}
	if k.next != 0 {
		s.at(k.next).links(by).prev = k.prev
	} else {
		l.tail = k.prev
	}
	l.n--
}

// each calls do for every record of a list; do may take out the record that it
// is given.
func (s *slab) each(l *list, by linked, do func(uint32, *record)) {
	for next := l.head; next != 0; {
		i, r := next, s.at(next)
		next = r.links(by).next
		do(i, r)
	}
}
