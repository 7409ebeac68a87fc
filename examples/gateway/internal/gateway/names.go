package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// nameOf returns the name of an auth that was given none. It depends on the upstream's name
// and on the key, never on a position: if a name stood for another key after a reload, that
// key would get the sessions of the old one. Eight digits of a digest do not reveal a key that
// cannot be guessed.
func nameOf(upstream, key string) string {
	sum := sha256.Sum256([]byte(key))
	return upstream + "-" + hex.EncodeToString(sum[:4])
}

// nameMost bounds the names of upstreams and auths.
const nameMost = 100

// goodName reports whether a name can be used in a log, in a header, and before a "=".
func goodName(s string) bool {
	return s != "" && len(s) <= nameMost && visible(s) && !strings.ContainsAny(s, `;,="`)
}

const wantName = `want a name of visible ASCII characters without ; , = and "`

// goodKey reports whether a key can be sent in a header.
func goodKey(s string) bool { return s != "" && visible(s) }

// visible reports whether all of s is visible ASCII: no blanks, no control characters.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// shown returns s for an error message, if s cannot be a key in the wrong place. It shows only
// short words, all in lower case, or all in upper case and perhaps with digits:
// session-affinity, OPENAI_KEY_2. For anything else the place in the error must be enough.
func shown(s string) string {
	const wordMost = 14
	if len(s) <= 64 {
		if wordsOf(s, "-_", func(w string) bool { return len(w) <= wordMost && only(w, 'a', 'z', false) }) ||
			wordsOf(s, "_", func(w string) bool { return len(w) <= wordMost && only(w, 'A', 'Z', true) }) {
			return s
		}
	}
	return "(not shown, it could be a key)"
}

// wordsOf reports whether s begins with a letter and all of its words are good.
func wordsOf(s, separators string, good func(string) bool) bool {
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for w := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if !good(w) {
			return false
		}
	}
	return true
}

// only reports whether s has nothing but the letters from first to last, and perhaps digits.
func only(s string, first, last byte, digits bool) bool {
	for i := range len(s) {
		if c := s[i]; (c < first || c > last) && !(digits && c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}
