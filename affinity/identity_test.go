package affinity_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

func agent(id string) affinity.Request {
	r := affinity.Request{Tenant: "t", Pool: "p", Model: "m", Header: http.Header{"X-Claude-Code-Session-Id": {"8a218e62-bb55-446a-bc6c-b288fc65f5b5"}}}
	if id != "" {
		r.Header.Set("X-Claude-Code-Agent-Id", id)
	}
	return r
}

func TestSubagentsInheritOrAreSpread(t *testing.T) {
	inherit := wrap(t, nil)
	home := served(t, inherit, agent(""), abc)
	for i := range 50 {
		require.Equal(t, home, served(t, inherit, agent(fmt.Sprint("a", i)), abc))
	}

	e, err := sessionid.NewExtractor(&sessionid.Options{LanesApart: true})
	require.NoError(t, err)
	apart := wrap(t, &affinity.Options[string]{Extract: e.Extract})
	home = served(t, apart, agent(""), abc)
	of, used := map[string]string{}, map[string]bool{}
	for i := range 50 {
		a := fmt.Sprint("a", i)
		of[a] = served(t, apart, agent(a), abc)
		used[of[a]] = true
	}
	require.Len(t, used, 3)
	for a, auth := range of {
		require.Equal(t, auth, served(t, apart, agent(a), abc), "each stays where it is")
	}
	require.Equal(t, affinity.OutcomeNew, pick(t, apart, agent("another"), abc).Decision.Outcome, "the balancer places it, though its parent is bound")
	require.Equal(t, affinity.OutcomeHit, pick(t, inherit, agent("another"), abc).Decision.Outcome, "it is part of its session")
	for _, s := range []*affinity.Selector[string]{inherit, apart} { // a subagent with a session id of its own
		parent := served(t, s, session("ses_1"), abc)
		for i := range 6 {
			child := session(fmt.Sprint("ses_child_", i))
			child.Header.Set("X-Parent-Session-Id", "ses_1")
			p := pick(t, s, child, abc)
			require.Equal(t, []any{affinity.OutcomeInherited, parent}, []any{p.Decision.Outcome, p.Auth})
		}
	}
	first, next := agent(""), agent("fork")
	first.Header.Set("X-Claude-Code-Session-Id", "another session")
	next.Header.Set("X-Claude-Code-Session-Id", "another session")
	first.Body = []byte(`{"messages":[{"role":"user","content":"a question"}]}`)
	next.Body = []byte(`{"messages":[{"role":"user","content":"a question"},{"role":"assistant","content":"an answer"},{"role":"user","content":"more"}]}`)
	begun := served(t, apart, first, abc)
	d := pick(t, apart, next, abc).Decision
	require.Equal(t, []any{affinity.OutcomeInherited, begun}, []any{d.Outcome, d.Auth}, "a subagent with the messages of its session is a fork")
	p := pick(t, apart, agent("a0"), abc)
	p.Report(affinity.Terminal)
	require.Equal(t, home, served(t, apart, agent(""), abc), "an agent's failure does not move its parent")
	require.Equal(t, of["a1"], served(t, apart, agent("a1"), abc), "an agent's failure does not move another agent")
}

func TestARequestIDBesideACacheKey(t *testing.T) {
	s := wrap(t, nil)
	used := map[string]bool{}
	for i := range 20 {
		r := content(`{"prompt_cache_key":"8a218e62-bb55-446a-bc6c-b288fc65f5b5"}`)
		r.Header = http.Header{"X-Client-Request-Id": {fmt.Sprintf("%08d-bb55-446a-bc6c-b288fc65f5b5", i)}}
		if i == 10 { // as Codex and pi send it
			r.Header = http.Header{"X-Client-Request-Id": {"8a218e62-bb55-446a-bc6c-b288fc65f5b5"}}
		}
		used[served(t, s, r, abc)] = true
	}
	require.Len(t, used, 1)
}

func TestASharedCacheKeyPullsNoSessionsTogether(t *testing.T) {
	s := wrap(t, nil)
	with := func(id, key string) affinity.Request {
		body := `{"conversation_id":"` + id + `"`
		if key != "" {
			body += `,"prompt_cache_key":"` + key + `"`
		}
		return content(body + `}`)
	}
	a, b := served(t, s, with("c1", ""), abc), served(t, s, with("c2", ""), abc)
	require.NotEqual(t, a, b)
	for range 3 {
		require.Equal(t, a, served(t, s, with("c1", "app"), abc))
		require.Equal(t, b, served(t, s, with("c2", "app"), abc))
	}
	require.Equal(t, b, served(t, s, with("c2", ""), abc))
}

