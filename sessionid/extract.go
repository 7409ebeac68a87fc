package sessionid

import (
	"net/http"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
)

// standard is the Extractor of Extract.
var standard = func() *Extractor {
	e, err := NewExtractor(nil)
	if err != nil {
		panic(err) // a mistake in the census, which every test would show
	}
	return e
}()

// Extract names the session that a request belongs to, in the order that the
// package's documentation gives. It is [Extractor.Extract] with the zero
// [Options].
func Extract(header http.Header, body []byte) ID { return standard.Extract(header, body) }

// ExtractLeading is [Extract] without the Names after the leading ones ([ID.Leading]). It
// is [Extractor.ExtractLeading] with the zero [Options].
func ExtractLeading(header http.Header, body []byte) ID { return standard.ExtractLeading(header, body) }

// ReadLeading is for package affinity, and may change in any minor version before v1: use
// [ExtractLeading]. It does the same without two copies of the ID, which is large. id must
// point to a zero ID, and is then what ExtractLeading returns.
func ReadLeading(id *ID, header http.Header, body []byte) { standard.leading(id, header, body) }

// Conversation names the session that a body belongs to by its content alone, and ignores
// all ids in the body. It returns the zero ID if no message says anything, and for a body
// that is not one JSON object. It costs one walk over the body that hashes, and one
// allocation.
func Conversation(body []byte) ID { return byContentAlone.Extract(nil, body) }

// Passages returns keys of the summaries in a body, at most 128, in no particular order. If
// such a summary is the answer to an earlier request of the conversation, [ID.Passages] of
// that answer has some of these keys. Call it if [ID.Past] is PastSummary and no other key
// finds the session. It costs one walk over the body, and memory in proportion to the
// summary, of at most some MiB.
func Passages(body []byte) []Key { return content.PassagesIn(body) }

// byContentAlone is the Extractor of Conversation.
var byContentAlone = func() *Extractor {
	e, err := NewExtractor(&Options{Order: []Kind{KindContent}})
	if err != nil {
		panic(err) // as above
	}
	return e
}()

// Extract names the session that a request belongs to, and returns the zero ID
// if nothing names one. header has canonical names, as in net/http. header and
// body may be nil; Extract only reads them and does not keep them. A body that is
// compressed, truncated, or not one JSON object names nothing, so only the header
// counts. Extract never fails and never panics. It may be called by any number of
// goroutines.
//
// What it costs, with the zero Options:
//   - An id in the header, or a client's own id after the last list of the body,
//     costs the same for every size of body, and no allocation.
//   - Another id in the body costs one walk over the body that hashes nothing.
//   - Content costs one walk that hashes, and one allocation.
//
// A body of up to 8 KiB is checked to be JSON as well.
func (e *Extractor) Extract(header http.Header, body []byte) (id ID) {
	e.extract(&id, header, body)
	return id
}

// extract finds the ID of a request. id is zero.
func (e *Extractor) extract(id *ID, header http.Header, body []byte) {
	var found found
	at := len(e.stages)
	if len(header) > 0 {
		found.find(&e.headers, header)
		at = e.fromFound(id, &found)
	}
	if at > e.firstBody && len(body) > 0 || e.ownersEverywhere {
		s := search{e: e, header: header}
		s.begin(body)
		s.fromBody(id, at)
	}
	if found.have&e.beside != 0 {
		e.besidesID(id, header)
	}
}

// ExtractLeading returns the ID that [Extractor.Extract] returns, but its Names are only
// the leading ones, see [ID.Leading]. All else is the same.
//
// Look a session up by the ID of ExtractLeading. If there is no such session, call Extract
// to bind all its names. If a well-known client names the session in its own header,
// ExtractLeading looks for that header and for those beside it, and not for other clients'
// names. Then it costs less than half of what Extract costs. If there are many headers, it
// looks for a client's own id at the end of the body before it looks for generic headers.
// Otherwise, and if Options.Order has a kind before [KindNativeHeader], it costs as much as
// Extract.
func (e *Extractor) ExtractLeading(header http.Header, body []byte) (id ID) {
	e.leading(&id, header, body)
	return id
}

// leading finds the ID of ExtractLeading. id is zero.
func (e *Extractor) leading(id *ID, header http.Header, body []byte) {
	switch {
	case !e.asksNativeFirst():
		e.extract(id, header, body)
	case e.askNative(id, header):
		e.besidesID(id, header)
		return
	case len(header) > manyHeaders:
		e.behindNative(id, header, body)
	default:
		e.extract(id, header, body)
	}
	lead := id.Leading()
	clear(id.names[lead:])
	id.n = uint8(lead)
}

// behindNative does what extract does for a header with many names and no native one.
// A client's own id at the end of the body is stronger than all other names, so it is
// looked for first.
func (e *Extractor) behindNative(id *ID, header http.Header, body []byte) {
	s := search{e: e, header: header}
	read := e.firstBody == 1 && e.stages[1].kind == KindNativeBody && len(body) > 0
	if read {
		s.begin(body)
		if s.atEnd() {
			*id = s.id
			e.besidesID(id, header)
			return
		}
	}
	found := found{header: header, have: ^uint64(0)}
	at := e.fromFoundIn(id, &found, 1)
	if at > e.firstBody && len(body) > 0 {
		if !read {
			s.begin(body)
		}
		s.fromBody(id, at)
	}
	e.besidesID(id, header)
}

// asksNativeFirst reports whether a client's own header is enough, so that nothing else
// must be read.
func (e *Extractor) asksNativeFirst() bool {
	return len(e.stages) > 0 && e.stages[0].kind == KindNativeHeader && !e.ownersEverywhere
}

// asked is how many of the native headers are looked up by their names: those of
// Claude Code and of Codex, which send most requests. Each further one would cost every
// other request a look-up. In a header with many names, look-ups cost less than a walk,
// and all native headers are looked up.
const asked = 2

// askNative takes the id of one of the strongest native headers.
func (e *Extractor) askNative(id *ID, header http.Header) bool {
	st := &e.stages[0]
	keys := st.keys
	if len(header) <= manyHeaders {
		keys = keys[:min(asked, len(keys))]
	}
	for i, key := range keys {
		values := header[key]
		if len(values) == 0 {
			continue
		}
		s := &st.slots[i]
		if s.terms != nil && !s.isSure(header) {
			continue
		}
		if v, ok := s.firstOf(values, e.maxID); ok {
			id.slot, id.n, id.lead = s, 1, 1
			s.space.digest(&id.names[0], v)
			return true
		}
	}
	return false
}

// besidesID takes what the header names beside the session: the subagent, and state that
// only one auth has.
func (e *Extractor) besidesID(id *ID, header http.Header) {
	owners := e.ownerHeaders
	if id.slot != nil {
		e.lane(id, header)
		owners = id.slot.ownerHeaders
	}
	for _, s := range owners {
		if v, ok := s.first(header, maxOwnerBytes); ok {
			id.addOwner(s, v)
		}
	}
}
