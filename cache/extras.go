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

// extras are what only some sessions have: keys besides the home, and a memo.
// The methods that only read work on nil, too.
type extras struct {
	memo     string
	names    []Key
	ends     []Key // oldest first, like the others
	also     []Key
	marks    []Key
	answers  []Key
	served   atomic.Uint32 // requests that ended in the latest end
	asked    uint32        // requests that came with the latest end
	answered bool          // the latest end
	twin     *twin         // nil for nearly all sessions
}

func (e *extras) has(k Key) bool {
	if e == nil {
		return false
	}
	for _, list := range e.lists() {
		if slices.Contains(*list, k) {
			return true
		}
	}
	return false
}

func (e *extras) lists() [5]*[]Key {
	return [...]*[]Key{&e.names, &e.ends, &e.also, &e.marks, &e.answers}
}

func (e *extras) hasName(k Key) bool { return e != nil && slices.Contains(e.names, k) }

// latest is the latest end, zero if there is none.
func (e *extras) latest() Key {
	if e == nil || len(e.ends) == 0 {
		return Key{}
	}
	return e.ends[len(e.ends)-1]
}

// forget takes a key away that is not a name.
func (e *extras) forget(k Key) {
	is := func(have Key) bool { return have == k }
	for i, list := range e.lists() {
		if i > 0 {
			*list = slices.DeleteFunc(*list, is)
		}
	}
}

// renew makes a key the latest of a list. It reports whether the key was there.
func renew(list []Key, k Key) bool {
	i := slices.Index(list, k)
	if i < 0 {
		return false
	}
	copy(list[i:], list[i+1:])
	list[len(list)-1] = k
	return true
}

func (e *extras) each(do func(Key)) {
	for _, list := range e.lists() {
		for _, k := range *list {
			do(k)
		}
	}
}
