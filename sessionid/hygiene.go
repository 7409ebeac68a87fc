package sessionid

import (
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
	v = strings.Trim(v, " \t")
	if v == "" || len(v) > limit {
		return "", false
	}
	zeros, ascii := true, true
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c < 0x20 || c == 0x7f {
			return "", false
		}
		if c >= utf8.RuneSelf {
			ascii = false
		}
		if c != '0' && c != '-' {
			zeros = false
		}
	}
	if zeros || !ascii && !utf8.ValidString(v) {
		return "", false
	}
	if len(v) <= 16 && placeholders[strings.ToLower(v)] {
		return "", false
	}
	if isTemplate(v) {
		return "", false
	}
	return v, true
}

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
