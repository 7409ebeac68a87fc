package sessionid_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// same fails unless two bodies have the same end.
func same(t *testing.T, a, b, why string) {
	t.Helper()
	x, y := extract(t, nil, a), extract(t, nil, b)
	require.False(t, x.IsZero(), "no session in %s", a)
	require.Equal(t, x.End(), y.End(), "%s\n%s\n%s", why, a, b)
}

// different fails unless two bodies have different ends.
func different(t *testing.T, a, b, why string) {
	t.Helper()
	x, y := extract(t, nil, a), extract(t, nil, b)
	require.False(t, x.IsZero() || y.IsZero())
	require.NotEqual(t, x.End(), y.End(), "%s\n%s\n%s", why, a, b)
}

// follows fails unless the end of body a is a fallback of body b.
func follows(t *testing.T, a, b, why string) {
	t.Helper()
	x, y := extract(t, nil, a), extract(t, nil, b)
	require.False(t, x.IsZero(), "no session in %s", a)
	require.Contains(t, y.Fallbacks(), x.End(), "%s\n%s\n%s", why, a, b)
	require.NotEqual(t, x.End(), y.End())
}

func chat(messages ...string) string {
	return `{"model":"m","messages":[` + strings.Join(messages, ",") + `]}`
}

func TestResponsesBodiesThatDifferInOneWordAreTwoSessions(t *testing.T) {
	different(t, `{"input":[{"role":"user","content":"task 1"}]}`, `{"input":[{"role":"user","content":"task 2"}]}`, "the only message")
	different(t, `{"input":"task 1"}`, `{"input":"task 2"}`, "a string")
	same(t, `{"input":"task 1"}`, `{"input":[{"role":"user","content":"task 1"}]}`, "a string is one user message")
	same(t, `{"input":[{"role":"user","content":"task 1"}]}`,
		`{"input":[{"type":"message","role":"user","id":"msg_1","content":[{"type":"input_text","text":"task 1"}]}]}`, "inline and as an item")
}

func TestWhatAClientMayChangeDoesNotCount(t *testing.T) {
	one := chat(`{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`)
	for why, other := range map[string]string{
		"cache_control":           chat(`{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b","cache_control":{"type":"ephemeral","ttl":"1h"}}]}`),
		"order of members":        chat(`{"content":[{"text":"a","type":"text"},{"text":"b","type":"text"}],"role":"user"}`),
		"message id":              chat(`{"id":"msg_1","role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`),
		"white space":             chat(` { "role" : "user" , "content" : [ {"type":"text","text":"a"} , {"type":"text","text":"b"} ] } `),
		"a system message before": chat(`{"role":"system","content":"10:31:07"}`, `{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`),
		"thinking":                chat(`{"role":"user","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}`),
		"an empty message":        chat(`{"role":"assistant","content":null}`, `{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`),
		"escapes":                 chat(`{"role":"user","content":[{"type":"text","text":"\u0061"},{"type":"text","text":"b"}]}`),
	} {
		same(t, one, other, why)
	}
	same(t, chat(`{"role":"user","content":"a"}`), chat(`{"role":"user","content":[{"type":"text","text":"a"}]}`), "string and block")
	same(t, chat(`{"role":"user","content":"a/b\nc\u00e9<"}`), chat(`{"role":"user","content":"a\/b\u000ac\u00e9\u003c"}`), "spelling of characters")
	same(t, chat(`{"role":"user","content":"\ud83d\ude00\u001f"}`), chat(`{"role":"user","content":"😀\u001F"}`), "surrogates")
	different(t, chat(`{"role":"user","content":"a\\u0062"}`), chat(`{"role":"user","content":"a\u0062"}`), "an escaped backslash is no escape")
}

func TestAClockInTheSystemPromptDoesNotCount(t *testing.T) {
	same(t, `{"system":"It is 10:31:07. Be good.","messages":[{"role":"user","content":"q"}]}`,
		`{"system":[{"type":"text","text":"x-billing: 77"},{"type":"text","text":"It is 10:31:09."}],"messages":[{"role":"user","content":"q"}]}`, "system")
	same(t, `{"systemInstruction":{"parts":[{"text":"a"}]},"contents":[{"role":"user","parts":[{"text":"q"}]}]}`,
		`{"contents":[{"parts":[{"text":"q"}],"role":"user"}],"systemInstruction":{"parts":[{"text":"b"}]}}`, "gemini")
}

