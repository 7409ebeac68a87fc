package sessionid

import (
	"net/http"
	"slices"
	"strings"
)

// fromHeader takes the ids of the first stage that has an id in the header, and
// returns the index of that stage.
func (e *Extractor) fromHeader(id *ID, header http.Header) (at int) {
	var found found
	found.find(&e.headers, header)
	return e.fromFound(id, &found)
}

// fromFound does the work of fromHeader on headers that were found. It also takes the
// ids of the header's weaker stages, because one request has one session.
func (e *Extractor) fromFound(id *ID, found *found) (at int) { return e.fromFoundIn(id, found, 0) }

// fromFoundIn is fromFound for the stages from the index from on. The stages before it
// have no id.
func (e *Extractor) fromFoundIn(id *ID, found *found, from int) (at int) {
	for at = from; at < len(e.stages); at++ {
		st := &e.stages[at]
		switch {
		case st.inBody:
			continue
		case st.kind == KindPattern:
			e.byPattern(id, st, found.header)
		case st.names&found.have != 0:
			e.byName(id, st, found)
		}
		if id.slot == nil {
			continue
		}
		id.lead = id.n
		if st.kind.inHeader() && e.sessions&found.have&(found.have-1) != 0 {
			e.besides(id, e.stages[at+1:], found)
		}
		return at
	}
	return len(e.stages)
}

// besides takes the ids of the stages after the one that has given the primary key.
func (e *Extractor) besides(id *ID, stages []stage, found *found) {
	for i := range stages {
		if st := &stages[i]; st.kind.inHeader() && st.names&found.have != 0 {
			e.byName(id, st, found)
		}
	}
}

const (
	// manyHeaders is the largest header that is walked over. For a larger one it is
	// cheaper to look up each name: a step of the walk costs as much as two look-ups.
	manyHeaders = 12
	// maxFound is how many headers found can hold.
	maxFound = 8
)

// found holds the headers that an Extractor reads. One walk over the header costs
// less than a look-up of each of their names.
type found struct {
	header http.Header
	have   uint64 // a bit for each name that is there, or for all names
	n      int
	tops   [maxFound]uint8
	values [maxFound][]string
}

// find walks over the header.
func (f *found) find(names *nameTable, header http.Header) {
	f.header = header
	if len(header) > manyHeaders {
		f.have = ^uint64(0)
		return
	}
	for name, values := range header {
		i, ok := names.find(bytesOf(name))
		if !ok {
			continue
		}
		if f.n == maxFound {
			f.have = ^uint64(0)
			return
		}
		f.have |= 1 << i
		f.tops[f.n], f.values[f.n] = uint8(i), values
		f.n++
	}
}

// of returns the values of a slot's header, which the walk has found.
func (f *found) of(s *slot) []string {
	for i := range f.n {
		if int(f.tops[i]) == s.top {
			return f.values[i]
		}
	}
	return nil
}

// byName takes the ids of the slots whose headers are there.
func (e *Extractor) byName(id *ID, st *stage, found *found) {
	all := found.have == ^uint64(0)
	for i, key := range st.keys {
		var values []string
		if all {
			if values = found.header[key]; len(values) == 0 {
				continue
			}
		}
		s := &st.slots[i]
		if found.have>>s.top&1 == 0 || s.terms != nil && !s.isSure(found.header) {
			continue
		}
		if !all {
			values = found.of(s)
		}
		if v, ok := s.firstOf(values, e.maxID); ok {
			id.add(s, s.space.key(v))
			if s.kind != KindGenericHeader {
				return // one client, one id
			}
		}
	}
}

// denied are words in the names of headers that have the pattern's form but name
// no conversation: parents, machines, and what servers send.
var denied = []string{"parent", "remote", "mcp", "server", "backend", "upstream", "device", "machine", "user", "window", "request", "turn"}

// byPattern takes the ids of all headers x-*-session-id, in the order of their
// names.
func (e *Extractor) byPattern(id *ID, st *stage, header http.Header) {
	var names []string
	for name := range header {
		const prefix, suffix = "X-", "-Session-Id"
		if len(name) <= len(prefix)+len(suffix) || !strings.HasPrefix(name, prefix) || !strings.HasSuffix(name, suffix) {
			continue
		}
		words := strings.Split(strings.ToLower(name[len(prefix):len(name)-len(suffix)]), "-")
		if slices.Contains(e.deny, name) || slices.ContainsFunc(words, func(word string) bool { return slices.Contains(denied, word) }) {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	s := &st.slots[0]
	for _, name := range names {
		for _, v := range header[name] {
			if v, ok := clean(v, e.maxID); ok {
				id.add(s, s.space.key(name+"\x00"+v))
				break
			}
		}
	}
}
