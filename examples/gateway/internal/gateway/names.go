package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// nameOf is the name of an auth that was given none. It depends on the upstream's name
// and on the key, never on a position: a name that stands for another key after a
// reload would take that key's sessions with it. Eight digits of a digest say nothing
// of a key that nobody can guess.
func nameOf(upstream, key string) string {
	sum := sha256.Sum256([]byte(key))
	return upstream + "-" + hex.EncodeToString(sum[:4])
}

// nameMost bounds the names of upstreams and auths.
const nameMost = 100

// goodName says that a name can stand in a log, in a header, and in front of a "=".
func goodName(s string) bool {
	return s != "" && len(s) <= nameMost && visible(s) && !strings.ContainsAny(s, `;,="`)
}

const wantName = `want a name of visible ASCII characters without ; , = and "`

// goodKey says that a key can be sent in a header.
func goodKey(s string) bool { return s != "" && visible(s) }

// visible says that all of s is visible ASCII: no blanks, no control characters.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// shown is s for an error, if s cannot be a key that somebody has put into the wrong
// place. What it shows is made of short words, all in lower case, or all in upper case
// and perhaps with digits: session-affinity, OPENAI_KEY_2. Of all else the place in the
// error must do.
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

// wordsOf says that s begins with a letter and that all of its words are good.
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

// only says that s has nothing but the letters from first to last, and perhaps digits.
func only(s string, first, last byte, digits bool) bool {
	for i := range len(s) {
		if c := s[i]; (c < first || c > last) && !(digits && c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}
