package sessionid

// The census is all that this package knows of clients. It has one row for each place
// in a request that some client uses. To add a client, add rows.

// row is one place in a request, and what it names.
type row struct {
	kind Kind
	// space is the family of the ids in this place. Equal ids of one family
	// name one session. A KindLane, KindParent or KindOwnerHeader row counts only
	// beside a session whose id is of this family; nil stands for every family.
	// An owner header also counts in a request without a session. An owner's
	// family is given by its name.
	space  *space
	name   string  // a header's name, or a body path
	client string  // who sends it, and how that is known
	read   reading // how the id is read out of the value
	terms  *terms  // nil: none
}

// terms are rules that only a few rows have.
type terms struct {
	agent      string // the row counts only if the User-Agent begins with this
	isCacheKey bool   // KindGuarded: a header that counts only if its value is the cache key's id
	means      string // owners: the row names the same state as the row of this name
	history    bool   // owners: the state stands for the messages before those in the request
	fork       bool   // parents: what a session was forked from, not what a subagent came from
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
)

// census holds the rows of one kind with the strongest first.
//
// The letter after a client gives the row's source: C captured from the running
// client, S the client's source code, D a vendor's documentation, T third parties
// only.
//
// Places that name less or more than a conversation are left out on purpose:
//   - turns and requests: x-request-id, traceparent, X-Claude-Code-Prompt-Id,
//     x-codex-window-id, x-interaction-id;
//   - labels: x-openai-subagent;
//   - machines, windows and projects: VScode-SessionId,
//     x-codex-installation-id, X-KILOCODE-PROJECTID;
//   - ids of servers: Mcp-Session-Id, x-session-token;
//   - users: user, safety_identifier, X-Resource-Id.
var census = []row{
	{KindNativeHeader, spaceClaude, "X-Claude-Code-Session-Id", "Claude Code (C)", asItIs, nil},
	{KindNativeHeader, spaceCodex, "Session-Id", "Codex (C), OpenCode's OpenAI plugin (S)", asItIs, nil},
	{KindNativeHeader, spaceCodex, "Session_id", "older Codex, pi, Cline, Roo (S)", asItIs, nil},
	{KindNativeHeader, spaceCodex, "X-Codex-Turn-Metadata", "Codex (C)", sessionIDInJSON, nil},
	{KindNativeHeader, spaceCodex, "Conversation_id", "older Codex (S)", asItIs, nil},
	{KindNativeHeader, spaceOpenCode, "X-Opencode-Session", "OpenCode (S)", asItIs, nil},
	{KindNativeHeader, spaceCopilot, "X-Client-Session-Id", "Copilot CLI (S)", asItIs, nil},
	{KindNativeHeader, spaceTask, "X-Task-Id", "Cline (S)", asItIs, nil},
	{KindNativeHeader, spaceTask, "X-Roo-Task-Id", "Roo (S)", asItIs, nil},
	{KindNativeHeader, spaceTask, "X-Kilocode-Taskid", "Kilo (S)", asItIs, nil},
	{KindNativeHeader, spaceAmp, "X-Amp-Thread-Id", "Amp (T)", asItIs, nil},
	{KindNativeHeader, spaceGoose, "Agent-Session-Id", "Goose (T)", asItIs, nil},
	{KindNativeHeader, spaceVibe, "X-Affinity", "Mistral Vibe, pi (S)", last12Hex, nil},
	{KindNativeHeader, spaceGrok, "X-Grok-Conv-Id", "xAI users (D)", asItIs, nil},
	{KindNativeHeader, spaceGrok, "X-Grok-Session-Id", "Grok CLI (T)", asItIs, nil},

	{KindNativeBody, spaceClaude, "metadata.user_id", "Claude Code (C)", claudeUserID, nil},
	{KindNativeBody, spaceCodex, "client_metadata.session_id", "Codex (C)", asItIs, nil},

	{KindGenericHeader, spaceSession, "X-Session-Id", "OpenCode (C), Crush (S), OpenRouter users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Session-Affinity", "OpenCode (C), Fireworks, Cloudflare (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Litellm-Session-Id", "OpenHands, LiteLLM users (S)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Openwebui-Chat-Id", "Open WebUI (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "Helicone-Session-Id", "Helicone users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Bf-Session-Id", "Bifrost users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Ms-Session-Id", "Azure users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Thread-Id", "Mastra with memory (C)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Merge-Thread-Id", "Merge users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Dynamo-Session-Id", "Dynamo users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Smg-Routing-Key", "SGLang gateway users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Aibrix-Session-Key", "AIBrix users (D)", asItIs, nil},
	{KindGenericHeader, spaceSession, "X-Cagent-Session-Id", "cagent (D)", asItIs, nil},

	{KindBody, spaceSession, "metadata.session_id", "OpenHands, LiteLLM users (S)", asItIs, nil},
	{KindBody, spaceSession, "metadata.sessionId", "Qwen Code on DashScope (S)", asItIs, nil},
	{KindBody, spaceSession, "metadata.cursorConversationId", "Cursor (T)", asItIs, nil},
	{KindBody, spaceSession, "litellm_session_id", "LiteLLM users (D)", asItIs, nil},
	{KindBody, spaceSession, "unbound_metadata.taskId", "Roo (S)", asItIs, nil},
	{KindBody, spaceSession, "requesty.trace_id", "Roo (S)", asItIs, nil},
	{KindBody, spaceSession, "session_id", "OpenRouter users (D)", asItIs, nil},
	{KindBody, spaceSession, "sessionId", "Cline (S)", asItIs, nil},
	{KindBody, spaceSession, "conversation", "OpenAI Responses (D)", asItIs, nil},
	{KindBody, spaceSession, "conversation.id", "OpenAI Responses (D)", asItIs, nil},
	{KindBody, spaceSession, "conversation_id", "various (T)", asItIs, nil},
	{KindBody, spaceSession, "thread_id", "various (T)", asItIs, nil},
	{KindBody, spaceSession, "chat_id", "various (T)", asItIs, nil},
	{KindBody, spaceSession, "request.session_id", "Gemini CLI on Code Assist (S)", asItIs, nil},
	{KindBody, spaceSession, "user_prompt_id", "Gemini CLI on Code Assist (S)", beforeHashes, nil},

	{KindCacheKey, spaceCacheKey, "prompt_cache_key", "VS Code Copilot (S): <conversation>:<model family>", copilotCacheKey, &terms{agent: "GitHubCopilotChat/"}},
	{KindCacheKey, spaceCacheKey, "prompt_cache_key", "Codex, Copilot CLI, Kimi Code (C), OpenCode, pi, Zed (S)", cacheKey, nil},

	// These name a session only on their terms.
	{KindGuarded, spaceCacheKey, "X-Client-Request-Id", "Codex, pi (C): only if it is the prompt_cache_key as well", asItIs, &terms{isCacheKey: true}},
	{KindGuarded, spaceKimi, "metadata.user_id", "Kimi CLI (S): only a bare uuid from its User-Agent", bareUUID, &terms{agent: "KimiCLI/"}},

	// Not in the default order, because a user is not a conversation.
	{KindUser, spaceUser, "metadata.user_id", "Anthropic API users (D)", asItIs, nil},

	// Subagents, and the subagent or session that each came from.
	{KindLane, spaceClaude, "X-Claude-Code-Agent-Id", "Claude Code's subagents (S)", asItIs, nil},
	{KindLane, spaceCodex, "Thread-Id", "Codex: of the main line it is the session's id (C)", asItIs, nil},
	{KindParent, spaceClaude, "X-Claude-Code-Parent-Agent-Id", "Claude Code's subagents (S)", asItIs, nil},
	{KindParent, spaceCodex, "X-Codex-Parent-Thread-Id", "Codex's subagents (S)", asItIs, nil},
	{KindParent, nil, "X-Parent-Session-Id", "OpenCode's subagents (S)", asItIs, nil},
	{KindParent, spaceCodex, "X-Codex-Turn-Metadata", "Codex's forks (C): forked_from_thread_id", forkedFromInJSON, &terms{fork: true}},

	// Requests beside a conversation.
	{KindSide, spaceCodex, "X-Codex-Turn-Metadata", "Codex (C): request_kind is compaction", compactionInJSON, nil},

	// State that only one auth has.
	{KindOwnerHeader, spaceCodex, "X-Codex-Turn-State", "Codex, inside one turn (S)", asItIs, nil},
	{KindOwner, nil, "previous_response_id", "OpenAI Responses (D)", asItIs, &terms{history: true}},
	{KindOwner, nil, "previous_interaction_id", "Google Interactions (D)", asItIs, &terms{history: true}},
	{KindOwner, nil, "conversation", "OpenAI Responses, conv_… (D)", openAIConversation, nil},
	{KindOwner, nil, "conversation.id", "OpenAI Responses, conv_… (D)", openAIConversation, &terms{means: "conversation"}},
	{KindOwner, nil, "container", "Anthropic (D)", asItIs, nil},
	{KindOwner, nil, "container.id", "Anthropic (D)", asItIs, &terms{means: "container"}},
	{KindOwner, nil, "cachedContent", "Gemini (D)", asItIs, nil},
	{KindOwner, nil, "cached_content", "Gemini (D)", asItIs, &terms{means: "cachedContent"}},
	{KindOwner, nil, "thread.previous_message_id", "Anthropic, message threads (C)", asItIs, &terms{history: true}},
	{KindOwner, nil, "diagnostics.previous_message_id", "Anthropic's SDKs (S)", asItIs, &terms{means: "thread.previous_message_id"}},
	{KindOwner, nil, "session_params.id", "SGLang (D)", asItIs, &terms{history: true}},
}

var (
	contentRow = row{kind: KindContent, name: "content", client: "any"}
	patternRow = row{kind: KindPattern, space: spacePattern, name: "x-*-session-id", client: "unknown clients"}
)

// Signals returns the census: every place that an Extractor can read, those of
// one kind with the strongest first, and "content". The slice is the caller's.
func Signals() []Signal { return signalsOf(census) }

func signalsOf(rows []row) []Signal {
	out := make([]Signal, 0, len(rows)+1)
	for i := range rows {
		s := rows[i].asSignal()
		if n := len(out) - 1; n >= 0 && out[n].Kind == s.Kind && out[n].Name == s.Name { // read in two ways
			out[n].Client += "; " + s.Client
			continue
		}
		out = append(out, s)
	}
	return append(out, contentRow.asSignal())
}

func (r *row) asSignal() Signal { return Signal{Name: r.name, Kind: r.kind, Client: r.client} }

// replacesHistory reports whether the row's state stands for messages that are
// not in the request.
func (r *row) replacesHistory() bool { return r.terms != nil && r.terms.history }
