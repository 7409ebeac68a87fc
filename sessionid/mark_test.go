package sessionid_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// chatOf is a body of the chat API.
func chatOf(messages ...string) string { return `{"messages":[` + strings.Join(messages, ",") + `]}` }

func says(role, text string) string { return fmt.Sprintf(`{"role":%q,"content":%q}`, role, text) }

func calls(id, arguments string) string {
	return fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":%q,"type":"function","function":{"name":"f","arguments":%q}}]}`, id, arguments)
}

func returns(id, text string) string {
	return fmt.Sprintf(`{"role":"tool","tool_call_id":%q,"content":%q}`, id, text)
}

const (
	madeA = "call_rsMgIgFD6qElK9JgNMKVPei5"
	madeB = "call_lTPVZQef83lJaiDKCXZeLs5N"
)

// found reports whether a mark of one body finds the request with another body.
func found(t *testing.T, one, other string) bool {
	a, b := extract(t, nil, one), extract(t, nil, other)
	return slices.ContainsFunc(a.Marks(), func(k sessionid.Key) bool { return slices.Contains(b.Fallbacks(), k) })
}

func TestAMessageWithAnIDIsFoundInARewrittenHistory(t *testing.T) {
	long := strings.Repeat("please look at all of the files ", 4)
	whole := chatOf(says("user", "q"), calls(madeA, "{}"), returns(madeA, "r"))
	for name, c := range map[string]struct {
		one, other string
		want       bool
	}{
		"a call and its result": {whole, chatOf(says("user", "a summary"), calls(madeA, "{}"), returns(madeA, "r"), says("user", "go on")), true},
		"the result alone":      {whole, chatOf(returns(madeA, "r"), says("user", "go on")), true},
		"other arguments":       {whole, chatOf(says("user", "a summary"), calls(madeA, `{"a":1}`), returns(madeA, "s"), says("user", "go on")), false},
		"another id":            {whole, chatOf(says("user", "a summary"), calls(madeB, "{}"), returns(madeB, "r"), says("user", "go on")), false},
		"a counter": {chatOf(says("user", "q"), calls("call_0", "{}"), returns("call_0", "r")),
			chatOf(says("user", "a summary"), calls("call_0", "{}"), returns("call_0", "r"), says("user", "go on")), false},
		"long words of a user": {chatOf(says("user", "q"), says("assistant", "a"), says("user", long)),
			chatOf(says("user", "Summary of the conversation: q"), says("user", long), says("assistant", "b"), says("user", "go on")), true},
		"long words of a user, in a window": {chatOf(says("user", "q"), says("assistant", "a"), says("user", long)),
			chatOf(says("user", long), says("assistant", "b"), says("user", "go on")), true},
		"long words of a user, which an agent may say in each conversation": {chatOf(says("user", "q"), says("assistant", "a"), says("user", long)),
			chatOf(says("user", "p"), says("assistant", "b"), says("user", "r"), says("assistant", "c"), says("user", "s"), says("assistant", "d"), says("user", "t"),
				says("assistant", "e"), says("user", long), says("assistant", "f"), says("user", "go on")), false},
		"short words of a user": {chatOf(says("user", "q"), says("assistant", "a"), says("user", "yes")),
			chatOf(says("user", "a summary"), says("user", "yes"), says("assistant", "b"), says("user", "go on")), false},
		"an answer and the words before it": {chatOf(says("user", "q"), says("assistant", "a"), says("user", "why?"), says("assistant", long), says("user", "and?")),
			chatOf(says("user", "why?"), says("assistant", long), says("user", "and?"), says("assistant", "b"), says("user", "go on")), true},
		"a message of Codex": {`{"input":[{"role":"user","content":"q"},{"role":"assistant","content":"` + long + `"},{"type":"message","id":"msg_01a20f77-b54b-7891-8da2-80a7fddc28f6","role":"user","content":"go"}]}`,
			`{"input":[{"type":"message","id":"msg_01a20f77-b54b-7891-8da2-80a7fddc28f6","role":"user","content":"go"},{"role":"user","content":"Another language model started"}]}`, true},
		"the same words with another id": {`{"input":[{"role":"user","content":"q"},{"role":"assistant","content":"` + long + `"},{"type":"message","id":"msg_01a20f77-b54b-7891-8da2-80a7fddc28f6","role":"user","content":"go"}]}`,
			`{"input":[{"type":"message","id":"msg_01a20f8b-5c3f-79d3-acbb-c8012ddf6269","role":"user","content":"go"},{"role":"user","content":"Another language model started"}]}`, false},
	} {
		require.Equal(t, c.want, found(t, c.one, c.other), name)
	}
}

