package sessionid

import (
	"bytes"
	"encoding/binary"
	"net/textproto"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// signal is one row of the census: a place in a request that names a session.
type signal struct {
	kind   Kind
	space  *space // whose ids they are: equal values in one space name one session
	name   string // header name, or body path of one or two members
	client string // who sends it
	read   reading
}

// reading is how an id is read out of a signal's value. (Not a function: an
// indirect call would move the id to the heap.)
type reading uint8

const (
	asItIs          reading = iota
	sessionIDInJSON         // JSON that stands inside a string, its session_id
	claudeUserID
	last12Hex
	cacheKey
)

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

	{KindCacheKey, spaceCacheKey, "prompt_cache_key", "Codex (C), OpenCode, pi, Kimi, Zed, VS Code Copilot (S)", cacheKey},

	// The identity from content stands between these two; see Extract.
	{KindUser, spaceUser, "metadata.user_id", "Anthropic API users (D)", asItIs},
}

var contentSignal = signal{kind: KindContent, name: "content", client: "any"}

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

// id reads an id from a value: the signal's own reading, then the one gate
// for all.
func (s *signal) id(v string) (string, bool) {
	ok := true
	switch s.read {
	case sessionIDInJSON:
		v, ok = readJSON(v)
	case claudeUserID:
		v, ok = readClaudeUserID(v)
	case last12Hex:
		v, ok = readLast12Hex(v)
	case cacheKey:
		v, ok = readCacheKey(v)
	}
	if !ok {
		return "", false
	}
	return clean(v)
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
func readLast12Hex(v string) (string, bool) {
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

// The census by place, made once.
var (
	headerSignals []*signal
	bodySignals   [KindUser + 1][]*bodySignal // by kind, each in order
	bodyStrong    [maxMembers]bool            // by member: it may hold a strong id
	bodyMembers   = map[string]int{}          // top-level member -> index into body.raw
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
			b := &bodySignal{s, memberIndex(top), sub}
			bodySignals[s.kind] = append(bodySignals[s.kind], b)
			if s.kind == KindNativeBody || s.kind == KindBody {
				bodyStrong[b.top] = true
			}
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
