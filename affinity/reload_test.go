package affinity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// What the guide says of a list of accounts that changes.
func TestTheListOfAccountsChanges(t *testing.T) {
	serve := func(h *host, r affinity.Request, list ...string) affinity.Decision {
		p := pick(t, h.Selector, r, list)
		p.Report(affinity.Served)
		return p.Decision
	}
	t.Run("one is added", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		require.Equal(t, "A", serve(h, r, "A", "B", "C", "D").Auth)
		used := map[string]bool{}
		for _, name := range []string{"1", "2", "3", "4"} {
			used[serve(h, session(name), "A", "B", "C", "D").Auth] = true
		}
		require.Contains(t, used, "D", "with the next call")
	})
	t.Run("one is away", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		h.fitness["A"] = affinity.Away
		require.Equal(t, affinity.OutcomeDetour, serve(h, r, abc...).Outcome)
		clear(h.fitness)
		d := serve(h, r, abc...)
		require.Equal(t, affinity.OutcomeHit, d.Outcome)
		require.Equal(t, "A", d.Auth)
	})
	t.Run("one is missing for a moment", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		d := serve(h, r, "B", "C")
		require.Equal(t, affinity.OutcomeMoved, d.Outcome)
		require.Equal(t, affinity.ReasonGone, d.Reason)
		require.Equal(t, d.Auth, serve(h, r, abc...).Auth, "it does not come back")
	})
	t.Run("one is gone for good", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		late := h.pick(r)
		n, err := h.InvalidateAuth(t.Context(), "A") // when it is no longer in the list
		require.NoError(t, err)
		require.Equal(t, 1, n)
		late.Report(affinity.Served)
		require.Empty(t, look(t, h.Selector, r), "an answer that was under way brings nothing back")
		d := serve(h, r, "B", "C")
		require.Equal(t, affinity.OutcomeMoved, d.Outcome)
		require.Equal(t, affinity.ReasonInvalidated, d.Reason)
		require.Equal(t, d.Auth, serve(h, r, abc...).Auth, "also when another account has that name")
	})
	t.Run("one is gone and is not invalidated", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		used, idle := h.bound("used"), h.bound("idle")
		serve(h, used, "B", "C")
		require.NotEqual(t, "A", serve(h, used, abc...).Auth)
		require.Equal(t, "A", serve(h, idle, abc...).Auth, "not used meanwhile")
	})
	t.Run("one is invalidated while it is in the list", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		_, err := h.InvalidateAuth(t.Context(), "A")
		require.NoError(t, err)
		require.NoError(t, h.Reconfigure(selector.FillFirst[string](), &affinity.Options[string]{}))
		require.Equal(t, "A", serve(h, r, abc...).Auth, "the balancer may choose it again")
	})
	t.Run("one has another name", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		_, err := h.RenameAuth(t.Context(), "A", "D")
		require.NoError(t, err)
		d := serve(h, r, "B", "C", "D")
		require.Equal(t, affinity.OutcomeHit, d.Outcome)
		require.Equal(t, "D", d.Auth)
	})
	t.Run("one is to go", func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		h.Drain("A", true)
		require.Equal(t, "A", serve(h, r, abc...).Auth)
		require.NotEqual(t, "A", serve(h, session("y"), abc...).Auth)
		_, err := h.InvalidateSession(t.Context(), r)
		require.NoError(t, err)
		n, err := h.Bound(t.Context(), "A")
		require.NoError(t, err)
		require.Zero(t, n)
	})
}
