package sessionid

import (
	"bytes"
	"net/http"
)

// Extract names the session that a request belongs to, by the order in the
// package's documentation. header is keyed as net/http does (canonical
// names); it and body may be nil, are only read, and are not kept. A body
// that is compressed, truncated, or not one JSON object has no signal: only
// the header counts. Extract never fails and never panics; it returns the
// zero ID when nothing names a session. It may be called by any number of
// goroutines.
func Extract(header http.Header, body []byte) ID {
	var id ID
	id.fromHeader(header)
	switch {
	case id.signal == nil:
		id.fromBody(body)
	case id.signal.kind == KindGenericHeader && mayBeClaude(body):
		id.claudeFirst(body)
	}
	return id
}

// add takes one explicit id. The first one names the ID.
func (id *ID) add(s *signal, k Key) {
	if id.signal == nil {
		id.signal = s
	}
	for _, have := range id.Names() {
		if have == k {
			return
		}
	}
	if int(id.n) < len(id.names) {
		id.names[id.n] = k
		id.n++
	}
}

func (id *ID) fromHeader(header http.Header) {
	if len(header) == 0 {
		return
	}
	for _, s := range headerSignals {
		for _, v := range header[s.name] {
			// The first value that is an id: proxies leave empty ones in front.
			if v, ok := s.id(v); ok {
				id.add(s, s.space.key(v))
				break
			}
		}
	}
}

// claudeWindow is how far from either end of a body Claude Code's metadata is
// looked for when a generic header names the session already.
const claudeWindow = 4 << 10

// mayBeClaude keeps the price of a generic header independent of the body's
// size.
func mayBeClaude(body []byte) bool {
	mark := []byte(`"metadata"`)
	if len(body) <= 2*claudeWindow {
		return bytes.Contains(body, mark)
	}
	return bytes.Contains(body[len(body)-claudeWindow:], mark) || bytes.Contains(body[:claudeWindow], mark)
}

// claudeFirst puts Claude Code's own session in front of the generic header's.
func (id *ID) claudeFirst(body []byte) {
	b, ok := readBody(body)
	if !ok {
		return
	}
	for _, s := range bodySignals {
		if s.kind != KindNativeBody {
			continue
		}
		if v, ok := b.id(s); ok {
			behind := *id
			*id = ID{}
			id.add(s.signal, s.space.key(v))
			for _, k := range behind.Names() {
				id.add(s.signal, k)
			}
			return
		}
	}
}

func (id *ID) fromBody(body []byte) {
	b, ok := readBody(body)
	if !ok {
		return
	}
	for _, s := range bodySignals {
		switch s.kind {
		case KindUser:
			continue
		case KindCacheKey:
			if v, ok := b.id(s); ok {
				id.weak = s.space.key(v)
				if id.signal == nil {
					id.signal = s.signal
				}
			}
		default:
			if v, ok := b.id(s); ok {
				id.add(s.signal, s.space.key(v))
			}
		}
	}
	if id.signal != nil {
		return
	}
	if id.chain = b.chain(); len(id.chain) > 0 {
		id.signal = &contentSignal
		return
	}
	for _, s := range bodySignals {
		if s.kind != KindUser {
			continue
		}
		if v, ok := b.id(s); ok {
			id.add(s.signal, s.space.key(v))
		}
	}
}
