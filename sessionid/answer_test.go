package sessionid_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// event is one server-sent event.
func event(name, data string) string { return "event: " + name + "\r\ndata: " + data + "\r\n\r\n" }

func data(lines ...string) string {
	return "data: " + strings.Join(lines, "\n\ndata: ") + "\n\n"
}

// An answer, whole and as a stream, and the next request that repeats it as the
// clients of that API do.
var answered = []struct {
	name, first, whole, stream, next string
	ids                              bool // the answer has ids that the next request repeats
}{
	{
		name:   "chat, words",
		first:  `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}`,
		whole:  `{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello \"you\" \u00e9/\n","refusal":null,"annotations":[]},"finish_reason":"stop"}]}`,
		stream: data(`{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, `{"id":"c","choices":[{"index":0,"delta":{"content":"Hello \"you\" "}}]}`, `{"id":"c","choices":[{"index":0,"delta":{"content":"é/\n"}}]}`, `{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"id":"c","choices":[],"usage":{}}`, `[DONE]`),
		next:   `{"messages":[{"role":"system","content":"s2"},{"role":"user","content":"hi"},{"role":"assistant","content":"Hello \"you\" é/\n"},{"role":"user","content":"and?"}]}`,
	},
	{
		name:  "chat, calls",
		first: `{"messages":[{"role":"user","content":"hi"}]}`,
		whole: `{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_rsMgIgFD6qElK9JgNMKVPei5","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}},{"id":"call_lTPVZQef83lJaiDKCXZeLs5N","type":"function","function":{"name":"g","arguments":"{}"}}]}}]}`,
		stream: data(`{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_rsMgIgFD6qElK9JgNMKVPei5","type":"function","function":{"name":"f","arguments":""}}]}}]}`,
			`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":" 1}"}}]}}]}`,
			`{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"call_lTPVZQef83lJaiDKCXZeLs5N","function":{"name":"g","arguments":"{}"}}]}}]}`, `[DONE]`),
		next: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"","tool_calls":[{"id":"call_rsMgIgFD6qElK9JgNMKVPei5","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}},{"id":"call_lTPVZQef83lJaiDKCXZeLs5N","type":"function","function":{"name":"g","arguments":"{}"}}]},{"role":"tool","tool_call_id":"call_rsMgIgFD6qElK9JgNMKVPei5","content":"r"}]}`,
		ids:  true,
	},
	{
		name:  "Claude",
		first: `{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`,
		whole: `{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_01A09q90qw90lq917835lq9","name":"Bash","input":{"command":"ls -l","n":1}}],"stop_reason":"tool_use"}`,
		stream: event("message_start", `{"type":"message_start","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[]}}`) +
			event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`) +
			event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`) +
			event("content_block_start", `{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`) +
			event("content_block_delta", `{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I "}}`) +
			event("content_block_delta", `{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"look."}}`) +
			event("ping", `{"type":"ping"}`) +
			event("content_block_start", `{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_01A09q90qw90lq917835lq9","name":"Bash","input":{}}}`) +
			event("content_block_delta", `{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"command\": \"ls"}}`) +
			event("content_block_delta", `{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" -l\", \"n\": 1}"}}`) +
			event("content_block_stop", `{"type":"content_block_stop","index":2}`) + event("message_stop", `{"type":"message_stop"}`),
		next: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_01A09q90qw90lq917835lq9","name":"Bash","input":{"command":"ls -l","n":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01A09q90qw90lq917835lq9","content":"x","cache_control":{"type":"ephemeral"}}]}]}`,
		ids:  true,
	},
	{
		name:  "Responses",
		first: `{"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}]}`,
		whole: `{"id":"resp_67ccd2bed1ec8190b14f964abc054267","object":"response","status":"completed","output":[{"type":"reasoning","id":"rs_1","summary":[]},{"type":"message","id":"msg_67ccd2bf17f0819081ff3bb2cf6508e6","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello","annotations":[]}]},{"type":"function_call","id":"fc_8a5f917e85a4c354fc760a78728a89fc","call_id":"call_tzBMOyPUWdNYszH2DvgdSHN1","name":"f","arguments":"{}","status":"completed"}],"store":true}`,
		stream: event("response.created", `{"type":"response.created","response":{"id":"resp_67ccd2bed1ec8190b14f964abc054267","object":"response","output":[],"store":true}}`) +
			event("response.output_text.delta", `{"type":"response.output_text.delta","delta":"Hello"}`) +
			event("response.output_item.done", `{"type":"response.output_item.done","output_index":1,"item":{"type":"message","id":"msg_67ccd2bf17f0819081ff3bb2cf6508e6","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello","annotations":[]}]}}`) +
			event("response.output_item.done", `{"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","id":"fc_8a5f917e85a4c354fc760a78728a89fc","call_id":"call_tzBMOyPUWdNYszH2DvgdSHN1","name":"f","arguments":"{}","status":"completed"}}`) +
			event("response.completed", `{"type":"response.completed","response":{"id":"resp_67ccd2bed1ec8190b14f964abc054267","object":"response","output":[],"store":true}}`),
		next: `{"input":[{"role":"user","content":"hi"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello"}]},{"type":"function_call","call_id":"call_tzBMOyPUWdNYszH2DvgdSHN1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"call_tzBMOyPUWdNYszH2DvgdSHN1","output":"r"}]}`,
		ids:  true,
	},
	{
		name:   "Gemini",
		first:  `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`,
		whole:  `[{"candidates":[{"content":{"role":"model","parts":[{"text":"thinking","thought":true}]}}]},{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello "}]}}]},{"candidates":[{"content":{"role":"model","parts":[{"text":"you"},{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"x"}]}}]}]`,
		stream: data(`{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello "}]}}],"responseId":"r"}`, `{"candidates":[{"content":{"role":"model","parts":[{"text":"you"},{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"x"}]}}]}`, `{"candidates":[{"finishReason":"STOP"}]}`),
		next:   `{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"Hello you"},{"functionCall":{"name":"f","args":{"a":1}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"o":1}}}]}]}`,
	},
	{
		name:   "Code Assist",
		first:  `{"request":{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}}`,
		whole:  `{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]}}]}}`,
		stream: data(`{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]}}]}}`, `{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"lo"}]}}]}}`),
		next:   `{"request":{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"Hello"}]},{"role":"user","parts":[{"text":"and?"}]}]}}`,
	},
}

