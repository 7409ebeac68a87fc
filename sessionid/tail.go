package sessionid

import (
	"encoding/binary"
	"math/bits"
)

// A JSON text can be walked from its end as well, where the state is known:
// behind the last brace nothing is open. In a string every quote has an odd
// number of backslashes before it, and its opening quote has none, so strings
// can be skipped backwards as exactly as forwards.

// tail walks the top-level members of an object from the last one backwards.
type tail struct {
	b []byte // the text, or as much of its end as may be looked at
	i int    // the index of the last byte not walked over yet

	// Where vectors can be used: which of the last bytes are quotes that no
	// backslash escapes. marks[0] begins at marked.
	marks  [8]uint64
	marked int
}

// newTail stands before the closing brace; ok is false if there is none.
func newTail(b []byte) (t tail, ok bool) {
	t = tail{b: b, i: len(b) - 1}
	t.space()
	if t.i < 0 || b[t.i] != '}' {
		return t, false
	}
	t.i--
	t.space()
	t.mark()
	return t, true
}

func (t *tail) mark() {
	blocks := min(len(t.b)/64, len(t.marks))
	t.marked = len(t.b)
	if !vector || blocks == 0 {
		return
	}
	t.marked -= 64 * blocks
	markQuotes(&t.b[t.marked], blocks, uint64(backslashes(t.b[:t.marked])&1), &t.marks[0])
}

// backslashes is how many of them b ends with.
func backslashes(b []byte) (n int) {
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n
}

// member returns the member before, raw; ok is false where the text that may
// be looked at, or the object, begins.
func (t *tail) member() (name, value []byte, ok bool) {
	end := t.i + 1
	if !t.value() {
		return nil, nil, false
	}
	value = t.b[t.i+1 : end]
	t.space()
	if t.i < 0 || t.b[t.i] != ':' {
		return nil, nil, false
	}
	t.i--
	t.space()
	end = t.i + 1
	if t.i < 0 || t.b[t.i] != '"' || !t.str() {
		return nil, nil, false
	}
	name = t.b[t.i+2 : end-1]
	for _, c := range name {
		if c == '\\' {
			name = []byte(unquote(t.b[t.i+1:end], new(scratch)))
			break
		}
	}
	t.space()
	if t.i < 0 || t.b[t.i] != ',' && t.b[t.i] != '{' {
		return nil, nil, false
	}
	if t.b[t.i] == ',' {
		t.i--
		t.space()
	}
	return name, value, true
}

func (t *tail) space() {
	for t.i >= 0 && isSpace(t.b[t.i]) {
		t.i--
	}
}

// value steps before the value that ends at i.
func (t *tail) value() bool {
	if t.i < 0 {
		return false
	}
	switch t.b[t.i] {
	case '"':
		return t.str()
	case '}', ']':
		for depth := 0; t.i >= 0; {
			switch t.b[t.i] {
			case '"':
				if !t.str() {
					return false
				}
				continue
			case '}', ']':
				depth++
			case '{', '[':
				if depth--; depth == 0 {
					t.i--
					return true
				}
			}
			t.i--
		}
		return false
	}
	start := t.i
	for t.i >= 0 && isScalar(t.b[t.i]) {
		t.i--
	}
	return t.i < start
}

// str steps before the string whose closing quote stands at i.
func (t *tail) str() bool {
	i := t.i - 1
	if at := i - t.marked; at >= 0 {
		w := at / 64
		m := t.marks[w] << (63 - at%64) >> (63 - at%64)
		for m == 0 && w > 0 {
			w--
			m = t.marks[w]
		}
		if m != 0 {
			t.i = t.marked + 64*w + bits.Len64(m) - 2
			return true
		}
		i = t.marked - 1
	}
	for ; ; i-- {
		if i = lastQuote(t.b, i); i < 0 {
			t.i = -1
			return false
		}
		n := backslashes(t.b[:i])
		if n%2 == 0 {
			t.i = i - 1
			return true
		}
		i -= n // an escaped quote: on before its backslashes
	}
}

// lastQuote is the index of the last quote in b[:i+1], -1 if there is none.
func lastQuote(b []byte, i int) int {
	for ; i >= 7; i -= 8 {
		x := binary.LittleEndian.Uint64(b[i-7:]) ^ '"'*ones
		// Exact for every byte, since the highest one is wanted.
		m := ^((x&^highs + ^uint64(highs)) | x | ^uint64(highs))
		if m != 0 {
			return i - bits.LeadingZeros64(m)/8
		}
	}
	for ; i >= 0; i-- {
		if b[i] == '"' {
			return i
		}
	}
	return -1
}
