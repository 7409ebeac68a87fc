package talk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Request is a request of a made-up session of a client.
type Request struct {
	Client, Session string
	Turn            int
	Path            string
	Header          [][2]string
	Body            string
	Side            bool // it is beside the conversation
}

// client is a kind of client: what its requests look like. They have the names, and values of the
// shape, that captured requests of such clients have. All else is left out or made up.
type client struct {
	name, path string
	header     func(s *session) [][2]string
	body       func(s *session, shown []Message) members
	begin      []Message // what all its sessions begin with
	// shown returns what a request says of the conversation, nil for all of it.
	shown func(s *session) []Message
	// summary asks for a summary before the third turn, and is what the client says then in place
	// of all but the last keep messages. Empty if it asks for none.
	summary, instead string
	keep             int
	create           string // a path that is asked for a conversation first
}

// session is a session of a client.
type session struct {
	*client
	name     string
	rng      *rand.Rand
	ids      map[string]string
	said     []Message
	answered int // so much was said when the last answer came
	asked    int // so many requests were sent
}

// id returns an id of the session: the same one for the same name.
func (s *session) id(name string, fresh func(*rand.Rand) string) string {
	if s.ids[name] == "" {
		s.ids[name] = fresh(s.rng)
	}
	return s.ids[name]
}

// Ids of the forms in which clients and providers make them.
func uuid(rng *rand.Rand) string {
	x := code(rng, 32, 16)
	return strings.ToLower(x[:8] + "-" + x[8:12] + "-4" + x[13:16] + "-a" + x[17:20] + "-" + x[20:])
}

func hex(n int) func(*rand.Rand) string {
	return func(rng *rand.Rand) string { return strings.ToLower(code(rng, n, 16)) }
}

func after(prefix string, n int) func(*rand.Rand) string {
	return func(rng *rand.Rand) string { return prefix + code(rng, n, len(letters)) }
}

// members are the members of a JSON object in the order in which a client writes them.
type members []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the object.
func (m members) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for i, one := range m {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		b.WriteString(sep + written(one.name) + ":" + written(one.value))
	}
	return []byte(b.String() + "}"), nil
}

// items are messages in the form of an API.
func items(api string, said []Message) (out []any) {
	for i := range apis {
		if apis[i].name == api {
			for _, m := range said {
				out = append(out, apis[i].items(m)...)
			}
		}
	}
	return out
}

// prompt is the system prompt of a client: the same for all its sessions.
func prompt(client string) string {
	return "You are " + client + ". " + prose(rand.New(rand.NewPCG(uint64(len(client)), uint64(client[0]))), 5000)
}

func agent(name string) func(*session) [][2]string {
	return func(*session) [][2]string { return [][2]string{{"User-Agent", name}} }
}

// chatOf is the body of a client of the chat API.
func chatOf(s *session, shown []Message, more ...member) members {
	system := Message{Role: "system", Text: prompt(s.client.name)}
	return append(members{{"model", "gpt-x"}, {"messages", items("chat", append([]Message{system}, shown...))}, {"stream", true}}, more...)
}

func chatBody(s *session, shown []Message) members { return chatOf(s, shown) }

// claudeBody is the body of Claude Code: texts are lists of blocks, and the mark for the prompt
// cache moves to the last one.
func claudeBody(s *session, shown []Message) members {
	messages := items("anthropic", shown)
	for i := range messages {
		o := messages[i].(object)
		if text, ok := o["content"].(string); ok {
			block := object{"type": "text", "text": text}
			if i == len(messages)-1 {
				block["cache_control"] = object{"type": "ephemeral"}
			}
			o["content"] = []any{block}
		}
	}
	user := written(members{{"device_id", s.id("device", hex(64))}, {"account_uuid", ""}, {"session_id", s.id("session", uuid)}})
	return members{{"model", "claude-x"}, {"messages", messages}, {"system", prompt(s.client.name)}, {"metadata", object{"user_id": user}}, {"max_tokens", 64000}, {"stream", true}}
}

func claudeHeader(s *session) [][2]string {
	return [][2]string{{"User-Agent", "claude-cli/2.1.331 (external, sdk-cli)"}, {"X-Claude-Code-Session-Id", s.id("session", uuid)}, {"x-app", "cli"}}
}

// codexBody is the body of Codex: each message has a lasting id.
func codexBody(s *session, shown []Message) members {
	input := items("responses", shown)
	for i := range input {
		o := input[i].(object)
		if text, ok := o["content"].(string); ok {
			kind := "input_text"
			if o["role"] == "assistant" {
				kind = "output_text"
			}
			o["type"], o["content"] = "message", []any{object{"type": kind, "text": text}}
			o["id"] = "msg_" + s.id(fmt.Sprint("message ", i), uuid)
		}
	}
	id := s.id("session", uuid)
	return members{
		{"model", "gpt-x"}, {"instructions", prompt(s.client.name)}, {"input", input}, {"store", false}, {"stream", true},
		{"prompt_cache_key", id}, {"client_metadata", object{"session_id": id, "thread_id": id, "x-codex-window-id": id + ":0"}},
	}
}

