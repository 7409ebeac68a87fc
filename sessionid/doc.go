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
// Extract looks at these places in this order. The first place that has an id gives
// the primary key.
//
//  1. The operator's own places, if [Options] has some.
//  2. A header that a client sends for its own sessions (Claude Code, Codex …).
//  3. A client's own session inside the body: metadata.user_id of Claude Code,
//     client_metadata.session_id of Codex.
//  4. A generic header (X-Session-Id, X-Session-Affinity …). A proxy on the way
//     may have added it, so the client's own id comes first.
//  5. A body member whose documented meaning is "this conversation".
//  6. prompt_cache_key.
//  7. A place that names a session only if a second sign says so, such as the
//     client's User-Agent.
//  8. The conversation's own content.
//
// [Options] change the order and switch parts of it off. They can also add two
// rules that are off by default: the pattern x-*-session-id, for clients that this
// package does not know, and a plain metadata.user_id, which is a user and not a
// session. [Signals] lists all places; the table is in census.go.
//
// # How much of the body is read
//
// The session that a body names depends on its top-level members and their order,
// not on its size. Of duplicate members, the last one counts. Of several ids of
// [KindNativeBody], the one whose member stands last counts, and it is the only
// name from the body. So Extract stops early where the whole body would give the
// same answer:
//   - If the header has a client's own id, Extract does not read the body.
//   - Extract reads the members after the last top-level list from the end of the
//     body, because clients put their own ids there. If the body ends with a list,
//     as in {"model":…,"messages":[…]}, there are no such members. If the body has
//     no top-level list, all members are such members.
//   - If a generic header has an id, Extract looks for KindNativeBody only, and only
//     after the last list. An id of that kind before a list does not count then.
//   - If no header has an id, an id of KindNativeBody after the last list ends the
//     search. So does the first of the operator's own places, if it is a path. If own
//     paths are not found there, Extract walks over the whole body.
//   - For all other ids, Extract walks over all top-level members and hashes nothing:
//     a stronger id, or a later duplicate, may stand anywhere.
//   - For content, Extract walks over the whole body and hashes the messages.
//
// How much is checked depends on the size. A body of up to 8 KiB must be JSON to
// its last byte, as encoding/json's Valid judges; otherwise it names nothing. A
// larger body is checked only where Extract walks. There, names, values and commas
// must stand as JSON demands at the top and in messages, and every string and bracket
// must close. A value that is skipped may be malformed inside. If the members after
// the last list were enough, only the opening brace is checked before them. JSON
// inside a string, as in metadata.user_id, must always be valid.
//
// # What else an ID says
//
// [ID.Names] are the ids that one request carries. The first [ID.Leading] of them find
// the session. The others are bound beside them. Most requests need the leading names
// only: [ExtractLeading].
//
// [ID.Lane] is the subagent that sent the request, and [ID.Parent] is the subagent or
// the session that it came from. Claude Code, Codex and OpenCode send such ids. By
// default a subagent with a Lane is part of its session. With Options.LanesApart it is a
// session of its own. OpenCode's subagents have no Lane: they always are sessions of
// their own, and Parent is the session that they came from. For a fork of Codex, Parent is the session that it was forked from. [ID.Side]
// says that Codex compacts its conversation with this request.
//
// An auth is what the gateway chooses among: a credential, an account, a replica.
// [ID.Owners] is state that only one auth has: an earlier response, a container,
// a cached content. It never names the session. Some of this state stands for
// messages that are not in the request, such as previous_response_id. Such state is
// part of the content's identity: "yes, go on" after two different responses is two
// conversations. If a request names a conversation in its path only, use
// [ID.WithPath].
//
// # Identity from content
//
// Many clients send no session id at all. For them the conversation is the
// identity. A running hash takes in each message by its content: role, text, tool
// calls with their ids, names and arguments, tool results, images and files. The
// hash leaves out what a client may change from turn to turn: cache_control,
// signatures, thinking, message ids, the shape of a text, and the reminder of the
// date that Qwen Code moves from message to message. It leaves out system and
// developer messages wherever they stand.
//
// The hash after a message is a boundary. The boundary after the last message is
// the request's [ID.End] and its primary key. The boundaries before that are its
// [ID.Boundaries]. The next request of the conversation begins with the same
// messages, so one of its boundaries is this request's end.
//
// So bind ends, and look up ends and fallbacks. Two conversations that share an
// opening do not share a session, because no request ended inside the opening.
//
// A history can lose its first messages to a compaction or a rolling window, or the
// client can edit it far back. Then none of its boundaries is known any more. Two
// other kinds of keys find its session:
//   - Tails. A tail is the hash of the last three to eight messages, whatever stood
//     before them. Bind [ID.Tail] beside the end.
//   - Marks. A mark is a message that no other conversation should have: it has an id
//     that a machine has made, such as a tool call's, or it is long enough, alone or
//     with the message before it. Bind [ID.Marks], but not those of an opening
//     ([ID.MarksFrom]). If two sessions have the same mark, it must find neither. If
//     that happens to ids, leave them out: [ID.WithoutIDMarks]. The words of one
//     message alone find a session only if the history is short, begins with a
//     summary, or begins in the middle.
//
// [ID.Fallbacks] are all these keys, the surest first.
//
// This was measured on 200 made-up conversations, whose histories a client cuts (go test
// ./examples/internal/field -run GeneratedHistories -v). They are like those of tau-bench,
// which are real and public (examples/replay/README.md says where): they have about as many
// messages, as long texts and as many repetitions (-run LikeTheRealOnes -v). In both, one
// id of a tool call stands in many conversations. The second column is for calls with ids of
// their own, as providers make them. For the third column the gateway hands the answers back as well. In brackets are
// the numbers of tau-bench's conversations (-run LostTheirHead, which is skipped without
// them). No follow-up found the session of a conversation that had not begun with the same
// words.
//
//	of the follow-ups that were cut,  show nothing   find their session, %
//	what is left                      seen before    as it is     own ids      answers
//	the last 6 messages               0 %            99.6 (97.7)
//	at most 4, from a user's on       22.7 % (21.2)  36.8 (37.6)  59.3 (64.5)  74.4 (73.6)
//	at most 6, from a user's on       11.7 % (10.6)  83.3 (84.5)  84.2 (85.6)  88.0 (88.2)
//	at most 8, from a user's on       6.2 % (6.3)    91.2 (91.9)  91.6 (92.5)  93.8 (93.4)
//	a summary and the last turn       6.8 % (5.6)    86.3 (87.6)
//	a summary and the last two turns  0 %            97.8 (98.9)
//	a summary that was asked for,     100 %                                    99.0 (100)
//	inside another text, and the new
//	question
//
// System prompts do not tell conversations apart; only messages do. Requests that all
// say "Begin." after different system prompts are one session, unless their answers
// are known.
//
// # Answers
//
// Two conversations that begin with the same words send the same first request. Their
// answers differ. [ReadAnswer] reads an answer, and an [AnswerWriter] reads one as it
// passes. [ID.After] gives the keys by which the next request will show that answer.
// Bind them to the request's session. Blanks around a text do not count, because
// clients cut them off. Then the answer identifies a conversation, even if another
// one began with the same words at the same moment.
//
// Without answers, both conversations share their keys until their messages differ.
// Both may stay on one auth after that.
//
// To compact a conversation, some clients ask the model for a summary and put it inside
// a text of their own. Then no message is equal to the answer. [ID.Passages] gives at
// most 3 keys of passages in the answer to a request that speaks of a summary. A passage
// is a run of at most 32 whole lines with 160 letters and digits or more; blank lines,
// and blanks and tags at the ends of a line, do not count. Text that the model has written
// between tags of a draft, such as <analysis>, is left out. So the client may put text
// before and after the summary, and may cut parts of it off. If a request begins with a
// summary and no other key finds its session, the function [Passages] finds the keys in it.
//
//   - Recognised are texts among the first 9 messages that begin as the summaries of
//     Copilot CLI, Claude Code, Codex and LangChain do, or with words such as "Summary of
//     the conversation", and the text before Qwen Code's and Gemini CLI's "Got it. Thanks
//     for the additional context!".
//   - Not recognised are shorter summaries, texts of more than a MiB, summaries whose lines
//     the client breaks anew, answers with tool calls, and answers to requests that do not
//     speak of a summary or a snapshot in the first 512 bytes of their last message. A
//     summary may be missed if it is less than a hundredth of the lines of its text.
//   - If two sessions have the same passage, it must find neither. So a long prompt that
//     many summaries repeat joins no sessions. An answer inside any other text finds nothing.
//
// This was measured on 45 made-up sessions of 15 kinds of clients, in 40 random orders. In two
// sessions of each client the user says the same to the end. With the ids that clients send
// and with the answers, all 45 go on in a session of their own. (go test
// ./examples/internal/field -run GeneratedSessions -v) So do all 62 captured sessions of 20
// setups of real clients. The captures are not public, and their test is skipped without
// them.
//
// # What is recognised
//
//	client                     recognised by                               tested how
//	Claude Code                X-Claude-Code-Session-Id, metadata.user_id  captured
//	  its subagents            X-Claude-Code-Agent-Id, -Parent-Agent-Id    captured
//	  forks, compactions       the id; by content the summary loses it     captured
//	Codex                      session-id, x-codex-turn-metadata,          captured
//	                           client_metadata.session_id,
//	                           prompt_cache_key, x-client-request-id
//	  its subagents            thread-id, x-codex-parent-thread-id         captured
//	  forks                    x-codex-turn-metadata: forked_from_thread_id captured
//	  compactions              the id; by content the messages' ids        captured
//	OpenCode                   X-Session-Id, X-Session-Affinity            captured
//	  its subagents            x-parent-session-id                         from its source
//	  compactions              the id; by content the summary loses it     captured
//	Gemini CLI, API key        content; a compression is found by tails    captured
//	Gemini CLI, Code Assist    user_prompt_id, request.session_id          from its source
//	Qwen Code                  content; on DashScope metadata.sessionId    captured; from its source
//	  compressions (0.24.4)    content: needs the answer, which it puts    captured; from its source
//	                           inside a text, less its <analysis>
//	pi, chat completions       content                                     captured
//	pi, Responses              session_id, x-client-request-id             from its source
//	Mastra with memory         X-Thread-Id                                 captured
//	Strands, LangChain         content; a window or a summary of few words captured
//	                           needs the answers
//	OpenAI SDKs                content, previous_response_id,              captured
//	                           conversation, the path
//	OpenAI Agents SDK          prompt_cache_key, agents-sdk:… (Python);    from its source;
//	                           content (JS), a compaction needs the answer captured
//	Anthropic SDKs             content; thread.previous_message_id         captured
//	Kimi CLI, Kimi Code        prompt_cache_key; metadata.user_id with     from its source
//	                           its User-Agent
//	VS Code Copilot            prompt_cache_key, less the model family,    from its source
//	                           with its User-Agent
//	Copilot CLI, compactions   content: needs the answer, which it puts    captured
//	  (1.0.102)                inside <summary> of a text
//	Copilot CLI, Cline, Roo,   their header, or content where they do not  from their source
//	Kilo, Mistral Vibe, Crush, send it
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
// The prompt of a completion is one message. So the same prompt is the same conversation,
// but one that has grown is another one.
//
// "captured" means requests of the running client (examples/internal/field). The
// other tests send what the client's source or documentation says
// (extract_test.go, lane_test.go, testdata).
//
// On 2026-11-28 the newest versions that could be installed were driven through
// examples/gateway/full, each with four sessions of three turns, each turn a process
// of its own, two sessions at once (.ci/clients/agents):
//
//	client                                             recognised by     stays  subagents
//	Claude Code 2.1.332                                native header     yes    yes
//	Codex 0.171.0, WebSocket                           native header     yes    –
//	Codex 0.171.0, HTTP                                native header     yes    yes
//	OpenCode 1.18.33, chat completions, Claude API     generic header    yes    yes
//	Gemini CLI 0.61.0, API key                         content           yes    own
//	Qwen Code 0.24.4                                   content           yes    own
//	pi 1.6.0, chat completions, Claude API             content           yes    –
//	pi 1.6.0, Responses                                native header     yes    –
//	Copilot CLI 1.0.102, chat completions, Claude API  content           yes    own
//	Copilot CLI 1.0.102, Responses                     prompt_cache_key  yes    yes
//	Copilot CLI 1.0.102, Responses over a WebSocket    content           yes    –
//	Kilo 7.7.7                                         generic header    yes    yes
//	Continue 1.5.47                                    content           yes    –
//
// "stays" means that all requests of a session were sent to one auth, also after the
// session was resumed, and that not all sessions were at the same auth. "yes" means that
// the subagents were at their session's auth. "own" means that they were sessions of
// their own, which stayed, because their requests did not name their session. "–" means
// that the client has no subagents, or that the script could not start them. Requests for
// a title are left out: OpenCode sends them to another model.
//
// A prompt_cache_key counts if a machine has made it. Words ("support-bot") are an
// application's name for many conversations. So are digests of 40 hex digits or
// more, and an id after a word such as user, tenant or prompt. A shorter digest of a
// prompt cannot be told from a conversation's id.
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
// A body that does not end with a closing brace, is not one JSON object, or has
// more than a thousand top-level members, names nothing. The header still counts.
// (The members are not counted if those after the last list were enough.)
//
// Work is linear in the body, the depth of the recursion is bounded, and no memory
// in proportion to the body is used. A body of a million tiny parts costs at most
// ten times what a normal body of its size does (go test ./sessionid -bench
// Hostile). A search for worse bodies finds small ones of 40 KB, some 200 µs of work.
// They cost ten to twenty-five times as much; the factor differs from run to run (go
// test ./sessionid -run '^$' -bench TheSlowestBody -slowest 1m).
// [Passages] keeps at most one text at a time, of at most a MiB, and 16,384 of its lines.
// Beyond 8,192 messages, 1,024 parts of a message, and 256 members of an object,
// the rest is hashed as it is spelled. So are messages that cost much more work than
// their bytes allow, such as thousands of messages that have hardly a word each.
//
// The digests are not keyed. A client that can choose ids can choose two that collide,
// and then two of its own sessions become one. Keep tenants apart by a part of the key
// that is compared, as package affinity does, and not by these digests.
package sessionid
