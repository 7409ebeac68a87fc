package sessionid

import "github.com/llmaffinity/llmaffinity/sessionid/internal/content"

// Prefixes appends to dst digests of the beginning of a request's conversation, the
// shortest beginning first: one digest for each of the first 1, 2, 3, 4, 6, 8, 12, 16 …
// KiB of text in its messages. Requests whose texts begin alike share their first digests.
// An auth that served one of them may have a part of the other's prompt in its cache, for
// example if a new session is a fork, has the same document, or has come back under
// another id. The digests name no session.
//
// The text is all strings in the messages as the body spells them, one after the other. It
// leaves out system and developer messages, texts that clients move from turn to turn, and
// strings of less than 32 bytes. A body that is no JSON object, or has no messages, has no
// prefixes. The work is linear in the body.
func Prefixes(dst []uint64, body []byte) []uint64 { return content.Prefixes(dst, body) }
