package sessionid

// maxMembers is room for every top-level member that somebody reads.
const maxMembers = 24

// body is a request body taken apart at its top level: the raw values of the
// members that somebody reads.
type body struct {
	raw [maxMembers][]byte
}

// Members that hold the conversation, the strongest first.
var (
	memberMetadata = memberIndex("metadata")
	memberPrompt   = memberIndex("prompt")
	memberRequest  = memberIndex("request") // Code Assist wraps Gemini's request
	contentMembers = [...]int{memberIndex("messages"), memberIndex("contents"), memberIndex("input"), memberPrompt, memberRequest}
)

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
func (b *body) front(text []byte) {
	c := cursor{b: text[:frontWindow]}
	c.i = skipSpace(c.b, c.i)
	c.enter()
	first := true
	for {
		name, ok := c.member(&first)
		if !ok {
			return
		}
		i, known := bodyMembers[string(name)]
		if ch := c.peek(); (ch == '[' || ch == '{') && !(known && bodyStrong[i]) {
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
func (b *body) last(t *tail) (i int, ok bool) {
	for {
		name, value, ok := t.member()
		if !ok {
			return 0, false
		}
		if i, known := bodyMembers[string(name)]; known && b.raw[i] == nil {
			b.raw[i] = value
			return i, true
		}
	}
}

// whole walks all of a body, and the conversation with it if ch is not nil.
// It returns false if the text is not one JSON object.
func (b *body) whole(text []byte, ch *chain) bool {
	c := cursor{b: text}
	return b.members(&c, ch) && skipSpace(text, c.i) == len(text)
}

// members reads the object that the cursor stands before, member by member;
// it returns false if the object does not end.
func (b *body) members(c *cursor, ch *chain) bool {
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
		i, known := bodyMembers[string(name)]
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

// id reads a signal's id from the body and returns its key.
func (b *body) id(s *bodySignal) (k Key, ok bool) {
	raw := b.raw[s.top]
	if s.sub != "" {
		raw = lookup(raw, s.sub)
	}
	// An id is short; a member of a megabyte is not decoded to find that out.
	// Escapes take at most 12 bytes for one of the id, JSON inside JSON more.
	if len(raw) == 0 || len(raw) > 16*MaxIDBytes {
		return k, false
	}
	var buf scratch
	v, ok := s.signal.id(unquote(raw, &buf))
	if !ok {
		return k, false
	}
	return s.space.key(v), true
}
