package affinity_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// In a random run of many goroutines all counters add up, and the hook has seen the same.
func TestCountersAddUp(t *testing.T) {
	var mu sync.Mutex
	var picked, reported, again uint64
	var byOutcome, bySignal [32]uint64
	o := affinity.Options[string]{Memory: cache.Options{MaxSessions: 40}, OnEvent: func(_ context.Context, e affinity.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !e.Reported:
			picked++
			byOutcome[e.Decision.Outcome]++
			bySignal[e.Decision.Signal.Kind]++
		case e.Again:
			again++
		default:
			reported++
		}
	}}
	s := wrap(t, &o)
	results := []affinity.Result{affinity.Unlisted, affinity.Served, affinity.Served, affinity.Transient, affinity.Terminal, affinity.Rejected, affinity.Cancelled}
	var wg sync.WaitGroup
	var left, refused uint64
	for c := range 8 {
		rng := rand.New(rand.NewPCG(7, uint64(c)))
		wg.Go(func() {
			for range 500 {
				r := session(fmt.Sprint("s", rng.IntN(60)))
				switch rng.IntN(10) {
				case 0:
					r = affinity.Request{}
				case 1:
					r.Side = true
				}
				auths := abc
				if rng.IntN(20) == 0 {
					auths = nil
				}
				p, err := s.Pick(t.Context(), r, auths)
				if err != nil {
					mu.Lock()
					refused++
					mu.Unlock()
				}
				if rng.IntN(5) == 0 {
					p.Begun()
				}
				switch {
				case rng.IntN(10) == 0:
					if err == nil {
						mu.Lock()
						left++
						mu.Unlock()
					}
				case rng.IntN(10) == 0:
					p.Report(affinity.Served)
					fallthrough
				default:
					p.Report(results[rng.IntN(len(results))])
				}
			}
		})
	}
	wg.Wait()
	got := s.Stats()
	require.EqualValues(t, 4000, got.Total())
	require.Equal(t, picked, got.Total())
	require.Equal(t, reported, got.Reported())
	require.Equal(t, again, got.Again)
	require.NotZero(t, again)
	require.Equal(t, left, got.Unreported())
	require.Equal(t, refused, got.Outcome(affinity.OutcomeRefused))
	var kinds, reasons uint64
	for k := range sessionid.KindSide + 1 {
		kinds += got.Signal(k)
	}
	for _, n := range got.Reasons {
		reasons += n
	}
	require.Equal(t, got.Total(), kinds)
	require.Zero(t, got.Reasons[affinity.ReasonNone])
	require.NotZero(t, reasons)
	require.Equal(t, bySignal[sessionid.KindNone], got.Signal(sessionid.KindNone), "requests without a session")
	require.Equal(t, bySignal[sessionid.KindGenericHeader], got.Signal(sessionid.KindGenericHeader))
	require.NotZero(t, got.Removed[cache.Evicted])
	for o := range got.Picks {
		require.Equal(t, byOutcome[o], got.Outcome(affinity.Outcome(o)))
	}
}

// A client can send any name of a model. Events have only a digest of a name that is long or
// has unusual characters.
func TestAnEventHasNoTextOfAClient(t *testing.T) {
	for model, plain := range map[string]bool{
		"claude-opus-4.1": true, "models/gemini-3:latest": true, "": true, "meta/llama 4@x+y": true,
		"gpt-5(high)": true, "opus[1m]": true, "Büro": true, "通义": true,
		"<script>": false, "a\nb": false, "100%": false, "a\"b": false, "a\u200bb": false, "a\u00a0b": false, "\u202e": false, "a\xff": false,
		strings.Repeat("m", 200): false,
	} {
		if plain {
			require.Equal(t, model, affinity.LogName(model))
		} else {
			require.Regexp(t, "^sha256:[0-9a-f]{64}$", affinity.LogName(model))
		}
		var events []affinity.Event
		s := wrap(t, &affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) { events = append(events, e) }})
		r := session("x")
		r.Model = model
		pick(t, s, r, abc).Report(affinity.Served)
		require.Len(t, events, 2)
		for _, e := range events {
			if plain {
				require.Equal(t, model, e.Model)
			} else {
				require.Regexp(t, "^sha256:[0-9a-f]{64}$", e.Model)
			}
		}
	}
}

// If a host does not report, it looks healthy: all picks are hits, and an auth that is down
// never fails. The number of unreported picks shows it.
func TestAHostThatForgetsToReportIsSeen(t *testing.T) {
	s := wrap(t, nil)
	for range 50 {
		pick(t, s, session("x"), abc)
	}
	got := s.Stats()
	require.EqualValues(t, 49, got.Outcome(affinity.OutcomeHit))
	require.EqualValues(t, 50, got.Unreported())
}

