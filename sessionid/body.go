package sessionid

import (
	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// body holds the raw values of those top-level members of a request that
// somebody reads.
type body struct {
	have uint64 // which members are there, a bit for each
	raw  [maxMembers][]byte
}

func (b *body) has(i int) bool { return b.have>>i&1 != 0 }

func (b *body) set(i int, raw []byte) {
	b.raw[i] = raw
	b.have |= 1 << i
}

func (b *body) clear() { b.have = 0 }

// Most clients put their session near one end of the body, so a large body is
// looked at there first.
const (
	frontWindow = 512
	tailWindow  = 4 << 10
	small       = 2 * tailWindow // a body of up to this size is walked whole at once
)

// front reads the members at the front of a large body, up to the first list or
// object that holds no id. It does not notice what the rest of the body repeats
// or breaks.
func (b *body) front(e *Extractor, text []byte) {
	c, ok := jsontext.NewCursor(text[:frontWindow])
	for ok {
		name, v, more := c.Member()
		if !more {
			return
		}
		i, known := e.members.find(name)
		if v.Form == jsontext.Open {
			if !known || !e.isStrong(i) {
				return
			}
			v = c.Skip()
		}
		if known && !c.Failed {
			b.set(i, v.Raw)
		}
	}
}

// back reads the next member that somebody reads, from the end of a body
// towards its beginning, and returns the member's place. The last of duplicate
// members counts, which is the first one met here; back passes over the others.
func (b *body) back(m *nameTable, walk *jsontext.Backward) (i int, ok bool) {
	for {
		name, value, ok := walk.Member()
		if !ok {
			return 0, false
		}
		if i, known := m.find(name); known && !b.has(i) {
			b.set(i, value)
			return i, true
		}
	}
}

// whole reads all members of a body. With a chain it walks the conversation too.
// It returns false if the text is not one JSON object, or has more than
// maxTopLevel members.
func (b *body) whole(m *nameTable, text []byte, ch *content.Chain) bool {
	c, ok := jsontext.NewCursor(text)
	if !ok {
		return false
	}
	for range maxTopLevel + 1 {
		name, v, ok := c.Member()
		if !ok {
			return !c.Failed && c.AtEnd()
		}
		i, known := m.find(name)
		start := c.At
		switch {
		case known && ch != nil && ch.Walk(i, &c, v):
			if v.Form == jsontext.Open {
				v.Raw = c.Since(start)
			}
		case v.Form == jsontext.Open:
			v = c.Skip()
		}
		if known && !c.Failed {
			b.set(i, v.Raw)
		}
	}
	return false
}
