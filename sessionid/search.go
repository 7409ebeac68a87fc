package sessionid

import (
	"bytes"
	"net/http"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// search finds the session that one body names. It reads as little of the body
// as that takes.
type search struct {
	e      *Extractor
	limit  int // only stages before this one are asked
	header http.Header
	text   []byte
	body   body
	id     ID

	hashes bool // the content may be the identity
	weak   bool // an id was found at an end, but a stronger one may stand in the middle
}

// fromBody takes what the body says in the stages before limit, which is the
// stage that the header has answered.
func (e *Extractor) fromBody(id *ID, limit int, header http.Header, text []byte) {
	s := search{e: e, limit: limit, header: header, text: text}
	s.run()
	if id.slot != nil {
		if s.id.slot == nil {
			id.owners = s.id.owners
			return
		}
		for _, k := range id.Names() {
			s.id.add(s.id.slot, k)
		}
	}
	*id = s.id
}

func (s *search) run() {
	for _, st := range s.e.stages[:s.limit] {
		s.hashes = s.hashes || st.kind == KindContent && (s.e.maxContent == 0 || len(s.text) <= s.e.maxContent)
	}
	everywhere := s.e.ownersEverywhere
	switch {
	case everywhere:
	case s.onlyNative():
		s.nativeAtEnd()
		s.owners()
		return
	case len(s.text) > small && s.ends():
		s.owners()
		return
	}
	// The first walk hashes nothing, where an id is likely or the content does
	// not count.
	if everywhere || s.weak || !s.hashes || len(s.text) <= small {
		if s.body.clear(); !s.body.whole(&s.e.members, s.text, nil) {
			s.id = ID{}
			return
		}
		s.owners()
		if s.answer(nil) || !s.hashes {
			return
		}
	}
	var ch content.Chain
	if s.body.clear(); s.body.whole(&s.e.members, s.text, &ch) {
		s.owners()
		s.answer(&ch)
	}
}

// answer asks the stages, the strongest first, for what the members hold that
// were read. It returns false if no stage knows, or if the messages have to be
// walked first.
func (s *search) answer(ch *content.Chain) bool {
	id := &s.id
	id.slot, id.n, id.weak = nil, 0, Key{}
	for i := range s.e.stages[:s.limit] {
		st := &s.e.stages[i]
		switch {
		case !st.inBody || st.names&s.body.have == 0 && st.kind != KindContent:
			continue
		case st.kind == KindContent && ch == nil && s.hashes:
			return false
		case st.kind == KindContent:
			s.conversation(ch)
		case st.kind == KindCacheKey:
			s.cacheKey(st)
		default:
			s.names(st)
		}
		if id.slot == nil {
			continue
		}
		if st.kind == KindBody {
			s.besides()
		}
		return true
	}
	return false
}

// value reads the id of a slot whose member is there. The id may share memory
// with the body or buf.
func (s *search) value(at *slot, limit int, buf *jsontext.Scratch) (id string, ok bool) {
	if at.terms != nil && !at.isSure(s.header) {
		return "", false
	}
	raw := s.body.raw[at.top]
	for _, name := range at.sub {
		raw = jsontext.Lookup(raw, name)
	}
	// Ids are short, so a long member is not decoded. An escape takes at most 12
	// bytes for a byte of the id, and JSON inside JSON takes more.
	if len(raw) == 0 || len(raw) > 16*limit {
		return "", false
	}
	return at.read.id(jsontext.Unquote(raw, buf), limit)
}

// names takes the explicit ids of one stage.
func (s *search) names(st *stage) {
	for i := range st.slots {
		at := &st.slots[i]
		if !s.body.has(at.top) {
			continue
		}
		var buf jsontext.Scratch
		if v, ok := s.value(at, s.e.maxID, &buf); ok {
			s.id.add(at, at.space.key(v))
		}
	}
}

// cacheKey takes the cache key as the weak key, and as a name too if a header
// has the same id.
func (s *search) cacheKey(st *stage) {
	for i := range st.slots {
		at := &st.slots[i]
		if !s.body.has(at.top) {
			continue
		}
		var buf jsontext.Scratch
		v, ok := s.value(at, s.e.maxID, &buf)
		if !ok {
			continue
		}
		s.id.weak = at.space.key(v)
		switch {
		case s.inHeader(v):
			s.id.add(at, s.id.weak)
		case s.id.slot == nil:
			s.id.slot = at
		}
		return
	}
}

// inHeader reports whether a header that may repeat the cache key has the value
// v. Most clients send a random id of the request in X-Client-Request-Id; those
// that send the cache key there name their session by both.
func (s *search) inHeader(v string) bool {
	for _, h := range s.e.cacheKeyHeaders {
		for _, w := range s.header[h.name] {
			if w == v && h.isSure(s.header) {
				return true
			}
		}
	}
	return false
}

// besides takes the cache key beside a stronger id, wherever it stands in the
// order.
func (s *search) besides() {
	for i := range s.e.stages {
		if st := &s.e.stages[i]; st.kind == KindCacheKey {
			s.cacheKey(st)
		}
	}
}

// conversation takes the content as the identity.
func (s *search) conversation(ch *content.Chain) {
	if ch == nil || ch.Empty() {
		return
	}
	s.id.slot = &contentSlot
	s.id.history = ch.History()
	for _, o := range s.id.owners {
		for i := range s.e.ownerBody {
			if at := &s.e.ownerBody[i]; at.name == o.Name && at.replacesHistory() {
				s.id.history.Behind(o.Key)
			}
		}
	}
}

// owners takes the state of auths that the members name which were read.
func (s *search) owners() {
	if s.body.have&s.e.ownerMembers == 0 {
		return
	}
	for i := range s.e.ownerBody {
		at := &s.e.ownerBody[i]
		if !s.body.has(at.top) {
			continue
		}
		var buf jsontext.Scratch
		if v, ok := s.value(at, maxOwnerBytes, &buf); ok {
			s.id.addOwner(at, v)
		}
	}
}

// ends looks at the ends of a large body. It returns false if the middle has to
// be walked too.
func (s *search) ends() bool {
	if _, isObject := jsontext.NewCursor(s.text); !isObject {
		return false
	}
	walk, ok := jsontext.NewBackward(s.text[len(s.text)-tailWindow:])
	if !ok {
		return false // no object, which the walk over the whole body will find
	}
	if s.body.front(s.e, s.text); s.answer(nil) {
		if s.decided() {
			return true
		}
		s.weak = true
	}
	s.body.clear()
	for {
		i, ok := s.body.back(&s.e.members, &walk)
		if !ok {
			break
		}
		if s.e.isStrong(i) && s.answer(nil) && s.decided() {
			return true
		}
	}
	s.weak = s.answer(nil) || s.weak
	return false
}

// decided reports whether the id that was found ends the search. A weak id does
// not: a session would be known by it when its bodies are large, and by a
// stronger id in the middle while they are small.
func (s *search) decided() bool { return endsSearch(s.id.slot.kind) }

// onlyNative reports whether only KindNativeBody is asked. That is so behind a
// generic header.
func (s *search) onlyNative() bool {
	if s.limit == len(s.e.stages) {
		return false
	}
	for i := range s.e.stages[:s.limit] {
		if st := &s.e.stages[i]; st.inBody && st.kind != KindNativeBody {
			return false
		}
	}
	return true
}

// nativeAtEnd looks for KindNativeBody alone. It looks at the end of a large
// body only, where Claude Code puts its id, so that the price of a generic
// header does not depend on the body's size.
func (s *search) nativeAtEnd() {
	end := s.text[max(0, len(s.text)-tailWindow):]
	if len(s.text) <= small {
		end = s.text
	}
	if !s.mayBeNative(end) {
		return // most bodies: nothing is walked
	}
	if len(s.text) <= small {
		if !s.body.whole(&s.e.members, s.text, nil) {
			s.body.clear()
			return
		}
	} else if walk, ok := jsontext.NewBackward(end); ok {
		for {
			i, ok := s.body.back(&s.e.members, &walk)
			if !ok || s.e.isStrong(i) && s.answer(nil) {
				return
			}
		}
	}
	s.answer(nil)
}

// mayBeNative reports whether text contains the name of a member that holds a
// KindNativeBody id.
func (s *search) mayBeNative(text []byte) bool {
	for _, name := range s.e.inNative {
		if bytes.Contains(text, name) {
			return true
		}
	}
	return false
}