// A session that has lost its auth counts as moved, and not as new.
func TestASessionThatIsPlacedAgainHasMoved(t *testing.T) {
	for want, lose := range map[affinity.Reason]func(s *affinity.Selector[string], p affinity.Pick[string]){
		affinity.ReasonInvalidated: func(s *affinity.Selector[string], p affinity.Pick[string]) {
			_, err := s.InvalidateAuth(t.Context(), p.Auth)
			require.NoError(t, err)
		},
		affinity.ReasonRefused: func(_ *affinity.Selector[string], p affinity.Pick[string]) { p.Report(affinity.Terminal) },
	} {
		s := wrap(t, nil)
		p := pick(t, s, session("x"), abc)
		p.Report(affinity.Served)
		lose(s, p)
		d := pick(t, s, session("x"), abc).Decision
		require.Equal(t, []any{affinity.OutcomeMoved, want, p.Auth}, []any{d.Outcome, d.Reason, d.Before})
		got := s.Stats()
		require.EqualValues(t, 1, got.Reasons[want])
		require.EqualValues(t, 1, got.Outcome(affinity.OutcomeNew))
	}
}

// The pick and the report of a request have the same decision.
func TestAnEventHasBothHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []affinity.Event
		s := wrap(t, &affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) { events = append(events, e) }})
		r := session("x")
		r.Model = "m"
		pick(t, s, r, abc).Report(affinity.Served)
		time.Sleep(time.Minute)
		pick(t, s, r, abc).Report(affinity.Served)
		events = events[:2]
		time.Sleep(time.Minute)
		p := pick(t, s, r, abc)
		p.Begun()
		require.Len(t, events, 3, "Begun causes no event")
		report := affinity.Report{Result: affinity.Served, FirstToken: time.Second, Usage: affinity.Usage{Prompt: 100, Cached: 90, Output: 7}}
		p.Done(report)
		p.ReportAway(affinity.Transient, time.Hour)
		require.Len(t, events, 5)
		for i, want := range []affinity.Event{
			{}, {Reported: true, Report: affinity.Report{Result: affinity.Served}},
			{}, {Reported: true, Report: report},
			{Reported: true, Report: affinity.Report{Result: affinity.Transient, Away: time.Hour}, Again: true},
		} {
			e := events[i]
			require.Equal(t, []any{"m", want.Reported, want.Report, want.Again}, []any{e.Model, e.Reported, e.Report, e.Again})
		}
		require.Equal(t, events[2].Decision, events[4].Decision)
		d := events[2].Decision
		require.Equal(t, []any{affinity.OutcomeHit, 2 * time.Minute, time.Minute, 3}, []any{d.Outcome, d.Age, d.Idle, d.Candidates})

		var text strings.Builder
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "affinity", events[3], "again", events[4], "pick", events[2])
		for _, part := range []string{
			"affinity.outcome=hit", "affinity.signal=X-Session-Id", "affinity.auth=A", "affinity.session=" + d.SessionName(false), "affinity.age=2m0s", "affinity.idle=1m0s",
			"affinity.candidates=3", "affinity.model=m", "affinity.result=served", "affinity.first_token=1s", "affinity.prompt=100",
			"affinity.cached=90", "affinity.cache_written=0", "affinity.output=7", "again.again=true", "again.away=1h0m0s", "again.result=transient",
		} {
			require.Contains(t, text.String(), part)
		}
		require.NotContains(t, text.String(), "pick.result")
		require.NotContains(t, text.String(), "reason=")
		require.Equal(t, "auth=A; outcome=hit; reason=; signal=generic-header; session="+d.SessionName(false), d.String())
	})
}

// An answer that has begun counts as served for all other requests, and once.
func TestAnAnswerThatHasBegunServesTheSession(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	p := h.pick(session("x"))
	p.Begun()
	p.Begun()
	other := h.pick(session("x"))
	other.Report(affinity.Transient)
	h.fitness["A"] = affinity.Away
	require.Equal(t, affinity.OutcomeDetour, h.pick(session("x")).Decision.Outcome, "the session makes a detour, because its auth has served it")
	p.Done(affinity.Report{Result: affinity.Served})
	require.EqualValues(t, 2, h.Stats().Reported())
	require.Zero(t, h.Stats().Again)

	p = h.pick(session("y"))
	p.Begun()
	p.Report(affinity.Terminal)
	_, bound, err := h.Look(t.Context(), session("y"))
	require.NoError(t, err)
	require.False(t, bound, "an answer that has begun can still fail and unbind the session")
	affinity.Pick[string]{}.Begun()
}

// A refused request belongs to its session, so that an operator finds it there.
func TestARefusedPickIsItsSessions(t *testing.T) {
	var last affinity.Event
	h := newHost(t, affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) { last = e }})
	r := h.bound("s")
	want := last
	require.True(t, want.Locates())
	for _, a := range abc {
		h.fitness[a] = affinity.Away
	}
	_, err := h.Pick(t.Context(), r, abc)
	require.Error(t, err)
	require.Equal(t, []any{affinity.OutcomeRefused, want.Decision.Session, true}, []any{last.Decision.Outcome, last.Decision.Session, last.Locates()})
	_, err = h.Pick(t.Context(), affinity.Request{}, abc)
	require.Error(t, err)
	require.False(t, last.Locates())
}

// A request with Off has no session, whatever it names.
func TestARequestThatIsOffHasNoSignal(t *testing.T) {
	s := wrap(t, nil)
	r := session("s")
	r.Off = true
	pick(t, s, r, abc).Report(affinity.Served)
	require.EqualValues(t, 1, s.Stats().Signal(sessionid.KindNone))
	require.Equal(t, sessionid.KindNone, s.Explain(t.Context(), r, abc).Decision.Signal.Kind)
}
