package sessionid_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

func claudeAgent(agent, parent string) (pairs []string) {
	pairs = []string{"X-Claude-Code-Session-Id", uuidA}
	if agent != "" {
		pairs = append(pairs, "X-Claude-Code-Agent-Id", agent)
	}
	if parent != "" {
		pairs = append(pairs, "X-Claude-Code-Parent-Agent-Id", parent)
	}
	return pairs
}

func TestFiftySubagentsAreOneSessionOrFiftyOne(t *testing.T) {
	apart := extractor(t, &sessionid.Options{LanesApart: true})
	session := primary(t, headers(claudeAgent("", "")...), "")
	seen := map[sessionid.Key]bool{session: true}
	for i := range 50 {
		h := headers(claudeAgent(fmt.Sprintf("agent-%d", i), "")...)
		inherits := extract(t, h, "")
		require.Equal(t, session, inherits.Primary(), "a subagent that inherits is in its parent's session")
		require.Equal(t, session, inherits.Parent())

		own := apart.Extract(h, nil)
		require.False(t, seen[own.Primary()], "each subagent that is apart has a session of its own")
		seen[own.Primary()] = true
		require.Equal(t, []sessionid.Key{inherits.Lane()}, own.Names(), "a subagent that is apart has only the name of its lane, so that its failure moves no other session")
		require.Equal(t, session, own.Parent())
		again := apart.Extract(h, []byte(`{"messages":[{"role":"user","content":"another turn"}]}`))
		require.Equal(t, own.Primary(), again.Primary(), "the subagent has the same session in each turn")
	}
	main := apart.Extract(headers(claudeAgent("", "")...), nil)
	require.Equal(t, session, main.Primary())
	require.Zero(t, main.Lane())
	require.Zero(t, main.Parent())
}

func TestTheParentOfASubagentsSubagentIsALane(t *testing.T) {
	child := extract(t, headers(claudeAgent("b", "a")...), "")
	parent := extract(t, headers(claudeAgent("a", "")...), "")
	require.Equal(t, parent.Lane(), child.Parent())
	require.NotEqual(t, parent.Lane(), child.Lane())
	other := extract(t, headers("X-Claude-Code-Session-Id", uuidB, "X-Claude-Code-Agent-Id", "a"), "")
	require.NotEqual(t, parent.Lane(), other.Lane(), "a lane is inside its session")
	alone := extract(t, headers("X-Claude-Code-Agent-Id", "a"), "")
	require.True(t, alone.IsZero(), "a lane names no session")
	inBody := extract(t, headers("X-Claude-Code-Agent-Id", "a"), `{"metadata":{"user_id":"{\"session_id\":\"`+uuidA+`\"}"}}`)
	require.Equal(t, parent.Lane(), inBody.Lane(), "the lane is the same if the session is in the body")
}

func TestACodexThreadIsALaneOfItsSession(t *testing.T) {
	main := extract(t, headers("session-id", uuidA, "thread-id", uuidA), "")
	require.Zero(t, main.Lane(), "the main line's thread is the session")
	sub := extract(t, headers("session-id", uuidA, "thread-id", uuidB, "x-codex-parent-thread-id", uuidA), "")
	require.Equal(t, main.Primary(), sub.Primary())
	require.NotZero(t, sub.Lane())
	require.Equal(t, main.Primary(), sub.Parent())
	const uuidC = "7f1a9f6e-64a6-4b1e-9c6a-2f5b8d1c0e3a"
	deeper := extract(t, headers("session-id", uuidA, "thread-id", uuidC, "x-codex-parent-thread-id", uuidB), "")
	require.Equal(t, sub.Lane(), deeper.Parent())
}

func TestOpenCodeSubagentsHaveTheirOwnSession(t *testing.T) {
	parent := extract(t, headers("X-Session-Id", "ses_1", "X-Session-Affinity", "ses_1"), "")
	child := extract(t, headers("X-Session-Id", "ses_2", "X-Session-Affinity", "ses_2", "x-parent-session-id", "ses_1"), "")
	require.NotEqual(t, parent.Primary(), child.Primary())
	require.Equal(t, parent.Primary(), child.Parent())
	require.NotContains(t, child.Names(), parent.Primary(), "the parent's key is neither the primary nor a name of the child")
	require.Zero(t, child.Lane())
}

func TestARequestIDIsASessionOnlyWhereItIsSurelyOne(t *testing.T) {
	body := `{"prompt_cache_key":"` + uuidA + `"}`
	seen := map[sessionid.Key]bool{}
	for i := range 20 {
		id := extract(t, headers("X-Client-Request-Id", fmt.Sprintf("%08d-bb55-446a-bc6c-b288fc65f5b5", i)), body)
		require.Empty(t, id.Names(), "an id that is new in each request is no name of the session")
		seen[id.Primary()] = true
	}
	require.Len(t, seen, 1)
	codex := extract(t, headers("X-Client-Request-Id", uuidA), body)
	require.Len(t, codex.Names(), 1, "an id that equals the cache key is a name of the session")
	require.True(t, seen[codex.Primary()])
	alone := extract(t, headers("X-Client-Request-Id", uuidA), "")
	require.True(t, alone.IsZero())
	off := extractor(t, &sessionid.Options{Without: []string{"X-Client-Request-Id"}})
	id := off.Extract(headers("X-Client-Request-Id", uuidA), []byte(body))
	require.Empty(t, id.Names())
}

func TestKimisUserIsASession(t *testing.T) {
	body := `{"metadata":{"user_id":"` + uuidA + `"}}`
	id := extract(t, headers("User-Agent", "KimiCLI/1.28.0"), body)
	require.Equal(t, sessionid.KindGuarded, id.Signal().Kind)
	id = extract(t, headers("User-Agent", "anthropic-sdk/1"), body)
	require.True(t, id.IsZero(), "from other clients the value names a user, not a session")
	id = extract(t, headers("User-Agent", "KimiCLI/1.28.0"), `{"metadata":{"user_id":"bob"}}`)
	require.True(t, id.IsZero())
}
