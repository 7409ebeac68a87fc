package sessionid

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// reading is how an id is read out of a place's value. It is not a function value,
// because an indirect call would move the id to the heap.
type reading uint8

const (
	asItIs             reading = iota
	sessionIDInJSON            // the session_id of JSON inside a string
	forkedFromInJSON           // the forked_from_thread_id of such JSON
	compactionInJSON           // the request_kind of such JSON, if that is compaction
	claudeUserID               // Claude Code's metadata.user_id, in both forms
	last12Hex                  // the part of Mistral Vibe's id that stays the same
	cacheKey                   // prompt_cache_key, if it names a conversation
	copilotCacheKey            // <conversation>:<model family>
	beforeHashes               // <session>########<n>
	bareUUID                   // a uuid and nothing else
	openAIConversation         // conv_…
)

// id reads an id out of a value. The id has passed [clean].
func (r reading) id(v string, limit int) (string, bool) {
	ok := true
	switch r {
	case sessionIDInJSON:
		v, ok = readJSON(v, "session_id")
	case forkedFromInJSON:
		v, ok = readJSON(v, "forked_from_thread_id")
	case compactionInJSON:
		v, ok = readJSON(v, "request_kind")
		ok = ok && v == "compaction"
	case claudeUserID:
		v, ok = readClaudeUserID(v)
	case last12Hex:
		v, ok = readLast12Hex(v, limit)
	case cacheKey:
		ok = namesConversation(v)
	case copilotCacheKey:
		if i := strings.LastIndexByte(v, ':'); i >= 0 {
			v = v[:i]
		}
		ok = namesConversation(v)
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

// readJSON reads a member of JSON inside a string. No client sends an id that needs
// escapes there.
func readJSON(v, name string) (string, bool) {
	raw := jsontext.Find(bytesOf(v), name)
	if len(raw) <= 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return "", false
	}
	return unsafe.String(&raw[1], len(raw)-2), true
}

// readClaudeUserID reads the session out of Claude Code's metadata.user_id. That
// is JSON with a session_id, or user_<hash>_account_<uuid>_session_<uuid> in
// older versions. Anything else is a user, not a session.
func readClaudeUserID(v string) (string, bool) {
	if strings.HasPrefix(v, "{") {
		return readJSON(v, "session_id")
	}
	if i := strings.LastIndex(v, "_session_"); i >= 0 && strings.HasPrefix(v, "user_") {
		s := v[i+len("_session_"):]
		return s, isUUID(s)
	}
	return "", false
}

// readLast12Hex reads the last 12 hex digits of an id. Mistral Vibe keeps these
// when it compacts or rewinds a conversation, and changes the rest.
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

// namesConversation reports whether a prompt_cache_key names a conversation.
// Clients that mean a conversation send an id that a machine has made: a uuid, hex
// digits, ses_…. Applications send words, such as "support-bot" or
// "tenant:acme:v1", for a bucket that many conversations share. An id after a word
// such as "user" names a user, not a conversation. The OpenAI Agents SDK writes
// agents-sdk:<session|conversation|group>:<id>, and agents-sdk:run:<id> for a single
// run, which is no conversation.
func namesConversation(v string) bool {
	if rest, ok := strings.CutPrefix(v, "agents-sdk:"); ok {
		return !strings.HasPrefix(rest, "run:")
	}
	made := 0
	for more := true; more; { // an iterator would move the id to the heap
		var part string
		part, v, more = strings.Cut(v, ":")
		if namesWho(part) {
			made--
		}
		if content.IsMade(part) && !isHash(part) {
			made++
		}
	}
	return made > 0
}

// isHash reports whether a part of a key is 40 hex digits or more: a digest, such as a
// prompt's.
func isHash(part string) bool {
	for i := 0; i < len(part); i++ {
		if !isHex(part[i]) {
			return false
		}
	}
	return len(part) >= 40
}

// whose are words that stand before something that many conversations share, such as
// the id of a user or the digest of a prompt.
var whose = [...]string{
	"user", "usr", "uid", "u", "customer", "client", "employee", "member", "tenant", "org", "organization", "account", "acct", "auth0",
	"team", "workspace", "project", "app", "device", "machine", "host", "prod", "staging", "dev",
	"prompt", "system", "system-prompt", "template", "hash", "sha", "sha1", "sha256", "md5",
}

// namesWho reports whether a part of a key is one of the words, or begins with one.
func namesWho(part string) bool {
	for _, word := range whose {
		if len(part) >= len(word) && strings.EqualFold(part[:len(word)], word) &&
			(len(part) == len(word) || strings.IndexByte("-_/=.|", part[len(word)]) >= 0) {
			return true
		}
	}
	return false
}
