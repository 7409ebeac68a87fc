package sessionid

import "net/http"

// standard is what Extract uses.
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

// Conversation names the session that the body of a request belongs to by its content
// alone, whatever ids are in it. It returns the zero ID if no message says anything,
// and for a body that is not one JSON object. It costs one walk over the body that
// hashes, and one allocation.
func Conversation(body []byte) ID { return byContentAlone.Extract(nil, body) }

// byContentAlone is what Conversation uses.
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
//   - An id in the header, or a client's own id behind the last list of the body,
//     costs the same for every size of body, and no allocation.
//   - Another id in the body costs one walk over the body that hashes nothing.
//   - Content costs one walk that hashes, and one allocation.
//
// A body of up to 8 KiB is checked to be JSON as well.
func (e *Extractor) Extract(header http.Header, body []byte) ID {
	var id ID
	var found found
	at := len(e.stages)
	if len(header) > 0 {
		found.find(&e.headers, header)
		at = e.fromFound(&id, &found)
	}
	if at > e.firstBody && len(body) > 0 || e.ownersEverywhere {
		e.fromBody(&id, at, header, body)
	}
	if found.have&e.beside == 0 {
		return id
	}
	owners := e.ownerHeaders
	if id.slot != nil {
		e.lane(&id, header)
		owners = id.slot.ownerHeaders
	}
	for _, s := range owners {
		if v, ok := s.first(header, maxOwnerBytes); ok {
			id.addOwner(s, v)
		}
	}
	return id
}
