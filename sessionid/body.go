package sessionid

import (
	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// body holds the positions of the top-level members that an Extractor reads.
type body struct {
	text []byte
	have uint64 // which members are there, a bit for each
	list int    // where the last list at the top begins; -1: there is none, or it was not read
	at   [maxMembers]span
}

// span is a part of a text.
type span struct{ from, to int }

func (b *body) has(i int) bool { return b.have>>i&1 != 0 }

// raw returns the value of a member that is there, as the text spells it.
func (b *body) raw(i int) []byte { return b.text[b.at[i].from:b.at[i].to] }

func (b *body) set(i, from, to int) {
	b.at[i] = span{from, to}
	b.have |= 1 << i
}

func (b *body) clear() { b.have, b.list = 0, -1 }

const (
	// small is the largest body that is checked whole before it is read.
	small = 8 << 10
	// Of a larger body, the first frontWindow bytes decide only which walk comes first.
	frontWindow = 512
)

// ending says what a walk from the end has found.
type ending uint8

const (
	noObject ending = iota // the text is no object, or its end has too many members
	allRead                // all members after the last list were read
	tooLong                // the walk gave up before it came to the last list
)

// tail reads the members after the last top-level list of a body, from the end. If
// there is no list, these are all members. Of duplicate members the last one counts.
// It is the first one that this walk meets.
func (b *body) tail(m *nameTable) ending {
	b.clear()
	var walk jsontext.Backward
	if !walk.Begin(b.text) {
		return noObject
	}
	for range maxTopLevel + 1 {
		if walk.BehindList() {
			return allRead
		}
		name, value, ok := walk.Member()
		if !ok {
			if walk.AtStart() {
				return allRead
			}
			return tooLong
		}
		if i, known := m.find(name); known && !b.has(i) {
			b.set(i, walk.At, walk.At+len(value))
		}
	}
	return noObject
}

// hints reports whether one of the members in wanted stands at the front of a
// body, before its first list or object.
func (b *body) hints(m *nameTable, wanted uint64) bool {
	c, ok := jsontext.NewCursor(b.text[:min(len(b.text), frontWindow)])
	for ok {
		name, v, more := c.Member()
		if !more {
			return false
		}
		if i, known := m.find(name); known && wanted>>i&1 != 0 {
			return true
		}
		ok = v.Form != jsontext.Open
	}
	return false
}

// whole reads all members of a body. With a chain it walks the conversation too.
// It returns false if the text is not one JSON object, or has more than
// maxTopLevel members.
func (b *body) whole(m *nameTable, ch *content.Chain) bool {
	b.clear()
	c, ok := jsontext.NewCursor(b.text)
	if !ok {
		return false
	}
	for range maxTopLevel + 1 {
		name, v, ok := c.Member()
		if !ok {
			return !c.Failed && c.AtEnd()
		}
		i, known := m.find(name)
		from := c.At
		switch {
		case v.Form != jsontext.Open:
			from -= len(v.Raw)
		case v.Raw[0] == '[':
			b.list = from
		}
		if !(known && ch != nil && ch.Walk(i, &c, v)) && v.Form == jsontext.Open {
			c.Pass()
		}
		if known && !c.Failed {
			b.set(i, from, c.At)
		}
	}
	return false
}
