// Package sessionid answers one question: which session is this request part
// of? The answer depends on the request's header and body and on nothing else.
// The package keeps no state, reads no clock, and does no I/O of its own.
//
//	id := sessionid.Extract(r.Header, body)
//	if id.IsZero() {
//		// nothing names a session: leave the request to the plain balancer
//	}
//
// # Where an ID comes from
//
// These places are asked in this order. The first one that has an id gives the
// primary key.
//
//  1. The operator's own places, if [Options] has some.
//  2. A header that a client sends for its own sessions (Claude Code, Codex …).
//  3. Claude Code's session inside the body's metadata.user_id.
//  4. A generic header (X-Session-Id, X-Session-Affinity …). A proxy on the way
//     may have added it, so the client's own id comes first.
//  5. A body member whose documented meaning is "this conversation".
//  6. prompt_cache_key.
//  7. A place that names a session only if a second sign says so, such as the
//     client's User-Agent.
//  8. The conversation's own content.
//
// [Options] change the order and switch parts of it off. They can also add two
// rules that are off by default: the pattern x-*-session-id, for clients that
// nobody knows yet, and a plain metadata.user_id, which is a user and not a
// session. [Signals] lists all places; the table is in census.go.
//
// How much of the body is read depends on what is found:
//   - With a client's own header the body is not read.
//   - With a generic header a body of up to 8 KiB is read if it mentions
//     "metadata". Of a larger body only the last 4 KiB are looked at, for Claude
//     Code's metadata.
//   - Without a header a body of up to 8 KiB is read whole.
//   - A larger body is not read further if an id stands in its first 512 bytes
//     before the first list, or in its last 4 KiB. What its middle repeats or
//     breaks is then not noticed.
//   - A prompt_cache_key does not end the search, because applications also use
//     it for a bucket of many conversations. The body is walked for a stronger
//     id.
//
// # What else an ID says
//
// [ID.Lane] is the subagent that sent the request, and [ID.Parent] is what that
// subagent came from. Claude Code, Codex and OpenCode tell. By default a subagent
// is part of its session. With Options.LanesApart it is a session of its own.
//
// [ID.Owners] is state that only one auth has: an earlier response, a container,
// a cached content. It never names the session. Some of this state stands for
// messages that are not in the request, such as previous_response_id. Then it is
// part of the content's identity: "yes, go on" behind two responses is two
// conversations.
//
// # Identity from content
//
// Many clients send no session at all. For them the conversation is the
// identity. A running hash is extended after each message by what the message
// says: role, text, tool calls with their ids, names and arguments, tool
// results, images and files. The hash leaves out what a client may change from
// turn to turn: cache_control, signatures, thinking, message ids, and the shape
// of a text. It leaves out system and developer messages wherever they stand.
//
// The hash after a message is a boundary. The boundary after the last message is
// the request's [ID.End] and its primary key. The boundaries before that are its
// [ID.Fallbacks], the longest first. The next request of the conversation begins
// with the same messages, so one of its fallbacks is this request's end.
//
// So bind ends, and look up ends and fallbacks. Two conversations that share an
// opening do not meet, because no request ended inside the opening.
//
// A history can lose its head to a compaction or a rolling window, or it can be
// edited far back. Then it shares no boundary with what it was. But it shares
// tails: a tail is the hash of the last three to eight messages, whatever stood
// before them. Bind [ID.Tail] beside the end. The tails of earlier requests stand
// in the fallbacks behind the boundaries.
//
// This was measured on 2,254 follow-ups of real conversations. With only the last
// 6 messages left, 97.9 % found their session by a tail. With a summary in place
// of all but the last three turns, 99.9 % did. None found the session of a
// conversation that had not begun with the same words. A window of 4 messages is
// too short: 8.8 %. (go test ./examples/internal/field -run LostTheirHead -v)
//
// Two conversations that are equal word for word share their keys until they
// part. Both may stay on one auth after that: the second one to pass a shared end
// is taken for the session that its fallbacks name. They are never confused with
// a third conversation.
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
// "captured" means requests of the running client (examples/internal/field). The
// other tests send what the client's source or documentation says
// (extract_test.go, lane_test.go, testdata).
//
// # Hostile input
//
// Ids are chosen by clients and may be secrets or attacks. An [ID] holds 128-bit
// digests and never a raw id.
//
// A value is no id if it is empty, longer than [MaxIDBytes], not valid UTF-8, or
// a placeholder ("null", "default", an all-zero UUID, "{{session_id}}" …), or if
// it contains a control character. Such a value is neither cut nor repaired.
//
// A body that is truncated, or is not one JSON object, or has more than a thousand
// members at its top, names nothing. Its header still counts.
//
// Work is linear in the body, and the depth of the recursion is bounded. A body of
// a million tiny parts costs at most ten times what a normal body of its size
// does (go test ./sessionid -bench Hostile). Beyond 8,192 messages, 1,024 parts
// of a message, and 256 members of an object, the rest counts as it is spelled.
//
// The digests are not keyed. Whoever can choose ids can choose two that collide,
// and then shares a session with himself. Keep tenants apart by a part of the key
// that is compared, as package affinity does, and not by these digests.
package sessionid
