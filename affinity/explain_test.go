package affinity_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// In a random history what Explain says is what the next pick does, and asking changes
// nothing.
func TestExplainForeseesThePick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		rng := rand.New(rand.NewPCG(3, 4))
		foreseen := map[affinity.Outcome]int{}
		for range 4000 {
			time.Sleep(rand.N(30 * time.Second))
			h.fitness[abc[rng.IntN(3)]] = affinity.Fitness(rng.IntN(6))
			if rng.IntN(2) == 0 {
				clear(h.fitness)
			}
			r := session(fmt.Sprint("s", rng.IntN(30)))
			switch rng.IntN(12) {
			case 0:
				r = affinity.Request{}
			case 1:
				r.Force = abc[rng.IntN(3)]
			}
			auths := abc[rng.IntN(2):]
			h.asked = nil
			before := h.Stats()
			var one, two bytes.Buffer
			require.NoError(t, h.Save(&one))
			x := h.Explain(t.Context(), r, auths)
			require.NoError(t, h.Save(&two))
			require.Equal(t, one.Bytes(), two.Bytes())
			require.Equal(t, before, h.Stats())
			require.Empty(t, h.asked)
			require.Len(t, x.Candidates, len(auths))

			p, err := h.Pick(t.Context(), r, auths)
			d := p.Decision
			if err != nil {
				d.Outcome = affinity.OutcomeRefused
				require.Equal(t, err, x.Err)
			}
			if x.Detour != "" && (d.Outcome == affinity.OutcomeDetour || d.Outcome == affinity.OutcomeMoved) && x.Decision.Outcome == affinity.OutcomeHit {
				continue // it stays on its detour although its auth is back: only now and then
			}
			if x.Decision.Outcome == affinity.OutcomeDetour && d.Outcome == affinity.OutcomeMoved && d.Reason == affinity.ReasonCold {
				continue // or settles there
			}
			require.Equal(t, d.Outcome, x.Decision.Outcome, "%+v\n%+v\n%v", d, x, h.fitness)
			if d.Outcome == affinity.OutcomeMoved {
				require.Equal(t, d.Reason, x.Decision.Reason)
				require.Equal(t, d.Before, x.Decision.Before)
			}
			if x.Decision.Auth != "" {
				require.Equal(t, d.Auth, x.Decision.Auth)
			} else if err == nil {
				i := 0
				for ; x.Candidates[i].Name != d.Auth; i++ {
				}
				require.True(t, x.Candidates[i].MayServe, "%+v %+v", d, x)
			}
			foreseen[d.Outcome]++
			if rng.IntN(4) > 0 {
				p.Report(affinity.Served)
			} else {
				p.Report(affinity.Result(rng.IntN(6)))
			}
		}
		for _, o := range []affinity.Outcome{affinity.OutcomeNone, affinity.OutcomeNew, affinity.OutcomeHit, affinity.OutcomeMoved, affinity.OutcomeDetour, affinity.OutcomeSpill, affinity.OutcomeForced, affinity.OutcomeRefused} {
			require.NotZero(t, foreseen[o], o)
		}
		t.Log(foreseen)
	})
}

func TestExplainShowsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("s")
		time.Sleep(time.Second)
		h.Drain("B", true)
		p := h.pick(r)
		p.ReportAway(affinity.Transient, time.Minute)
		x := h.Explain(t.Context(), r, abc)
		require.Equal(t, []any{"A", true}, []any{x.Bound, x.Served})
		require.InDelta(t, time.Second, x.SinceServed, float64(time.Second/2))
		require.True(t, x.Candidates[1].Drained)
		require.Equal(t, time.Now().Add(time.Minute), x.Candidates[0].LeftUntil.Local())
		require.False(t, x.Candidates[0].MayServe)
		require.True(t, x.Candidates[2].Place && !x.Candidates[1].Place)
		require.Equal(t, p.Decision.Session, x.Decision.Session)
		require.NoError(t, h.Close())
		x = h.Explain(t.Context(), r, abc)
		require.Equal(t, affinity.OutcomeNone, x.Decision.Outcome)
	})
}

// A session is asked for, and sent away, by one of its events, without what the client has
// sent.
func TestASessionIsKnownByItsEvents(t *testing.T) {
	for name, how := range map[string]affinity.Request{
		"by an id": session("s"), "by content": messages(said("hello")),
	} {
		t.Run(name, func(t *testing.T) {
			var last affinity.Event
			h := newHost(t, affinity.Options[string]{OnEvent: func(e affinity.Event) { last = e }})
			d := h.serve(how)
			e := last
			h.asked = nil
			x := h.ExplainSession(t.Context(), e, abc)
			require.Equal(t, []any{affinity.OutcomeHit, d.Auth, d.Auth, d.Session, d.Signal}, []any{x.Decision.Outcome, x.Decision.Auth, x.Bound, x.Decision.Session, x.Decision.Signal})
			require.Len(t, x.Candidates, 3)
			require.Empty(t, h.asked)

			sent, err := h.SendAway(t.Context(), e)
			require.NoError(t, err)
			require.True(t, sent)
			x = h.ExplainSession(t.Context(), e, abc)
			require.Equal(t, []any{affinity.OutcomeMoved, affinity.ReasonRefused, ""}, []any{x.Decision.Outcome, x.Decision.Reason, x.Bound})
			for _, c := range x.Candidates {
				require.Equal(t, c.Name == d.Auth, !c.LeftUntil.IsZero(), "the session leaves that auth alone")
			}
			sent, err = h.SendAway(t.Context(), e)
			require.NoError(t, err)
			require.False(t, sent, "it has no auth")
			for range 3 {
				moved := h.serve(how)
				require.NotEqual(t, d.Auth, moved.Auth)
				require.Equal(t, d.Session, moved.Session)
			}

			sent, err = h.SendAway(t.Context(), affinity.Event{})
			require.NoError(t, err)
			require.False(t, sent)
			require.Equal(t, affinity.OutcomeNone, h.ExplainSession(t.Context(), affinity.Event{}, abc).Decision.Outcome)
			require.NoError(t, h.Close())
			_, err = h.SendAway(t.Context(), e)
			require.ErrorIs(t, err, cache.ErrClosed)
		})
	}
}

// A request beside a conversation binds nothing, and a subagent goes where its parent is.
func TestExplainOfASideRequestAndOfASubagent(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	side := session("unbound")
	side.Side = true
	require.Equal(t, affinity.OutcomeNone, h.Explain(t.Context(), side, abc).Decision.Outcome)
	require.Equal(t, affinity.OutcomeNone, h.serve(side).Outcome)

	parent := h.bound("parent")
	child := session("child")
	child.Header.Set("X-Parent-Session-Id", parent.Header.Get("X-Session-Id"))
	x := h.Explain(t.Context(), child, abc).Decision
	d := h.serve(child)
	require.Equal(t, []any{d.Outcome, d.Auth}, []any{x.Outcome, x.Auth})
	require.Equal(t, affinity.OutcomeInherited, d.Outcome)
}
