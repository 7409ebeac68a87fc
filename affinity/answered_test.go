package affinity_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// talk is a conversation of the chat API. Its client sends the whole history.
type talk struct{ messages []string }

func (c *talk) say(text string) affinity.Request {
	c.messages = append(c.messages, fmt.Sprintf(`{"role":"user","content":%q}`, text))
	return content(`{"messages":[` + strings.Join(c.messages, ",") + `]}`)
}

// hear is the answer to what was said last.
func (c *talk) hear(text string) sessionid.Answer {
	m := fmt.Sprintf(`{"role":"assistant","content":%q}`, text)
	c.messages = append(c.messages, m)
	return sessionid.ReadAnswer([]byte(`{"choices":[{"message":` + m + `}]}`))
}

var eight = strings.Split("ABCDEFGH", "")

// uneven returns the load of the most loaded auth, as a multiple of the mean.
func uneven(of map[string]int) float64 {
	most, all := 0, 0
	for _, n := range of {
		most, all = max(most, n), all+n
	}
	return float64(most) * float64(len(eight)) / float64(all)
}

// A thousand users send the same words at the same moment. As soon as its answer is known, each
// conversation has a session of its own, which the balancer places, and which stays at its
// auth. Before the first answer the first requests are taken for retries of one session. After
// some of them they are spread, too, because no client repeats a request so often.
func TestAThousandConversationsThatBeginAlikeAreTold(t *testing.T) {
	s := wrap(t, nil)
	thousand(t, s, "hi", func(first map[string]int) { require.Len(t, first, 1) })
	thousand(t, s, "hello", func(first map[string]int) { require.LessOrEqual(t, uneven(first), 1.1) })
}

func thousand(t *testing.T, s *affinity.Selector[string], opening string, firsts func(on map[string]int)) {
	const users = 1000
	talks, picks := make([]talk, users), make([]affinity.Pick[string], users)
	first := map[string]int{}
	for i := range talks {
		picks[i] = pick(t, s, talks[i].say(opening), eight)
		first[picks[i].Auth]++
	}
	firsts(first)
	for i, p := range picks {
		require.NoError(t, p.Answered(t.Context(), talks[i].hear(fmt.Sprintf("Hello! What can I do for you? (%d)", i))))
		p.Report(affinity.Served)
	}
	homes, sessions, on := make([]string, users), map[cache.Key]bool{}, map[string]int{}
	for turn := 2; turn < 5; turn++ {
		for i := range talks {
			p := pick(t, s, talks[i].say(fmt.Sprint("question ", turn)), eight)
			require.NoError(t, p.Answered(t.Context(), talks[i].hear(fmt.Sprintf("answer %d of %d", turn, i))))
			p.Report(affinity.Served)
			if turn == 2 {
				homes[i] = p.Auth
				sessions[p.Decision.Session] = true
				on[p.Auth]++
				continue
			}
			require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome, "%d in turn %d", i, turn)
			require.Equal(t, homes[i], p.Auth, "%d in turn %d", i, turn)
			require.True(t, sessions[p.Decision.Session])
		}
	}
	require.Len(t, sessions, users)
	require.LessOrEqual(t, uneven(on), 1.1)
}

// Users who send the same words one after another are spread from their first request on.
func TestAnEqualFirstRequestIsANewConversationOnceItsAnswerIsKnown(t *testing.T) {
	s := wrap(t, nil)
	on := map[string]int{}
	for i := range 400 {
		var c talk
		first := pick(t, s, c.say("hi"), eight)
		require.Equal(t, affinity.OutcomeNew, first.Decision.Outcome, i)
		on[first.Auth]++
		retry := pick(t, s, affinity.Request{Tenant: "t", Pool: "p", Model: "m", Body: []byte(`{"messages":[` + c.messages[0] + `]}`)}, eight)
		require.Equal(t, first.Decision.Session, retry.Decision.Session, "no answer is known: a retry")
		require.NoError(t, first.Answered(t.Context(), c.hear(fmt.Sprint("hello ", i))))
		first.Report(affinity.Served)
		second := pick(t, s, c.say("why?"), eight)
		require.Equal(t, first.Decision.Session, second.Decision.Session)
		require.Equal(t, first.Auth, second.Auth)
		// The same conversation asks for another answer.
		require.NoError(t, second.Answered(t.Context(), (&talk{}).hear("because")))
		again := pick(t, s, content(`{"messages":[`+strings.Join(c.messages, ",")+`]}`), eight)
		require.Equal(t, first.Decision.Session, again.Decision.Session, "a retry of its last request has the same session")
		require.NoError(t, again.Answered(t.Context(), c.hear("for a reason")))
		third := pick(t, s, c.say("which?"), eight)
		require.Equal(t, first.Decision.Session, third.Decision.Session, "the request after the other answer has the same session")
	}
	require.LessOrEqual(t, uneven(on), 1.1)
}

