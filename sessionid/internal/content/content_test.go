package content

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

func user(text string) string { return `{"role":"user","content":"` + text + `"}` }

func list(messages ...string) string { return `[` + strings.Join(messages, ",") + `]` }

// tailOf is the tail of a request whose messages are given.
func tailOf(messages string) Key {
	h := walked(messages).History()
	return h.Tail()
}

func TestDevelopersAndSystemsMessagesAreLeftOut(t *testing.T) {
	want := endOf(list(user("q")))
	for _, role := range []string{"system", "developer"} {
		left := `{"role":"` + role + `","content":"It is 10:31."}`
		require.Equal(t, want, endOf(list(left, user("q"))), role)
		require.Equal(t, want, endOf(list(user("q"), left)), "%s, behind", role)
		require.True(t, walked(list(left)).Empty(), role)
	}
	require.NotEqual(t, want, endOf(list(`{"role":"critic","content":"It is 10:31."}`, user("q"))), "other roles count")
}

func TestASystemsTextIsSummedWhereItCounts(t *testing.T) {
	want := endOf(list(user("q")))
	for _, m := range []string{
		`{"role":"system","content":"q","role":"user"}`, `{"role":"developer","content":"x","content":"q","role":"user"}`,
		`{"role":"system","content":["x"],"content":"q","role":"user"}`, `{"role":"system","content":"x","role":"user","content":"q"}`,
	} {
		require.Equal(t, want, endOf(list(m)), m)
	}
	for _, m := range []string{`{"role":"system","content":"","role":"user"}`, `{"role":"system","content":"x","content":null,"role":"user"}`} {
		require.Equal(t, want, endOf(list(m, user("q"))), m)
	}
	block := `{"role":"user","content":[{"role":"ROLE","content":"a"}]}`
	require.Equal(t, endOf(list(strings.Replace(block, "ROLE", "user", 1))), endOf(list(strings.Replace(block, "ROLE", "system", 1))), "a block is no message")
}

func TestTheIDOfAToolCallCounts(t *testing.T) {
	for name, call := range map[string]string{
		"tool_use":        `{"role":"assistant","content":[{"type":"tool_use","id":"ID","name":"f","input":{}}]}`,
		"server_tool_use": `{"role":"assistant","content":[{"type":"server_tool_use","id":"ID","name":"f","input":{}}]}`,
		"mcp_tool_use":    `{"role":"assistant","content":[{"type":"mcp_tool_use","id":"ID","name":"f","input":{}}]}`,
		"tool_calls":      `{"role":"assistant","tool_calls":[{"id":"ID","function":{"name":"f","arguments":"{}"}}]}`,
		"function_call":   `{"type":"function_call","call_id":"ID","name":"f","arguments":"{}"}`,
		"interactions":    `{"type":"function_call","id":"ID","name":"f","arguments":{}}`,
		"functionCall":    `{"role":"model","parts":[{"functionCall":{"id":"ID","name":"f","args":{}}}]}`,
	} {
		one, other := strings.Replace(call, "ID", "id_1", 1), strings.Replace(call, "ID", "id_2", 1)
		require.NotEqual(t, endOf(list(one)), endOf(list(other)), name)
	}
	for name, result := range map[string]string{
		"tool_result":          `{"role":"user","content":[{"type":"tool_result","tool_use_id":"ID","content":"r"}]}`,
		"tool":                 `{"role":"tool","tool_call_id":"ID","content":"r"}`,
		"function_call_output": `{"type":"function_call_output","call_id":"ID","output":"r"}`,
		"functionResponse":     `{"role":"user","parts":[{"functionResponse":{"id":"ID","name":"f","response":{}}}]}`,
	} {
		one, other := strings.Replace(result, "ID", "id_1", 1), strings.Replace(result, "ID", "id_2", 1)
		require.NotEqual(t, endOf(list(one)), endOf(list(other)), name)
	}
}

func TestTheLastOfDuplicateMembersOfAMessageCounts(t *testing.T) {
	require.Equal(t, endOf(list(user("last"))), endOf(list(`{"role":"assistant","content":"first","content":"last","role":"user"}`)))
	require.Equal(t, endOf(list(`{"content":[{"type":"text","text":"last"}]}`)), endOf(list(`{"content":[{"type":"text","text":"first","text":"last"}]}`)))
}

func TestSurrogatesAreOneCharacterOnlyInPairs(t *testing.T) {
	same := func(a, b string) { t.Helper(); require.Equal(t, endOf(list(user(a))), endOf(list(user(b)))) }
	different := func(a, b string) { t.Helper(); require.NotEqual(t, endOf(list(user(a))), endOf(list(user(b)))) }
	same(`\ud800\udc00`, "\U00010000")
	same(`\udbff\udfff`, "\U0010ffff")
	same(`\ud83d\ude00`, "\U0001f600")
	same(`\udc00`, `\ufffd`)
	same(`\ud800x`, `\ufffdx`)
	different(`\ud800\udc00`, `\ufffd\ufffd`)
}

