package content

import (
	"slices"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// Reply has the sums of an answer as the next request will repeat it.
type Reply struct {
	messages []message
	ids      []Key
	passages []Key
}

// ReplyOf returns the Reply of an answer: a JSON list of messages or items, in the shape in
// which requests of its API repeat them.
func ReplyOf(list []byte) (r Reply) {
	const member = `{"messages":`
	text := append(append(append(make([]byte, 0, len(member)+len(list)+1), member...), list...), '}')
	c, _ := jsontext.NewCursor(text)
	_, v, ok := c.Member()
	if !ok || v.Form != jsontext.Open || v.Raw[0] != '[' {
		return r
	}
	var ch Chain
	if ch.Walk(0, &c, v); c.Failed {
		return r
	}
	for i := max(0, ch.n-len(ch.latest)); i < ch.n; i++ {
		r.messages = append(r.messages, ch.latest.message(i))
	}
	if ch.n > len(ch.latest) {
		r.messages = nil // too many for a boundary after them
	}
	r.ids = ch.ids.answered(nil, 0, false)
	if !slices.ContainsFunc(r.messages, func(m message) bool { return m.kind == modelCalls }) {
		r.passages = passagesOf(text) // an answer with calls is no summary
	}
	return r
}

// IsEmpty reports whether the reply says nothing.
func (r Reply) IsEmpty() bool { return len(r.messages) == 0 && len(r.ids) == 0 }

// OnlyIDs returns the reply without its words, if some of the words are missing.
func (r Reply) OnlyIDs() Reply { return Reply{ids: r.ids} }

const (
	replyIDs   = 4
	replyWords = 3
)

// After returns the keys that the next request has if r is the answer to this one: the
// boundary after the reply and marks of words, and ids.
func (h *History) After(r Reply) (keys, ids []Key) {
	if h.keys == nil {
		return nil, nil
	}
	p, before := h.tip, h.last
	var words []Key
	for i, m := range r.messages {
		p = p.behind(m)
		if i == 0 && before.sum != 0 && exchanged(before, m) {
			words = append(words, exchange(before, m))
		}
		words = appendWords(words, before, m, i+1, true)
		before = m
	}
	if len(r.messages) > 0 && h.last.sum != 0 {
		keys = append(keys, MakeKey(p.lo, p.hi))
	}
	return append(keys, words[:min(len(words), replyWords)]...), r.ids[:min(len(r.ids), replyIDs)]
}

// Passages returns the keys of passages of a reply to this request, at most 3. There are
// none unless the request may have asked for a summary. The slice is shared.
func (h *History) Passages(r Reply) []Key {
	if !h.asks {
		return nil
	}
	return r.passages
}
