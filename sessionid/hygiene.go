package sessionid

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// MaxIDBytes is the longest id that is taken. A longer one is no id: cutting
// it would merge sessions. (OpenRouter documents 256 for its session_id.)
// Config.MaxIDBytes is another limit.
const MaxIDBytes = 256

// maxMaxID bounds that: ids are read on the stack.
const maxMaxID = 1 << 10

// placeholders are values that clients and templates send when they have no
// session; taken as ids they would put everybody on one auth. Compared in
// lower case.
var placeholders = map[string]bool{
	"null": true, "nil": true, "none": true, "undefined": true, "nan": true,
	"default": true, "unknown": true, "anonymous": true, "n/a": true,
	"true": true, "false": true, "0": true, "-1": true, "-": true,
	"string": true, "[object object]": true,
	"session_id": true, "session-id": true, "sessionid": true,
	"your-session-id": true, "conversation_id": true,
}

// clean is the one gate for every id from every place: it returns the id
// without surrounding blanks, or false if the value is no id.
func clean(v string, limit int) (string, bool) {
	if v != "" && (isBlank(v[0]) || isBlank(v[len(v)-1])) {
		v = strings.Trim(v, " \t")
	}
	if v == "" || len(v) > limit {
		return "", false
	}
	var control, high, brace uint64
	b := bytesOf(v)
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		// Exact for ASCII; what is not ASCII is looked at anew.
		control |= (w-0x20*ones)&^w | isByte(w, 0x7f)
		brace |= isByte(w, '{')
		high |= w
	}
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return "", false
		}
		if c == '{' {
			brace = highs
		}
		high |= uint64(c)
	}
	switch {
	case control&highs != 0 && high&highs == 0,
		high&highs != 0 && (!utf8.ValidString(v) || strings.IndexFunc(v, isControl) >= 0),
		v[0] <= '0' && strings.Trim(v, "0-") == "",
		len(v) <= 16 && placeholders[strings.ToLower(v)],
		(brace&highs != 0 || v[0] == '<' || v[0] == '%') && isTemplate(v):
		return "", false
	}
	return v, true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isByte has the high bit set in bytes of w that are c; bytes above one that is
// may have it too.
func isByte(w uint64, c byte) uint64 {
	w ^= ones * uint64(c)
	return (w - ones) &^ w
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// isTemplate recognises a variable that nobody filled in: {{x}}, ${x}, <x>,
// %x%.
func isTemplate(v string) bool {
	if len(v) < 3 {
		return false
	}
	first, last := v[0], v[len(v)-1]
	return strings.Contains(v, "{{") || strings.Contains(v, "${") ||
		first == '<' && last == '>' || first == '{' && last == '}' || first == '%' && last == '%'
}

// isUUID reports whether v has the shape 8-4-4-4-12 in hex digits.
func isUUID(v string) bool {
	if len(v) != 36 {
		return false
	}
	for i := 0; i < len(v); i++ {
		switch i {
		case 8, 13, 18, 23:
			if v[i] != '-' {
				return false
			}
		default:
			if !isHex(v[i]) {
				return false
			}
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