func TestATailNeedsThreeMessagesOfSomeWeight(t *testing.T) {
	heavy := strings.Repeat("w", tailWeight)
	require.Zero(t, tailOf(list(user(heavy), user(heavy))), "two messages are too few")
	require.NotZero(t, tailOf(list(user("a"), user(heavy), user("b"))))
	var light []string
	for i := range 20 {
		light = append(light, user(fmt.Sprint("m", i)))
	}
	require.Zero(t, tailOf(list(light...)), "eight messages that say too little")

	// The least weight, to the byte. The quotes of a text weigh too.
	at := func(n int) Key {
		return tailOf(list(user(strings.Repeat("x", n-2-3-3)), user("b"), user("c")))
	}
	require.Zero(t, at(255))
	require.NotZero(t, at(256))
}

func TestNamesAndIDsDoNotWeigh(t *testing.T) {
	long := strings.Repeat("n", 2*tailWeight)
	call := func(i int) string {
		return fmt.Sprintf(`{"role":"assistant","content":[{"type":"tool_use","id":"%d%s","name":"%s","input":{}}]}`, i, long, long)
	}
	require.Zero(t, tailOf(list(call(1), call(2), call(3))))
	argued := strings.ReplaceAll(list(call(1), call(2), call(3)), `{}`, `{"a":"`+long+`"}`)
	require.NotZero(t, tailOf(argued), "arguments weigh")
}

func TestATailDoesNotDependOnWhatStoodBeforeIt(t *testing.T) {
	var m []string
	for i := range 40 {
		m = append(m, user(fmt.Sprintf("%d %s", i, strings.Repeat("w", 100))))
	}
	whole := walked(list(m...)).History()
	require.Equal(t, whole.Tail(), tailOf(list(append([]string{user("a summary")}, m[30:]...)...)))
	require.NotEqual(t, whole.Tail(), tailOf(list(m[:39]...)))
	require.Len(t, whole.Boundaries(), 39)
	require.Len(t, whole.part(lightOnes), 1, "the first message alone is not much")
	require.Len(t, whole.Earlier(), 39+maxTails-1, "no marks: in a long history the words of one message are not enough")
	for back := 1; back < maxTails; back++ {
		before := walked(list(m[:40-back]...)).History()
		require.Equal(t, before.End(), whole.Boundaries()[back-1])
		require.Equal(t, before.Tail(), whole.part(tailsPart)[back-1])
	}
}

func TestBehindChangesBoundariesAndNoTails(t *testing.T) {
	var m []string
	for i := range 5 {
		m = append(m, user(fmt.Sprintf("%d %s", i, strings.Repeat("w", 100))))
	}
	h, moved := walked(list(m...)).History(), walked(list(m...)).History()
	moved.Behind(Key{1})
	require.NotEqual(t, h.End(), moved.End())
	require.Equal(t, h.Tail(), moved.Tail())
	require.Equal(t, Key{1}, moved.Earlier()[0], "the state finds the conversation first")
	require.Len(t, h.Boundaries(), 4)
	for i, k := range h.Earlier() {
		require.Equal(t, !slices.Contains(h.Boundaries(), k), k == moved.Earlier()[i+1], i)
	}
	var empty History
	empty.Behind(Key{1})
	require.Nil(t, empty.Earlier())
	require.Zero(t, empty.End())
	require.Zero(t, empty.Tail())
}

func TestAStrongerMemberHoldsTheConversation(t *testing.T) {
	end := func(body string) Key {
		c, ok := jsontext.NewCursor([]byte(body))
		require.True(t, ok)
		var ch Chain
		for {
			name, v, ok := c.Member()
			if !ok {
				break
			}
			taken := false
			for i, m := range Members {
				taken = taken || m == string(name) && ch.Walk(i, &c, v)
			}
			if !taken && v.Form == jsontext.Open {
				c.Skip()
			}
		}
		require.False(t, c.Failed, body)
		h := ch.History()
		return h.End()
	}
	want := end(`{"messages":"q"}`)
	for _, body := range []string{
		`{"messages":"q","input":"weaker"}`, `{"input":"weaker","messages":"q"}`, `{"prompt":"weaker","input":"weak","messages":["q"]}`,
		`{"messages":[],"prompt":"q"}`, `{"prompt":"q","messages":[]}`, `{"prompt":{"id":"a template"},"input":"q"}`,
		`{"request":{"contents":"first","contents":"q"}}`, `{"request":{"contents":"q"},"prompt":{"id":"a template"}}`,
		`{"request":"no","input":"q"}`,
	} {
		require.Equal(t, want, end(body), body)
	}
}
