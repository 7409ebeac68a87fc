package sessionid

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// signal is one row of the census: a place in a request, and what it names.
type signal struct {
	kind   Kind
	space  *space // whose ids they are: equal values in one space name one session
	name   string // header name, or body path of one or two members
	client string // who sends it, and how that is known
	read   reading
}

// space keeps the ids of one family apart from all others, by a seed instead
// of a separator that an id could contain.
type space struct{ lo, hi uint64 }

func newSpace(name string) *space {
	return &space{lo: xxhash.Sum64String(name), hi: xxhash.Sum64String(name + "/hi")}
}

// key is the digest of one id of the space: xxhash in one lane, and in the
// other a chain of multiplications over the id's words.
func (s *space) key(v string) Key {
	hi := s.hi ^ uint64(len(v))
	b := bytesOf(v)
	for ; len(b) >= 8; b = b[8:] {
		hi = fold(hi, binary.LittleEndian.Uint64(b))
	}
	var rest [8]byte
	copy(rest[:], b)
	return makeKey(fold(s.lo, xxhash.Sum64String(v)), fold(hi, binary.LittleEndian.Uint64(rest[:])))
}

var (
	spaceClaude   = newSpace("claude-code")
	spaceCodex    = newSpace("codex")
	spaceCopilot  = newSpace("copilot")
	spaceTask     = newSpace("cline") // Cline and its forks
	spaceAmp      = newSpace("amp")
	spaceGoose    = newSpace("goose")
	spaceVibe     = newSpace("mistral-vibe")
	spaceGrok     = newSpace("grok")
	spaceOpenCode = newSpace("opencode")
	spaceKimi     = newSpace("kimi")
	spaceSession  = newSpace("session") // generic headers and body members
	spaceCacheKey = newSpace("prompt-cache-key")
	spaceUser     = newSpace("user")
	spacePattern  = newSpace("pattern")
	spaceOwn      = newSpace("own")
	spaceLane     = newSpace("lane")
)

