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
//  1. the operator's own signals, if a [Config] names some;
//  2. a header that a client sends for its own sessions (Claude Code, Codex …);
//  3. Claude Code's session inside the body's metadata.user_id;
//  4. a generic header (X-Session-Id, X-Session-Affinity …), which a proxy on
//     the way may have stamped, therefore behind the client's own;
//  5. a body member whose documented meaning is "this conversation";
//  6. prompt_cache_key;
//  7. what names a session only in one client's requests, and only where it is
//     surely that client's (guard.go);
//  8. the conversation's own content.
//
// A [Config] changes the order, switches parts of it off, and adds two rules
// that are off: the pattern x-*-session-id for clients that nobody knows yet,
// and a plain metadata.user_id, which is a user and not a session. [Signals]
// lists all places; the table itself is in signals.go.
//
// With a header of the second kind the body is not read. With a generic one a
// body of more than 8 KiB is looked at only in its last 4 KiB, for Claude
// Code's metadata. A body of that size that has an id before its first list, in
// its first 512 bytes, or in its last 4 KiB is not walked further: what its
// middle repeats or breaks is not noticed. That does not hold for
// prompt_cache_key, which applications also use for a bucket of many
// conversations: the body is walked for a stronger id.
//
// # What an ID says besides
//
// [ID.Lane] is the subagent that sent the request and [ID.Parent] what it came
// from, where the client tells (Claude Code, Codex, OpenCode). By default a
// subagent is part of its session; with [LanesApart] it is one of its own.
//
// [ID.Owners] is state that only one auth has: an earlier response, a
// container, a cached content. It is no name of the session. Where it stands
// for the history (previous_response_id and the like) it is part of the content's
// identity: "yes, go on" behind two responses is two conversations.
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
// A history that lost its head, to a compaction or a rolling window, or that was
// edited far back, has no such hash in common with what it was. Its tail
// does: a hash of the last three messages or more, whatever stood before
// ([ID.Tail], [ID.Tails]). Bind it beside the end, and look tails up when no
// fallback is bound. On 2,254 follow-ups of real conversations that were cut to
// their last 6 messages 97.9 % found their session by it, 99.9 % where a
// summary took the place of all but the last three turns, and none found one
// that had not begun with the same words; a window of 4 messages is too short
// (8.8 %). (go test ./examples/internal/field -run I14 -v)
//
// Two conversations that are equal word for word share their keys until they
// part. From then on the one that comes second to a shared end is taken for the
// session that it finds among its own fallbacks, so both may stay on one auth;
// they are never mixed up with a third.
//
// # What is recognised
//
//	client                     recognised by                               tested how
//	Claude Code                X-Claude-Code-Session-Id, metadata.user_id  captured
//	  its subagents            X-Claude-Code-Agent-Id, -Parent-Agent-Id    from its source
//	Codex                      session-id, x-codex-turn-metadata,          captured
//	                           client_metadata.session_id,
//	                           prompt_cache_key, x-client-request-id
//	  its subagents            thread-id, x-codex-parent-thread-id         from its source
//	OpenCode                   X-Session-Id, X-Session-Affinity            captured
//	  its subagents            x-parent-session-id                         from its source
//	Gemini CLI, API key        content                                     captured
//	Gemini CLI, Code Assist    user_prompt_id, request.session_id          from its source
//	Qwen Code                  content; on DashScope metadata.sessionId    captured; from its source
//	pi, chat completions       content                                     captured
//	pi, Responses              session_id, x-client-request-id             from its source
//	Kimi CLI                   prompt_cache_key; metadata.user_id with     from its source
//	                           its User-Agent
//	VS Code Copilot            prompt_cache_key, less the model family     from its source
//	OpenAI Agents SDK          prompt_cache_key, agents-sdk:…              from its source
//	Copilot CLI, Cline, Roo,   their header                                from their source
//	Kilo, Mistral Vibe, Crush,
//	OpenHands
//	OpenRouter, LiteLLM, Open  their header or member                      from documentation
//	WebUI, Helicone, Bifrost,
//	Fireworks, Cloudflare, xAI,
//	Dynamo, SGLang, AIBrix …
//	Amp, Goose, Grok CLI,      their header or member                      as third parties
//	Cursor                                                                 describe it
//	Aider, Continue, plain     content                                     by API: chat, Claude,
//	SDKs                                                                   Responses, Interactions,
//	                                                                       Gemini, completions
//
// "captured" are requests of the running client (examples/internal/field);
// the others are fed with what their source or documentation says they send
// (extract_test.go, lane_test.go).
//
// # Hostile input
//
// Ids are the client's and may be secrets or attacks. Raw ids are never kept:
// an [ID] holds 128-bit digests. An id that is empty, longer than
// [MaxIDBytes], not valid UTF-8, contains a control character, or is a
// placeholder ("null", "default", an all-zero UUID, "{{session_id}}" …) is no
// id; it is neither cut nor repaired. A body that is not one JSON object, or
// is truncated, has only its headers; so has one with more than a thousand
// members at its top. Work is linear in the body, no recursion grows with it,
// and what is made of a million tiny parts costs at most ten times what a
// normal body of its size does (go test ./sessionid -bench Hostile): beyond
// 8,192 messages, 1,024 parts of a message, and 256 members of an object the
// rest counts as it is spelled.
//
// The digests are not keyed: whoever can choose ids can choose two that
// collide, and then shares a session with himself. Keep tenants apart by a
// part of the key that is compared (package affinity does), not by these
// digests.
package sessionid
