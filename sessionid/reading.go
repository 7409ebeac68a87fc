package sessionid

import (
	"bytes"
	"strings"
	"unsafe"
)

// reading is how an id is read out of a signal's value. (Not a function: an
// indirect call would move the id to the heap.)
type reading uint8

const (
	asItIs             reading = iota
	sessionIDInJSON            // JSON that stands inside a string, its session_id
	claudeUserID               // Claude Code's metadata.user_id, in both forms
	last12Hex                  // what survives of Mistral Vibe's id
	cacheKey                   // prompt_cache_key, less what is no conversation
	beforeHashes               // <session>########<n>
	bareUUID                   // a uuid and nothing else
	openAIConversation         // conv_…
)

// id reads an id from a value: the signal's own reading, then the one gate
// for all.
func (s *signal) id(v string, limit int) (string, bool) {
	ok := true
	switch s.read {
	case sessionIDInJSON:
		v, ok = readJSON(v)
	case claudeUserID:
		v, ok = readClaudeUserID(v)
	case last12Hex:
		v, ok = readLast12Hex(v, limit)
	case cacheKey:
		v, ok = readCacheKey(v)
	case beforeHashes:
		v, _, ok = strings.Cut(v, "####")
	case bareUUID:
		ok = isUUID(v)
	case openAIConversation:
		ok = strings.HasPrefix(v, "conv_")
	}
	if !ok {
		return "", false
	}
	return clean(v, limit)
}

// readJSON reads session_id out of JSON inside a string. An id that needs
// escapes even there is none that any client sends.
func readJSON(v string) (string, bool) {
	raw := lookup(bytesOf(v), "session_id")
	if len(raw) <= 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return "", false
	}
	return unsafe.String(&raw[1], len(raw)-2), true
}

// readClaudeUserID reads the session out of Claude Code's metadata.user_id: JSON
// with a session_id, or user_<hash>_account_<uuid>_session_<uuid> of its
// older versions. Anything else is a user, not a session.
func readClaudeUserID(v string) (string, bool) {
	if strings.HasPrefix(v, "{") {
		return readJSON(v)
	}
	if i := strings.LastIndex(v, "_session_"); i >= 0 && strings.HasPrefix(v, "user_") {
		s := v[i+len("_session_"):]
		return s, isUUID(s)
	}
	return "", false
}

// readLast12Hex reads what survives of Mistral Vibe's id when a conversation is
// compacted or rewound: its last 12 hex digits.
func readLast12Hex(v string, limit int) (string, bool) {
	v = strings.TrimRight(v, " \t")
	if len(v) < 12 || len(v) > limit {
		return "", false
	}
	v = v[len(v)-12:]
	for i := 0; i < len(v); i++ {
		if !isHex(v[i]) {
			return "", false
		}
	}
	return strings.ToLower(v), true
}

// readCacheKey reads a conversation out of prompt_cache_key. VS Code Copilot
// appends the model family behind a colon; the OpenAI Agents SDK writes
// agents-sdk:<session|conversation|group>:<id>, and agents-sdk:run:<id> for
// what is one run only. Other keys with several colons are an application's
// buckets, which many conversations share.
func readCacheKey(v string) (string, bool) {
	switch n := strings.Count(v, ":"); {
	case strings.HasPrefix(v, "agents-sdk:"):
		return v, !strings.HasPrefix(v, "agents-sdk:run:")
	case n == 0:
		return v, true
	case n == 1:
		return v[:strings.IndexByte(v, ':')], true
	}
	return "", false
}