// census are all places that are read, those of one kind the strongest first.
// Adding a client is adding a row.
//
// Evidence in the client column: C captured from the running client, S its
// source, D a vendor's documentation, T third parties only.
//
// Not here, on purpose, because they name less or more than a conversation:
// turns and requests (x-request-id, traceparent, X-Claude-Code-Prompt-Id,
// x-codex-window-id, x-interaction-id …), labels (x-openai-subagent),
// machines, windows and projects (VScode-SessionId, x-codex-installation-id,
// X-KILOCODE-PROJECTID …), servers' own ids (Mcp-Session-Id,
// x-session-token), users (user, safety_identifier).
var census = []signal{
	{KindNativeHeader, spaceClaude, "X-Claude-Code-Session-Id", "Claude Code (C)", asItIs},
	{KindNativeHeader, spaceCodex, "Session-Id", "Codex (C), OpenCode's OpenAI plugin (S)", asItIs},
	{KindNativeHeader, spaceCodex, "Session_id", "older Codex, pi, Cline, Roo (S)", asItIs},
	{KindNativeHeader, spaceCodex, "X-Codex-Turn-Metadata", "Codex (C)", sessionIDInJSON},
	{KindNativeHeader, spaceCodex, "Conversation_id", "older Codex (S)", asItIs},
	{KindNativeHeader, spaceOpenCode, "X-Opencode-Session", "OpenCode (S)", asItIs},
	{KindNativeHeader, spaceCopilot, "X-Client-Session-Id", "Copilot CLI (S)", asItIs},
	{KindNativeHeader, spaceTask, "X-Task-Id", "Cline (S)", asItIs},
	{KindNativeHeader, spaceTask, "X-Roo-Task-Id", "Roo (S)", asItIs},
	{KindNativeHeader, spaceTask, "X-Kilocode-Taskid", "Kilo (S)", asItIs},
	{KindNativeHeader, spaceAmp, "X-Amp-Thread-Id", "Amp (T)", asItIs},
	{KindNativeHeader, spaceGoose, "Agent-Session-Id", "Goose (T)", asItIs},
	{KindNativeHeader, spaceVibe, "X-Affinity", "Mistral Vibe, pi (S)", last12Hex},
	{KindNativeHeader, spaceGrok, "X-Grok-Conv-Id", "xAI users (D)", asItIs},
	{KindNativeHeader, spaceGrok, "X-Grok-Session-Id", "Grok CLI (T)", asItIs},

	{KindNativeBody, spaceClaude, "metadata.user_id", "Claude Code (C)", claudeUserID},

	{KindGenericHeader, spaceSession, "X-Session-Id", "OpenCode (C), Crush (S), OpenRouter users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Session-Affinity", "OpenCode (C), Fireworks, Cloudflare (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Litellm-Session-Id", "OpenHands, LiteLLM users (S)", asItIs},
	{KindGenericHeader, spaceSession, "X-Openwebui-Chat-Id", "Open WebUI (D)", asItIs},
	{KindGenericHeader, spaceSession, "Helicone-Session-Id", "Helicone users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Bf-Session-Id", "Bifrost users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Ms-Session-Id", "Azure users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Merge-Thread-Id", "Merge users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Dynamo-Session-Id", "Dynamo users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Smg-Routing-Key", "SGLang gateway users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Aibrix-Session-Key", "AIBrix users (D)", asItIs},
	{KindGenericHeader, spaceSession, "X-Cagent-Session-Id", "cagent (D)", asItIs},

	{KindBody, spaceCodex, "client_metadata.session_id", "Codex (C)", asItIs},
	{KindBody, spaceSession, "metadata.session_id", "OpenHands, LiteLLM users (S)", asItIs},
	{KindBody, spaceSession, "metadata.sessionId", "Qwen Code on DashScope (S)", asItIs},
	{KindBody, spaceSession, "metadata.cursorConversationId", "Cursor (T)", asItIs},
	{KindBody, spaceSession, "litellm_session_id", "LiteLLM users (D)", asItIs},
	{KindBody, spaceSession, "unbound_metadata.taskId", "Roo (S)", asItIs},
	{KindBody, spaceSession, "requesty.trace_id", "Roo (S)", asItIs},
	{KindBody, spaceSession, "session_id", "OpenRouter users (D)", asItIs},
	{KindBody, spaceSession, "sessionId", "Cline (S)", asItIs},
	{KindBody, spaceSession, "conversation", "OpenAI Responses (D)", asItIs},
	{KindBody, spaceSession, "conversation.id", "OpenAI Responses (D)", asItIs},
	{KindBody, spaceSession, "conversation_id", "various (T)", asItIs},
	{KindBody, spaceSession, "thread_id", "various (T)", asItIs},
	{KindBody, spaceSession, "chat_id", "various (T)", asItIs},
	{KindBody, spaceSession, "request.session_id", "Gemini CLI on Code Assist (S)", asItIs},
	{KindBody, spaceSession, "user_prompt_id", "Gemini CLI on Code Assist (S)", beforeHashes},

	{KindCacheKey, spaceCacheKey, "prompt_cache_key", "Codex (C), OpenCode, pi, Kimi, Zed, VS Code Copilot (S)", cacheKey},

	// Guarded: they name a session only where their own client sends them.
	// The guards are in guard.go.
	{KindGuarded, spaceCacheKey, "X-Client-Request-Id", "Codex, pi (C): only if it is the prompt_cache_key as well", asItIs},
	{KindGuarded, spaceKimi, "metadata.user_id", "Kimi CLI (S): only a bare uuid from its User-Agent", bareUUID},

	// Not in the default order: a user is not a conversation.
	{KindUser, spaceUser, "metadata.user_id", "Anthropic API users (D)", asItIs},

	// A subagent's place in its session, and where it came from. They count
	// only beside an id of their own space; with none, of any.
	{KindLane, spaceClaude, "X-Claude-Code-Agent-Id", "Claude Code's subagents (S)", asItIs},
	{KindLane, spaceCodex, "Thread-Id", "Codex: of the main line it is the session's id (C)", asItIs},
	{KindParent, spaceClaude, "X-Claude-Code-Parent-Agent-Id", "Claude Code's subagents (S)", asItIs},
	{KindParent, spaceCodex, "X-Codex-Parent-Thread-Id", "Codex's subagents (S)", asItIs},
	{KindParent, nil, "X-Parent-Session-Id", "OpenCode's subagents (S)", asItIs},

	// State that exists behind one auth only. The spaces are the names'.
	{KindOwnerHeader, nil, "X-Codex-Turn-State", "Codex, inside one turn (S)", asItIs},
	{KindOwner, nil, "previous_response_id", "OpenAI Responses (D)", asItIs},
	{KindOwner, nil, "previous_interaction_id", "Google Interactions (D)", asItIs},
	{KindOwner, nil, "conversation", "OpenAI Responses, conv_… (D)", openAIConversation},
	{KindOwner, nil, "conversation.id", "OpenAI Responses, conv_… (D)", openAIConversation},
	{KindOwner, nil, "container", "Anthropic (D)", asItIs},
	{KindOwner, nil, "container.id", "Anthropic (D)", asItIs},
	{KindOwner, nil, "cachedContent", "Gemini (D)", asItIs},
	{KindOwner, nil, "cached_content", "Gemini (D)", asItIs},
	{KindOwner, nil, "thread.previous_message_id", "third parties (D)", asItIs},
	{KindOwner, nil, "session_params.id", "SGLang (D)", asItIs},
}

// contentSignal names an ID that comes from the conversation itself.
var contentSignal = signal{kind: KindContent, name: "content", client: "any"}

// Signals is the census: every place that an Extractor can read, those of one
// kind the strongest first, and "content". It is the caller's copy.
func Signals() []Signal {
	out := make([]Signal, 0, len(census)+1)
	for i := range census {
		out = append(out, census[i].public())
	}
	return append(out, contentSignal.public())
}

func (s *signal) public() Signal { return Signal{Name: s.name, Kind: s.kind, Client: s.client} }
