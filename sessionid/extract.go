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
//
// Cost: with a header, or an id in the first 512 bytes or the last 4 KiB of
// the body, independent of the body's size and without an allocation;
// otherwise one pass over the body and one allocation, for the boundaries.
func Extract(header http.Header, body []byte) ID {
	var id ID
	id.fromHeader(header)
	switch {
	case id.signal == nil:
		id.fromBody(body)
	case id.signal.kind == KindGenericHeader:
		id.claudeFirst(body)
	}
	return id
}

// add takes one explicit id. The first one names the ID.
func (id *ID) add(s *signal, k Key) {
	if id.signal == nil {
		id.signal = s
	}
	for i := range id.n {
		if id.names[i] == k {
			return
		}
	}
	if int(id.n) < len(id.names) {
		id.names[id.n] = k
		id.n++
	}
}

// fromHeader takes the ids of the header, the strongest first. Beside one of
// a client's own the generic ones are not looked for. (A look-up for each row
// is cheaper than a walk over the header's map.)
func (id *ID) fromHeader(header http.Header) {
	if len(header) == 0 {
		return
	}
	for _, s := range headerSignals {
		if id.signal != nil && id.signal.kind != s.kind {
			return
		}
		for _, v := range header[s.name] {
			// The first value that is an id: proxies leave empty ones in front.
			if v, ok := s.id(v); ok {
				id.add(s, s.space.key(v))
				if s.kind == KindNativeHeader {
					return
				}
				break
			}
		}
	}
}

// claudeFirst puts Claude Code's own session in front of the generic header's.
// In a large body it is looked for at the end only, where Claude Code puts it,
// so that a header's price does not depend on the body's size.
func (id *ID) claudeFirst(text []byte) {
	var b body
	end := text[max(0, len(text)-tailWindow):]
	if len(text) <= small {
		end = text
	}
	if !bytes.Contains(end, []byte(`metadata"`)) {
		return // the usual case: nothing is walked
	}
	if len(text) <= small {
		if !b.whole(text, nil) {
			return
		}
	} else if t, ok := newTail(end); ok {
		for {
			if i, ok := b.last(&t); !ok || i == memberMetadata {
				break
			}
		}
	}
	var claude ID
	claude.take(&b, KindNativeBody)
	if claude.IsZero() {
		return
	}
	for _, k := range id.Names() {
		claude.add(claude.signal, k)
	}
	*id = claude
}

func (id *ID) fromBody(text []byte) {
	var b body
	if len(text) <= small {
		if !b.whole(text, nil) || id.explicit(&b) {
			return
		}
	} else if id.fromEnds(text, &b) {
		return
	}
	var ch chain
	b = body{}
	if !b.whole(text, &ch) || id.explicit(&b) {
		return
	}
	if id.chain = ch.boundaries(); len(id.chain) > 0 {
		id.signal = &contentSignal
		return
	}
	id.take(&b, KindUser)
}

// fromEnds takes the ids at the ends of a large body; the middle is walked
// only if there is none.
func (id *ID) fromEnds(text []byte, b *body) bool {
	if i := skipSpace(text, 0); i == len(text) || text[i] != '{' {
		return false
	}
	t, ok := newTail(text[len(text)-tailWindow:])
	if !ok {
		return false // no object: the whole walk will say so
	}
	if b.front(text); id.explicit(b) {
		return true
	}
	*b = body{}
	for {
		i, ok := b.last(&t)
		if !ok {
			return id.explicit(b)
		}
		// The scan stops at the first strong id. Behind prompt_cache_key a
		// stronger one may still come.
		if strong := bodyStrong[i]; strong && id.explicit(b) && id.n > 0 {
			return true
		}
	}
}

// explicit takes the ids that the body's members hold, and tells whether there
// is one. Beside a client's own the generic ones are not looked for.
func (id *ID) explicit(b *body) bool {
	if id.take(b, KindNativeBody); id.signal != nil {
		return true
	}
	id.take(b, KindBody)
	id.take(b, KindCacheKey)
	return id.signal != nil
}

// take takes the ids of one kind.
func (id *ID) take(b *body, kind Kind) {
	for _, s := range bodySignals[kind] {
		if b.raw[s.top] == nil {
			continue
		}
		k, ok := b.id(s)
		switch {
		case !ok:
		case kind == KindCacheKey:
			id.weak = k
			if id.signal == nil {
				id.signal = s.signal
			}
		default:
			id.add(s.signal, k)
		}
	}
}
