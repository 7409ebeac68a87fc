package affinityhttp

import (
	"bytes"
	"fmt"
	"hash/maphash"
)

const (
	// maxWatched is how many bytes are held of an answer that is one JSON value, and of one line
	// of a stream.
	maxWatched = 4 << 20
	// longString is how long a string may be that is not left out of a value that is too long.
	longString = 64 << 10
)

// hold collects a JSON value, or a line of a stream. If it gets longer than maxWatched, each
// long string in it, such as a picture, is replaced by a digest: what is around it says which
// state the answer creates and what it has cost.
type hold struct {
	text []byte
	over bool // it is too long all the same

	cut     bool         // the last string of text is a long one that has not ended
	digest  maphash.Hash // of what was left out of it
	escaped bool         // a backslash stands before its next byte
}

func (h *hold) isEmpty() bool { return len(h.text) == 0 && !h.over }

// reset forgets what was collected. It keeps the memory.
func (h *hold) reset() { h.text, h.over, h.cut = h.text[:0], false, false }

// add takes the next bytes.
func (h *hold) add(p []byte) {
	for len(p) > 0 && !h.over {
		n := min(len(p), longString)
		h.some(p[:n])
		p = p[n:]
	}
}

func (h *hold) some(p []byte) {
	if !h.cut && len(h.text)+len(p) > maxWatched {
		if h.shorten(); len(h.text) > maxWatched/2 { // so that the work stays linear
			h.text, h.over = nil, true
			return
		}
	}
	if h.cut {
		n := h.leaveOut(p)
		if p = p[n:]; h.cut {
			return
		}
	}
	h.text = append(h.text, p...)
}

// shorten replaces the long strings in text.
func (h *hold) shorten() {
	kept, rest := h.text[:0], h.text
	for {
		start := bytes.IndexByte(rest, '"') + 1
		if start == 0 {
			break
		}
		kept, rest = append(kept, rest[:start]...), rest[start:]
		h.escaped = false
		switch end := h.end(rest); {
		case end < 0 && len(rest) > longString:
			h.text, h.cut = kept, true
			h.digest.SetSeed(seed)
			_, _ = h.digest.Write(rest)
			return
		case end < 0:
			h.text = append(kept, rest...)
			return
		case end > longString:
			kept = fmt.Appendf(kept, "%x", maphash.Bytes(seed, rest[:end]))
			rest = rest[end:]
		default:
			kept, rest = append(kept, rest[:end]...), rest[end:]
		}
		kept, rest = append(kept, '"'), rest[1:]
	}
	h.text = append(kept, rest...)
}

// leaveOut leaves out what belongs to the long string, and returns how many bytes that are.
func (h *hold) leaveOut(p []byte) int {
	end := h.end(p)
	if end < 0 {
		_, _ = h.digest.Write(p)
		return len(p)
	}
	_, _ = h.digest.Write(p[:end])
	h.text, h.cut = fmt.Appendf(h.text, "%x", h.digest.Sum64()), false
	return end
}

// end returns the index of the quote that ends the string that p is a part of, or -1. Then
// escaped says how p ends.
func (h *hold) end(p []byte) int {
	escaped := func(at int) bool { // whether an odd number of backslashes stands before at
		n := at
		for n > 0 && p[n-1] == '\\' {
			n--
		}
		return (at-n)%2 == 1 != (n == 0 && h.escaped)
	}
	for from := 0; ; {
		i := bytes.IndexByte(p[from:], '"')
		if i < 0 {
			h.escaped = escaped(len(p))
			return -1
		}
		if !escaped(from + i) {
			h.escaped = false
			return from + i
		}
		from += i + 1
	}
}
