package affinity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// summaryOf is a summary that no other conversation has. Its second line is one that
// others may have, too.
func summaryOf(what, quoted string) string {
	var b strings.Builder
	fmt.Fprintln(&b, "<overview>")
	for i := range 8 {
		fmt.Fprintf(&b, "%d. %s: the user asked for it, and it was done in file %d, with a test that had failed before and that passes now; nothing else is known of it.\n", i, what, i)
		if i == 1 && quoted != "" {
			fmt.Fprintln(&b, quoted)
		}
	}
	return b.String() + "</overview>"
}

// after returns the next request of a client that has put a summary inside a text.
func after(summary, text string) affinity.Request {
	inside, _ := json.Marshal("Some of the conversation history has been summarized to free up context.\n\nThe user said:\n" +
		"<user_message>\nhello\n</user_message>\n\n<summary>\n" + summary + "\n</summary>\n")
	return messages(`{"role":"user","content":`+string(inside)+`}`, said(text))
}

// compacts returns a conversation that was asked for a summary, and the pick of that request.
func compacts(t *testing.T, s *affinity.Selector[string], tenant, what, summary string) affinity.Pick[string] {
	var c talk
	say := func(text, answer string) affinity.Pick[string] {
		r := c.say(text)
		r.Tenant = tenant
		p := pick(t, s, r, abc)
		require.NoError(t, p.Answered(t.Context(), c.hear(answer)))
		p.Report(affinity.Served)
		return p
	}
	first := say("hello, "+what, "What is it?")
	say("do it", "It is done.")
	require.Equal(t, first.Decision.Session, say("Please write a summary.", summary).Decision.Session)
	return first
}

func TestASessionIsFoundByTheSummaryInsideAText(t *testing.T) {
	s := wrap(t, nil)
	summary := summaryOf("the lamp", "")
	first := compacts(t, s, "t", "the lamp", summary)
	for range 2 { // the other auths' turns
		served(t, s, session(fmt.Sprint("x", first.Auth)), abc)
	}
	r := after(summary, "go on")
	would := s.Explain(t.Context(), r, abc)
	require.Equal(t, affinity.OutcomeHit, would.Decision.Outcome)
	require.Equal(t, first.Decision.Session, would.Decision.Session)
	side := r
	side.Side = true
	require.Equal(t, first.Auth, pick(t, s, side, abc).Auth)
	p := pick(t, s, r, abc)
	require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
	require.Equal(t, first.Decision.Session, p.Decision.Session)
	require.Equal(t, first.Auth, p.Auth)
	require.False(t, p.Decision.LostHistory)
	require.Equal(t, first.Decision.Session, pick(t, s, r, abc).Decision.Session, "a retry")
	require.NoError(t, p.Answered(t.Context(), answerOf(`{"role":"assistant","content":"as you like"}`)))
	p.Report(affinity.Served)
	next := content(strings.TrimSuffix(string(r.Body), "]}") + `,{"role":"assistant","content":"as you like"},` + said("more") + "]}")
	require.Equal(t, first.Decision.Session, pick(t, s, next, abc).Decision.Session)
	require.Zero(t, s.Stats().LostHistory())
}

// A session that has lost its auth is bound again, and keeps its name.
func TestASessionThatHasLostItsAuthIsFoundByItsSummary(t *testing.T) {
	s := wrap(t, nil)
	summary := summaryOf("the lamp", "")
	first := compacts(t, s, "t", "the lamp", summary)
	_, err := s.InvalidateAuth(t.Context(), first.Auth)
	require.NoError(t, err)
	p := pick(t, s, after(summary, "go on"), abc)
	require.Equal(t, affinity.OutcomeMoved, p.Decision.Outcome)
	require.Equal(t, affinity.ReasonInvalidated, p.Decision.Reason)
	require.Equal(t, first.Decision.Session, p.Decision.Session)
}