// Without answers, two conversations that begin alike share a session until one of them
// continues. A third conversation does not take the session of the other.
func TestAThirdConversationThatBeginsAlikeTakesNobodyAlong(t *testing.T) {
	s := wrap(t, nil)
	var a, b, c talk
	ask := func(of *talk, text string) affinity.Decision {
		p := pick(t, s, of.say(text), abc)
		p.Report(affinity.Served)
		of.hear(fmt.Sprintf("answer to %p", of))
		return p.Decision
	}
	a1, b1 := ask(&a, "hi"), ask(&b, "hi")
	require.Equal(t, a1.Session, b1.Session)
	require.Equal(t, a1.Session, ask(&a, "one").Session)
	c1 := ask(&c, "hi")
	require.NotEqual(t, a1.Auth, c1.Auth)
	require.Equal(t, b1.Auth, ask(&b, "two").Auth, "the second conversation stays at its auth")
	require.Equal(t, c1.Auth, ask(&c, "three").Auth, "the third conversation stays at its auth")
	require.Equal(t, a1.Auth, ask(&a, "four").Auth)
}

// A hundred conversations begin with the same words. The provider keeps their history, and each
// request names the response before it. They are a hundred sessions, just as if the clients
// sent the history.
func TestConversationsThatTheServerKeepsAreTold(t *testing.T) {
	s := wrap(t, nil)
	sessions, on := map[cache.Key]string{}, map[string]int{}
	for i := range 100 {
		p := pick(t, s, content(`{"input":"hi"}`), eight)
		require.Equal(t, affinity.OutcomeNew, p.Decision.Outcome, i)
		require.NotContains(t, sessions, p.Decision.Session, i)
		sessions[p.Decision.Session] = p.Auth
		on[p.Auth]++
		home, id := p, fmt.Sprintf("resp_%d_1", i)
		require.NoError(t, p.Owns(t.Context(), "previous_response_id", id))
		p.Report(affinity.Served)
		for turn := 2; turn < 5; turn++ {
			p = pick(t, s, content(`{"input":"go on","previous_response_id":"`+id+`"}`), eight)
			require.Equal(t, affinity.OutcomeOwner, p.Decision.Outcome)
			require.Equal(t, home.Auth, p.Auth)
			require.Equal(t, home.Decision.Session, p.Decision.Session)
			id = fmt.Sprintf("resp_%d_%d", i, turn)
			a := sessionid.ReadAnswer([]byte(`{"id":"` + id + `","object":"response","output":[]}`))
			require.NoError(t, p.Answered(t.Context(), a))
			p.Report(affinity.Served)
		}
	}
	require.LessOrEqual(t, uneven(on), 1.1)
}

func TestAConversationInThePathGoesToItsOwner(t *testing.T) {
	s := wrap(t, nil)
	r := content(`{"input":"hi","conversation":"conv_1a"}`)
	p := pick(t, s, r, abc)
	require.NoError(t, p.Owns(t.Context(), "conversation", "conv_1a"))
	p.Report(affinity.Served)
	for range 3 {
		q := pick(t, s, affinity.Request{Tenant: r.Tenant, Pool: r.Pool, Model: r.Model, Path: "/v1/conversations/conv_1a/items?limit=1"}, abc)
		require.Equal(t, p.Auth, q.Auth)
		require.Equal(t, p.Decision.Session, q.Decision.Session)
		pick(t, s, session("other"), abc)
	}
	q := pick(t, s, affinity.Request{Tenant: "another", Path: "/v1/conversations/conv_1a"}, abc)
	require.NotEqual(t, affinity.OutcomeOwner, q.Decision.Outcome)
}

