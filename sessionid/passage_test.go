package sessionid_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// snapshot is a summary as a model answers it when a client compacts.
const snapshot = `<snapshot>
    <goals>
        The user wants the lamp in the hall to go out by itself, at night and when nobody has passed it for ten minutes.
    </goals>
    <done>
        - hall.go asks the sensor once a second, and lamp.go has a timer that starts again when somebody passes
        - the test of the timer hung, because it waited for a clock that nobody had set
        - the user said: "not the one in the kitchen", so that lamp.go has a list of rooms now, and the list has one room
    </done>
    <next>
        Write the test for the night, which begins an hour after sunset, and ask the user where the house stands.
    </next>
</snapshot>`

// inJSON is a text as a JSON string, spelled as JavaScript does.
func inJSON(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

func chatAnswer(text string) sessionid.Answer {
	return sessionid.ReadAnswer([]byte(`{"choices":[{"message":{"role":"assistant","content":` + inJSON(text) + `},"finish_reason":"stop"}]}`))
}

// asksForOne returns a request for a summary.
var asksForOne = sessionid.Extract(nil, []byte(chatOf(says("user", "q"), says("assistant", "a"), says("user", "Write a summary now."))))

func passagesOf(a sessionid.Answer) []sessionid.Key { return asksForOne.Passages(a) }

// shows reports whether a body shows that it contains an answer.
func shows(body string, a sessionid.Answer) bool {
	found := sessionid.Passages([]byte(body))
	return slices.ContainsFunc(passagesOf(a), func(k sessionid.Key) bool { return slices.Contains(found, k) })
}

// inside are bodies as clients send them that put the summary inside a text.
var inside = map[string]func(summary string) string{
	"Qwen Code": func(summary string) string {
		return `{"messages":[{"role":"system","content":"You are a coder."},{"role":"user","content":[` +
			`{"type":"text","text":"<system-reminder>\nYour skills are these.\n</system-reminder>"},` +
			`{"type":"text","text":` + inJSON(summary+"\n\nGo on with the task from the summary above. Do not greet the user.") + `}]},` +
			`{"role":"assistant","content":"Got it. Thanks for the additional context!"},{"role":"user","content":[{"type":"text","text":"after"}]}]}`
	},
	"Copilot CLI": func(summary string) string {
		return chatOf(says("system", "You are an assistant."), `{"role":"user","content":`+inJSON("Some of the conversation history has been summarized to free up context.\n\n"+
			"The user said:\n<user_message>\nswitch it off\n</user_message>\n\nHere is a summary:\n<summary>\n"+summary+"\n</summary>\n")+`}`, says("user", "after"))
	},
	"Claude Code": func(summary string) string {
		return `{"messages":[{"role":"user","content":[{"type":"text","text":` + inJSON("This session is being continued from a previous conversation. The summary:\n"+summary+"\nGo on.") + `}]}]}`
	},
	"LangChain, Responses": func(summary string) string {
		return `{"input":[{"role":"user","content":[{"type":"input_text","text":` + inJSON("Here is a summary of the conversation to date:\n\n"+summary) + `}]},{"role":"user","content":"after"}]}`
	},
	"Code Assist": func(summary string) string {
		return `{"request":{"contents":[{"role":"user","parts":[{"text":` + inJSON("<summary>"+summary+"</summary>") + `}]},{"role":"user","parts":[{"text":"after"}]}]}}`
	},
}

func TestASummaryIsFoundInsideAText(t *testing.T) {
	draft := ""
	for i := range 60 {
		draft += fmt.Sprintf("%d. First the user asked for this, and then for that; it is a long story, and nobody will be told of it again.\n", i)
	}
	for client, body := range inside {
		for name, c := range map[string]struct {
			answer, kept string
			want         bool
		}{
			"as it is":            {snapshot, snapshot, true},
			"trimmed":             {"\n" + snapshot + "\n", snapshot, true},
			"without its draft":   {"<analysis>\n" + draft + "</analysis>\n\n" + snapshot, snapshot, true},
			"without its title":   {snapshot + "\n<title>Lamp in the hall</title>", snapshot, true},
			"another one":         {snapshot, strings.ReplaceAll(snapshot, "lamp", "light"), false},
			"a common short line": {"Yes.", "Yes.", false},
			"a short paragraph":   {snapshot[40:150], snapshot[40:150], false},
			"half of a long line": {strings.Repeat("what was said ", 40), strings.Repeat("what was said ", 20), false},
		} {
			require.Equal(t, c.want, shows(body(c.kept), chatAnswer(c.answer)), "%s: %s", client, name)
			id := extract(t, nil, body(c.kept))
			require.Equal(t, sessionid.PastSummary, id.Past(), client)
		}
	}
}

// Only the text in place of earlier messages is searched, because a user may judge the answer
// of another conversation, or continue with it elsewhere.
func TestAnAnswerInsideAnotherTextIsNotFound(t *testing.T) {
	a := chatAnswer(snapshot)
	for _, body := range []string{
		chatOf(says("user", "Is this a good answer?\n"+snapshot)), chatOf(says("user", snapshot)), chatOf(says("user", "q"), says("assistant", snapshot), says("user", "why?")),
		chatOf(says("user", snapshot), says("user", "Summary of the conversation: they talked.")),
		chatOf(append(slices.Repeat([]string{says("user", "q")}, 9), says("user", "Summary of the conversation:\n"+snapshot))...),
		`{"messages":[{"role":"user","content":"Summary of the conversation:"}],"tools":[` + inJSON("Summary of the conversation:\n"+snapshot) + `]}`,
		`{"messages":[{"role":"user","parts":[{"text":` + inJSON("Summary of the conversation:\n"+snapshot) + `,"thought":true}]}]}`,
		`{"messages":[{"role":"user","content":` + strings.Repeat("[", 8) + inJSON("Summary of the conversation:\n"+snapshot) + strings.Repeat("]", 8) + `}]}`,
		"", "{", "[]", `"x"`, `{"messages":`, `{"messages":[{"content":[`, `{"prompt":{"id":"p"}}`, `{"request":"x"}`,
	} {
		require.False(t, shows(body, a), body)
	}
}

func TestTheFirstMessagesOfCodeAssistAreSearched(t *testing.T) {
	a, summary := chatAnswer(snapshot), `{"role":"user","parts":[{"text":`+inJSON("<summary>\n"+snapshot+"\n</summary>")+`}]}`
	after := func(n int) string {
		return `{"request":{"contents":[` + strings.Repeat(`{"role":"user","parts":[{"text":"q"}]},`, n) + summary + `]}}`
	}
	require.True(t, shows(after(8), a))
	require.False(t, shows(after(9), a))
}

func TestWhatAnAnswerLeaves(t *testing.T) {
	whole := chatAnswer(snapshot)
	require.Len(t, passagesOf(whole), 3)
	quoted := inJSON(snapshot)
	half := len(snapshot) / 2
	one, two := inJSON(snapshot[:half]), inJSON(snapshot[half:])
	for name, body := range map[string]string{
		"chat, stream":   data(`{"choices":[{"delta":{"content":`+one+`}}]}`, `{"choices":[{"delta":{"content":`+two+`}}]}`, `[DONE]`),
		"Claude":         `{"type":"message","role":"assistant","content":[{"type":"thinking","thinking":` + inJSON(strings.Repeat("hm ", 200)) + `},{"type":"text","text":` + quoted + `}]}`,
		"Responses":      `{"output":[{"type":"reasoning","summary":[{"type":"summary_text","text":` + inJSON(strings.Repeat("hm ", 200)) + `}]},{"type":"message","id":"msg_67ccd2bf17f0819081ff3bb2cf6508e6","role":"assistant","content":[{"type":"output_text","text":` + quoted + `}]}]}`,
		"Gemini, stream": data(`{"candidates":[{"content":{"parts":[{"text":`+inJSON(strings.Repeat("hm ", 200))+`,"thought":true}]}}]}`, `{"candidates":[{"content":{"parts":[{"text":`+one+`}]}}]}`, `{"candidates":[{"content":{"parts":[{"text":`+two+`}]},"finishReason":"STOP"}]}`),
	} {
		require.Equal(t, passagesOf(whole), passagesOf(sessionid.ReadAnswer([]byte(body))), name)
	}
	call := `{"choices":[{"message":{"role":"assistant","content":` + quoted + `,"tool_calls":[{"id":"` + madeA + `","function":{"name":"f","arguments":"{}"}}]}}]}`
	require.Empty(t, passagesOf(sessionid.ReadAnswer([]byte(call))), "an answer with tool calls is no summary")
	for _, none := range []string{"", "{}", `{"choices":[{"message":{"role":"assistant","content":"Yes."}}]}`, `{"error":{"message":` + quoted + `}}`} {
		require.Empty(t, passagesOf(sessionid.ReadAnswer([]byte(none))), none)
	}
}

// Other answers leave no passages: there are too many of them, and other conversations may
// quote them.
func TestOnlyTheAnswerToARequestForASummaryLeavesPassages(t *testing.T) {
	a, long := chatAnswer(snapshot), strings.Repeat("word ", 110)
	for body, want := range map[string]bool{
		chatOf(says("user", "q"), says("assistant", "a"), says("user", "Please create a detailed summary of it.")):                             true,
		chatOf(says("user", "Summarize the conversation.")):                                                                                    true,
		chatOf(says("user", "First, reason. Then, produce the <state_snapshot> XML.")):                                                         true,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"Be brief."},{"type":"text","text":"You summarize a conversation."}]}]}`: true,
		`{"contents":[{"role":"user","parts":[{"text":"Write the summary."}]}]}`:                                                               true,
		`{"input":"Summarize it."}`: true,
		chatOf(says("user", "q")):   false,
		chatOf(says("user", "Write a summary."), says("assistant", "a"), says("user", "and go on")):                   false,
		chatOf(says("user", "q"), calls(madeA, "{}"), returns(madeA, "a summary")):                                    false,
		chatOf(says("user", long+"summary")):                                                                          false,
		`{"session_id":"8a218e62-bb55-446a-bc6c-b288fc65f5b5","messages":[` + says("user", "Write a summary.") + `]}`: false,
		`{"messages":[]}`: false,
	} {
		id := extract(t, nil, body)
		require.Equal(t, want, len(id.Passages(a)) > 0, body)
	}
	named := extractor(t, &sessionid.Options{Order: []sessionid.Kind{sessionid.KindContent, sessionid.KindGenericHeader}}).
		Extract(headers("X-Session-Id", uuidA), []byte(chatOf(says("user", "Write a summary."))))
	require.NotZero(t, named.End())
	require.NotEmpty(t, named.Names())
	require.Empty(t, named.Passages(a), "a session with an id has no passages")
}

// Memory does not grow with the body: a text that is too long is not read.
func TestALongTextIsNotSearched(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`{"messages":[`)
	for range 3 {
		b.WriteString(`{"role":"user","content":"Summary of the conversation:\n` + strings.Repeat(`some \"quoted\" text\n`, 60_000) + `"},`)
	}
	b.WriteString(says("user", "Summary of the conversation:\n"+snapshot) + `]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	found := sessionid.Passages(b.Bytes())
	runtime.ReadMemStats(&after)
	require.Subset(t, found, passagesOf(chatAnswer(snapshot)), "the passages of the last text are found, which is not too long")
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

// Hostile bodies cost no more than one walk.
func TestHostileSummariesHaveABoundedNumberOfPassages(t *testing.T) {
	const n = 1 << 15
	say := func(raw string) string {
		return `{"messages":[{"role":"user","content":"Summary of the conversation:\n` + raw + `"}]}`
	}
	for name, body := range map[string]string{
		"lines of a letter":      say(strings.Repeat(`a\n`, n)),
		"lines that say enough":  say(strings.Repeat(strings.Repeat("word ", 40)+`\n`, n/200)),
		"tags":                   say(strings.Repeat("<>", n)),
		"tags that do not end":   say(strings.Repeat("<", n)),
		"ends of no tags":        say(strings.Repeat(">", n)),
		"backslashes":            say(strings.Repeat(`\\`, n)),
		"escapes":                say(strings.Repeat(`\u0041`, n/6)),
		"half a pair":            say(strings.Repeat(`\ud800`, n/6)),
		"an escape that is none": say(`\x` + strings.Repeat("word ", 100)),
		"invalid UTF-8":          say(strings.Repeat("\xff", n)),
		"many texts":             `{"messages":[{"role":"user","content":[` + strings.Repeat(`"Summary of the conversation",`, n/30) + `"x"]}]}`,
		"deep":                   `{"messages":[{"role":"user","content":` + strings.Repeat("[", n) + `"<summary>"` + strings.Repeat("]", n) + `}]}`,
		"deep objects":           `{"messages":` + strings.Repeat(`{"content":`, n) + `"x"` + strings.Repeat("}", n) + `}`,
		"requests in requests":   strings.Repeat(`{"request":`, n) + `"x"` + strings.Repeat("}", n),
		"thoughts":               `{"messages":[{` + strings.Repeat(`"thought":true,`, n/15) + `"content":"x"}]}`,
		"broken off":             say("x")[:40],
	} {
		require.LessOrEqual(t, len(sessionid.Passages([]byte(body))), 128, name)
		require.LessOrEqual(t, len(passagesOf(chatAnswer(body))), 3, name)
	}
}
