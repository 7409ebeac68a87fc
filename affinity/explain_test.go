package affinity_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// In a random history, with any options, the next pick does what Explain says, and Explain
// changes nothing.
func TestExplainForeseesThePick(t *testing.T) {
	all := map[affinity.Outcome]int{}
	for name, o := range map[string]affinity.Options[string]{
		"as it is":          {},
		"cold anew":         {ColdAnew: true},
		"back when cold":    {Failback: affinity.FailbackCold},
		"back at once":      {Failback: affinity.FailbackAtOnce, Load: affinity.LoadPolicy{Bound: 1.2, Spill: 1.5}},
		"slow":              {Slow: affinity.SlowPolicy{Above: time.Second, Samples: 1, Probe: time.Minute}},
		"all models":        {AllModels: true},
		"owners are needed": {RequireOwner: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for outcome, n := range foresee(t, o) {
					all[outcome] += n
				}
			})
		})
	}
	for o := affinity.OutcomeNone; o <= affinity.OutcomeWaits; o++ {
		require.NotZero(t, all[o], o)
	}
	t.Log(all)
}

// foresee runs a random history, checks that Explain foresees each outcome, and counts them.
func foresee(t *testing.T, o affinity.Options[string]) map[affinity.Outcome]int {
	h := newHost(t, o)
	rng := rand.New(rand.NewPCG(3, 4))
	loads := map[string]float64{}
	h.load = func(auth string) float64 { return loads[auth] }
	h.tier = func(auth string) int { return int(auth[0]-'A') % 2 }
	h.until = map[string]time.Time{}
	foreseen := map[affinity.Outcome]int{}
	for range 3000 / thorough {
		time.Sleep(rand.N(30 * time.Second))
		if rng.IntN(30) == 0 {
			time.Sleep(10 * time.Minute)
		}
		auth := abc[rng.IntN(3)]
		loads[auth] = rng.Float64()
		h.fitness[auth] = affinity.Fitness(rng.IntN(6))
		h.until[auth] = time.Now().Add(rand.N(time.Minute))
		if rng.IntN(2) == 0 {
			clear(h.fitness)
		}
		r := session(fmt.Sprint("s", rng.IntN(30)))
		switch rng.IntN(12) {
		case 0:
			r = affinity.Request{}
		case 1:
			r.Force = abc[rng.IntN(3)]
		case 2:
			r.Side = true
		case 3:
			r.Header.Set("X-Parent-Session-Id", fmt.Sprint("s", rng.IntN(30)))
		case 4, 5, 6:
			r = messages(said(fmt.Sprint("hello ", rng.IntN(30))))
		case 7:
			r.Body = fmt.Appendf(nil, `{"previous_response_id":"resp_%d","input":"go on"}`, rng.IntN(9))
		}
		r.Model = fmt.Sprint("m", rng.IntN(2))
		if rng.IntN(3) == 0 {
			r.Patience = rand.N(time.Minute)
		}
		if rng.IntN(6) == 0 {
			r.Tried = []string{abc[rng.IntN(3)]}
		}
		auths := abc[rng.IntN(2):]
		h.asked = nil
		before := h.Stats()
		var one, two bytes.Buffer
		require.NoError(t, h.Save(&one))
		x := h.Explain(t.Context(), r, auths)
		require.Equal(t, x, h.Explain(t.Context(), r, auths))
		require.NoError(t, h.Save(&two))
		if !o.AllModels && !bytes.Contains(r.Body, []byte("resp_")) { // a note that was read lives on
			require.True(t, bytes.Equal(one.Bytes(), two.Bytes()), "Explain has changed something: %+v", x)
		}
		require.Equal(t, before, h.Stats())
		require.Empty(t, h.asked)
		require.Len(t, x.Candidates, len(auths))

		p, err := h.Pick(t.Context(), r, auths)
		d := p.Decision
		if err != nil {
			var none *affinity.NoAuthError
			require.ErrorAs(t, err, &none)
			if d.Outcome = affinity.OutcomeRefused; none.Waits() {
				d.Outcome = affinity.OutcomeWaits
			}
			require.Equal(t, err, x.Err)
		}
		foreseen[d.Outcome]++
		if x.Decision.Outcome == affinity.OutcomeMoved && x.Decision.Auth == "" && d.Outcome == affinity.OutcomeHit {
			require.Equal(t, x.Bound, d.Auth, "the balancer has chosen the auth that the session had")
		} else {
			require.Equal(t, d.Outcome, x.Decision.Outcome, "%+v\n%+v\n%v", d, x, h.fitness)
			if d.Outcome == affinity.OutcomeMoved {
				require.Equal(t, []any{d.Reason, d.Before}, []any{x.Decision.Reason, x.Decision.Before})
			}
		}
		if x.Decision.Auth != "" {
			require.Equal(t, d.Auth, x.Decision.Auth)
		} else if err == nil {
			i := 0
			for ; x.Candidates[i].Name != d.Auth; i++ {
			}
			require.True(t, x.Candidates[i].MayServe, "%+v %+v", d, x)
		}
		if err != nil {
			continue
		}
		p.FirstToken(rand.N(3 * time.Second))
		if rng.IntN(3) == 0 {
			require.NoError(t, p.Owns(t.Context(), "previous_response_id", fmt.Sprint("resp_", rng.IntN(9))))
		}
		if rng.IntN(4) > 0 {
			p.Report(affinity.Served)
		} else {
			p.Report(affinity.Result(rng.IntN(6)))
		}
	}
	return foreseen
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

// A session can be explained, and sent away, by one of its events, without the client's
// request.
func TestASessionIsKnownByItsEvents(t *testing.T) {
	for name, how := range map[string]affinity.Request{
		"by an id": session("s"), "by content": messages(said("hello")),
	} {
		t.Run(name, func(t *testing.T) {
			var last affinity.Event
			h := newHost(t, affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) { last = e }})
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
			require.False(t, sent, "a session without an auth cannot be sent away")
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

// An event has only a digest of an unusual model name. Its session is explained for the name
// itself. With AllModels the session goes back to the auth of that model.
func TestASessionIsExplainedForTheModelOfItsEvent(t *testing.T) {
	for _, all := range []bool{false, true} {
		events := map[string]affinity.Event{}
		h := newHost(t, affinity.Options[string]{AllModels: all, OnEvent: func(_ context.Context, e affinity.Event) { events[e.Decision.Auth] = e }})
		h.serves = map[string]string{"A": "opus{1m}", "B": "small(high)", "C": ""}
		r := session("s")
		r.Pool, r.Model = "p", "opus{1m}"
		require.Equal(t, "A", h.serve(r).Auth)
		require.Equal(t, "p", events["A"].Pool)
		require.Regexp(t, "^sha256:", events["A"].Model)
		x := h.ExplainSession(t.Context(), events["A"], abc)
		require.Equal(t, []any{affinity.OutcomeHit, "A"}, []any{x.Decision.Outcome, x.Decision.Auth})
		if all {
			r.Model = "small(high)"
			require.Equal(t, "B", h.serve(r).Auth)
			x = h.ExplainSession(t.Context(), events["A"], abc)
			require.Equal(t, []any{affinity.OutcomeMoved, "A"}, []any{x.Decision.Outcome, x.Decision.Auth})
		}
	}
}

// The balancer is given the auths for which Place is true, and no others.
func TestExplainSaysWhereABalancerMayPlace(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	h.load = func(auth string) float64 { return map[string]float64{"A": 100, "B": 1, "C": 1}[auth] }
	x := h.Explain(t.Context(), session("s"), abc)
	require.Equal(t, []bool{false, true, true}, []bool{x.Candidates[0].Place, x.Candidates[1].Place, x.Candidates[2].Place})
	h.serve(session("s"))
	require.Equal(t, []string{"B", "C"}, h.asked[0])
}

// A request beside a conversation binds nothing, and a subagent goes to the auth of its parent.
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