// A prompt_cache_key that many conversations of an application share does not bring them to one
// auth. The part of a key before a colon does not name a conversation.
func TestACacheKeyOfManyConversationsIsNoSession(t *testing.T) {
	for _, key := range []string{"support-bot", "user:alice", "tenant:acme:support-v1"} {
		s, on := wrap(t, nil), map[string]int{}
		for i := range 96 {
			r := content(fmt.Sprintf(`{"prompt_cache_key":%q,"input":"question %d"}`, key, i))
			on[served(t, s, r, eight)]++
		}
		require.LessOrEqual(t, uneven(on), 1.1, key)
	}
	s, on := wrap(t, nil), map[string]int{}
	for i := range 96 {
		r := content(fmt.Sprintf(`{"prompt_cache_key":"guardian:8a218e62-bb55-446a-bc6c-b288fc65f5%02x","input":"hi"}`, i))
		on[served(t, s, r, eight)]++
	}
	require.LessOrEqual(t, uneven(on), 1.1)
}

func TestLostHistoriesAreCountedByWhatIsSeenOfThem(t *testing.T) {
	s := wrap(t, nil)
	long := strings.Repeat("words of an answer ", 5)
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"This session is being continued from a previous conversation."}]}`,
		`{"input":[{"type":"compaction","id":"cmp_f17028c9ee8f6a64d910382b88dce17d","encrypted_content":"x"},{"role":"user","content":"go on"}]}`,
		`{"messages":[{"role":"assistant","content":"a window"},{"role":"user","content":"q"}]}`,
		`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"` + long + `"},{"role":"user","content":"q2"}]}`,
	} {
		p := pick(t, s, content(body), abc)
		require.True(t, p.Decision.LostHistory, body)
		require.NotEqual(t, sessionid.PastNone, p.Decision.Past)
	}
	for _, r := range []affinity.Request{content(`{"messages":[{"role":"user","content":"new"}]}`), session("x")} {
		p := pick(t, s, r, abc)
		require.False(t, p.Decision.LostHistory)
	}
	got := s.Stats()
	require.EqualValues(t, 4, got.LostHistory())
	require.EqualValues(t, 2, got.Lost[sessionid.PastSummary])
	require.EqualValues(t, 1, got.Lost[sessionid.PastCut])
	require.EqualValues(t, 1, got.Lost[sessionid.PastTurns])
}

// A fork begins at the auth of its parent, whose prompt cache has the history. The fork is a
// session of its own.
func TestAForkBeginsWhereItsParentIs(t *testing.T) {
	const parent, fork = "8a218e62-bb55-446a-bc6c-b288fc65f5b5", "01a20f77-b745-7782-ae30-49db18947dbb"
	codex := func(id, meta string) affinity.Request {
		r := session("")
		r.Header = http.Header{"Session-Id": {id}, "Thread-Id": {id}, "X-Codex-Turn-Metadata": {meta}}
		return r
	}
	history := func(id string, turns int) affinity.Request {
		var c talk
		for i := range turns {
			c.say(fmt.Sprint("question ", i))
			c.hear(fmt.Sprint("answer ", i))
		}
		r := c.say("and now?")
		r.Header = http.Header{"X-Claude-Code-Session-Id": {id}}
		return r
	}
	for name, c := range map[string]struct{ of, is affinity.Request }{
		"Codex says so":       {codex(parent, `{}`), codex(fork, `{"forked_from_thread_id":"`+parent+`","history_initialization":"cold_fork"}`)},
		"the history says so": {history(parent, 0), history(fork, 3)},
	} {
		if name == "the history says so" { // the parent has begun with the same words
			c.of.Body = []byte(`{"messages":[{"role":"user","content":"question 0"}]}`)
		}
		s := wrap(t, nil)
		home := served(t, s, c.of, eight)
		p := pick(t, s, c.is, eight)
		require.Equal(t, affinity.OutcomeInherited, p.Decision.Outcome, name)
		require.Equal(t, home, p.Auth, name)
		p.Report(affinity.Served)
		p = pick(t, s, c.is, eight)
		require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
		p.Report(affinity.Terminal)
		require.NotEqual(t, home, served(t, s, c.is, eight), name)
		require.Equal(t, home, served(t, s, c.of, eight), "the parent stays at its auth")

		s = wrap(t, nil)
		home = served(t, s, c.of, eight)
		var others []string
		for _, a := range eight {
			if a != home {
				others = append(others, a)
			}
		}
		require.Equal(t, affinity.OutcomeNew, pick(t, s, c.is, others).Decision.Outcome, "the parent's auth is no candidate")
	}
	// Two sessions that begin with the same words are no forks of each other.
	s, on := wrap(t, nil), map[string]int{}
	for i := range 96 {
		on[served(t, s, history(fmt.Sprint("session-", i), 0), eight)]++
	}
	require.LessOrEqual(t, uneven(on), 1.1)
}

// Codex says which of its requests compact a conversation. Their results do not move the
// conversation.
func TestACompactionOfCodexDoesNotMoveItsSession(t *testing.T) {
	s := wrap(t, nil)
	r := session("")
	r.Header = http.Header{"Session-Id": {"8a218e62-bb55-446a-bc6c-b288fc65f5b5"}, "X-Codex-Turn-Metadata": {`{"request_kind":"compaction"}`}}
	main := r
	main.Header = http.Header{"Session-Id": r.Header["Session-Id"]}
	home := served(t, s, main, abc)
	p := pick(t, s, r, abc)
	require.Equal(t, home, p.Auth)
	p.Report(affinity.Terminal)
	require.Equal(t, home, served(t, s, main, abc))
}

// The answer to a request beside the conversation leads to the conversation, because the next
// request contains only the compaction.
func TestTheAnswerToACompactionLeadsToItsSession(t *testing.T) {
	s := wrap(t, nil)
	var c talk
	p := pick(t, s, c.say("hi"), abc)
	require.NoError(t, p.Answered(t.Context(), c.hear("hello, what is it?")))
	p.Report(affinity.Served)
	side := c.say("compact this")
	side.Side = true
	q := pick(t, s, side, abc)
	require.Equal(t, p.Auth, q.Auth)
	item := `{"type":"compaction","id":"cmp_f17028c9ee8f6a64d910382b88dce17d011b0942","encrypted_content":"x"}`
	require.NoError(t, q.Answered(t.Context(), sessionid.ReadAnswer([]byte(`{"object":"response.compaction","output":[`+item+`]}`))))
	next := pick(t, s, content(`{"input":[`+item+`,{"role":"user","content":"go on"}]}`), abc)
	require.Equal(t, p.Decision.Session, next.Decision.Session)
	require.Equal(t, p.Auth, next.Auth)
}

// Replayed data can have one id in many conversations. By the ids they would be one session.
// The Affinity notices that, and then ignores ids in that scope.
func TestIDsThatManyConversationsHaveAreNotBelieved(t *testing.T) {
	const (
		one = "call_rsMgIgFD6qElK9JgNMKVPei5"
		two = "call_lTPVZQef83lJaiDKCXZeLs5N"
		own = "call_n5dUAnPL0ZhyqDw1NNbvX7t2"
	)
	body := func(opening, id, closing string) string {
		return fmt.Sprintf(`{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":null,"tool_calls":[{"id":"%s","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"%[2]s","content":"r"}%s]}`, opening, id, closing)
	}
	s := wrap(t, nil)
	converse := func(tenant, opening, id string) affinity.Decision {
		first, second := content(`{"messages":[{"role":"user","content":"`+opening+`"}]}`), content(body(opening, id, ""))
		first.Tenant, second.Tenant = tenant, tenant
		p := pick(t, s, first, abc)
		p.Report(affinity.Served)
		q := pick(t, s, second, abc)
		require.Equal(t, p.Decision.Session, q.Decision.Session, "the content before the ids names the session")
		return q.Decision
	}
	compacted := func(tenant, id string) affinity.Decision {
		r := content(body("a summary of "+id, id, `,{"role":"user","content":"go on"}`))
		r.Tenant = tenant
		return pick(t, s, r, abc).Decision
	}
	for _, id := range []string{one, two} {
		for i := range 3 {
			converse("replays", fmt.Sprint("task ", i, id), id)
		}
	}
	converse("copies", "task", one)
	converse("copies", "another task", one)
	for tenant, believed := range map[string]bool{"replays": false, "copies": true, "other": true} {
		is := converse(tenant, "my own task", own)
		require.Equal(t, believed, compacted(tenant, own).Session == is.Session, tenant)
	}
	require.Equal(t, affinity.OutcomeNew, compacted("copies", one).Outcome, "an id that two conversations have")
}

func TestAnsweredIsOfNoConsequenceWhereNothingIsToldApart(t *testing.T) {
	s := wrap(t, nil)
	a := sessionid.ReadAnswer([]byte(`{"choices":[{"message":{"role":"assistant","content":"hello"}}]}`))
	require.NoError(t, affinity.Pick[string]{}.Answered(t.Context(), a))
	p := pick(t, s, session("x"), abc)
	require.NoError(t, p.Answered(t.Context(), a))
	require.NoError(t, p.Answered(t.Context(), sessionid.Answer{}))
	off := content(`{"messages":[{"role":"user","content":"hi"}]}`)
	off.Off = true
	p = pick(t, s, off, abc)
	require.NoError(t, p.Answered(t.Context(), a))
	require.Equal(t, affinity.OutcomeNone, p.Decision.Outcome)
}

// Conversations that begin alike continue at the same time. Once its answer is known, each
// stays at its auth, whatever the others do.
func TestConversationsThatBeginAlikeGoOnAtOnce(t *testing.T) {
	s := wrap(t, nil)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			var c talk
			p, err := s.Pick(t.Context(), c.say("hi"), eight)
			assert.NoError(t, err)
			answer := c.hear(fmt.Sprintf("answer to %d", i))
			wg.Go(func() { p.Report(affinity.Served) })
			assert.NoError(t, p.Answered(t.Context(), answer))
			home := ""
			for turn := range 10 {
				p, err := s.Pick(t.Context(), c.say(fmt.Sprint("question ", turn)), eight)
				if !assert.NoError(t, err) {
					return
				}
				if home == "" {
					home = p.Auth
				}
				assert.Equal(t, home, p.Auth, "%d in turn %d", i, turn)
				assert.NoError(t, p.Answered(t.Context(), c.hear(fmt.Sprintf("answer %d to %d", turn, i))))
				p.Report(affinity.Served)
			}
		})
	}
	wg.Wait()
}

const shared = "call_rsMgIgFD6qElK9JgNMKVPei5"

func called(id, arguments string) string {
	return fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":%q,"type":"function","function":{"name":"f","arguments":%q}}]}`, id, arguments)
}

