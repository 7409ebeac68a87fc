// Package sessionid answers one question: which session is this request part
// of? It is a pure function of a request's header and body; it keeps no
// state, reads no clock, and does no I/O.
//
//	id := sessionid.Extract(r.Header, body)
//	if id.IsZero() {
//		// nothing names a session: leave the request to the plain balancer
//	}
//
// # Where an ID comes from
//
// In this order; the first that is there gives the primary key:
//
//  1. a header that a client sends for its own sessions (Claude Code, Codex …);
//  2. Claude Code's session inside the body's metadata.user_id;
//  3. a generic header (X-Session-Id, X-Session-Affinity …), which a proxy on
//     the way may have stamped, therefore behind the client's own;
//  4. a body member whose documented meaning is "this conversation";
//  5. prompt_cache_key;
//  6. the conversation's own content;
//  7. a plain metadata.user_id, only where the body has no content at all.
//
// With a header of the first kind the body is not read. With a generic one a
// body of more than 8 KiB is looked at only in its last 4 KiB, for Claude
// Code's metadata. A body of that size that has an id before its first list, in
// its first 512 bytes, or in its last 4 KiB is not walked further: what its
// middle repeats or breaks is not noticed. The whole table of signals is in signals.go.
//
// # Identity from content
//
// Many clients send no session at all. For them the conversation is the
// identity: after each message a running hash is extended by what the message
// says (role, text, tool calls with ids, names and arguments, tool results,
// images and files), without what a client may change from turn to turn
// (cache_control, signatures, thinking, message ids, the shape of a text).
// System and developer messages are left out wherever they stand. The hash
// after the last message is the request's end and its primary key; the hashes
// after the earlier messages, longest first, are its fallbacks. The next
// request of the conversation contains this one as a prefix, so one of its
// fallbacks is this request's end. Bind ends, and look up ends and fallbacks:
// two conversations that share an opening do not meet, because no request
// ended inside the opening.
//
// # What is recognised
//
//	client                 recognised by                            tested how
//	Claude Code            X-Claude-Code-Session-Id, metadata       captured
//	Codex                  session-id, x-codex-turn-metadata,       captured
//	                       client_metadata, prompt_cache_key
//	OpenCode               X-Session-Id, X-Session-Affinity         captured
//	Gemini CLI (API key)   content                                  captured
//	Qwen Code              content                                  captured
//	pi (chat completions)  content                                  captured
//	Copilot CLI, Cline, Roo, Kilo, Amp, Goose, Mistral Vibe, Grok,
//	Crush, OpenHands, LiteLLM, Helicone, OpenWebUI and others
//	                       their header, see signals.go             from source or
//	                                                                documentation
//
// # Hostile input
//
// Ids are the client's and may be secrets or attacks. Raw ids are never kept:
// an [ID] holds 128-bit digests. An id that is empty, longer than
// [MaxIDBytes], not valid UTF-8, contains a control character, or is a
// placeholder ("null", "default", an all-zero UUID, "{{session_id}}" …) is no
// id; it is neither cut nor repaired. A body that is not one JSON object, or
// is truncated, has only its headers. Work is linear in the body, and no
// recursion grows with it.
//
// The digests are not keyed: whoever can choose ids can choose two that
// collide, and then shares a session with himself. Keep tenants apart by a
// part of the key that is compared (package affinity does), not by these
// digests.
package sessionid
