package sessionid

import (
	"net/http"
	"unsafe"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// search finds the session that one body names. It reads as little of the body as
// it needs. The result does not depend on how much it reads: only the order of the
// top-level members decides, never a number of bytes.
type search struct {
	e      *Extractor
	limit  int // only stages before this one are searched
	header http.Header
	body   body
	id     ID

	ended  ending // what the walk from the end has found
	tailed bool   // that walk was made, and nothing else was read after it

	hashes bool // the content may be the identity
	asked  int  // stages before this one have no id

	// The large member that was read last: its place plus one, and the values inside
	// it. Many rows may read one member, and it may be most of the body.
	large  int
	inside [maxInside][]byte
}

// begin takes the body to be searched.
func (s *search) begin(text []byte) {
	for len(text) > 0 && jsontext.IsSpace(text[len(text)-1]) {
		text = text[:len(text)-1] // so that the end of the text is the object's
	}
	s.body.text = text
}

// tail reads the members after the last list, once.
func (s *search) tail() ending {
	if !s.tailed {
		s.ended, s.tailed = s.body.tail(&s.e.members), true
	}
	return s.ended
}

// atEnd takes an id of KindNativeBody after the last list, and reports whether there is
// one. No id of a weaker stage changes that result.
func (s *search) atEnd() bool {
	s.limit = len(s.e.stages)
	if s.tail() != allRead || !s.short() {
		return false
	}
	if s.isSound() {
		return true
	}
	s.id = ID{}
	return false
}

// fromBody takes the ids that the body has in the stages before limit. In the stage
// limit the header has an id.
func (s *search) fromBody(id *ID, limit int) {
	s.limit = limit
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
	if s.onlyNative() && !s.e.ownersEverywhere {
		// Most requests with a generic header have no such id, so a small body is
		// checked only if something was found.
		s.native()
		if (s.id.slot != nil || s.id.owners != nil) && !s.isSound() {
			s.id = ID{}
		}
		return
	}
	if !s.isSound() {
		return
	}
	for _, st := range s.e.stages[:s.limit] {
		s.hashes = s.hashes || st.kind == KindContent && (s.e.maxContent == 0 || len(s.body.text) <= s.e.maxContent)
	}
	m, end := &s.e.members, tooLong
	if !s.e.ownersEverywhere {
		if end = s.tail(); end == noObject || end == allRead && s.short() {
			return
		}
	}
	// The first walk hashes nothing. It is made if an id is likely, or if the walk
	// from the end gave up.
	if !s.hashes || end == tooLong || s.body.have&s.e.named != 0 || s.body.hints(m, s.e.named) {
		if !s.body.whole(m, nil) {
			s.id = ID{}
			return
		}
		if end == tooLong && !s.e.ownersEverywhere && s.short() {
			return
		}
		s.owners(-1)
		if s.answer(nil) || !s.hashes {
			return
		}
	}
	var ch content.Chain
	if !s.body.whole(m, &ch) {
		s.id = ID{}
		return
	}
	if s.asked == 0 { // no stage was searched before
		s.owners(-1)
	}
	s.answer(&ch)
}

// isSound reports whether a small body is JSON. A large body is checked only where it is
// walked over.
func (s *search) isSound() bool {
	return len(s.body.text) > small || jsontext.Valid(s.body.text)
}

// onlyNative reports whether KindNativeBody is the only kind to search the body for.
// That is so if a generic header has an id.
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

// native looks for KindNativeBody alone, and for the owners beside it. It reads the
// members after the last list, where clients put their id, so that the cost of a
// generic header does not depend on the body's size.
func (s *search) native() {
	switch s.tail() {
	case noObject:
		return
	case tooLong:
		if !s.body.whole(&s.e.members, nil) {
			return
		}
	}
	if !s.short() {
		s.owners(s.body.list)
	}
}

// short takes an id after the last list if no other id of the body can be stronger,
// and the owners after that list. Such an id stands in the operator's first place, or is
// the last KindNativeBody id, if that kind is the first of the body's stages.
func (s *search) short() bool {
	if s.e.firstBody >= s.limit {
		return false
	}
	switch st := &s.e.stages[s.e.firstBody]; {
	case st.names&s.body.have == 0:
		return false
	case st.kind == KindOwn:
		s.first(st.slots[:1], s.body.list)
	case st.kind == KindNativeBody:
		s.last(st.slots, s.body.list)
	}
	if s.id.slot == nil {
		return false
	}
	s.id.lead = s.id.n
	s.owners(s.body.list)
	return true
}

// answer searches the members that were read, the strongest stage first. It returns
// false if no stage has an id, or if the messages must be walked first.
func (s *search) answer(ch *content.Chain) bool {
	id := &s.id
	for i := s.asked; i < s.limit; i++ {
		st := &s.e.stages[i]
		switch {
		case !st.inBody || st.names&s.body.have == 0 && st.kind != KindContent:
			continue
		case st.kind == KindContent && ch == nil && s.hashes:
			s.asked = i // the walk that hashes finds the same members
			return false
		case st.kind == KindContent:
			s.conversation(ch)
		case st.kind == KindCacheKey:
			s.cacheKey(st)
		case st.kind == KindOwn:
			s.first(st.slots, -1)
		case st.kind == KindNativeBody && s.limit < len(s.e.stages):
			s.last(st.slots, s.body.list) // a header is there, see native
		case st.kind == KindNativeBody:
			s.last(st.slots, -1)
		default:
			s.names(st)
		}
		if id.slot == nil {
			continue
		}
		id.lead = id.n
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
	raw := s.body.raw(at.top)
	for i, name := range at.sub {
		if i == 0 && at.inside >= 0 && len(raw) > largeMember {
			raw = s.insideOf(at, raw)
			continue
		}
		raw = jsontext.Lookup(raw, name)
	}
	// Ids are short, so a long member is not decoded. An escape takes at most 12
	// bytes for a byte of the id, and JSON inside JSON takes more.
	if len(raw) == 0 || len(raw) > 16*limit {
		return "", false
	}
	if at.read == claudeUserID {
		if v, ok := jsontext.FindQuoted(raw, "session_id"); ok {
			return clean(unsafe.String(&v[0], len(v)), limit)
		}
	}
	return at.read.id(jsontext.Unquote(raw, buf), limit)
}

// largeMember is the size from which on a member is read once for all slots in it.
const largeMember = 1 << 10

// insideOf returns the value inside a large member that a slot reads.
func (s *search) insideOf(at *slot, raw []byte) []byte {
	if s.large != at.top+1 {
		s.large = at.top + 1
		clear(s.inside[:])
		names := s.e.inside[at.top]
		jsontext.LookupAll(raw, names, s.inside[:len(names)])
	}
	return s.inside[at.inside]
}

// key digests the id of a slot if its member is there and stands after the index
// behind.
func (s *search) key(at *slot, behind int) (k Key, ok bool) {
	if !s.body.has(at.top) || s.body.at[at.top].from <= behind {
		return k, false
	}
	var buf jsontext.Scratch
	v, ok := s.value(at, s.e.maxID, &buf)
	if !ok {
		return k, false
	}
	return at.space.key(v), true
}

// names takes the explicit ids of one stage.
func (s *search) names(st *stage) {
	for i := range st.slots {
		if k, ok := s.key(&st.slots[i], -1); ok {
			s.id.add(&st.slots[i], k)
		}
	}
}

// first takes the id of the strongest slot that has one.
func (s *search) first(slots []slot, behind int) {
	for i := range slots {
		if k, ok := s.key(&slots[i], behind); ok {
			s.id.add(&slots[i], k)
			return
		}
	}
}

// last takes the id of the slot whose member stands last. So a walk from the end
// may stop at the first one that it meets.
func (s *search) last(slots []slot, behind int) {
	var found *slot
	var key Key
	for i := range slots {
		if k, ok := s.key(&slots[i], behind); ok {
			found, key, behind = &slots[i], k, s.body.at[slots[i].top].from
		}
	}
	if found != nil {
		s.id.add(found, key)
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
// v. Most clients send a random id of the request in X-Client-Request-Id. Clients that
// send the cache key there name their session by both.
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

// owners takes the owners that are named by the members that were read and stand
// after the index behind.
func (s *search) owners(behind int) {
	if s.body.have&s.e.ownerMembers == 0 {
		return
	}
	for i := range s.e.ownerBody {
		at := &s.e.ownerBody[i]
		if !s.body.has(at.top) || s.body.at[at.top].from <= behind {
			continue
		}
		var buf jsontext.Scratch
		if v, ok := s.value(at, maxOwnerBytes, &buf); ok {
			s.id.addOwner(at, v)
		}
	}
}
