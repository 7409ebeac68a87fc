package jsontext

import (
	"encoding/binary"
	"math/bits"
)

// Backward walks the top-level members of an object from the last one to the
// first. It finds the same members as a [Cursor], as long as the text is JSON.
//
// A walk from the end is exact. After the last brace nothing is open. A quote
// inside a string has an odd number of backslashes before it, and the string's
// opening quote has none. So the beginning of a string is found as surely as its end.
//
// Such a walk is slower than one from the front, except over long strings. So it gives up
// after about [leastWalk] bytes, or a sixteenth of the text if that is more. Where it has
// vectors, eight bytes of a long string count as one.
type Backward struct {
	// At is the index of the first byte of the value that was just returned. Read
	// it, do not set it.
	At int

	b     []byte
	i     int // the index of the last byte not walked over yet
	spare int // how many bytes it may still walk over
	name  nameBuffer

	// With vectors: a bit for each byte from index marked on. It is set for a quote that no
	// backslash escapes. They are made for a string that is not short, as far from its end as
	// they reach, and again if it is longer. marked is -1 before there was such a string.
	marks  [8]uint64
	marked int
}

const leastWalk = 4 << 10

// Begin starts the walk over an object, whose text is b. It returns false if b does not end
// with a closing brace. White space may follow the brace. The Backward must be the zero value.
func (t *Backward) Begin(b []byte) bool {
	t.b, t.i, t.marked, t.spare = b, len(b)-1, -1, max(leastWalk, len(b)/16)
	t.space()
	if t.i < 0 || b[t.i] != '}' {
		return false
	}
	t.i--
	t.space()
	return true
}

// mark finds the quotes among the bytes before index end. It returns false if there are too
// few bytes, or so many backslashes before them that to count these each time could take too
// long.
func (t *Backward) mark(end int) bool {
	blocks := min(end/64, len(t.marks))
	t.marked = end
	if !vector || blocks == 0 {
		return false
	}
	const most = 256
	from := end - 64*blocks
	n := backslashes(t.b[max(0, from-most):from])
	if n == most {
		return false
	}
	t.marked = from
	t.spare -= 8 * blocks
	markQuotes(&t.b[from], blocks, uint64(n&1), &t.marks[0])
	return true
}

// backslashes counts the backslashes that b ends with.
func backslashes(b []byte) (n int) {
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n
}

// BehindList reports whether the next member's value ends as a list does.
func (t *Backward) BehindList() bool { return t.i >= 0 && t.b[t.i] == ']' }

// AtStart reports whether all members of the object were returned, so that only
// its opening brace stands before the walk.
func (t *Backward) AtStart() bool { return t.i >= 0 && t.b[t.i] == '{' }

// Member returns the member before the last one returned. The name has its
// escapes resolved, see [Cursor.Member]; the value is as the text spells it. ok
// is false at the beginning of the object, and when the walk gives up.
func (t *Backward) Member() (name, value []byte, ok bool) {
	end := t.i + 1
	if !t.value() {
		return nil, nil, false
	}
	t.At = t.i + 1
	value = t.b[t.At:end]
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
			name = t.name.resolve(name)
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

// space steps before white space.
func (t *Backward) space() {
	if t.i >= 0 && t.b[t.i] <= ' ' {
		t.spaces()
	}
}

func (t *Backward) spaces() {
	for t.i >= 0 && t.spare >= 0 && IsSpace(t.b[t.i]) {
		t.i--
		t.spare--
	}
	t.ended()
}

// ended reports whether the walk has gone as far as it may.
func (t *Backward) ended() bool {
	if t.spare < 0 {
		t.i = -1
	}
	return t.i < 0
}

// value steps before the value that ends at i.
func (t *Backward) value() bool {
	if t.i < 0 {
		return false
	}
	switch t.b[t.i] {
	case '"':
		return t.str()
	case '}', ']':
		for depth := 0; !t.ended(); t.spare-- {
			switch t.b[t.i] {
			case '"':
				t.spare -= 8
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
	for t.i >= 0 && t.spare >= 0 && scalar[t.b[t.i]] {
		t.i--
		t.spare--
	}
	return !t.ended() && t.i < start
}

// str steps before the string whose closing quote stands at i.
func (t *Backward) str() bool {
	i := t.i - 1
	// Names are short and mostly have no escapes.
	for end := i - 32; i >= 7 && i > end; i -= 8 {
		x := binary.LittleEndian.Uint64(t.b[i-7:]) ^ '"'*ones
		m := ^((x&^highs + ^uint64(highs)) | x | ^uint64(highs))
		if m == 0 {
			continue
		}
		if at := i - bits.LeadingZeros64(m)/8; at > 0 && t.b[at-1] != '\\' {
			t.i = at - 1
			return true
		}
		break
	}
	i = t.i - 1
	for t.marked >= 0 && i >= t.marked || t.spare >= 0 && t.mark(i+1) {
		at := i - t.marked
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
		from := max(0, i-max(t.spare, 0))
		at := lastQuote(t.b[from:], i-from)
		t.spare -= i - from - at
		if at < 0 {
			t.i = -1
			return false
		}
		i = from + at
		n := backslashes(t.b[from:i])
		t.spare -= n
		switch {
		case n == at && from > 0: // there may be more of them
			t.i = -1
			return false
		case n%2 == 0:
			t.i = i - 1
			return true
		}
		i -= n // an escaped quote: continue before its backslashes
	}
}

// lastQuote returns the index of the last quote in b[:i+1], or -1.
func lastQuote(b []byte, i int) int {
	for ; i >= 7; i -= 8 {
		x := binary.LittleEndian.Uint64(b[i-7:]) ^ '"'*ones
		// The highest byte that is found is needed, so every bit must be exact.
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
