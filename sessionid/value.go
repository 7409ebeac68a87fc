package sessionid

import (
	"bytes"
	"encoding/json"

	"github.com/tidwall/gjson"
)

// unquote returns the text of a raw JSON string, and "" for anything else: an
// id is a JSON string, a number, boolean, object or array is none.
func unquote(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if bytes.Contains(raw, []byte(`\u`)) {
		// Lone surrogates: here gjson and the decoders of the providers part.
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	}
	return gjson.ParseBytes(raw).String()
}

// is reports whether a raw JSON value is the string want, without allocating.
// want has no character that JSON must escape.
func is(raw []byte, want string) bool {
	return len(raw) == len(want)+2 && raw[0] == '"' && string(raw[1:len(raw)-1]) == want
}

// lookup returns the raw value of a member of a raw object, nil if it has
// none. Of duplicates the last counts, as it does for the decoders of the
// providers.
func lookup(raw []byte, name string) []byte {
	w, ok := object(raw)
	if !ok {
		return nil
	}
	var found []byte
	for {
		n, v, ok := w.member()
		if !ok {
			return found
		}
		if string(n) == name {
			found = v
		}
	}
}