// The key after the answer is a boundary of the next request. So it finds the conversation
// before the first words do, with which others may have begun, too.
func TestTheNextRequestShowsTheAnswer(t *testing.T) {
	for _, c := range answered {
		first, next := extract(t, nil, c.first), extract(t, nil, c.next)
		for how, body := range map[string]string{"whole": c.whole, "stream": c.stream} {
			a := sessionid.ReadAnswer([]byte(body))
			require.False(t, a.IsZero(), "%s, %s", c.name, how)
			keys := afterOf(first, a)
			require.NotEmpty(t, keys, "%s, %s", c.name, how)
			require.LessOrEqual(t, len(keys), 8)
			require.Contains(t, next.Boundaries(), keys[0], "%s, %s", c.name, how)
			require.NotContains(t, first.Fallbacks(), keys[0])
			if c.ids {
				require.True(t, slices.ContainsFunc(keys[1:], func(k sessionid.Key) bool { return slices.Contains(next.Fallbacks(), k) }), "%s, %s: an id", c.name, how)
			}
			// The same words after another request are not the same conversation.
			other := extract(t, nil, strings.Replace(c.first, "hi", "ho", 1))
			require.NotEqual(t, keys[0], afterOf(other, a)[0])
		}
	}
}

// Google's SDKs repeat a streamed answer in the pieces that it came in: their chat helper as
// one content for each piece, and other clients as one content.
func TestAnAnswerIsKnownInPiecesAndAsOne(t *testing.T) {
	first := extract(t, nil, `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`)
	keys := afterOf(first, sessionid.ReadAnswer([]byte(data(
		`{"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]}}]}`,
		`{"candidates":[{"content":{"role":"model","parts":[{"text":"lo "}]}}]}`,
		`{"candidates":[{"content":{"role":"model","parts":[{"text":"you"},{"functionCall":{"name":"f","args":{"a":1}}}]}}]}`,
		`{"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP"}]}`))))
	require.LessOrEqual(t, len(keys), 7)
	call := `,{"functionCall":{"name":"f","args":{"a":1}}}`
	for _, parts := range []string{`{"text":"Hello you"}` + call, `{"text":"Hel"},{"text":"lo "},{"text":"you"}` + call + `,{"text":""}`,
		`{"text":"Hel"}]},{"role":"model","parts":[{"text":"lo "}]},{"role":"model","parts":[{"text":"you"}` + call + `]},{"role":"model","parts":[{"text":""}`} {
		next := extract(t, nil, `{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[`+parts+`]},{"role":"user","parts":[{"text":"and?"}]}]}`)
		require.True(t, slices.ContainsFunc(keys[:3], func(k sessionid.Key) bool { return slices.Contains(next.Boundaries(), k) }), parts)
	}
}

