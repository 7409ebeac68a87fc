package sessionid

import (
	"net/textproto"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// signal is one row of the census: a place in a request that names a session.
type signal struct {
	kind   Kind
	space  *space // whose ids they are: equal values in one space name one session
	name   string // header name, or body path of one or two members
	client string // who sends it
	read   func(string) (string, bool)
}

// space keeps the ids of one family apart from all others, by a seed instead
// of a separator that an id could contain.
type space struct{ lo, hi uint64 }

func newSpace(name string) *space {
	return &space{lo: xxhash.Sum64String(name), hi: xxhash.Sum64String(name + "/hi")}
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
	spaceSession  = newSpace("session") // generic headers and body members
	spaceCacheKey = newSpace("prompt-cache-key")
	spaceUser     = newSpace("user")
)

// signals is the census, strongest first. Adding a client is adding a row.
//
// Evidence in the client column: C captured from the running client, S its
// source, D a vendor's documentation, T third parties only.
//
// Not here, on purpose, because they name less or more than a conversation:
// turns and requests (x-client-request-id, x-request-id, traceparent,
// X-Claude-Code-Prompt-Id, x-interaction-id …), lanes and parents (thread-id,
// x-parent-session-id …), machines, windows and projects (VScode-SessionId,
// x-codex-installation-id, X-KILOCODE-PROJECTID …), servers' own ids
// (Mcp-Session-Id, x-session-token), users (user, safety_identifier).
var signals = []signal{
	{KindNativeHeader, spaceClaude, "X-Claude-Code-Session-Id", "Claude Code (C)", nil},
	{KindNativeHeader, spaceCodex, "Session-Id", "Codex (C), OpenCode's OpenAI plugin (S)", nil},
	{KindNativeHeader, spaceCodex, "Session_id", "older Codex, pi, Cline, Roo (S)", nil},
	{KindNativeHeader, spaceCodex, "X-Codex-Turn-Metadata", "Codex (C)", jsonMember("session_id")},
	{KindNativeHeader, spaceCodex, "Conversation_id", "older Codex (S)", nil},
	{KindNativeHeader, spaceOpenCode, "X-Opencode-Session", "OpenCode (S)", nil},
	{KindNativeHeader, spaceCopilot, "X-Client-Session-Id", "Copilot CLI (S)", nil},
	{KindNativeHeader, spaceTask, "X-Task-Id", "Cline (S)", nil},
	{KindNativeHeader, spaceTask, "X-Roo-Task-Id", "Roo (S)", nil},
	{KindNativeHeader, spaceTask, "X-Kilocode-Taskid", "Kilo (S)", nil},
	{KindNativeHeader, spaceAmp, "X-Amp-Thread-Id", "Amp (T)", nil},
	{KindNativeHeader, spaceGoose, "Agent-Session-Id", "Goose (T)", nil},
	{KindNativeHeader, spaceVibe, "X-Affinity", "Mistral Vibe, pi (S)", last12Hex},
	{KindNativeHeader, spaceGrok, "X-Grok-Conv-Id", "xAI users (D)", nil},
	{KindNativeHeader, spaceGrok, "X-Grok-Session-Id", "Grok CLI (T)", nil},

	{KindNativeBody, spaceClaude, "metadata.user_id", "Claude Code (C)", claudeUserID},

	{KindGenericHeader, spaceSession, "X-Session-Id", "OpenCode (C), Crush (S), OpenRouter users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Session-Affinity", "OpenCode (C), Fireworks, Cloudflare (D)", nil},
	{KindGenericHeader, spaceSession, "X-Litellm-Session-Id", "OpenHands, LiteLLM users (S)", nil},
	{KindGenericHeader, spaceSession, "X-Openwebui-Chat-Id", "Open WebUI (D)", nil},
	{KindGenericHeader, spaceSession, "Helicone-Session-Id", "Helicone users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Bf-Session-Id", "Bifrost users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Ms-Session-Id", "Azure users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Merge-Thread-Id", "Merge users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Dynamo-Session-Id", "Dynamo users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Smg-Routing-Key", "SGLang gateway users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Aibrix-Session-Key", "AIBrix users (D)", nil},
	{KindGenericHeader, spaceSession, "X-Cagent-Session-Id", "cagent (D)", nil},

	{KindBody, spaceCodex, "client_metadata.session_id", "Codex (C)", nil},
	{KindBody, spaceSession, "metadata.session_id", "OpenHands, LiteLLM users (S)", nil},
	{KindBody, spaceSession, "metadata.sessionId", "Qwen Code on DashScope (S)", nil},
	{KindBody, spaceSession, "metadata.cursorConversationId", "Cursor (T)", nil},
	{KindBody, spaceSession, "litellm_session_id", "LiteLLM users (D)", nil},
	{KindBody, spaceSession, "unbound_metadata.taskId", "Roo (S)", nil},
	{KindBody, spaceSession, "requesty.trace_id", "Roo (S)", nil},
	{KindBody, spaceSession, "session_id", "OpenRouter users (D)", nil},
	{KindBody, spaceSession, "sessionId", "Cline (S)", nil},
	{KindBody, spaceSession, "conversation", "OpenAI Responses (D)", nil},
	{KindBody, spaceSession, "conversation.id", "OpenAI Responses (D)", nil},
	{KindBody, spaceSession, "conversation_id", "various (T)", nil},
	{KindBody, spaceSession, "thread_id", "various (T)", nil},
	{KindBody, spaceSession, "chat_id", "various (T)", nil},
	{KindBody, spaceSession, "request.session_id", "Gemini CLI on Code Assist (S)", nil},

	{KindCacheKey, spaceCacheKey, "prompt_cache_key", "Codex (C), OpenCode, pi, Kimi, Zed, VS Code Copilot (S)", cacheKey},

	// The identity from content stands between these two; see Extract.
	{KindUser, spaceUser, "metadata.user_id", "Anthropic API users (D)", nil},
}

var contentSignal = signal{kind: KindContent, name: "content", client: "any"}

// key is the digest of one id of the space.
func (s *space) key(v string) (k Key) {
	var d xxhash.Digest
	d.ResetWithSeed(s.lo)
	d.WriteString(v)
	lo := d.Sum64()
	d.ResetWithSeed(s.hi)
	d.WriteString(v)
	return makeKey(lo, d.Sum64())
}

// id reads an id from a raw value: the signal's own reading, then the one
// gate for all.
func (s *signal) id(v string) (string, bool) {
	if s.read != nil {
		var ok bool
		if v, ok = s.read(v); !ok {
			return "", false
		}
	}
	return clean(v)
}

// jsonMember reads an id out of JSON that stands inside a string.
func jsonMember(name string) func(string) (string, bool) {
	return func(v string) (string, bool) {
		s := unquote(lookup([]byte(v), name))
		return s, s != ""
	}
}

// claudeUserID reads the session out of Claude Code's metadata.user_id: JSON
// with a session_id, or user_<hash>_account_<uuid>_session_<uuid> of its
// older versions. Anything else is a user, not a session.
func claudeUserID(v string) (string, bool) {
	if strings.HasPrefix(v, "{") {
		s := unquote(lookup([]byte(v), "session_id"))
		return s, s != ""
	}
	if i := strings.LastIndex(v, "_session_"); i >= 0 && strings.HasPrefix(v, "user_") {
		s := v[i+len("_session_"):]
		return s, isUUID(s)
	}
	return "", false
}

// last12Hex reads what survives of Mistral Vibe's id when a conversation is
// compacted or rewound: its last 12 hex digits.
func last12Hex(v string) (string, bool) {
	v = strings.TrimRight(v, " \t")
	if len(v) < 12 || len(v) > MaxIDBytes {
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

// cacheKey reads a conversation out of prompt_cache_key. VS Code Copilot
// appends the model family behind a colon; the OpenAI Agents SDK writes
// agents-sdk:<session|conversation|group>:<id>, and agents-sdk:run:<id> for
// what is one run only. Other keys with several colons are an application's
// buckets, which many conversations share.
func cacheKey(v string) (string, bool) {
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

// The census by place, made once.
var (
	headerSignals []*signal
	bodySignals   []bodySignal
	bodyMembers   = map[string]int{} // top-level member -> index into body.raw
)

// bodySignal is a body row with its path taken apart.
type bodySignal struct {
	*signal
	top int
	sub string
}

func init() {
	for i := range signals {
		s := &signals[i]
		switch s.kind {
		case KindNativeHeader, KindGenericHeader:
			s.name = textproto.CanonicalMIMEHeaderKey(s.name)
			headerSignals = append(headerSignals, s)
		default:
			top, sub, _ := strings.Cut(s.name, ".")
			bodySignals = append(bodySignals, bodySignal{s, memberIndex(top), sub})
		}
	}
	if len(bodyMembers) > maxMembers {
		panic("sessionid: maxMembers is too small for the census")
	}
}

// memberIndex gives a top-level member its place in body.raw.
func memberIndex(name string) int {
	i, ok := bodyMembers[name]
	if !ok {
		i = len(bodyMembers)
		bodyMembers[name] = i
	}
	return i
}
