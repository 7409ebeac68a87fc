package sessionid

import (
	"strings"
	"unicode/utf8"
)

// placeholders are values, in lower case, that clients and templates send when
// they have no session. If they were ids, all these clients would share one session.
var placeholders = map[string]bool{
	"null": true, "nil": true, "none": true, "undefined": true, "nan": true, "empty": true,
	"default": true, "unknown": true, "anonymous": true, "n/a": true, "new": true,
	"true": true, "false": true, "0": true, "-1": true, "-": true, `''`: true, `""`: true,
	"string": true, "[object object]": true,
	"test": true, "example": true, "sample": true, "placeholder": true, "changeme": true, "change-me": true, "todo": true,
	"session": true, "session_id": true, "session-id": true, "sessionid": true,
	"your-session-id": true, "conversation": true, "conversation_id": true,
}

// clean returns the id without the blanks around it, or false if the value is no
// id. Every id from every place is checked by it.
func clean(v string, limit int) (string, bool) {
	if v != "" && (isBlank(v[0]) || isBlank(v[len(v)-1])) {
		v = strings.Trim(v, " \t")
	}
	if v == "" || len(v) > limit {
		return "", false
	}
	plain := isPlain(v)
	switch {
	case !plain && (!utf8.ValidString(v) || strings.IndexFunc(v, isControl) >= 0),
		v[0] <= '0' && strings.Trim(v, "0-") == "",
		len(v) <= 16 && placeholders[strings.ToLower(v)],
		len(v) == 36 && v[1] == v[0] && isBlankUUID(v),
		(!plain || v[0] == '<' || v[0] == '%' || v[0] == '$') && isTemplate(v):
		return "", false
	}
	return v, true
}

// isPlain reports whether all bytes of v are ASCII from the blank to 'z', as in nearly all
// ids. v is not empty.
func isPlain(v string) bool {
	last := uint64(' ') * ones
	if len(v) < 8 {
		for i := range len(v) {
			last = last<<8 | uint64(v[i])
		}
	} else {
		last = word(v[len(v)-8:]) // it may overlap the word before it
	}
	other := notPlain(last)
	for ; len(v) > 8; v = v[8:] {
		other |= notPlain(word(v))
	}
	return other == 0
}

// notPlain returns a word with the high bit of each byte of w that is not plain, and perhaps of
// bytes above one. It returns 0 if all are plain.
func notPlain(w uint64) uint64 { return (w | (w - 0x20*ones) | (w + (0x80-'{')*ones)) & highs }

// isBlank reports whether c may stand around an id.
func isBlank(c byte) bool { return c == ' ' || c == '\t' }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// isControl reports whether no id may contain r. U+FFFD stands for bytes that could not
// be decoded, such as half of a surrogate pair. So two ids that contain it may have been
// different before.
func isControl(r rune) bool { return r < 0x20 || r == 0x7f || r == utf8.RuneError }

// isBlankUUID reports whether v has the shape of a uuid, and all its digits are the
// same: zeros, which many libraries write for no uuid, or f or x.
func isBlankUUID(v string) bool {
	for i := 0; i < len(v); i++ {
		switch i {
		case 8, 13, 18, 23:
			if v[i] != '-' {
				return false
			}
		default:
			if v[i] != v[0] {
				return false
			}
		}
	}
	return true
}

// isTemplate reports whether v is a variable without its value: {{x}}, ${x},
// $(x), $X, {x}, <x> or %x%.
func isTemplate(v string) bool {
	if len(v) < 3 {
		return false
	}
	first, last := v[0], v[len(v)-1]
	return strings.Contains(v, "{{") || strings.Contains(v, "${") ||
		first == '<' && last == '>' || first == '{' && last == '}' || first == '%' && last == '%' ||
		first == '$' && (v[1] == '(' && last == ')' || strings.Trim(v[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "")
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

// isHex reports whether c is a hex digit.
func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