// What is read does not depend on where a stream is cut into pieces.
func TestAStreamIsReadAsItPasses(t *testing.T) {
	for _, c := range answered {
		for how, body := range map[string]string{"whole": c.whole, "stream": c.stream} {
			want := sessionid.ReadAnswer([]byte(body))
			first := extract(t, nil, c.first)
			for _, size := range []int{1, 7, 64, 1000} {
				var w sessionid.AnswerWriter
				for piece := range slices.Chunk([]byte(body), size) {
					n, err := w.Write(piece)
					require.NoError(t, err)
					require.Equal(t, len(piece), n)
				}
				got := w.Answer()
				require.Equal(t, afterOf(first, want), afterOf(first, got), "%s, %s, %d", c.name, how, size)
				require.Equal(t, want.Owners(), got.Owners())
			}
		}
	}
}

// If a client repeats the answer in other words, the ids of its calls still find the session,
// before the first words do, with which others may have begun, too.
func TestIDsOfAnAnswerLeadToItsSession(t *testing.T) {
	first := extract(t, nil, `{"messages":[{"role":"user","content":"hi"}]}`)
	a := sessionid.ReadAnswer([]byte(answered[1].whole))
	next := extract(t, nil, `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"rewritten","tool_calls":[{"id":"call_rsMgIgFD6qElK9JgNMKVPei5","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"call_rsMgIgFD6qElK9JgNMKVPei5","content":"r"}]}`)
	keys := afterOf(first, a)
	at := slices.IndexFunc(next.Fallbacks(), func(k sessionid.Key) bool { return slices.Contains(keys, k) })
	opening := slices.Index(next.Fallbacks(), first.End())
	require.GreaterOrEqual(t, at, 0)
	require.Less(t, at, opening)
}

func TestAnswersSayWhatTheAuthHolds(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want []sessionid.Owner
	}{
		"a response": {`{"id":"resp_1","object":"response","output":[],"conversation":{"id":"conv_1"}}`, []sessionid.Owner{
			{Name: "previous_response_id", Key: sessionid.OwnerKey("previous_response_id", "resp_1")}, {Name: "conversation", Key: sessionid.OwnerKey("conversation", "conv_1")}}},
		"a response that is not stored": {`{"id":"resp_1","object":"response","output":[],"store":false}`, nil},
		"a container": {`{"id":"msg_1","type":"message","content":[],"container":{"id":"container_1"}}`, []sessionid.Owner{
			{Name: "container", Key: sessionid.OwnerKey("container", "container_1")}}},
		"an interaction": {`{"id":"int_1","object":"interaction","outputs":[]}`, []sessionid.Owner{
			{Name: "previous_interaction_id", Key: sessionid.OwnerKey("previous_interaction_id", "int_1")}}},
		"an event of an interaction": {data(`{"event_type":"interaction.created","interaction":{"id":"v1_1","object":"interaction","status":"in_progress"}}`), []sessionid.Owner{
			{Name: "previous_interaction_id", Key: sessionid.OwnerKey("previous_interaction_id", "v1_1")}}},
		"a conversation": {`{"id":"conv_1","object":"conversation","created_at":1,"metadata":{}}`, []sessionid.Owner{
			{Name: "conversation", Key: sessionid.OwnerKey("conversation", "conv_1")}}},
		"a container of OpenAI's": {`{"id":"cntr_1","object":"container","name":"x"}`, []sessionid.Owner{
			{Name: "container", Key: sessionid.OwnerKey("container", "cntr_1")}}},
		"a cached content": {`{"name":"cachedContents/abc","model":"models/m","createTime":"2026-01-01T00:00:00Z"}`, []sessionid.Owner{
			{Name: "cachedContent", Key: sessionid.OwnerKey("cachedContent", "cachedContents/abc")}}},
		"a cached content of Vertex AI": {`{"name":"projects/p/locations/l/cachedContents/1"}`, []sessionid.Owner{
			{Name: "cachedContent", Key: sessionid.OwnerKey("cachedContent", "projects/p/locations/l/cachedContents/1")}}},
		"a model, which has a name": {`{"name":"models/m","id":"x"}`, nil},
		"a container that code has run in": {`{"id":"resp_1","object":"response","store":false,"output":[{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","code":"1"}]}`, []sessionid.Owner{
			{Name: "container", Key: sessionid.OwnerKey("container", "cntr_1")}}},
		"the same, streamed": {event("response.output_item.done", `{"type":"response.output_item.done","item":{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1"}}`), []sessionid.Owner{
			{Name: "container", Key: sessionid.OwnerKey("container", "cntr_1")}}},
		"an error": {`{"error":{"message":"no","type":"x"}}`, nil}, "no JSON": {`{"id":"resp_1","object":"response","output":[`, nil},
		"nothing": {``, nil}, "text": {`upstream connect error`, nil},
	} {
		a := sessionid.ReadAnswer([]byte(c.body))
		require.Equal(t, c.want, a.Owners(), name)
	}
	for _, body := range []string{"", "x", `{}`, `[]`, `[1]`, `data: {"a":1}` + "\n\n", "data: nonsense\n\n", "\x1f\x8b\x08"} {
		a := sessionid.ReadAnswer([]byte(body))
		require.True(t, a.IsZero(), "%q", body)
	}
}

