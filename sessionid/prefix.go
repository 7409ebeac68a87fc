package sessionid

import "github.com/llmaffinity/llmaffinity/sessionid/internal/content"

// Prefixes appends to dst digests of how the conversation of a request begins, the
// shortest first: one for each of 1, 2, 3, 4, 6, 8, 12, 16 … KiB of text that its messages
// have. Requests whose texts begin alike share the first of them. So they say which auth
// may have a part of a new session's prompt in its cache: the session is a fork, asks
// about the same document, or has come back under another id. They name no session.
//
// The texts are the strings in the messages as the body spells them, one behind the other,
// without system and developer messages, without what clients move from turn to turn, and
// without strings of less than 32 bytes. A body that is no JSON object, or has no messages,
// has no prefixes. The work is linear in the body.
func Prefixes(dst []uint64, body []byte) []uint64 { return content.Prefixes(dst, body) }
