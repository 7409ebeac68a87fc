package sessionid

// body is a request body taken apart at its top level: the raw values of the
// members that somebody reads.
type body struct {
	raw [maxMembers][]byte
}

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
		if ch := c.peek(); (ch == '[' || ch == '{') && !(known && e.strong[i]) {
			return
		}
		value := c.skip()
		if known && !c.bad {
			b.raw[i] = value
		}
	}
}

// last reads the last top-level member that t has not come to yet and that
// somebody reads, and tells which one it is. Of duplicates the last one
// counts, which is the first one met here; the others are passed over.
func (b *body) last(m *memberTable, t *tail) (i int, ok bool) {
	for {
		name, value, ok := t.member()
		if !ok {
			return 0, false
		}
		if i, known := m.find(name); known && b.raw[i] == nil {
			b.raw[i] = value
			return i, true
		}
	}
}

// whole walks all of a body, and the conversation with it if ch is not nil.
// It returns false if the text is not one JSON object.
func (b *body) whole(m *memberTable, text []byte, ch *chain) bool {
	c := cursor{b: text}
	return b.members(m, &c, ch) && skipSpace(text, c.i) == len(text)
}

// members reads the object that the cursor stands before, member by member;
// it returns false if the object does not end.
func (b *body) members(m *memberTable, c *cursor, ch *chain) bool {
	c.i = skipSpace(c.b, c.i)
	if c.peek() != '{' {
		return false
	}
	c.enter()
	first := true
	for {
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
			b.raw[i] = c.b[start:c.i]
		}
	}
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
