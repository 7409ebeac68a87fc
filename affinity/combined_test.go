package affinity_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Combinations of options that each worked alone, and failed together.

func TestOneAuthOverAllModelsGoesBackToAHigherTier(t *testing.T) {
	h := newHost(t, affinity.Options[string]{Failback: affinity.FailbackAtOnce, AllModels: true})
	h.tier = tiers
	r := h.bound("x")
	d := h.serve(r)
	require.Equal(t, "C", d.Auth, "%v %v", d.Outcome, d.Reason)
}

func TestOneAuthOverAllModelsIsPlacedAnewWhenCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load := map[string]float64{"A": 10}
		h := newHost(t, affinity.Options[string]{AllModels: true, ColdAnew: true})
		h.load = func(a string) float64 { return load[a] }
		r := h.bound("x")
		time.Sleep(10 * time.Minute)
		d := h.serve(r)
		require.NotEqual(t, "A", d.Auth, "%v %v", d.Outcome, d.Reason)
	})
}

// Added up, equal loads differ in the last digits.
func TestEqualLoadsAreNeverAboveTheBound(t *testing.T) {
	s, err := affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{
		State: func(string, affinity.Request) affinity.State { return affinity.State{Load: 0.1} },
		Load:  affinity.LoadPolicy{Bound: 1},
	})
	require.NoError(t, err)
	_, err = s.Pick(t.Context(), session("x"), []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"})
	require.NoError(t, err)
}

func TestABurstEndsOnOneAuthWhereAllAreBusyOrSlow(t *testing.T) {
	for _, f := range []affinity.Fitness{affinity.Busy, affinity.Slow} {
		t.Run(f.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plain := selector.RoundRobin[string]()
				s, err := affinity.Wrap(selector.Func[string](func(ctx context.Context, c []string) (string, error) {
					time.Sleep(time.Second) // all are here at once
					return plain.Select(ctx, c)
				}), same, &affinity.Options[string]{State: func(string, affinity.Request) affinity.State { return affinity.State{Fitness: f} }})
				require.NoError(t, err)
				var mu sync.Mutex
				got := map[string]int{}
				var wg sync.WaitGroup
				for range 64 {
					wg.Go(func() {
						p, err := s.Pick(t.Context(), session("x"), abc)
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						got[fmt.Sprint(p.Auth, p.Decision.Outcome)]++
						mu.Unlock()
					})
				}
				wg.Wait()
				auths := map[byte]bool{}
				for k := range got {
					auths[k[0]] = true
				}
				require.Len(t, auths, 1, "%v", got)
			})
		})
	}
}

func TestADetourIsStickyWhereAllAreBusyOrSlow(t *testing.T) {
	for _, f := range []affinity.Fitness{affinity.Busy, affinity.Slow} {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		h.fitness["A"], h.fitness["B"], h.fitness["C"] = affinity.Away, f, f
		first := h.serve(r)
		for range 3 {
			if d := h.serve(r); d.Auth != first.Auth {
				t.Errorf("%v: detour %s, then %s", f, first.Auth, d.Auth)
			}
		}
	}
}

// The same with a balancer that would always choose it again.
func TestADetourThatFailsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := affinity.Wrap(selector.FillFirst[string](), same, nil)
		require.NoError(t, err)
		p := pick(t, s, session("x"), abc)
		p.Report(affinity.Served)
		pick(t, s, session("x"), abc).ReportAway(affinity.Transient, time.Minute)
		d := pick(t, s, session("x"), abc)
		require.Equal(t, "B", d.Auth)
		d.ReportAway(affinity.Transient, time.Minute)
		require.Equal(t, "C", pick(t, s, session("x"), abc).Auth, "B wants to be left alone for a minute")
	})
}

func TestNothingSpillsToWhereThereIsMoreToDo(t *testing.T) {
	load := map[string]float64{"A": 10, "B": 20}
	h := newHost(t, affinity.Options[string]{Load: affinity.LoadPolicy{Spill: 2}})
	h.load = func(a string) float64 { return load[a] }
	h.tier = func(a string) int {
		if a == "A" || a == "B" {
			return 1
		}
		return 0
	}
	load["A"], load["B"] = 0, 0
	r := h.bound("x")
	load["A"], load["B"] = 10, 20
	p, err := h.Pick(t.Context(), r, []string{"A", "B", "C", "D", "E", "F", "G", "H"})
	require.NoError(t, err)
	require.NotEqual(t, "B", p.Auth, "%v %v", p.Decision.Outcome, p.Decision.Reason)
}

// The same for notes.
func TestBoundCountsSessions(t *testing.T) {
	h := newHost(t, affinity.Options[string]{AllModels: true})
	r := h.bound("x")
	n, err := h.Bound(t.Context(), "A")
	require.NoError(t, err)
	if n != 1 {
		t.Errorf("one session, Bound says %d", n)
	}
	require.True(t, invalidated(t, h.Selector, r))
	n, err = h.Bound(t.Context(), "A")
	require.NoError(t, err)
	if n != 0 {
		t.Errorf("no session, Bound says %d", n)
	}
}