// What clients put before the first prompt is in many conversations. So no mark of a first
// request leads from one conversation to another.
func TestAnOpeningIsNoMark(t *testing.T) {
	boilerplate := strings.Repeat("This is the agent. We are setting up the context. ", 10)
	for name, opening := range map[string][]string{
		"context": {says("user", boilerplate)}, "acknowledged": {says("user", boilerplate), says("assistant", "Got it. Thanks for the context!")},
	} {
		for _, prompt := range []string{"one", boilerplate + "one"} {
			one := chatOf(append(slices.Clone(opening), says("user", prompt))...)
			two := chatOf(append(slices.Clone(opening), says("user", "two"))...)
			require.False(t, found(t, one, two), name)
		}
	}
	id := extract(t, nil, chatOf(says("user", boilerplate), says("user", "q"), calls(madeA, "{}"), returns(madeA, "r")))
	require.True(t, id.Ongoing())
	require.Equal(t, len(id.Marks()), id.IDMarks(), "a session that begins in the middle is marked by ids")
	id = extract(t, nil, chatOf(says("user", boilerplate)))
	require.False(t, id.Ongoing())
}

func TestIDsCanBeDoubted(t *testing.T) {
	long := strings.Repeat("please look at all of the files ", 4)
	body := chatOf(says("user", "q"), says("assistant", strings.Repeat(long, 3)), says("user", long), calls(madeA, "{}"), returns(madeA, "r"), says("assistant", "a"), says("user", long+"!"))
	id := extract(t, nil, body)
	without := id.WithoutIDMarks()
	require.Equal(t, id.End(), without.End())
	require.Equal(t, id.Boundaries(), without.Boundaries())
	require.Less(t, len(without.Fallbacks()), len(id.Fallbacks()))
	for _, k := range without.Fallbacks() {
		require.Contains(t, id.Fallbacks(), k)
	}
	require.Equal(t, id.Marks()[id.IDMarks():], without.Marks())
	require.Zero(t, without.IDMarks())
	plain := extract(t, nil, chatOf(says("user", "q")))
	same := plain.WithoutIDMarks()
	require.Equal(t, plain.Fallbacks(), same.Fallbacks())
}

// A few words, with which many conversations may begin, find a session before ids do if the
// request continues from them. Otherwise they find it only if nothing more certain does.
func TestAShortOpeningFindsASessionIfTheRequestGoesOnFromIt(t *testing.T) {
	first := extract(t, nil, chatOf(says("user", "hi")))
	marked := extract(t, nil, chatOf(says("user", "another"), calls(madeA, "{}"), returns(madeA, "r")))
	next := extract(t, nil, chatOf(says("user", "hi"), calls(madeA, "{}"), returns(madeA, "r")))
	far := extract(t, nil, chatOf(says("user", "hi"), says("user", "ho"), calls(madeA, "{}"), returns(madeA, "r"), says("user", "go on")))
	mark := slices.IndexFunc(next.Fallbacks(), func(k sessionid.Key) bool { return slices.Contains(marked.Marks(), k) })
	require.Less(t, slices.Index(next.Fallbacks(), first.End()), mark)
	require.Equal(t, len(far.Fallbacks())-1, slices.Index(far.Fallbacks(), first.End()))
	for _, k := range marked.Marks() {
		require.Contains(t, far.Fallbacks(), k)
	}
}

// Qwen Code moves a reminder of the date to the newest message of the user. Other reminders
// count as part of the message.
func TestAMovedReminderOfTheDateIsLookedThrough(t *testing.T) {
	date := `{"type":"text","text":"<system-reminder>\nThe current date is: Tuesday, November 24, 2026. More.\n</system-reminder>"}`
	other := `{"type":"text","text":"<system-reminder>\nThe project is P.\n</system-reminder>"}`
	user := func(blocks ...string) string {
		return `{"role":"user","content":[` + strings.Join(blocks, ",") + `]}`
	}
	text := func(s string) string { return `{"type":"text","text":"` + s + `"}` }
	follows(t, chatOf(user(date, text("q"))), chatOf(user(text("q")), says("assistant", "a"), user(date, text("q2"))), "the reminder has moved")
	different(t, chatOf(user(other, text("q"))), chatOf(user(text("q"))), "another reminder")
	different(t, chatOf(user(text("<system-reminder>\\nThe current date is what I want to know"))), chatOf(user(text("q"))), "words of a user")
}

