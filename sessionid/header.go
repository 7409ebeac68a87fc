package sessionid

import (
	"net/http"
	"slices"
	"strings"
)

// fromHeader takes the ids of the first stage that the header answers, and
// returns the index of that stage. Beside them it takes the ids of the header's
// weaker stages, because one request has one session.
func (e *Extractor) fromHeader(id *ID, header http.Header) (at int) {
	if len(header) == 0 {
		return len(e.stages)
	}
	var have uint64
	for at = range e.stages {
		st := &e.stages[at]
		switch {
		case st.inBody:
			continue
		case st.kind == KindPattern:
			e.byPattern(id, st, header)
		default:
			if have == 0 {
				// The strongest two are most of the traffic.
				e.byName(id, st.slots[:min(2, len(st.slots))], header, ^uint64(0))
				if id.slot == nil || st.kind == KindGenericHeader {
					have = e.present(header)
				}
			}
			if st.names&have != 0 {
				e.byName(id, st.slots, header, have)
			}
		}
		if id.slot == nil {
			continue
		}
		id.lead = id.n
		if st.kind.inHeader() {
			e.besides(id, e.stages[at+1:], header, have)
		}
		return at
	}
	return len(e.stages)
}

// besides takes the ids of the stages behind the one that has answered. have is
// 0 if nobody knows yet which names the header has.
func (e *Extractor) besides(id *ID, stages []stage, header http.Header, have uint64) {
	for i := range stages {
		st := &stages[i]
		if !st.kind.inHeader() {
			continue
		}
		if have == 0 {
			have = ^uint64(0)
		}
		if st.names&have != 0 {
			e.byName(id, st.slots, header, have)
		}
	}
}

// manyHeaders is from how many headers on it is cheaper to ask for each name
// than to walk over the header.
const manyHeaders = 32

// presentAlways is a bit that present always sets, so that its result is not 0.
const presentAlways = 1 << maxHeaders

// present returns which names the header has, a bit for each. Bits of names that
// it does not have may be set too.
func (e *Extractor) present(header http.Header) (have uint64) {
	if len(header) > manyHeaders {
		return ^uint64(0)
	}
	for name := range header {
		if i, ok := e.headers.find(bytesOf(name)); ok {
			have |= 1 << i
		}
	}
	return have | presentAlways
}

// byName takes the ids of the slots whose headers are there.
func (e *Extractor) byName(id *ID, slots []slot, header http.Header, have uint64) {
	for i := range slots {
		s := &slots[i]
		if have>>s.top&1 == 0 {
			continue
		}
		if v, ok := s.first(header, e.maxID); ok {
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
