package sessionid

// maxMembers is room for every top-level member that somebody reads.
const maxMembers = 24

// body is a request body taken apart at its top level: the raw values of the
// members that somebody reads.
type body struct {
	raw [maxMembers][]byte
}

// Members that hold the conversation.
var (
	memberMessages = memberIndex("messages")
	memberContents = memberIndex("contents")
	memberInput    = memberIndex("input")
	memberPrompt   = memberIndex("prompt")
	memberRequest  = memberIndex("request")
)

// readBody walks the top level once. ok is false when b is not one JSON
// object. Of duplicate members the last counts.
func readBody(b []byte) (body, bool) {
	var out body
	w, ok := object(b)
	if !ok {
		return out, false
	}
	for {
		name, value, ok := w.member()
		if !ok {
			return out, w.atEnd()
		}
		if i, known := bodyMembers[string(name)]; known {
			out.raw[i] = value
		}
	}
}

// id reads a signal's id from the body.
func (b *body) id(s bodySignal) (string, bool) {
	raw := b.raw[s.top]
	if len(raw) == 0 {
		return "", false
	}
	if s.sub != "" {
		raw = lookup(raw, s.sub)
	}
	// An id is short; a member of a megabyte is not decoded to find that out.
	// Escapes take at most 12 bytes for one of the id, JSON inside JSON more.
	if len(raw) == 0 || len(raw) > 16*MaxIDBytes {
		return "", false
	}
	v := unquote(raw)
	if v == "" {
		return "", false
	}
	return s.signal.id(v)
}
