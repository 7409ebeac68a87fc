package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// pickSafely is Pick, with a panic as an error.
func pickSafely(ctx context.Context, a *affinity.Affinity[string], r affinity.Request, candidates []string, next selector.Func[string]) (p affinity.Pick[string], err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("it panicked: %v", v)
		}
	}()
	return a.Pick(ctx, r, candidates, next)
}

// However a pick is refused: the host gets an error that says why, OnEvent gets the reason,
// and nothing is bound.
func TestEveryRefusalHasAReason(t *testing.T) {
	all := func(f affinity.Fitness) map[string]affinity.Fitness {
		return map[string]affinity.Fitness{"A": f, "B": f, "C": f}
	}
	own := errors.New("the balancer's own")
	for _, c := range []struct {
		name       string
		fitness    map[string]affinity.Fitness
		force      string
		candidates []string
		next       selector.Func[string]
		reason     affinity.Reason
		says       string
	}{
		{name: "no candidates", candidates: []string{}, reason: affinity.ReasonGone, says: "there are no candidates"},
		{name: "all are away", fitness: all(affinity.Away), reason: affinity.ReasonAway, says: "all candidates are away"},
		{name: "all are full", fitness: all(affinity.Full), reason: affinity.ReasonFull, says: "all candidates are full"},
		{name: "all are unfit", fitness: all(affinity.Unfit), reason: affinity.ReasonUnfit, says: "all candidates are unfit"},
		{name: "forced to nobody", force: "D", reason: affinity.ReasonForced, says: `the request names "D", which is not a candidate`},
		{name: "the balancer fails", reason: affinity.ReasonBalancer, says: own.Error(),
			next: func(context.Context, []string) (string, error) { return "A", own }},
		{name: "the balancer keeps nobody", reason: affinity.ReasonBalancer, says: selector.ErrNoCandidates.Error(),
			next: selector.Filter(func(context.Context, string) bool { return false }, selector.RoundRobin[string]()).Select},
		{name: "the balancer panics", reason: affinity.ReasonBalancer, says: "it panicked: the balancer's own",
			next: func(context.Context, []string) (string, error) { panic(own) }},
		{name: "no name", next: func(context.Context, []string) (string, error) { return "", nil }, reason: affinity.ReasonName, says: "the name of the chosen auth is empty"},
		{name: "two of one name", candidates: []string{"A", "B", "A"}, reason: affinity.ReasonName, says: `2 candidates have the name "A"`},
	} {
		for kind, r := range map[string]affinity.Request{"a session": session("x"), "no session": {}, "a side request": {Header: session("x").Header, Side: true}} {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				var told []affinity.Event
				a, err := affinity.New(same, &affinity.Options[string]{
					OnEvent: func(_ context.Context, e affinity.Event) { told = append(told, e) },
					State:   func(auth string, _ affinity.Request) affinity.State { return affinity.State{Fitness: c.fitness[auth]} },
				})
				require.NoError(t, err)
				defer a.Close()
				candidates, next := c.candidates, c.next
				if candidates == nil {
					candidates = abc
				}
				if next == nil {
					next = selector.FillFirst[string]().Select
				}
				r.Force = c.force
				ctx := affinity.WithPick(t.Context())
				p, err := pickSafely(ctx, a, r, candidates, next)
				require.ErrorContains(t, err, c.says)
				require.Zero(t, p)
				_, ok := affinity.PickFrom[string](ctx)
				require.False(t, ok)
				require.Len(t, told, 1)
				require.Equal(t, affinity.OutcomeRefused, told[0].Decision.Outcome)
				require.Equal(t, c.reason.String(), told[0].Decision.Reason.String())
				require.Empty(t, told[0].Decision.Auth)
				require.Equal(t, len(candidates), told[0].Decision.Candidates)
				require.EqualValues(t, 1, a.Stats().Reasons[c.reason])
				require.EqualValues(t, 1, a.Stats().Outcome(affinity.OutcomeRefused))
				_, bound, err := a.Look(t.Context(), r)
				require.NoError(t, err)
				require.False(t, bound)
			})
		}
	}
}

// A missing balancer is told like one that fails, and any other name is as good as a short one.
func TestOddNamesAndNoBalancer(t *testing.T) {
	var told []affinity.Event
	a, err := affinity.New(same, &affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) { told = append(told, e) }})
	require.NoError(t, err)
	defer a.Close()
	_, err = a.Pick(t.Context(), session("x"), abc, nil)
	require.ErrorContains(t, err, "the function that chooses an auth is nil")
	require.Equal(t, affinity.ReasonBalancer, told[0].Decision.Reason)
	for i, name := range []string{strings.Repeat("long", 50_000), "nobody's", "\x00\n", "x; outcome=hit"} {
		next := func(context.Context, []string) (string, error) { return name, nil }
		p, err := a.Pick(t.Context(), session(fmt.Sprint(i, " session")), abc, next)
		require.NoError(t, err)
		require.Equal(t, name, p.Auth, "also one that is no candidate")
		p.Report(affinity.Served)
		p, err = a.Pick(t.Context(), session(fmt.Sprint(i, " session")), append([]string{name}, abc...), next)
		require.NoError(t, err)
		require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
		require.Equal(t, name, p.Auth)
	}
}

// A balancer that panics leaves no use of a binding open.
func TestABalancerThatPanicsHoldsNothing(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	first := h.pick(session("x"))
	h.fitness[first.Auth] = affinity.Away
	_, err := pickSafely(t.Context(), h.Affinity, session("x"), abc, func(context.Context, []string) (string, error) { panic("the balancer's own") })
	require.ErrorContains(t, err, "it panicked")
	first.Report(affinity.Transient)
	require.Empty(t, look(t, h.Selector, session("x")), "the only request that was under way has failed")
}
