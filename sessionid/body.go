package sessionid

// body is a request body taken apart at its top level: the raw values of the
// members that somebody reads.
type body struct {
	have uint64 // which of them are there, a bit for each
	raw  [maxMembers][]byte
}

func (b *body) has(i int) bool { return b.have>>i&1 != 0 }

func (b *body) set(i int, raw []byte) {
	b.raw[i] = raw
	b.have |= 1 << i
}

func (b *body) clear() { b.have = 0 }

// A large body is looked at at its ends first, since most clients put their
// session there: so far at the front, and so far at the end.
const (
	frontWindow = 512
	tailWindow  = 4 << 10
	small       = 2 * tailWindow // what is walked as a whole at once
)

// front reads the members at the front of a large body, as far as the first
// list or object that holds no id. What the rest of the body repeats or breaks
// is not noticed.
func (b *body) front(e *Extractor, text []byte) {
	c := cursor{b: text[:frontWindow]}
	c.i = skipSpace(c.b, c.i)
	c.enter()
	first := true
	for {
		name, ok := c.member(&first)
		if !ok {
			return
		}
		i, known := e.members.find(name)
		if ch := c.peek(); (ch == '[' || ch == '{') && !(known && e.isStrong(i)) {
			return
		}
		value := c.skip()
		if known && !c.bad {
			b.set(i, value)
		}
	}
}

// last reads the last top-level member that t has not come to yet and that
// somebody reads, and tells which one it is. Of duplicates the last one
// counts, which is the first one met here; the others are passed over.
func (b *body) last(m *nameTable, t *tail) (i int, ok bool) {
	for {
		name, value, ok := t.member()
		if !ok {
			return 0, false
		}
		if i, known := m.find(name); known && !b.has(i) {
			b.set(i, value)
			return i, true
		}
	}
}

// whole walks all of a body, and the conversation with it if ch is not nil.
// It returns false if the text is not one JSON object.
func (b *body) whole(m *nameTable, text []byte, ch *chain) bool {
	c := cursor{b: text}
	return b.members(m, &c, ch) && skipSpace(text, c.i) == len(text)
}

// maxTopLevel is how many members a request may have. Those of all APIs have
// some twenty; what has more is none.
const maxTopLevel = 1000

// members reads the object that the cursor stands before, member by member;
// it returns false if the object does not end, or is none of a request.
func (b *body) members(m *nameTable, c *cursor, ch *chain) bool {
	c.i = skipSpace(c.b, c.i)
	if c.peek() != '{' {
		return false
	}
	c.enter()
	first := true
	for range maxTopLevel + 1 {
		name, ok := c.member(&first)
		if !ok {
			return !c.bad
		}
		i, known := m.find(name)
		if !known {
			c.skip()
			continue
		}
		start := c.i
		if ch == nil || !ch.member(i, c) {
			c.skip()
		}
		if !c.bad {
			b.set(i, c.b[start:c.i])
		}
	}
	return false
}

// value reads a row's id from the body; it may share memory with the body or
// buf.
func (b *body) value(s *source, limit int, buf *scratch) (string, bool) {
	raw := b.raw[s.top]
	for _, name := range s.sub {
		raw = lookup(raw, name)
	}
	// An id is short; a member of a megabyte is not decoded to find that out.
	// Escapes take at most 12 bytes for one of the id, JSON inside JSON more.
	if len(raw) == 0 || len(raw) > 16*limit {
		return "", false
	}
	return s.id(unquote(raw, buf), limit)
}
