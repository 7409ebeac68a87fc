package simulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// loop describes how an agent sends a question and a tool's result with an API.
type loop struct {
	name, path, streamPath string
	tools, none            string // members of the body: with the tools, and with a choice of no tool
	ask                    string
	result                 func(answer string) string // the next body's messages
	id, tool, arguments    string                     // where a whole answer has them
	text                   string                     // where the next answer has its text
}

var loops = []loop{
	{
		name: "messages", path: "/v1/messages", streamPath: "/v1/messages",
		tools: `"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"look","input_schema":{}}]`, none: `"tool_choice":{"type":"none"}`,
		ask: `"messages":[{"role":"user","content":"q"}]`,
		result: func(a string) string {
			return fmt.Sprintf(`"messages":[{"role":"user","content":"q"},{"role":"assistant","content":%s},{"role":"user","content":[{"type":"tool_result","tool_use_id":"x","content":"r"}]},{"role":"system","content":"note"}]`, gjson.Get(a, "content").Raw)
		},
		id: "content.0.id", tool: "content.0.name", arguments: "content.0.input", text: "content.0.text",
	},
	{
		name: "chat", path: "/v1/chat/completions", streamPath: "/v1/chat/completions",
		tools: `"tools":[{"type":"function","function":{"name":"look"}}]`, none: `"tool_choice":"none"`,
		ask: `"messages":[{"role":"user","content":"q"}]`,
		result: func(a string) string {
			return fmt.Sprintf(`"messages":[{"role":"user","content":"q"},%s,{"role":"tool","tool_call_id":"x","content":"r"}]`, gjson.Get(a, "choices.0.message").Raw)
		},
		id: "choices.0.message.tool_calls.0.id", tool: "choices.0.message.tool_calls.0.function.name", arguments: "choices.0.message.tool_calls.0.function.arguments", text: "choices.0.message.content",
	},
	{
		name: "responses", path: "/v1/responses", streamPath: "/v1/responses",
		tools: `"tools":[{"type":"web_search"},{"type":"function","name":"look"}]`, none: `"tool_choice":"none"`,
		ask: `"input":"q"`,
		result: func(a string) string {
			return fmt.Sprintf(`"input":[{"role":"user","content":"q"},%s,{"type":"function_call_output","call_id":"x","output":"r"}]`, gjson.Get(a, "output.0").Raw)
		},
		id: "output.0.call_id", tool: "output.0.name", arguments: "output.0.arguments", text: "output.0.content.0.text",
	},
	{
		name: "gemini", path: "/v1beta/models/m:generateContent", streamPath: "/v1beta/models/m:streamGenerateContent?alt=sse",
		tools: `"tools":[{"googleSearch":{}},{"functionDeclarations":[{"name":"look"}]}]`, none: `"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}`,
		ask: `"contents":[{"role":"user","parts":[{"text":"q"}]}]`,
		result: func(a string) string {
			return fmt.Sprintf(`"contents":[{"role":"user","parts":[{"text":"q"}]},%s,{"role":"user","parts":[{"functionResponse":{"name":"look","response":{}}}]}]`, gjson.Get(a, "candidates.0.content").Raw)
		},
		id: "candidates.0.content.parts.0.functionCall.args.query", tool: "candidates.0.content.parts.0.functionCall.name", arguments: "candidates.0.content.parts.0.functionCall.args", text: "candidates.0.content.parts.0.text",
	},
	{
		name: "interactions", path: "/v1beta/interactions", streamPath: "/v1beta/interactions",
		tools: `"tools":[{"type":"function","name":"look"}]`, none: `"generation_config":{"tool_choice":"none"}`,
		ask: `"input":"q"`,
		result: func(a string) string {
			return fmt.Sprintf(`"input":[{"type":"function_result","name":"look","call_id":"x","result":{}}],"previous_interaction_id":%q`, gjson.Get(a, "id").Str)
		},
		id: "steps.0.id", tool: "steps.0.name", arguments: "steps.0.arguments", text: "steps.0.content.0.text",
	},
}

func TestAToolIsCalledWhenTheUserHasTheLastWord(t *testing.T) {
	for _, l := range loops {
		t.Run(l.name, func(t *testing.T) {
			_, url := start(t, Options{ToolCalls: true, MinTokens: 1})
			body := func(members ...string) string { return `{"model":"m",` + strings.Join(members, ",") + `}` }
			_, one, err := post(t, url+l.path, "k", body(l.tools, l.ask))
			require.NoError(t, err)
			require.Equal(t, "look", gjson.Get(one, l.tool).Str, one)
			require.Regexp(t, `[0-9a-f]{16}$`, gjson.Get(one, l.id).Str)
			arguments := gjson.Get(one, l.arguments)
			if arguments.Type == gjson.String {
				arguments = gjson.Parse(arguments.Str)
			}
			require.True(t, arguments.IsObject(), one)
			require.Len(t, arguments.Get("query").Str, 16)
			_, two, err := post(t, url+l.path, "k", body(l.tools, l.result(one)))
			require.NoError(t, err)
			require.Contains(t, gjson.Get(two, l.text).Str, "Answer ", two)
			_, none, err := post(t, url+l.path, "k", body(l.tools, l.none, l.ask))
			require.NoError(t, err)
			require.Contains(t, gjson.Get(none, l.text).Str, "Answer ", none)
			_, off := start(t, Options{})
			_, text, err := post(t, off+l.path, "k", body(l.tools, l.ask))
			require.NoError(t, err)
			require.Contains(t, gjson.Get(text, l.text).Str, "Answer ", text)
		})
	}
}