// Two conversations that were compacted into a form that only the provider can read stay two,
// even if they continue with the same words.
func TestACompactionCountsByItsID(t *testing.T) {
	body := func(item string) string { return `{"input":[` + item + `,{"role":"user","content":"go on"}]}` }
	a := `{"type":"compaction","id":"cmp_f17028c9ee8f6a64d910382b88dce17d011b0942","encrypted_content":"one"}`
	different(t, body(a), body(strings.Replace(a, "f17028", "000000", 1)), "two ids")
	same(t, body(a), body(strings.Replace(a, "one", "two", 1)), "one id")
	bare := `{"type":"compaction","encrypted_content":"one"}`
	different(t, body(bare), body(strings.Replace(bare, "one", "two", 1)), "no id, two contents")
	same(t, body(bare), body(bare), "no id")
	// The answer to the request that compacts shows the id.
	compacts := extract(t, nil, `{"input":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`)
	answer := sessionid.ReadAnswer([]byte(`{"id":"resp_1","object":"response.compaction","output":[{"role":"user","content":"q"},` + a + `]}`))
	next := extract(t, nil, body(a))
	require.True(t, slices.ContainsFunc(afterOf(compacts, answer), func(k sessionid.Key) bool { return slices.Contains(next.Fallbacks(), k) }))
}

func TestWhatIsLostOfAHistoryIsSeen(t *testing.T) {
	long := strings.Repeat("words of an answer ", 5)
	for body, want := range map[string]sessionid.Past{
		chatOf(says("user", "q")): sessionid.PastNone,
		chatOf(says("user", "context"), says("assistant", "Got it. Thanks for the context!"), says("user", "q")):        sessionid.PastNone,
		chatOf(says("user", "q"), says("assistant", long), says("user", "q2")):                                          sessionid.PastTurns,
		chatOf(says("user", "a"), says("assistant", "b"), says("user", "c"), says("assistant", "d"), says("user", "e")): sessionid.PastTurns,
		chatOf(says("user", "q"), calls(madeA, "{}"), returns(madeA, "r")):                                              sessionid.PastTurns,
		chatOf(says("assistant", "a"), says("user", "q")):                                                               sessionid.PastCut,
		chatOf(returns(madeA, "r"), says("user", "q")):                                                                  sessionid.PastCut,
		chatOf(says("user", "This session is being continued from a previous conversation that ran out of context.")):   sessionid.PastSummary,
		chatOf(says("user", "Here is a summary of the conversation to date:\n\nx"), says("user", "q")):                  sessionid.PastSummary,
		`{"input":[{"type":"compaction","id":"cmp_1","encrypted_content":"x"},{"role":"user","content":"q"}]}`:          sessionid.PastSummary,
		`{"input":"q","previous_response_id":"resp_1"}`:                                                                 sessionid.PastTurns,
		`{"session_id":"s"}`: sessionid.PastNone,
	} {
		id := extract(t, nil, body)
		require.Equal(t, want, id.Past(), body)
	}
	require.Equal(t, []string{"", "turns", "cut", "summary", "unknown"}, []string{
		sessionid.PastNone.String(), sessionid.PastTurns.String(), sessionid.PastCut.String(), sessionid.PastSummary.String(), sessionid.Past(9).String()})
}

