package cache

// slab holds records in blocks, by numbers from 1: no allocation for each, and
// no pointer between them for the garbage collector to follow.
type slab struct {
	blocks []*[slabBlock]record
	used   uint32 // numbers that were ever given
	free   uint32 // the first of those that were given back, linked by byAuth
}

// slabBlock is as many as fit into 4 KiB, a size that the allocator has.
const slabBlock = 56

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

// each calls do for every record of a list; do may remove the one it is given.
func (s *slab) each(l *list, by linked, do func(uint32, *record)) {
	for next := l.head; next != 0; {
		i, r := next, s.at(next)
		next = r.links(by).next
		do(i, r)
	}
}

// table gives names numbers for as long as records use them.
type table[N comparable] struct {
	ids     map[N]uint32
	entries []entry[N]
	free    []uint32
}

type entry[N comparable] struct {
	name   N
	refs   int
	list   list   // of tenants
	tenant uint32 // of scopes
}

func (t *table[N]) init() { *t = table[N]{ids: map[N]uint32{}} }

func (t *table[N]) at(id uint32) *entry[N] { return &t.entries[id] }

func (t *table[N]) find(name N) (id uint32, ok bool) {
	id, ok = t.ids[name]
	return id, ok
}

func (t *table[N]) use(name N) uint32 {
	id, ok := t.ids[name]
	if !ok {
		if n := len(t.free); n > 0 {
			id = t.free[n-1]
			t.free = t.free[:n-1]
		} else {
			id = uint32(len(t.entries))
			t.entries = append(t.entries, entry[N]{})
		}
		t.entries[id] = entry[N]{name: name}
		t.ids[name] = id
	}
	t.entries[id].refs++
	return id
}

func (t *table[N]) drop(id uint32) {
	e := &t.entries[id]
	if e.refs--; e.refs == 0 {
		delete(t.ids, e.name)
		*e = entry[N]{}
		t.free = append(t.free, id)
	}
}