// dialects write one conversation of n turns in the format of each API.
var dialects = map[string]func(n int) string{
	"chat": func(n int) string {
		var m []string
		for i := range n {
			m = append(m, fmt.Sprintf(`{"role":"user","content":"question %d"}`, i),
				fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":"call_x%d","type":"function","function":{"name":"f","arguments":"{\"a\":%d}"}}]}`, i, i),
				fmt.Sprintf(`{"role":"tool","tool_call_id":"call_x%d","content":"result %d"}`, i, i),
				fmt.Sprintf(`{"role":"assistant","content":"answer %d"}`, i))
		}
		return chat(m[:len(m)-3]...)
	},
	"claude": func(n int) string {
		var m []string
		for i := range n {
			m = append(m, fmt.Sprintf(`{"role":"user","content":[{"type":"text","text":"question %d"}]}`, i),
				fmt.Sprintf(`{"role":"assistant","content":[{"type":"tool_use","id":"toolu_%d","name":"f","input":{"a":%d}}]}`, i, i),
				fmt.Sprintf(`{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_%d","content":"result %d"}]}`, i, i),
				fmt.Sprintf(`{"role":"assistant","content":[{"type":"text","text":"answer %d"}]}`, i))
		}
		return chat(m[:len(m)-3]...)
	},
	"responses": func(n int) string {
		var m []string
		for i := range n {
			m = append(m, fmt.Sprintf(`{"role":"user","content":"question %d"}`, i),
				fmt.Sprintf(`{"type":"function_call","id":"fc_1","call_id":"call_x%d","name":"f","arguments":"{\"a\":%d}"}`, i, i),
				fmt.Sprintf(`{"type":"function_call_output","call_id":"call_x%d","output":"result %d"}`, i, i),
				`{"type":"reasoning","encrypted_content":"zzz","summary":[]}`,
				fmt.Sprintf(`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"answer %d","annotations":[]}]}`, i))
		}
		return `{"input":[` + strings.Join(m[:len(m)-4], ",") + `]}`
	},
	"gemini": func(n int) string {
		var m []string
		for i := range n {
			m = append(m, fmt.Sprintf(`{"role":"user","parts":[{"text":"question %d"}]}`, i),
				fmt.Sprintf(`{"role":"model","parts":[{"functionCall":{"id":"f_%d","name":"f","args":{"a":%d}},"thoughtSignature":"zz"}]}`, i, i),
				fmt.Sprintf(`{"role":"user","parts":[{"functionResponse":{"id":"f_%d","name":"f","response":{"output":"result %d"}}}]}`, i, i),
				fmt.Sprintf(`{"role":"model","parts":[{"text":"answer %d"}]}`, i))
		}
		return `{"contents":[` + strings.Join(m[:len(m)-3], ",") + `]}`
	},
}

func TestAGrowingConversationFollowsItself(t *testing.T) {
	for name, body := range dialects {
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= 50; n++ {
				follows(t, body(n), body(n+1), "one more turn")
			}
		})
	}
}

func TestEveryPartOfAMessageCounts(t *testing.T) {
	for name, body := range dialects {
		base := body(3)
		for _, change := range [][2]string{
			{"question 1", "question one"}, {"result 1", "result one"}, {"answer 1", "answer one"},
			{`\"a\":1`, `\"a\":7`}, {`"a":1`, `"a":7`}, {`"f"`, `"g"`},
			{"call_x1", "call_y1"}, {"toolu_1", "toolu_z"}, {`"f_1"`, `"f_z"`},
		} {
			if other := strings.ReplaceAll(base, change[0], change[1]); other != base {
				different(t, base, other, name+": "+change[0])
			}
		}
	}
}

func TestWhatGeminiCLIRewritesDoesNotCount(t *testing.T) {
	call := `{"role":"model","parts":[{"functionCall":{"id":"s_1","name":"s","args":{}}%s}]}`
	response := `{"functionResponse":{"id":"s_1","name":"s","response":{"output":"x"}}}`
	first := `{"contents":[{"role":"user","parts":[{"text":"q"}]},` + fmt.Sprintf(call, `,"thoughtSignature":"zz"`) + `,{"role":"user","parts":[` + response + `]}]}`
	next := `{"contents":[{"role":"user","parts":[{"text":"q"}]},` + fmt.Sprintf(call, ``) + `,{"role":"user","parts":[` + response + `,` + response + `]},{"role":"model","parts":[{"text":"a"}]},{"role":"user","parts":[{"text":"q2"}]}]}`
	follows(t, first, next, "a dropped signature and a repeated response")
}