func TestASummaryOfOthersFindsNobody(t *testing.T) {
	s := wrap(t, nil)
	summary := summaryOf("the lamp", "")
	first := compacts(t, s, "t", "the lamp", summary)
	elsewhere := after(summary, "go on")
	elsewhere.Tenant = "another"
	model := after(summary, "go on")
	model.Model = "another"
	id := sessionid.Extract(nil, elsewhere.Body)
	named := after(summary, "go on")
	named.ID = &id
	for name, r := range map[string]affinity.Request{
		"another tenant":            elsewhere,
		"another model":             model,
		"another summary":           after(summaryOf("the door", ""), "go on"),
		"a judge":                   messages(said("Is this a good summary?\n" + summary)),
		"a plan for many agents":    messages(said(summary), said("do step 3")),
		"a short line":              after("It is done.", "go on"),
		"an ID that the host knows": named,
	} {
		would := s.Explain(t.Context(), r, abc)
		require.Equal(t, affinity.OutcomeNew, would.Decision.Outcome, name)
		p := pick(t, s, r, abc)
		require.Equal(t, affinity.OutcomeNew, p.Decision.Outcome, name)
		require.NotEqual(t, first.Decision.Session, p.Decision.Session, name)
	}
}

// Two summaries have a long line in common, such as a prompt that both users sent. That line
// finds neither session, and the other lines find their own. Ids are still trusted.
func TestALineThatTwoSummariesHaveFindsNeither(t *testing.T) {
	s := wrap(t, nil)
	quoted := ""
	for _, word := range []string{"files", "rooms", "lamps"} {
		quoted = "The user has said: " + strings.Repeat("look at each of the "+word+" ", 20)
		for i := range 3 {
			require.NotZero(t, compacts(t, s, "t", fmt.Sprint(word, i), quoted).Auth)
		}
		p := pick(t, s, after(quoted, "go on"), abc)
		require.Equal(t, affinity.OutcomeNew, p.Decision.Outcome)
	}
	sessions := map[cache.Key]bool{}
	for i := range 6 {
		what := fmt.Sprint("room ", i)
		summary := summaryOf(what, quoted)
		first := compacts(t, s, "t", what, summary)
		require.Equal(t, first.Decision.Session, pick(t, s, after(summary, "go on"), abc).Decision.Session, i)
		sessions[first.Decision.Session] = true
	}
	require.Len(t, sessions, 6)
	// Ids are believed all the same.
	first := messages(said("with a tool"))
	p := pick(t, s, first, abc)
	p.Report(affinity.Served)
	p = pick(t, s, messages(said("with a tool"), called(shared, "{}"), returned(shared, "r")), abc)
	p.Report(affinity.Served)
	again := pick(t, s, messages(said("something else, and a summary"), called(shared, "{}"), returned(shared, "r"), said("go on")), abc)
	require.Equal(t, p.Decision.Session, again.Decision.Session)
}

// asks is a store that counts its lookups.
type asks struct {
	cache.Store
	gets, peeks int
	fails       error
}

func (s *asks) Get(ctx context.Context, scope cache.Scope, keys cache.Keys) (cache.Binding, bool, error) {
	if s.gets++; s.fails != nil && s.gets == 2 {
		return cache.Binding{}, false, s.fails
	}
	return s.Store.Get(ctx, scope, keys)
}

func (s *asks) Peek(ctx context.Context, scope cache.Scope, keys cache.Keys) (cache.Binding, bool, error) {
	s.peeks++
	return s.Store.Peek(ctx, scope, keys)
}

// A request whose session is known, or that does not begin with a summary, costs no search.
func TestOnlyAnUnknownSummaryIsSearched(t *testing.T) {
	memory, err := cache.New(&cache.Options{})
	require.NoError(t, err)
	store := &asks{Store: memory}
	s := wrap(t, &affinity.Options[string]{Store: store})
	summary := summaryOf("the lamp", "")
	for _, c := range []struct {
		name        string
		r           affinity.Request
		side        bool
		gets, peeks int
	}{
		{"beside it", after(summary, "go on"), true, 0, 2},
		{"unknown", after(summary, "go on"), false, 2, 0},
		{"known", after(summary, "go on"), false, 1, 0},
		{"without a passage", after("It is done.", "go on"), false, 1, 0},
		{"no summary", messages(said(summary)), false, 1, 0},
		{"an id", session("x"), false, 1, 0},
	} {
		store.gets, store.peeks = 0, 0
		c.r.Side = c.side
		pick(t, s, c.r, abc)
		require.Equal(t, []int{c.gets, c.peeks}, []int{store.gets, store.peeks}, c.name)
	}
	store.gets, store.fails = 0, errors.New("away")
	p := pick(t, s, after(summaryOf("the door", ""), "go on"), abc)
	require.Equal(t, affinity.OutcomeNone, p.Decision.Outcome, "nothing is bound while the store is away, because the session may be known there")
	require.EqualValues(t, 1, s.Stats().StoreFailed)
}
