package sessionid

import "fmt"

const (
	// maxMembers is room for every top-level member that somebody reads,
	// maxHeaders for every header.
	maxMembers = 40
	maxHeaders = 63
	// maxName is the longest name of one.
	maxName = 63
)

// Members that hold the conversation have the first places in every table,
// the strongest first.
const (
	memberMessages = iota
	memberContents
	memberInput
	memberPrompt
	memberRequest // Code Assist wraps Gemini's request
	contentMembers
)

var contentNames = [contentMembers]string{"messages", "contents", "input", "prompt", "request"}

// nameTable gives the names that somebody reads their places. It is asked for
// every member of every body and every header, and mostly says no: by length
// and one byte in the middle, before anything is compared.
type nameTable struct {
	filter [256]uint64 // by middle byte: the lengths of names that have it
	byLen  [maxName + 1][]placed
	n      int
}

type placed struct {
	name string
	i    int
}

// add is the place of a name, a new one if it has none yet.
func (t *nameTable) add(name string, limit int) (int, error) {
	if name == "" || len(name) > maxName {
		return 0, fmt.Errorf("a name has 1 to %d bytes, not %d", maxName, len(name))
	}
	if i, ok := t.find(bytesOf(name)); ok {
		return i, nil
	}
	if t.n == limit {
		return 0, fmt.Errorf("more than %d different names", limit)
	}
	i := t.n
	t.filter[name[len(name)/2]] |= 1 << len(name)
	t.byLen[len(name)] = append(t.byLen[len(name)], placed{name, i})
	t.n++
	return i, nil
}

// find is the place of a name.
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