func codexHeader(s *session) [][2]string {
	id := s.id("session", uuid)
	turn := written(members{{"installation_id", s.id("installation", uuid)}, {"session_id", id}, {"thread_id", id}, {"turn_id", uuid(s.rng)}, {"window_id", id + ":0"}, {"request_kind", "turn"}})
	return [][2]string{
		{"user-agent", "codex_exec/0.169.0 (Debian 12.0.0; x86_64)"}, {"session-id", id}, {"thread-id", id},
		{"x-client-request-id", id}, {"x-codex-window-id", id + ":0"}, {"x-codex-turn-metadata", turn},
	}
}

func geminiBody(s *session, shown []Message) members {
	return members{{"contents", items("gemini", shown)}, {"systemInstruction", object{"parts": []any{object{"text": prompt(s.client.name)}}}}}
}

// responsesBody is the body of an SDK. It says what is new if the server keeps the rest.
func responsesBody(more func(s *session) members) func(*session, []Message) members {
	return func(s *session, shown []Message) members {
		return append(members{{"model", "gpt-x"}, {"input", items("responses", shown)}}, more(s)...)
	}
}

// news is what was said since the last answer.
func news(s *session) []Message { return s.said[s.answered:] }

// lastMessages are the last n, from a user's on.
func lastMessages(n int) func(*session) []Message {
	return func(s *session) []Message {
		shown := s.said[max(0, len(s.said)-n):]
		for shown[0].Role != "user" {
			shown = shown[1:]
		}
		return shown
	}
}

var clients = []*client{
	{
		name: "claude-code", path: "/v1/messages?beta=true", header: claudeHeader, body: claudeBody,
		begin: []Message{{Role: "user", Text: "<system-reminder>\nAs you answer the user's questions, you can use the following context:\n# The same for all sessions of a project.\n</system-reminder>"}},
	},
	{
		name: "claude-code, compacted", path: "/v1/messages?beta=true", header: claudeHeader, body: claudeBody,
		summary: "Your task is to create a detailed summary of the conversation so far.",
		instead: "This session is being continued from a previous conversation that ran out of context. The summary below covers the earlier portion of the conversation.\n\n",
	},
	{
		name: "codex", path: "/v1/responses", header: codexHeader, body: codexBody,
		begin: []Message{{Role: "user", Text: "<environment_context>\n  <cwd>/home/dev/project</cwd>\n  <shell>bash</shell>\n</environment_context>"}},
	},
	{
		name: "opencode", path: "/v1/chat/completions", body: chatBody,
		header: func(s *session) [][2]string {
			id := s.id("session", after("ses_", 26))
			return [][2]string{{"User-Agent", "opencode/1.18.33"}, {"x-session-affinity", id}, {"x-session-id", id}}
		},
	},
	{
		name: "kimi-code", path: "/v1/chat/completions", header: agent("KimiCode/1.0"),
		body: func(s *session, shown []Message) members {
			return chatOf(s, shown, member{"prompt_cache_key", "session_" + s.id("session", uuid)})
		},
	},
	{
		name: "mastra", path: "/v1/chat/completions", body: chatBody,
		header: func(s *session) [][2]string {
			return [][2]string{{"user-agent", "ai-sdk-openai-compatible/3.0.92"}, {"x-resource-id", "user-0"}, {"x-thread-id", s.id("thread", uuid)}}
		},
	},
	{
		name: "gemini-cli", path: "/v1beta/models/gemini-x:streamGenerateContent?alt=sse", header: agent("GeminiCLI-tui/0.61.0/gemini-x (linux; x64; terminal)"), body: geminiBody,
		begin: []Message{{Role: "user", Text: "<session_context>\nThis is the Gemini CLI. The same for all sessions of a project and a day.\n</session_context>"}},
	},
	{
		name: "qwen-code", path: "/v1/chat/completions", header: agent("QwenCode/0.15.10 (linux; x64)"), body: chatBody,
		begin: []Message{
			{Role: "user", Text: "This is the Qwen Code. The same for all sessions of a project and a day."},
			{Role: "assistant", Text: "Got it. Thanks for the context!"},
		},
	},
	{name: "openai-sdk, chat", path: "/v1/chat/completions", header: agent("OpenAI/JS 7.57.0"), body: chatBody},
	{
		name: "openai-sdk, responses", path: "/v1/responses", header: agent("OpenAI/JS 7.57.0"),
		body: responsesBody(func(*session) members { return members{{"store", false}} }),
	},
	{
		name: "openai-sdk, previous_response_id", path: "/v1/responses", header: agent("OpenAI/JS 7.57.0"), shown: news,
		body: responsesBody(func(s *session) members {
			if s.asked == 0 {
				return nil
			}
			return members{{"previous_response_id", s.id(fmt.Sprint("answer ", s.asked), after("resp_", 48))}}
		}),
	},
	{
		name: "openai-sdk, conversation", path: "/v1/responses", header: agent("OpenAI/JS 7.57.0"), shown: news, create: "/v1/conversations",
		body: responsesBody(func(s *session) members {
			return members{{"conversation", s.id("conversation", after("conv_", 48))}}
		}),
	},
	{
		name: "anthropic-sdk", path: "/v1/messages", header: agent("Anthropic/JS 1.13.0"),
		body: func(_ *session, shown []Message) members {
			return members{{"model", "claude-x"}, {"max_tokens", 1024}, {"messages", items("anthropic", shown)}}
		},
	},
	{name: "strands, last 5 messages", path: "/v1/chat/completions", header: agent("OpenAI/JS 7.57.0"), body: chatBody, shown: lastMessages(5)},
	{
		name: "langchain, summary", path: "/v1/chat/completions", header: agent("langchainjs-openai/1.0.0"), body: chatBody,
		summary: "Extract the most important context from the conversation above, as a summary.", instead: "Here is a summary of the conversation to date:\n\n", keep: 2,
	},
}