func returned(id, text string) string {
	return fmt.Sprintf(`{"role":"tool","tool_call_id":%q,"content":%q}`, id, text)
}

func said(text string) string { return fmt.Sprintf(`{"role":"user","content":%q}`, text) }

func messages(all ...string) affinity.Request {
	return content(`{"messages":[` + strings.Join(all, ",") + `]}`)
}

func answerOf(message string) sessionid.Answer {
	return sessionid.ReadAnswer([]byte(`{"choices":[{"message":` + message + `}]}`))
}

// An id that two answers have given leads to neither conversation.
func TestAnIDThatTwoAnswersGiveJoinsNobody(t *testing.T) {
	s := wrap(t, nil)
	var first []affinity.Pick[string]
	for i := range 5 {
		p := pick(t, s, messages(said(fmt.Sprint("task ", i))), abc)
		require.NoError(t, p.Answered(t.Context(), answerOf(called(shared, fmt.Sprint(i)))))
		p.Report(affinity.Served)
		first = append(first, p)
	}
	for round := range 3 {
		for i, p := range first {
			q := pick(t, s, messages(said(fmt.Sprint("task ", i)), called(shared, fmt.Sprint(i)), returned(shared, fmt.Sprint("result ", round))), abc)
			require.Equal(t, p.Decision.Session, q.Decision.Session, "%d in round %d", i, round)
		}
	}
}