// The state that stands for earlier messages leads to the session.
func TestAResponseLeadsToItsSession(t *testing.T) {
	first := extract(t, nil, `{"input":"hi"}`)
	next := extract(t, nil, `{"input":"and?","previous_response_id":"resp_67ccd2bed1ec8190b14f964abc054267"}`)
	a := sessionid.ReadAnswer([]byte(answered[3].whole))
	require.Equal(t, sessionid.OwnerKey("previous_response_id", "resp_67ccd2bed1ec8190b14f964abc054267"), next.Fallbacks()[0])
	require.Contains(t, afterOf(first, a), next.Fallbacks()[0])
	by := sessionid.StateAnswer("previous_response_id", "resp_67ccd2bed1ec8190b14f964abc054267")
	require.Equal(t, []sessionid.Key{next.Fallbacks()[0]}, afterOf(first, by))
	require.Len(t, by.Owners(), 1)
	container := sessionid.StateAnswer("container", "c_1")
	require.Empty(t, afterOf(first, container), "a container stands for no messages")
	none := sessionid.StateAnswer("container", " ")
	require.True(t, none.IsZero())
}

// A session with an id needs no keys of its answers.
func TestANamedSessionNeedsNoKeysOfItsAnswers(t *testing.T) {
	a := sessionid.ReadAnswer([]byte(answered[0].whole))
	named := extract(t, headers("X-Session-Id", uuidA), `{"messages":[{"role":"user","content":"hi"}]}`)
	require.Empty(t, afterOf(named, a))
	var zero sessionid.ID
	require.Empty(t, afterOf(zero, a))
}