func TestADetourThatWasKeptIsTheAuthOfItsModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := map[string]affinity.Fitness{}
		s, err := affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{AllModels: true,
			State: func(a string, r affinity.Request) affinity.State { return affinity.State{Fitness: f[a+r.Model]} }})
		require.NoError(t, err)
		serve := func(m string) affinity.Decision {
			r := session("x")
			r.Model = m
			p, err := s.Pick(t.Context(), r, abc)
			require.NoError(t, err)
			p.Report(affinity.Served)
			return p.Decision
		}
		f["C1"], f["A2"], f["B2"] = affinity.Unfit, affinity.Unfit, affinity.Unfit // C serves model 2 only
		first := serve("1").Auth
		f[first+"1"] = affinity.Away
		for range 4 {
			time.Sleep(2 * time.Minute)
			serve("1")
		}
		second := serve("1")
		require.Equal(t, affinity.OutcomeHit, second.Outcome)
		f[first+"1"] = affinity.Fit
		require.Equal(t, "C", serve("2").Auth)
		d := serve("1")
		require.Equal(t, second.Auth, d.Auth, "back to the auth that it had for the model")
	})
}

func TestAColdSessionIsPlacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{ColdAnew: true})
		r := h.bound("x")
		h.pick(affinity.Request{Off: true}) // next turn
		h.pick(affinity.Request{Off: true})
		time.Sleep(10 * time.Minute)
		got := map[string]int{}
		for range 64 {
			p := h.pick(r)
			got[p.Auth]++
		}
		require.Len(t, got, 1, "%v", got)
	})
}

func TestUnlistedWithOthersBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		p := h.pick(r)
		p.Report(affinity.Unlisted)
		p.Report(affinity.Unlisted)
		p.Report(affinity.Transient)
		p.Report(affinity.Served)
		p.Report(affinity.Unlisted)
		time.Sleep(time.Minute)
		require.Equal(t, "A", look(t, h.Selector, r), "the failures were not three in a row, so the session stays")
	})
}

func TestAResultFindsARenamedAuth(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	p := h.pick(r)
	_, err := h.RenameAuth(t.Context(), "A", "X")
	require.NoError(t, err)
	p.Report(affinity.Terminal)
	require.Empty(t, look(t, h.Selector, r))
}

// Both caches are cold: the session is where it was bound.
func TestAShortAbsenceBeforeALongPauseMovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		h.tier = tiers
		r := session("x")
		require.Equal(t, "C", h.serve(r).Auth)
		h.fitness["C"] = affinity.Away
		require.Equal(t, "B", h.serve(r).Auth)
		time.Sleep(10 * time.Second)
		h.fitness["C"] = affinity.Fit
		time.Sleep(6 * time.Minute)
		d := h.serve(r)
		require.Equal(t, "C", d.Auth, "%v %v: C is away for ten seconds only, so the session stays", d.Outcome, d.Reason)
	})
}

func TestNoDetourIsKeptOnADrainedAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		h.fitness["A"] = affinity.Away
		d := h.serve(r).Auth
		h.Drain(d, true)
		time.Sleep(6 * time.Minute)
		got := h.serve(r)
		require.NotEqual(t, d, got.Auth, "%v %v: the session has moved to a drained auth", got.Outcome, got.Reason)
	})
}

func TestAnAuthThatWasLeftStaysAwayForAsLongAsItSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{Failback: affinity.FailbackAtOnce})
		h.tier = tiers
		r := session("x")
		require.Equal(t, "C", h.serve(r).Auth)
		h.pick(r).ReportAway(affinity.Transient, 30*time.Minute)
		for range 5 {
			time.Sleep(2 * time.Minute)
			h.serve(r)
		}
		d := h.pick(r).Decision
		require.NotEqual(t, "C", d.Auth, "%v %v: wants to be left alone for half an hour", d.Outcome, d.Reason)
	})
}

func TestASubagentDoesNotInheritADrainedAuth(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	h.bound("ses_parent")
	h.Drain("A", true)
	child := session("ses_child")
	child.Header.Set("X-Parent-Session-Id", "ses_parent")
	require.NotEqual(t, "A", h.serve(child).Auth)
}

func TestEverythingAtOnce(t *testing.T) {
	s, err := affinity.Wrap(selector.RoundRobin[string](), same, nil)
	require.NoError(t, err)
	defer s.Close()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				p, err := s.Pick(context.Background(), session(fmt.Sprint(i%10)), abc)
				if err != nil {
					t.Error(err)
					return
				}
				p.FirstToken(time.Duration(i) * time.Millisecond)
				p.Report(affinity.Result((i + g) % 6))
				if g != 0 || i%10 != 0 {
					continue
				}
				s.Drain("A", i%20 == 0)
				if err := s.Reconfigure(selector.RoundRobin[string](), &affinity.Options[string]{
					Slow: affinity.SlowPolicy{Above: 100 * time.Millisecond}, AllModels: i%20 == 0, ColdAnew: true,
				}); err != nil {
					t.Error(err)
				}
				if _, err := s.RenameAuth(context.Background(), "A", "B"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