// A greeting or examples before the first question are no marks, because an application puts
// them into all of its conversations. That is also so if a user sends two messages in a row.
func TestExamplesInAnOpeningJoinNobody(t *testing.T) {
	long := strings.Repeat("Welcome to the shop, I can help you with your order. ", 10)
	greeting := fmt.Sprintf(`{"role":"assistant","content":%q}`, long)
	for name, opening := range map[string][]string{
		"greeting": {said("start"), greeting}, "examples": {said("example"), called(shared, "{}"), returned(shared, "r"), greeting},
	} {
		s := wrap(t, nil)
		begin := func(more ...string) affinity.Decision {
			p := pick(t, s, messages(append(append([]string{}, opening...), more...)...), abc)
			p.Report(affinity.Served)
			return p.Decision
		}
		one := begin(said("Where is my parcel?"))
		require.Equal(t, one.Session, begin(said("Where is my parcel?"), said("It has the number 1234")).Session)
		for i := range 5 {
			require.NotEqual(t, one.Session, begin(said(fmt.Sprint("another question ", i))).Session, name)
		}
	}
}

// A second answer of one pick belongs to the session of the first. So does an answer that Owns
// and Answered both report.
func TestASecondAnswerOfAPickIsNoTwins(t *testing.T) {
	hello := answerOf(`{"role":"assistant","content":"hello"}`)
	for name, tell := range map[string]func(p affinity.Pick[string]){
		"twice": func(p affinity.Pick[string]) { require.NoError(t, p.Answered(t.Context(), hello)) },
		"owned before": func(p affinity.Pick[string]) {
			require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
		},
		"another one": func(p affinity.Pick[string]) {
			require.NoError(t, p.Answered(t.Context(), answerOf(`{"role":"assistant","content":"good day"}`)))
		},
		"one broke off": func(p affinity.Pick[string]) {
			require.NoError(t, p.Answered(t.Context(), sessionid.ReadAnswer([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"he\"}}]}\n\n"))))
		},
		"a twin before it": func(affinity.Pick[string]) {
			q := pick(t, wrap(t, nil), messages(said("hi")), abc)
			q.Report(affinity.Served)
		},
	} {
		s := wrap(t, nil)
		p := pick(t, s, messages(said("hi")), abc)
		tell(p)
		require.NoError(t, p.Answered(t.Context(), hello))
		p.Report(affinity.Served)
		q := pick(t, s, messages(said("hi"), `{"role":"assistant","content":"hello"}`, said("why?")), abc)
		require.Equal(t, p.Decision.Session, q.Decision.Session, name)
		require.EqualValues(t, 1, s.Stats().Outcome(affinity.OutcomeNew), name)
	}
}