// Twins returns requests of three sessions of each client. In two of them, 0 and 4, the user says
// the same to the end. In all of them the last two questions are the same few words. A session has
// four questions, and the answer to the first one calls a tool. The requests are session by
// session, and the same in each run.
func Twins() (all []Request) {
	for number, c := range clients {
		for _, i := range []int{0, 2, 4} {
			s := &session{client: c, name: fmt.Sprintf("%s/%d", c.name, i), rng: rand.New(rand.NewPCG(uint64(number), uint64(i))), ids: map[string]string{}}
			all = append(all, s.requests(i%4)...)
		}
	}
	return all
}

// requests returns all requests of a session. In sessions with an equal like, the user says the
// same.
func (s *session) requests(like int) (all []Request) {
	ask := func(turn int, shown []Message, side bool) {
		all = append(all, Request{s.client.name, s.name, turn, s.path, s.header(s), written(s.body(s, shown)), side})
		s.asked++
	}
	main := func(turn int) {
		shown := s.said
		if s.shown != nil {
			shown = s.shown(s)
		}
		ask(turn, shown, false)
	}
	answer := func() string { return prose(s.rng, around(s.rng, 180, 0.4, 60, 400)) }

	if s.create != "" {
		all = append(all, Request{s.client.name, s.name, 0, s.create, s.header(s), "{}", true})
	}
	s.said = slices.Clone(s.begin)
	prompt := fmt.Sprintf("Please look at part %d of the project. ", like) + prose(rand.New(rand.NewPCG(uint64(len(s.client.name)), uint64(like))), 90)
	for turn, question := range []string{prompt, fmt.Sprintf("And what about part %d?", like+1), "Go on, please.", "Thank you. Sum it up."} {
		s.said = append(s.said, Message{Role: "user", Text: question})
		if turn == 2 && s.summary != "" {
			before := s.said[:len(s.said)-1]
			ask(turn, append(slices.Clone(before), Message{Role: "user", Text: s.summary}), true)
			head := Message{Role: "user", Text: s.instead + answer() + "\n" + answer()}
			s.said = append([]Message{head}, s.said[len(before)-s.keep:]...)
		}
		main(turn)
		if turn == 0 {
			call := &Call{ID: s.callID(), Name: "bash", Arguments: `{"command":"ls"}`}
			s.said = append(s.said, Message{Role: "assistant", Call: call})
			s.answered = len(s.said)
			s.said = append(s.said, Message{Role: "tool", Call: call, Text: "README.md go.mod main.go"})
			main(turn)
		}
		s.said = append(s.said, Message{Role: "assistant", Text: answer()})
		s.answered = len(s.said)
	}
	return all
}

// callID is an id of a call, in the form of the session's provider.
func (s *session) callID() string {
	switch {
	case strings.Contains(s.path, "/messages"):
		return after("toolu_01", 22)(s.rng)
	case strings.Contains(s.path, "GenerateContent"):
		return fmt.Sprintf("bash_%d_0", 1795419474520+s.rng.IntN(1e8))
	}
	return after("call_", 24)(s.rng)
}
