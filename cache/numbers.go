package cache

// numbers gives the names of a shard numbers for as long as records use them.
type numbers[N comparable] struct {
	ids     map[N]uint32
	entries []entry[N]
	free    []uint32
}

type entry[N comparable] struct {
	name    N
	refs    int
	tenant  uint32   // of a scope
	list    list     // of a tenant, by use
	account *account // of a tenant
}

func (n *numbers[N]) init() { *n = numbers[N]{ids: map[N]uint32{}} }

func (n *numbers[N]) at(id uint32) *entry[N] { return &n.entries[id] }

func (n *numbers[N]) find(name N) (id uint32, ok bool) {
	id, ok = n.ids[name]
	return id, ok
}

// add gives a name that has no number one, to be kept as it is.
func (n *numbers[N]) add(name N) (id uint32) {
	if last := len(n.free) - 1; last >= 0 {
		id = n.free[last]
		n.free = n.free[:last]
	} else {
		id = uint32(len(n.entries))
		n.entries = append(n.entries, entry[N]{})
	}
	n.entries[id] = entry[N]{name: name}
	n.ids[name] = id
	return id
}

func (n *numbers[N]) use(id uint32) { n.entries[id].refs++ }

// drop undoes one use. It reports whether that was the last one.
func (n *numbers[N]) drop(id uint32) (last bool) {
	e := &n.entries[id]
	if e.refs--; e.refs > 0 {
		return false
	}
	delete(n.ids, e.name)
	*e = entry[N]{}
	n.free = append(n.free, id)
	return true
}