// Two answers say nothing about the conversation: the one to a request beside it with the same
// words, and one that broke off before a retry.
func TestSomeAnswersSayNothingOfTheConversation(t *testing.T) {
	s := wrap(t, nil)
	p := pick(t, s, messages(said("hi")), abc)
	side := messages(said("hi"))
	side.Side = true
	q := pick(t, s, side, abc)
	require.NoError(t, q.Answered(t.Context(), answerOf(`{"role":"assistant","content":"a title"}`)))
	p.Report(affinity.Served)
	next := pick(t, s, messages(said("hi"), `{"role":"assistant","content":"a title"}`, said("why?")), abc)
	require.Equal(t, p.Decision.Session, next.Decision.Session)
	s = wrap(t, nil)
	p = pick(t, s, messages(said("hi")), abc)
	forced := messages(said("hi"))
	forced.Force = p.Auth
	q = pick(t, s, forced, abc)
	require.NoError(t, q.Answered(t.Context(), answerOf(`{"role":"assistant","content":"forced"}`)))
	require.NoError(t, p.Answered(t.Context(), sessionid.ReadAnswer([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"The fi\"}}]}\n\n"))))
	p.Report(affinity.Cancelled)
	again := pick(t, s, messages(said("hi")), abc)
	require.Equal(t, p.Decision.Session, again.Decision.Session)
	require.NoError(t, again.Answered(t.Context(), answerOf(`{"role":"assistant","content":"The first"}`)))
	again.Report(affinity.Served)
	next = pick(t, s, messages(said("hi"), `{"role":"assistant","content":"The first"}`, said("why?")), abc)
	require.Equal(t, p.Decision.Session, next.Decision.Session)
}