func TestTwoNamesOfOneModelAreOneBinding(t *testing.T) {
	s := wrap(t, &affinity.Options[string]{Scope: func(r affinity.Request) (pool, model string) {
		base, _, _ := strings.Cut(r.Model, "(")
		return r.Pool, base
	}})
	of := func(model string) affinity.Request {
		r := session("x")
		r.Model = model
		return r
	}
	first := served(t, s, of("m"), abc)
	require.Equal(t, first, served(t, s, of("m(high)"), abc))
	require.NotEqual(t, first, served(t, s, of("other"), abc))
	p := pick(t, s, of("m(high)"), abc)
	p.Report(affinity.Terminal)
	bound := look(t, s, of("m")) != ""
	require.False(t, bound, "a failure with the other name of the model unbinds the session")
}

func TestALostHistoryIsCounted(t *testing.T) {
	s := wrap(t, nil)
	turn := func(i int) string {
		return fmt.Sprintf(`{"role":"user","content":"question %d: %s"},{"role":"assistant","content":"answer %d: %s"}`, i, strings.Repeat("what ", 20), i, strings.Repeat("that ", 20))
	}
	body := func(head string, from, to int) affinity.Request {
		parts := []string{`{"role":"system","content":"be good"}`}
		if head != "" {
			parts = append(parts, head)
		}
		for i := from; i < to; i++ {
			parts = append(parts, turn(i))
		}
		return content(`{"messages":[` + strings.Join(append(parts, fmt.Sprintf(`{"role":"user","content":"question %d: %s"}`, to, strings.Repeat("what ", 20))), ",") + `]}`)
	}
	var home string
	for i := range 12 {
		home = served(t, s, body("", 0, i), abc)
		served(t, s, session(fmt.Sprint("other", i)), abc)
	}
	before := s.Stats()
	compacted := body(`{"role":"user","content":"summary of nine turns"}`, 9, 12)
	require.Equal(t, home, served(t, s, compacted, abc))
	require.Equal(t, before.Outcome(affinity.OutcomeNew), s.Stats().Outcome(affinity.OutcomeNew))

	p := pick(t, s, content(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"},{"role":"user","content":"e"}]}`), abc)
	require.Equal(t, affinity.OutcomeNew, p.Decision.Outcome)
	require.True(t, p.Decision.LostHistory)
	require.EqualValues(t, 1, s.Stats().LostHistory())
	p = pick(t, s, content(`{"messages":[{"role":"user","content":"context"},{"role":"assistant","content":"got it"},{"role":"user","content":"first prompt"}]}`), abc)
	require.False(t, p.Decision.LostHistory, "boilerplate is no history")
}

func TestSideRequestsLeaveTheMainLineAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, nil)
		main := session("x")
		home := served(t, s, main, abc)

		// Another model: a scope of its own.
		title := main
		title.Model = "small"
		p := pick(t, s, title, abc)
		p.Report(affinity.Terminal)
		require.Equal(t, home, served(t, s, main, abc))

		// Another system prompt and other content: the same session.
		title = main
		title.Body = []byte(`{"system":"write a title","messages":[{"role":"user","content":"z"}]}`)
		require.Equal(t, home, served(t, s, title, abc))

		// A request with Side: it uses the binding and does not change it.
		side := main
		side.Side = true
		p = pick(t, s, side, abc)
		require.Equal(t, home, p.Auth)
		p.Report(affinity.Terminal)
		require.Equal(t, home, served(t, s, main, abc))
		for range 3 {
			time.Sleep(25 * time.Minute)
			p = pick(t, s, side, abc)
			p.Report(affinity.Served)
		}
		bound := look(t, s, main) != ""
		require.False(t, bound, "the session expires an hour after its last request on the main line")
		p = pick(t, s, side, abc)
		require.Equal(t, affinity.OutcomeNone, p.Decision.Outcome)
		bound = look(t, s, main) != ""
		require.False(t, bound, "a side request makes no binding")
	})
}

// Qwen Code's memory extraction sends the whole history with another system prompt and another
// question at the end.
func TestASideRequestWithTheHistoryDoesNotMoveIt(t *testing.T) {
	s := wrap(t, nil)
	history := `{"role":"user","content":"q1"}`
	var home string
	for i := range 20 {
		main := content(`{"messages":[{"role":"system","content":"agent"},` + history + `]}`)
		auth := served(t, s, main, abc)
		if i == 0 {
			home = auth
		}
		require.Equal(t, home, auth, "turn %d", i)
		history += fmt.Sprintf(`,{"role":"assistant","content":"a%d"}`, i)
		for j := range 3 {
			extraction := content(fmt.Sprintf(`{"messages":[{"role":"system","content":"memory"},%s,{"role":"user","content":"extract %d"}]}`, history, j))
			require.Equal(t, home, served(t, s, extraction, abc))
		}
		history += fmt.Sprintf(`,{"role":"user","content":"q%d"}`, i+2)
	}
	require.EqualValues(t, 1, s.Stats().Outcome(affinity.OutcomeNew))
}