// A stream that broke off says so.
func TestAnAnswerThatBrokeOffIsNotWhole(t *testing.T) {
	for _, c := range answered {
		require.True(t, sessionid.ReadAnswer([]byte(c.whole)).IsWhole(), c.name)
	}
	for stream, want := range map[string]bool{
		data(`{"choices":[{"delta":{"content":"The fi"}}]}`):                                                                  false,
		data(`{"choices":[{"delta":{"content":"The"}}]}`, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`):                true,
		data(`{"choices":[{"delta":{"content":"The"}}]}`, `[DONE]`):                                                           true,
		event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"The"}}`): false,
		event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`):                                 true,
		event("message_stop", `{"type":"message_stop"}`):                                                                      true,
		event("response.created", `{"type":"response.created","response":{"id":"resp_1"}}`):                                   false,
		event("response.completed", `{"type":"response.completed","response":{"id":"resp_1"}}`):                               true,
		data(`{"event_type":"interaction.created","interaction":{"id":"v1_1"}}`):                                              false,
		data(`{"event_type":"interaction.completed","interaction":{"id":"v1_1"}}`):                                            true,
		data(`{"candidates":[{"content":{"parts":[{"text":"The"}]}}]}`):                                                       false,
		data(`{"candidates":[{"content":{"parts":[{"text":"The"}]},"finishReason":"STOP"}]}`):                                 true,
	} {
		require.Equal(t, want, sessionid.ReadAnswer([]byte(stream)).IsWhole(), stream)
		var w sessionid.AnswerWriter
		_, _ = w.Write([]byte(stream))
		require.Equal(t, want, w.IsWhole(), stream)
	}
}

// A call of Answer in the middle does not change what is read afterwards.
func TestAnAnswerCanBeAskedForInTheMiddle(t *testing.T) {
	for _, c := range answered {
		for how, body := range map[string]string{"whole": c.whole, "stream": c.stream} {
			want, first := sessionid.ReadAnswer([]byte(body)), extract(t, nil, c.first)
			for at := 0; at < len(body); at += 7 {
				var w sessionid.AnswerWriter
				_, _ = w.Write([]byte(body[:at]))
				w.Answer()
				_, _ = w.Write([]byte(body[at:] + "\n"))
				w.Answer()
				require.Equal(t, afterOf(first, want), afterOf(first, w.Answer()), "%s, %s, %d", c.name, how, at)
			}
		}
	}
}

// Clients trim the blanks of an answer that they keep.
func TestBlanksAroundAnAnswerDoNotCount(t *testing.T) {
	first := extract(t, nil, `{"messages":[{"role":"user","content":"hi"}]}`)
	for _, kept := range []string{`Hello`, `Hello\n`, `\n\n Hello \t`, ` Hello`, `\u0048ello\n`, `Hello\u000a`, `\u0020Hello\u0009\n`} {
		for _, said := range []string{`Hello\n`, ` Hello`, `Hello`, `Hello \r\n\n`} {
			a := sessionid.ReadAnswer([]byte(`{"choices":[{"message":{"role":"assistant","content":"` + said + `"}}]}`))
			next := extract(t, nil, `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"`+kept+`"},{"role":"user","content":"q"}]}`)
			require.Contains(t, next.Boundaries(), afterOf(first, a)[0], "%q kept as %q", said, kept)
		}
	}
	a := sessionid.ReadAnswer([]byte(`{"choices":[{"message":{"role":"assistant","content":"Hello\\\\n"}}]}`))
	next := extract(t, nil, `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello\\\\"},{"role":"user","content":"q"}]}`)
	require.NotContains(t, next.Boundaries(), afterOf(first, a)[0], "a backslash and an n are no line's end")
}

// If an answer is longer than what is held, its words are lost, and its ids are not.
func TestAnEndlessAnswerIsNotHeld(t *testing.T) {
	var w sessionid.AnswerWriter
	write := func(s string) {
		_, err := w.Write([]byte(s))
		require.NoError(t, err)
	}
	write(data(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_rsMgIgFD6qElK9JgNMKVPei5","function":{"name":"f","arguments":"{"}}]}}]}`))
	for i := range 100 {
		write(data(fmt.Sprintf(`{"choices":[{"delta":{"content":"%d %s"}}]}`, i, strings.Repeat("w", 100_000))))
	}
	write("data: " + strings.Repeat("x", 10<<20))
	write("\n\n" + data(`{"choices":[{"delta":{"tool_calls":[{"index":99999999,"id":"call_lTPVZQef83lJaiDKCXZeLs5N"}]}}]}`))
	a := w.Answer()
	first := extract(t, nil, `{"messages":[{"role":"user","content":"hi"}]}`)
	require.Len(t, afterOf(first, a), 1, "the id")
}

// JSON that is nested too deeply is not read, and needs no stack.
func TestADeepAnswerTellsNothing(t *testing.T) {
	const n = 1 << 20
	for _, body := range []string{strings.Repeat("[", n), `{"choices":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}", "data: " + strings.Repeat(`{"a":`, n) + "\n\n"} {
		a := sessionid.ReadAnswer([]byte(body))
		require.True(t, a.IsZero())
	}
}

func FuzzAnswer(f *testing.F) {
	for _, c := range answered {
		f.Add([]byte(c.whole), 3)
		f.Add([]byte(c.stream), 16)
	}
	first := sessionid.Extract(nil, []byte(`{"messages":[{"role":"user","content":"hi"}]}`))
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		want := sessionid.ReadAnswer(body)
		var w sessionid.AnswerWriter
		at := 0
		if len(body) > 0 {
			at = max(0, cut) % len(body)
		}
		_, _ = w.Write(body[:at])
		_, _ = w.Write(body[at:])
		got := w.Answer()
		require.Equal(t, afterOf(first, want), afterOf(first, got))
		require.LessOrEqual(t, len(afterOf(first, got)), 8)
		for _, k := range afterOf(first, got) {
			require.NotZero(t, k)
		}
	})
}

// afterOf returns all keys of an answer, with those of its ids last.
func afterOf(id sessionid.ID, a sessionid.Answer) []sessionid.Key {
	keys, ids := id.After(a)
	return slices.Concat(keys, ids)
}
