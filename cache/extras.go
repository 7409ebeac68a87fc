package cache

import "slices"

// Bounds of the keys of one session, so that an endless session cannot fill the
// store.
const (
	maxKeptNames = 8
	firstEnds    = 2 // kept for histories that fall back to their beginning
	recentEnds   = 6
	recentAlso   = 6
)

// extras are what only some sessions have: keys besides the home, and a memo.
// The methods that only read work on nil, too.
type extras struct {
	memo  string
	names []Key
	ends  []Key // oldest first
	also  []Key // oldest first
}

func (e *extras) has(k Key) bool {
	return e != nil && (slices.Contains(e.names, k) || slices.Contains(e.ends, k) || slices.Contains(e.also, k))
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
	e.ends = slices.DeleteFunc(e.ends, is)
	e.also = slices.DeleteFunc(e.also, is)
}

// renew makes a key the latest of also. It reports whether the key was there.
func (e *extras) renew(k Key) bool {
	i := slices.Index(e.also, k)
	if i < 0 {
		return false
	}
	copy(e.also[i:], e.also[i+1:])
	e.also[len(e.also)-1] = k
	return true
}

func (e *extras) each(do func(Key)) {
	for _, list := range [...][]Key{e.names, e.ends, e.also} {
		for _, k := range list {
			do(k)
		}
	}
}
