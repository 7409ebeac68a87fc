package cache

import "sync/atomic"

// numbers gives each name of a shard a number, for as long as records use it. For that long,
// the entry of the number may be looked at without a lock.
type numbers[N comparable] struct {
	ids     map[N]uint32
	entries atomic.Pointer[[]atomic.Pointer[entry[N]]]
	n       uint32 // numbers that were ever given
	free    []uint32
	last    *entry[N] // the entry that was used last, or nil
}

type entry[N comparable] struct {
	name    N
	id      uint32
	refs    int
	tenant  uint32   // the number of a scope's tenant
	list    list     // the records of a tenant, by use
	account *account // that of a tenant
}

func (n *numbers[N]) init() {
	n.ids, n.n, n.free, n.last = map[N]uint32{}, 0, nil, nil
	n.entries.Store(&[]atomic.Pointer[entry[N]]{})
}

func (n *numbers[N]) at(id uint32) *entry[N] { return (*n.entries.Load())[id].Load() }

// look returns the name of a number. If the number is no longer in use, the name may be nil.
// It may be called at any time.
func (n *numbers[N]) look(id uint32) *N {
	if entries := *n.entries.Load(); int(id) < len(entries) {
		if e := entries[id].Load(); e != nil {
			return &e.name
		}
	}
	return nil
}

func (n *numbers[N]) find(name N) (id uint32, ok bool) {
	if n.last != nil && n.last.name == name {
		return n.last.id, true
	}
	id, ok = n.ids[name]
	return id, ok
}

// add gives a number to a name that has none. It keeps the name without copying it.
func (n *numbers[N]) add(name N) (id uint32) {
	if last := len(n.free) - 1; last >= 0 {
		id = n.free[last]
		n.free = n.free[:last]
	} else {
		id = n.n
		n.n++
		if old := *n.entries.Load(); int(id) == len(old) {
			more := make([]atomic.Pointer[entry[N]], 2*len(old)+1)
			for i := range old {
				more[i].Store(old[i].Load())
			}
			n.entries.Store(&more)
		}
	}
	n.last = &entry[N]{name: name, id: id}
	(*n.entries.Load())[id].Store(n.last)
	n.ids[name] = id
	return id
}

func (n *numbers[N]) use(id uint32) {
	n.last = n.at(id)
	n.last.refs++
}

// drop undoes one use. It reports whether that was the last one.
func (n *numbers[N]) drop(id uint32) (last bool) {
	e := n.at(id)
	if e.refs--; e.refs > 0 {
		return false
	}
	delete(n.ids, e.name)
	(*n.entries.Load())[id].Store(nil)
	n.last = nil
	n.free = append(n.free, id)
	return true
}
