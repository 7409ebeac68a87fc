package sessionid

import (
	"fmt"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
)

const (
	// maxMembers is how many top-level members can have a place. maxHeaders is how
	// many headers can.
	maxMembers = 40
	maxHeaders = 63
	// maxInside is how many names inside a large member are looked up at once.
	maxInside = 6
	// maxName is the longest name of a member or a header.
	maxName = 63
)

// contentMembers hold the conversation. They have the first places in every
// table of members, so a place is also an index in content.Members.
var contentMembers = content.Members[:]

// nameTable gives each name that is read a place, counted from 0. Every top-level
// member and every header is looked up in it, and most have no place. The name's
// length and one byte in the middle show that without a comparison.
type nameTable struct {
	filter [256]uint64 // by middle byte: the lengths of names that have it
	byLen  [maxName + 1][]placed
	n      int
}

type placed struct {
	name string
	i    int
}

// add returns the place of a name, or a new place if the name has none. limit is how
// many places there can be.
func (t *nameTable) add(name string, limit int) (int, error) {
	if name == "" || len(name) > maxName {
		return 0, fmt.Errorf("a name must have 1 to %d bytes, and this one has %d", maxName, len(name))
	}
	if i, ok := t.find(bytesOf(name)); ok {
		return i, nil
	}
	if t.n == limit {
		return 0, fmt.Errorf("there are more than %d different names", limit)
	}
	i := t.n
	t.filter[name[len(name)/2]] |= 1 << len(name)
	t.byLen[len(name)] = append(t.byLen[len(name)], placed{name, i})
	t.n++
	return i, nil
}

// find returns the place of a name.
func (t *nameTable) find(name []byte) (i int, ok bool) {
	if len(name)-1 >= maxName || len(name) == 0 || t.filter[name[len(name)/2]]>>len(name)&1 == 0 {
		return 0, false
	}
	for _, p := range t.byLen[len(name)] {
		if p.name == string(name) {
			return p.i, true
		}
	}
	return 0, false
}