// Sessions whose first requests have the same prompt and a history are not all taken for forks
// of one session.
func TestSessionsThatShareAPromptAreNoForks(t *testing.T) {
	s, on := wrap(t, nil), map[string]int{}
	named := func(i int, all ...string) affinity.Request {
		r := messages(all...)
		r.Header = http.Header{"X-Claude-Code-Session-Id": {fmt.Sprint("session-", i)}}
		return r
	}
	task := said("the task that all of them have")
	served(t, s, named(0, task), eight)
	for i := range 40 {
		on[served(t, s, named(i+1, task, fmt.Sprintf(`{"role":"assistant","content":"answer %d"}`, i), said("go on")), eight)]++
	}
	require.LessOrEqual(t, uneven(on), 1.4, "one of them may be a fork")
}

// obedient is a store that does nothing when the caller's context is done, as one that is
// reached over a network.
type obedient struct {
	cache.Store
	hang bool  // it waits until the caller gives up
	saw  []any // the traces of the contexts that it was given
}

func (s *obedient) ask(ctx context.Context) error {
	s.saw = append(s.saw, ctx.Value(traceKey{}))
	if s.hang {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (s *obedient) BindAnswer(ctx context.Context, b cache.Binding, a cache.Answer) (cache.Answered, error) {
	if err := s.ask(ctx); err != nil {
		return cache.Answered{}, err
	}
	return s.Store.BindAnswer(ctx, b, a)
}

func (s *obedient) Bind(ctx context.Context, scope cache.Scope, keys cache.Keys, auth string) (cache.Binding, bool, error) {
	if err := s.ask(ctx); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Store.Bind(ctx, scope, keys, auth)
}

func (s *obedient) Remember(ctx context.Context, scope cache.Scope, key cache.Key, auth string) error {
	if err := s.ask(ctx); err != nil {
		return err
	}
	return s.Store.Remember(ctx, scope, key, auth)
}

// A client often closes its connection as soon as it has the last word of the answer. What the
// answer says is recorded all the same.
func TestAnAnswerIsRecordedAfterItsClientHasLeft(t *testing.T) {
	m, err := cache.New(nil)
	require.NoError(t, err)
	defer m.Close()
	store := &obedient{Store: m}
	s := wrap(t, &affinity.Options[string]{Store: store, RequireOwner: true})
	ctx, leave := context.WithCancel(context.WithValue(t.Context(), traceKey{}, "a trace"))
	var one, two talk
	p, err := s.Pick(ctx, one.say("hi"), abc)
	require.NoError(t, err)
	q, err := s.Pick(ctx, two.say("hi"), abc)
	require.NoError(t, err)
	leave()
	store.saw = nil
	require.NoError(t, p.Answered(ctx, one.hear("Hello!")))
	require.NoError(t, q.Answered(ctx, two.hear("Good morning.")))
	require.NoError(t, q.Owns(ctx, "previous_response_id", "resp_1"))
	require.Len(t, store.saw, 5, "BindAnswer for each answer and for the state, Bind for the second session, Remember")
	for _, trace := range store.saw {
		require.Equal(t, "a trace", trace)
	}
	p.Report(affinity.Served)
	q.Report(affinity.Served)

	again := pick(t, s, one.say("why?"), abc)
	require.Equal(t, p.Decision.Session, again.Decision.Session)
	require.NotEqual(t, p.Decision.Session, pick(t, s, two.say("how?"), abc).Decision.Session, "the second answer has begun a session of its own")
	r := content(`{"previous_response_id":"resp_1","input":"go on"}`)
	require.Equal(t, []any{affinity.OutcomeOwner, q.Auth}, func() []any {
		p := pick(t, s, r, abc)
		return []any{p.Decision.Outcome, p.Auth}
	}())
}

// A store that hangs holds an answer no longer than a report.
func TestAStoreThatHangsHangsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := cache.New(nil)
		require.NoError(t, err)
		defer m.Close()
		store := &obedient{Store: m}
		s := wrap(t, &affinity.Options[string]{Store: store})
		var c talk
		p := pick(t, s, c.say("hi"), abc)
		store.hang = true
		begin := time.Now()
		require.ErrorIs(t, p.Answered(t.Context(), c.hear("Hello!")), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begin))
		require.ErrorIs(t, p.Owns(t.Context(), "previous_response_id", "resp_1"), context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(begin))
		require.NotZero(t, s.Stats().StoreFailed)
	})
}
