package sessionid_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

func TestTheOpeningIsTheSameInEachTurn(t *testing.T) {
	user := func(words string) string { return `{"role":"user","content":` + quote(words) + `}` }
	model := func(words string) string { return `{"role":"assistant","content":` + quote(words) + `}` }
	answer := strings.Repeat("an answer of some length ", 4)
	opening := func(messages ...string) sessionid.Key {
		id := extract(t, nil, chat(messages...))
		return id.Opening()
	}
	// A client's boilerplate and a short answer to that stand before the first prompt.
	begin := []string{user("context"), model("Got it."), user("task 1")}
	first := opening(begin...)
	id := extract(t, nil, chat(begin...))
	require.Equal(t, id.End(), first, "without an answer the opening is the end")
	all := begin
	for turn := range 70 { // more messages than there are boundaries
		all = append(all, model(answer), user(fmt.Sprint("go on ", turn)))
		require.Equal(t, first, opening(all...), "turn %d", turn)
	}
	require.NotEqual(t, first, opening(user("context"), model("Got it."), user("task 2"), model(answer), user("go on")), "another task after the same boilerplate has another opening")
	call := `{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]}`
	require.Equal(t, first, opening(append(begin[:3:3], call, `{"role":"tool","tool_call_id":"call_1","content":"x"}`)...), "a tool call counts as an answer")

	require.Zero(t, opening(model(answer), user("go on")), "a history that begins in the middle has no opening")
	named := extract(t, nil, `{"session_id":"s-1","messages":[`+user("x")+`]}`)
	require.Zero(t, named.Opening(), "a session with an id has no opening")
	behind := extract(t, nil, `{"previous_response_id":"resp_1","input":"go on"}`)
	require.False(t, behind.IsZero())
	require.Zero(t, behind.Opening(), "a history after a state has no opening")
}