func TestAnImageAloneIsAnIdentity(t *testing.T) {
	for _, image := range []string{
		`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"%s"}}`,
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}`,
		`{"type":"input_image","image_url":"data:image/png;base64,%s"}`,
	} {
		user := `{"role":"user","content":[` + image + `]}`
		first := chat(fmt.Sprintf(user, "AAAA"))
		follows(t, first, chat(fmt.Sprintf(user, "AAAA"), `{"role":"assistant","content":"a cat"}`, `{"role":"user","content":"sure?"}`), image)
		different(t, first, chat(fmt.Sprintf(user, "BBBB")), image)
	}
	first := `{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}]}`
	different(t, first, strings.Replace(first, "AAAA", "BBBB", 1), "gemini")
}

func TestNothingDistinguishingIsNoSession(t *testing.T) {
	for _, body := range []string{
		`{}`, `{"messages":[]}`, `{"messages":null}`, `{"messages":[{"role":"system","content":"s"}]}`, `{"contents":[{"role":"user","parts":[]}]}`,
		`{"input":[]}`, `{"input":""}`, `{"input":[{"type":"reasoning","summary":[]}]}`, `{"messages":[{"role":"user","content":""}]}`, `{"messages":[1,null,[]]}`,
	} {
		id := extract(t, nil, body)
		require.True(t, id.IsZero(), body)
	}
}

func TestLengthAndOrderOfMessagesCount(t *testing.T) {
	seen := map[sessionid.Key]string{}
	for _, words := range []string{"go", "ok", "go ok", "ok go", "go ok go", "ok go ok", "go go ok", "go ok go ok", "ok go ok go", "go go ok ok"} {
		var m []string
		for i, w := range strings.Fields(words) {
			m = append(m, fmt.Sprintf(`{"role":%q,"content":%q}`, []string{"user", "assistant"}[i%2], w))
		}
		k := primary(t, nil, chat(m...))
		require.Empty(t, seen[k], words)
		seen[k] = words
	}
	different(t, chat(`{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`),
		chat(`{"role":"user","content":[{"type":"text","text":"ab"}]}`), "where a block ends counts")
	different(t, chat(`{"role":"user","content":"a"}`), chat(`{"role":"assistant","content":"a"}`), "the role counts")
}

func TestBoundariesAreBoundedAndKeepBothEnds(t *testing.T) {
	body := func(n int) string {
		var m []string
		for i := range n {
			m = append(m, fmt.Sprintf(`{"role":"user","content":"m%d"}`, i))
		}
		return chat(m...)
	}
	for _, n := range []int{1, 7, 8, 9, 127, 128, 129, 130, 1000} {
		id := extract(t, nil, body(n))
		require.Len(t, id.Fallbacks(), min(n, sessionid.MaxBoundaries)-1)
		for back := 1; back < min(n, 100); back++ {
			before := extract(t, nil, body(n-back))
			if n <= sessionid.MaxBoundaries || back < sessionid.MaxBoundaries-8 {
				require.Equal(t, before.End(), id.Fallbacks()[back-1], "%d back from %d", back, n)
			}
		}
		first := extract(t, nil, body(1))
		require.True(t, n == 1 || slices.Contains(id.Fallbacks(), first.End()))
	}
}

// A request that ends with messages of few words has no tail of its own. The tail of an earlier
// boundary is looked up, but not bound.
func TestARequestThatEndsWithLittleHasNoTailOfItsOwn(t *testing.T) {
	messages := []string{`{"role":"user","content":"` + strings.Repeat("much ", 100) + `"}`}
	for i := range 12 {
		role := []string{"assistant", "user"}[i%2]
		messages = append(messages, fmt.Sprintf(`{"role":%q,"content":"%d"}`, role, i))
	}
	id := sessionid.Extract(nil, []byte(`{"messages":[`+strings.Join(messages, ",")+`]}`))
	require.NotZero(t, id.End())
	require.Zero(t, id.Tail())
	require.Len(t, id.Boundaries(), 12)
	require.Greater(t, len(id.Fallbacks()), 12, "earlier requests had tails")
	short := sessionid.Extract(nil, []byte(`{"messages":[`+strings.Join(messages[:5], ",")+`]}`))
	require.Contains(t, id.Fallbacks()[12:], short.Tail())
}
