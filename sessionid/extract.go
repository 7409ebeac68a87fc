package sessionid

import "net/http"

// standard is what Extract uses.
var standard = func() *Extractor {
	e, err := NewExtractor(Config{})
	if err != nil {
		panic(err) // the census contradicts itself: no test passes
	}
	return e
}()

// Extract names the session that a request belongs to, by the order in the
// package's documentation: it is [Extractor.Extract] of an Extractor with the
// zero [Config].
func Extract(header http.Header, body []byte) ID { return standard.Extract(header, body) }

// Extract names the session that a request belongs to. header is keyed as
// net/http does (canonical names); it and body may be nil, are only read, and
// are not kept. A body that is compressed, truncated, or not one JSON object
// has no signal: only the header counts. Extract never fails and never
// panics; it returns the zero ID when nothing names a session. It may be
// called by any number of goroutines.
//
// Cost, with the zero Config: with a header, or an id of the body in its first
// 512 bytes or last 4 KiB, independent of the body's size and without an
// allocation; with prompt_cache_key alone, one walk over the body; otherwise
// one walk that hashes, and one allocation.
func (e *Extractor) Extract(header http.Header, body []byte) ID {
	var id ID
	at := len(e.stages)
	if len(header) > 0 {
		at = e.fromHeader(&id, header)
	}
	if at > e.firstBody && len(body) > 0 || e.owners == OwnersAlways {
		e.fromBody(&id, at, header, body)
	}
	if id.source != nil {
		if len(header) == 0 {
			return id
		}
		id.laneOf(e, header)
		if id.source.space != spaceCodex {
			return id // nobody else sends such a header beside a session
		}
	}
	if len(header) > 0 {
		id.ownHeaders(e, header)
	}
	return id
}

// add takes one explicit id. The first one names the ID.
func (id *ID) add(s *source, k Key) {
	if id.source == nil {
		id.source = s
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

// fromHeader takes the ids of the first stage that the header answers, and
// returns which one that is.
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
			id.byPattern(e, st, header)
		default:
			if have == 0 {
				// The strongest two are most of the traffic.
				if id.byHeader(e, st.rows[:min(2, len(st.rows))], header, ^uint64(0)); id.source != nil && st.kind != KindGenericHeader {
					return at
				}
				have = e.present(header)
			}
			if st.names&have != 0 {
				id.byHeader(e, st.rows, header, have)
			}
		}
		if id.source != nil {
			return at
		}
	}
	return len(e.stages)
}

// manyHeaders is where asking for each name is cheaper than a walk over the
// header.
const manyHeaders = 32

// presentAlways is set in what present returns.
const presentAlways = 1 << maxHeaders

// present are the names that the header has, a bit for each.
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

// byHeader takes the ids of a stage's rows, of those whose header is there.
func (id *ID) byHeader(e *Extractor, rows []source, header http.Header, have uint64) {
	for i := range rows {
		s := &rows[i]
		if have>>s.top&1 == 0 {
			continue
		}
		// The first value that is an id: proxies leave empty ones in front.
		if v, ok := s.first(header, e.maxID); ok {
			id.add(s, s.space.key(v))
			if s.kind != KindGenericHeader {
				return // one client, one id
			}
		}
	}
}

// fromBody takes what the body says in the stages before limit, the one that
// the header has answered.
func (e *Extractor) fromBody(id *ID, limit int, header http.Header, text []byte) {
	r := reader{e: e, limit: limit, header: header, text: text}
	r.search()
	if id.source != nil {
		if r.id.source == nil {
			id.owners = r.id.owners
			return
		}
		for _, k := range id.Names() {
			r.id.add(r.id.source, k)
		}
	}
	*id = r.id
}