// A streamed call of a tool is complete when a client joins its pieces.
func TestACallIsStreamed(t *testing.T) {
	assemble := map[string]func(*testing.T, []string) (id, tool, arguments, end string){
		"messages": func(t *testing.T, data []string) (id, tool, arguments, end string) {
			for _, d := range data {
				switch gjson.Get(d, "type").Str {
				case "content_block_start":
					require.Equal(t, "tool_use", gjson.Get(d, "content_block.type").Str)
					require.Equal(t, "{}", gjson.Get(d, "content_block.input").Raw)
					id, tool = gjson.Get(d, "content_block.id").Str, gjson.Get(d, "content_block.name").Str
				case "content_block_delta":
					require.Equal(t, "input_json_delta", gjson.Get(d, "delta.type").Str)
					arguments += gjson.Get(d, "delta.partial_json").Str
				case "message_delta":
					end = gjson.Get(d, "delta.stop_reason").Str
				}
			}
			return id, tool, arguments, end
		},
		"chat": func(t *testing.T, data []string) (id, tool, arguments, end string) {
			for _, d := range data {
				call := gjson.Get(d, "choices.0.delta.tool_calls.0")
				if call.Exists() {
					require.Equal(t, "0", call.Get("index").Raw)
				}
				id, tool = id+call.Get("id").Str, tool+call.Get("function.name").Str
				arguments += call.Get("function.arguments").Str
				end += gjson.Get(d, "choices.0.finish_reason").Str
			}
			return id, tool, arguments, end
		},
		"responses": func(t *testing.T, data []string) (id, tool, arguments, end string) {
			for _, d := range data {
				switch gjson.Get(d, "type").Str {
				case "response.output_item.added":
					require.Equal(t, "in_progress", gjson.Get(d, "item.status").Str)
					require.Empty(t, gjson.Get(d, "item.arguments").Str)
				case "response.function_call_arguments.delta":
					arguments += gjson.Get(d, "delta").Str
				case "response.function_call_arguments.done":
					require.Equal(t, arguments, gjson.Get(d, "arguments").Str)
				case "response.output_item.done":
					require.Equal(t, "completed", gjson.Get(d, "item.status").Str)
					require.Equal(t, arguments, gjson.Get(d, "item.arguments").Str)
					id, tool = gjson.Get(d, "item.call_id").Str, gjson.Get(d, "item.name").Str
				case "response.completed":
					end = gjson.Get(d, "response.output.0.type").Str
				}
			}
			return id, tool, arguments, end
		},
		"gemini": func(t *testing.T, data []string) (id, tool, arguments, end string) {
			for _, d := range data {
				call := gjson.Get(d, "candidates.0.content.parts.0.functionCall")
				tool, arguments = tool+call.Get("name").Str, arguments+call.Get("args").Raw
				end += gjson.Get(d, "candidates.0.finishReason").Str
			}
			return "", tool, arguments, end
		},
		"interactions": func(t *testing.T, data []string) (id, tool, arguments, end string) {
			for _, d := range data {
				id, tool = id+gjson.Get(d, "step.id").Str, tool+gjson.Get(d, "step.name").Str
				arguments += gjson.Get(d, "delta.arguments").Str
				if gjson.Get(d, "event_type").Str == "interaction.completed" {
					end = gjson.Get(d, "interaction.status").Str
				}
			}
			return id, tool, arguments, end
		},
	}
	ends := map[string]string{"messages": "tool_use", "chat": "tool_calls", "responses": "function_call", "gemini": "STOP", "interactions": "requires_action"}
	for _, l := range loops {
		t.Run(l.name, func(t *testing.T) {
			_, url := start(t, Options{ToolCalls: true})
			_, stream, err := post(t, url+l.streamPath, "k", `{"model":"m","stream":true,`+l.tools+`,`+l.ask+`}`)
			require.NoError(t, err)
			id, tool, arguments, end := assemble[l.name](t, dataOf(stream))
			require.Equal(t, "look", tool, stream)
			require.Equal(t, ends[l.name], end)
			var parsed map[string]string
			require.NoError(t, json.Unmarshal([]byte(arguments), &parsed), arguments)
			require.Len(t, parsed["query"], 16)
			if l.name != "gemini" {
				require.Contains(t, id, parsed["query"])
			}
		})
	}
}

// Package sessionid reads the simulator's answers like real ones.
func TestTheLibraryReadsTheAnswers(t *testing.T) {
	for _, calls := range []bool{false, true} {
		for _, l := range loops[:4] {
			_, url := start(t, Options{ToolCalls: calls})
			for _, path := range []string{l.path, l.streamPath} {
				stream := ""
				if path == l.streamPath {
					stream = `"stream":true,`
				}
				_, text, err := post(t, url+path, "k", `{"model":"m",`+stream+l.tools+`,`+l.ask+`}`)
				require.NoError(t, err)
				a := sessionid.ReadAnswer([]byte(text))
				require.False(t, a.IsZero(), text)
				require.True(t, a.IsWhole(), text)
			}
		}
	}
}