func TestAPathNamesAConversation(t *testing.T) {
	body := extract(t, nil, `{"conversation":"conv_1a"}`)
	owner := func(name, id string) sessionid.Owner {
		return sessionid.Owner{Name: name, Key: sessionid.OwnerKey(name, id)}
	}
	for path, want := range map[string][]sessionid.Owner{
		"/v1/conversations/conv_1a/items":             {owner("conversation", "conv_1a")},
		"/v1/conversations/conv_1a?x=1":               {owner("conversation", "conv_1a")},
		"/openai/v1/responses/resp_9/input_items":     {owner("previous_response_id", "resp_9")},
		"/v1/containers/cntr_7/files":                 {owner("container", "cntr_7")},
		"/v1beta/interactions/v1_8":                   {owner("previous_interaction_id", "v1_8")},
		"/v1beta/cachedContents/abc":                  {owner("cachedContent", "cachedContents/abc")},
		"/v1/projects/p/locations/l/cachedContents/1": {owner("cachedContent", "projects/p/locations/l/cachedContents/1")},
		"/v1beta/cachedContents":                      nil, "/v1beta/interactions/": nil,
		"/v1/responses": nil, "/v1/responses/compact": nil, "/v1/conversations": nil, "/v1/conversations/": nil, "": nil,
	} {
		var none sessionid.ID
		id := none.WithPath(path)
		require.Equal(t, want, id.Owners(), path)
		require.Equal(t, strings.Contains(path, "conv_1a"), !id.IsZero(), path)
		if !id.IsZero() {
			require.Equal(t, body.Primary(), id.Primary(), "the same session as by the body")
		}
		named := extract(t, headers("X-Session-Id", uuidA), "")
		with := named.WithPath(path)
		require.Equal(t, named.Names(), with.Names(), "an id of the client is stronger")
		require.Equal(t, want, with.Owners())
		both := body.WithPath(path)
		require.ElementsMatch(t, slices.Compact(append([]sessionid.Owner{body.Owners()[0]}, want...)), both.Owners(), "each owner is there once")
		require.Len(t, body.Owners(), 1)
	}
}

func TestAHostAddsWhatOnlyItKnowsOf(t *testing.T) {
	var id sessionid.ID
	container := func(v string) sessionid.Owner {
		return sessionid.Owner{Name: "container", Key: sessionid.OwnerKey("container", v)}
	}
	id = id.WithOwner(container("cntr_1"))
	id = id.WithOwner(container("cntr_1"))
	id = id.WithOwner(container(" "))
	require.Equal(t, []sessionid.Owner{container("cntr_1")}, id.Owners())
	for i := range 20 {
		id = id.WithOwner(container(fmt.Sprint("cntr_", i)))
	}
	require.Len(t, id.Owners(), 8)
}

func TestTheRequestOfAServerHasAPath(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/v1/conversations/conv_1a/items", nil)
	id := sessionid.FromRequest(r, nil)
	require.Equal(t, "path", id.Signal().Name)
	require.Len(t, id.Owners(), 1)
	id = sessionid.FromRequest(&http.Request{Header: http.Header{}}, nil)
	require.True(t, id.IsZero())
}

func TestCodexTellsOfForksAndCompactions(t *testing.T) {
	fork := func(meta string) sessionid.ID {
		return extract(t, headers("Session-Id", uuidA, "Thread-Id", uuidA, "X-Codex-Turn-Metadata", meta), "")
	}
	parent := primary(t, headers("Session-Id", uuidB), "")
	id := fork(`{"session_id":"` + uuidA + `","forked_from_thread_id":"` + uuidB + `","history_initialization":"cold_fork","request_kind":"turn"}`)
	require.Equal(t, parent, id.Parent())
	require.Zero(t, id.Lane())
	require.False(t, id.Side())
	id = fork(`{"session_id":"` + uuidA + `","forked_from_thread_id":"` + uuidA + `"}`)
	require.Zero(t, id.Parent(), "a session cannot be its own parent")
	id = fork(`{"session_id":"` + uuidA + `","request_kind":"compaction"}`)
	require.True(t, id.Side())
	require.Zero(t, id.Parent())
	id = fork(`{"session_id":"` + uuidA + `","forked_from_thread_id":"` + uuidB + `"`)
	require.Zero(t, id.Parent(), "broken JSON")
}

func TestTheContentOfANamedSession(t *testing.T) {
	bare := extract(t, nil, chatOf(says("user", "q")))
	id := sessionid.Conversation([]byte(`{"session_id":"s","messages":[` + says("user", "q") + `],"prompt_cache_key":"` + uuidA + `"}`))
	require.Equal(t, bare.Primary(), id.Primary())
	require.Empty(t, id.Names())
	none := sessionid.Conversation([]byte(`{"session_id":"s"}`))
	require.True(t, none.IsZero())
}
