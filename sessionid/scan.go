package sessionid

import "bytes"

// A scanner for one purpose: to find members of a JSON object and to step
// over everything else at the speed of bytes.IndexByte. It checks what it
// walks over only as far as it must to find the ends: a value that nobody
// reads may be malformed inside, but every string and bracket must close.
// Nothing here recurses and every byte is seen a bounded number of times.

// skipSpace returns the index of the first byte at or after i that is not
// white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ' ', '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}

// skipString returns the index after the string whose opening quote stands at
// i, or -1 if it does not end.
func skipString(b []byte, i int) int {
	start := i + 1
	for i = start; ; i++ {
		q := bytes.IndexByte(b[i:], '"')
		if q < 0 {
			return -1
		}
		i += q
		// A quote ends the string unless an odd number of backslashes stands
		// before it. Each run of backslashes is counted for the one quote
		// behind it, so a megabyte of them stays linear.
		n := 0
		for j := i - 1; j >= start && b[j] == '\\'; j-- {
			n++
		}
		if n%2 == 0 {
			return i + 1
		}
	}
}

// skipValue returns the index after the value that starts at i, or -1 if it
// does not end or none starts there.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				if i = skipString(b, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	default:
		start := i
		for i < len(b) && isScalar(b[i]) {
			i++
		}
		if i == start {
			return -1
		}
		return i
	}
}

// isScalar tells the bytes that numbers, true, false and null are made of.
func isScalar(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '+' || c == '.'
}

// object walks the members of one JSON object, array the elements of one
// array. next returns false at the end and when the text is malformed; done
// tells which: it is true only after the closing bracket.
type walker struct {
	b     []byte
	i     int
	close byte
	begun bool
	done  bool
}

// object starts a walk over the object whose brace stands first in b (after
// white space); ok is false if there is none.
func object(b []byte) (w walker, ok bool) { return open(b, '{', '}') }

func array(b []byte) (w walker, ok bool) { return open(b, '[', ']') }

func open(b []byte, opening, closing byte) (walker, bool) {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != opening {
		return walker{}, false
	}
	return walker{b: b, i: i + 1, close: closing}, true
}

// separator steps to the next member or element, past the comma.
func (w *walker) separator() bool {
	w.i = skipSpace(w.b, w.i)
	if w.i >= len(w.b) {
		return false
	}
	switch c := w.b[w.i]; {
	case c == w.close:
		w.i++
		w.done = true
		return false
	case !w.begun:
		w.begun = true
		return true
	case c == ',':
		w.i = skipSpace(w.b, w.i+1)
		return true
	}
	return false
}

// member returns the next member: its name without quotes, escapes resolved,
// and its raw value.
func (w *walker) member() (name, value []byte, ok bool) {
	if !w.separator() || w.i >= len(w.b) || w.b[w.i] != '"' {
		return nil, nil, false
	}
	end := skipString(w.b, w.i)
	if end < 0 {
		return nil, nil, false
	}
	name = w.b[w.i+1 : end-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name = []byte(unquote(w.b[w.i:end]))
	}
	w.i = skipSpace(w.b, end)
	if w.i >= len(w.b) || w.b[w.i] != ':' {
		return nil, nil, false
	}
	w.i = skipSpace(w.b, w.i+1)
	value, ok = w.value()
	return name, value, ok
}

// element returns the next element of an array, raw.
func (w *walker) element() (value []byte, ok bool) {
	if !w.separator() {
		return nil, false
	}
	return w.value()
}

func (w *walker) value() ([]byte, bool) {
	end := skipValue(w.b, w.i)
	if end < 0 {
		return nil, false
	}
	v := w.b[w.i:end]
	w.i = end
	return v, true
}

// atEnd reports whether the walk reached the closing bracket and nothing but
// white space follows it.
func (w *walker) atEnd() bool {
	return w.done && skipSpace(w.b, w.i) == len(w.b)
}
