package field

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// The answer to most requests is found in the next. Clients that name the answer
// (previous_response_id, conversation) do not repeat it.
func TestMostAnswersAreInTheNextRequest(t *testing.T) {
	type count struct{ pairs, found, rewritten int }
	clients := map[string]*count{}
	var names []string
	sessions := map[string][]Request{}
	for _, r := range bothCaptures(t) {
		if sessions[r.Session] == nil {
			names = append(names, r.Session)
		}
		sessions[r.Session] = append(sessions[r.Session], r)
	}
	seen := map[string]bool{} // session and answer
	for _, name := range names {
		session := sessions[name]
		c := clients[session[0].Client]
		if c == nil {
			c = &count{}
			clients[session[0].Client] = c
		}
		answers := answersOf(t, session)
		_, continued := findAnswers(t, session)
		main := 0
		for i, r := range session {
			if r.Main {
				main++
			} else {
				require.Empty(t, answers[i], "%s: a request beside the main line", name)
			}
			if len(answers[i]) == 0 {
				continue
			}
			c.found++
			if !continued[i] {
				c.rewritten++
			}
			var all string
			for _, item := range answers[i] {
				require.True(t, fromModel(t, item), "%s", item)
				all += plainly(t, item)
			}
			key := name + all
			require.NotContains(t, seen, key, "one answer to two requests")
			seen[key] = true
		}
		c.pairs += main - 1
	}
	pairs, found := 0, 0
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		c := clients[client]
		t.Logf("%-21s %d of %d answers found, %d of them in a history that was rewritten", client, c.found, c.pairs, c.rewritten)
		pairs, found = pairs+c.pairs, found+c.found
	}
	t.Logf("%d of %d answers found", found, pairs)
	require.Greater(t, 10*found, 8*pairs)
}

// readAnswers returns the answers to the requests of one session, as a gateway reads
// them.
func readAnswers(t testing.TB, session []Request) []sessionid.Answer {
	out := make([]sessionid.Answer, len(session))
	for i, body := range Answers(t, session) {
		if body != "" {
			out[i] = sessionid.ReadAnswer([]byte(body))
			require.False(t, out[i].IsZero(), "%s", body)
		}
	}
	return out
}
