package sessionid

import (
	"net/http"
	"slices"
	"strings"
)

// sureOf reports whether a guarded body row surely comes from its client.
// Kimi CLI puts its session, a bare uuid, where others put a user.
func (s *signal) sureOf(header http.Header) bool {
	agent := header["User-Agent"]
	return s.space != spaceKimi || len(agent) > 0 && strings.HasPrefix(agent[0], "KimiCLI/")
}

// agrees reports whether the guard's header carries the id v as well:
// X-Client-Request-Id is a random id of the request from most clients, and
// the session's from those whose prompt_cache_key it equals.
func (s *source) agrees(header http.Header, v string) bool {
	return s != nil && slices.Contains(header[s.name], v)
}

var patternSignal = signal{kind: KindPattern, space: spacePattern, name: "x-*-session-id", client: "unknown clients"}

// denied are the headers of the pattern's form that name no conversation:
// parents, machines, and what servers send.
var denied = []string{"parent", "remote", "mcp", "server", "backend", "upstream", "device", "machine", "user", "window", "request", "turn"}

// byPattern takes the ids of all headers of the form x-*-session-id, in the
// order of their names.
func (id *ID) byPattern(e *Extractor, st *stage, header http.Header) {
	var names []string
	for name := range header {
		const prefix, suffix = "X-", "-Session-Id"
		if len(name) <= len(prefix)+len(suffix) || !strings.HasPrefix(name, prefix) || !strings.HasSuffix(name, suffix) {
			continue
		}
		middle := strings.ToLower(name[len(prefix) : len(name)-len(suffix)])
		if slices.Contains(e.deny, name) || slices.ContainsFunc(strings.Split(middle, "-"), func(word string) bool { return slices.Contains(denied, word) }) {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range header[name] {
			if v, ok := clean(v, e.maxID); ok {
				id.add(&st.rows[0], spacePattern.key(name+"\x00"+v))
				break
			}
		}
	}
}
