package content

import (
	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

const (
	// firstPrefix is the length of the shortest prefix in bytes. Prompt caches hold
	// nothing that is shorter than 1,024 tokens, system prompt included.
	firstPrefix = 1 << 10
	// shortText is the least length of a string that is text. Shorter strings are
	// roles, types and ids.
	shortText = 32
	// prefixDepth bounds the recursion: a request, its messages, their blocks, and the
	// values inside a tool's arguments.
	prefixDepth = 12
)

// prefixes hashes texts one after the other, and notes the hash after 1, 2, 3, 4, 6,
// 8, 12 … times firstPrefix.
type prefixes struct {
	hash xxhash.Digest
	left int // bytes to the next cut
	step int // the distance to the cut after that
	odd  bool
	out  []uint64
}

// Prefixes appends to dst digests of how the conversation of a request begins, the
// shortest first. See sessionid.Prefixes.
func Prefixes(dst []uint64, body []byte) []uint64 {
	c, isObject := jsontext.NewCursor(body)
	if !isObject {
		return dst
	}
	member, at := len(Members), 0 // the strongest, and where its value begins
	var said []byte               // if that is a string
	for range maxFields {
		name, v, ok := c.Member()
		if !ok {
			break
		}
		start := c.At
		if v.Form == jsontext.Open {
			c.Pass()
		}
		for i, m := range Members {
			if i <= member && string(name) == m && (v.Form == jsontext.Open || v.Raw[0] == '"') {
				member, at, said = i, start, v.Raw
			}
		}
	}
	p := prefixes{left: firstPrefix, step: firstPrefix, out: dst}
	p.hash.Reset()
	switch {
	case member == len(Members):
	case said[0] == '"':
		p.text(said)
	default:
		c = c.Again(at)
		switch {
		case member == memberRequest:
			p.wrapped(&c)
		case said[0] == '[':
			p.messages(&c)
		default:
			p.message(&c)
		}
	}
	return p.out
}

// wrapped walks over Code Assist's request.
func (p *prefixes) wrapped(c *jsontext.Cursor) {
	for range maxFields {
		name, v, ok := c.Member()
		switch {
		case !ok:
			return
		case v.Form != jsontext.Open:
		case string(name) == Members[memberContents] && v.Raw[0] == '[':
			p.messages(c)
		default:
			c.Pass()
		}
	}
}

func (p *prefixes) messages(c *jsontext.Cursor) {
	for {
		v, ok := c.Element()
		switch {
		case !ok:
			return
		case v.Form != jsontext.Open:
			p.text(v.Raw)
		case v.Raw[0] == '{':
			p.message(c)
		default:
			c.Pass()
		}
	}
}

// message walks over a message, unless it is the system's.
func (p *prefixes) message(c *jsontext.Cursor) {
	start, system := c.At, false
	for {
		name, v, ok := c.Member()
		if !ok {
			break
		}
		if string(name) == "role" {
			system = isSystem(v.Raw)
		}
		if v.Form == jsontext.Open {
			c.Pass()
		}
	}
	if !system && !c.Failed {
		again := c.Again(start)
		p.object(&again, 0)
	}
}

func (p *prefixes) object(c *jsontext.Cursor, depth int) {
	for {
		name, v, ok := c.Member()
		switch {
		case !ok:
			return
		case volatile(name), string(name) == "thinking":
			if v.Form == jsontext.Open {
				c.Pass()
			}
		default:
			p.value(c, v, depth)
		}
	}
}

func (p *prefixes) value(c *jsontext.Cursor, v jsontext.Value, depth int) {
	switch {
	case v.Form != jsontext.Open:
		p.text(v.Raw)
	case depth == prefixDepth:
		c.Pass()
	case v.Raw[0] == '{':
		p.object(c, depth+1)
	default:
		for {
			v, ok := c.Element()
			if !ok {
				return
			}
			p.value(c, v, depth+1)
		}
	}
}

// text adds a text as it is spelled, without its quotes.
func (p *prefixes) text(raw []byte) {
	if len(raw) < shortText+2 || raw[0] != '"' {
		return
	}
	for raw = raw[1 : len(raw)-1]; len(raw) >= p.left; {
		p.hash.Write(raw[:p.left])
		raw = raw[p.left:]
		p.out = append(p.out, p.hash.Sum64())
		// 1 2 3 4 6 8 12: three steps of the first length, then two of each length.
		if len(p.out) > 2 && p.odd {
			p.step *= 2
		}
		p.odd = !p.odd
		p.left = p.step
	}
	p.hash.Write(raw)
	p.left -= len(raw)
}
