package sessionid

import "fmt"

// maxMembers is room for every top-level member that somebody reads.
const maxMembers = 40

// maxMemberName is the longest name of one.
const maxMemberName = 63

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

// memberTable gives the top-level members that somebody reads their places.
// Looked up for every member of every body: by length, then compared.
type memberTable struct {
	byLen [maxMemberName + 1][]member
	n     int
}

type member struct {
	name string
	i    int
}

func (t *memberTable) init() {
	for _, name := range contentNames {
		t.insert(name)
	}
}

func (t *memberTable) insert(name string) int {
	i := t.n
	t.byLen[len(name)] = append(t.byLen[len(name)], member{name, i})
	t.n++
	return i
}

// add is the place of a member, a new one if it has none yet.
func (t *memberTable) add(name string) (int, error) {
	if len(name) > maxMemberName {
		return 0, fmt.Errorf("a member's name has at most %d bytes, not %d", maxMemberName, len(name))
	}
	if i, ok := t.find([]byte(name)); ok {
		return i, nil
	}
	if t.n == maxMembers {
		return 0, fmt.Errorf("more than %d different members", maxMembers)
	}
	return t.insert(name), nil
}

// find is the place of the member with that name.
func (t *memberTable) find(name []byte) (i int, ok bool) {
	if len(name) > maxMemberName {
		return 0, false
	}
	for _, m := range t.byLen[len(name)] {
		if m.name == string(name) {
			return m.i, true
		}
	}
	return 0, false
}
