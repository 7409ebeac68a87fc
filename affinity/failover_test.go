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

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// host is a gateway that says which auths may serve.
type host struct {
	*affinity.Selector[string]
	t       *testing.T
	fitness map[string]affinity.Fitness
	until   map[string]time.Time // when who is away comes back
	tier    func(auth string) int
	load    func(auth string) float64
	share   map[string]float64
	warm    func(auth string, r affinity.Request) time.Duration
	serves  map[string]string // the models of an auth; nil: all
	asked   [][]string        // what the balancer was given
}

// state is what the host says of an auth.
func (h *host) state(auth string, r affinity.Request) affinity.State {
	s := affinity.State{Fitness: h.fitness[auth], Until: h.until[auth], Share: h.share[auth]}
	if h.serves != nil && !strings.Contains(h.serves[auth], r.Model) {
		s.Fitness = affinity.Unfit
	}
	if h.tier != nil {
		s.Tier = h.tier(auth)
	}
	if h.load != nil {
		s.Load = h.load(auth)
	}
	if h.warm != nil {
		s.Warm = h.warm(auth, r)
	}
	return s
}

func newHost(t *testing.T, o affinity.Options[string]) *host {
	h := &host{t: t, fitness: map[string]affinity.Fitness{}}
	o.State = h.state
	plain := selector.RoundRobin[string]()
	s, err := affinity.Wrap(selector.Func[string](func(ctx context.Context, c []string) (string, error) {
		h.asked = append(h.asked, c)
		return plain.Select(ctx, c)
	}), same, &o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	h.Selector = s
	return h
}

func (h *host) pick(r affinity.Request) affinity.Pick[string] {
	h.t.Helper()
	return pick(h.t, h.Selector, r, abc)
}

// serve picks and reports success.
func (h *host) serve(r affinity.Request) affinity.Decision {
	h.t.Helper()
	p := h.pick(r)
	p.Report(affinity.Served)
	return p.Decision
}

// bound returns a request of a session that A has served.
func (h *host) bound(name string) affinity.Request {
	h.t.Helper()
	for _, f := range []string{"B", "C"} {
		h.fitness[f] = affinity.Unfit
	}
	require.Equal(h.t, "A", h.serve(session(name)).Auth)
	clear(h.fitness)
	return session(name)
}

func TestAnAuthInCooldownIsNotTriedFirst(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	h.fitness["A"] = affinity.Away
	h.asked = nil
	d := h.serve(r)
	require.NotEqual(t, "A", d.Auth)
	require.Equal(t, affinity.OutcomeDetour, d.Outcome)
	require.Equal(t, affinity.ReasonAway, d.Reason)
	require.Equal(t, [][]string{{"B", "C"}}, h.asked, "the balancer is not given A")
}

// An auth may serve a session that is bound to it if, and only if, it may serve a new session,
// whatever the host says.
func TestOnePredicateForBoundAndFresh(t *testing.T) {
	all := []affinity.Fitness{affinity.Fit, affinity.Away, affinity.Full, affinity.Slow, affinity.Unfit}
	for _, a := range all {
		for _, b := range all {
			for _, c := range all {
				h := newHost(t, affinity.Options[string]{})
				r := h.bound("x")
				h.fitness = map[string]affinity.Fitness{"A": a, "B": b, "C": c}
				p, errBound := h.Pick(t.Context(), r, abc)
				fresh, errFresh := h.Pick(t.Context(), session("new"), abc)
				what := fmt.Sprint(h.fitness)
				if errFresh != nil { // nobody is fit, not even slow
					require.ErrorIs(t, errFresh, selector.ErrNoCandidates, what)
					require.ErrorIs(t, errBound, selector.ErrNoCandidates, what)
					continue
				}
				require.NoError(t, errBound, what)
				best := affinity.Fit
				if a != best && b != best && c != best {
					best = affinity.Slow
				}
				require.Equal(t, best, h.fitness[fresh.Auth], what)
				require.LessOrEqual(t, best, h.fitness[p.Auth], what)
				require.Contains(t, []affinity.Fitness{affinity.Fit, affinity.Slow}, h.fitness[p.Auth], what)
				if a == affinity.Fit {
					require.Equal(t, "A", p.Auth, what)
				}
			}
		}
	}
}

func TestADetourIsStickyAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := session("x")
		r.Body = []byte(`{"metadata":{"user_id":"user_a_account__session_8a218e62-bb55-446a-bc6c-b288fc65f5b5"}}`)
		h.fitness["B"], h.fitness["C"] = affinity.Unfit, affinity.Unfit
		h.serve(r)
		clear(h.fitness)

		p := h.pick(r)
		require.Equal(t, "A", p.Auth)
		p.Report(affinity.Transient) // 503
		again := h.pick(r)           // the host tries again at once
		require.Equal(t, affinity.OutcomeDetour, again.Decision.Outcome)
		detour := again.Auth
		require.NotEqual(t, "A", detour)
		again.Report(affinity.Served)

		p.ReportAway(affinity.Transient, 100*time.Millisecond) // and a 429, which says less than is known
		for range 10 {
			require.Equal(t, detour, h.serve(r).Auth)
			other := r
			other.Body = nil // under its other key
			require.Equal(t, detour, h.serve(other).Auth)
		}
		time.Sleep(5 * time.Second)
		d := h.serve(r)
		require.Equal(t, "A", d.Auth, "it is back, and its cache is warm")
		require.Equal(t, affinity.OutcomeHit, d.Outcome)

		// Away for longer than a cache lives: the detour is its auth.
		p = h.pick(r)
		p.ReportAway(affinity.Transient, time.Hour)
		detour = h.serve(r).Auth
		time.Sleep(4 * time.Minute)
		require.Equal(t, affinity.OutcomeDetour, h.serve(r).Outcome)
		time.Sleep(2 * time.Minute)
		d = h.serve(r)
		require.Equal(t, detour, d.Auth)
		require.Equal(t, affinity.OutcomeMoved, d.Outcome)
		require.Equal(t, affinity.ReasonCold, d.Reason)
		time.Sleep(30 * time.Minute)
		d = h.serve(r)
		require.Equal(t, detour, d.Auth)
		require.Equal(t, affinity.OutcomeHit, d.Outcome)
	})
}

func TestABackAuthWhoseCacheIsColdHasLostTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		p := h.pick(r)
		p.ReportAway(affinity.Transient, 6*time.Minute)
		detour := h.serve(r).Auth
		time.Sleep(7 * time.Minute) // nothing is sent until it is back
		d := h.serve(r)
		require.Equal(t, detour, d.Auth)
		require.Equal(t, affinity.ReasonCold, d.Reason)
	})
}

func TestADetourThatFailsIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		p := h.pick(r)
		p.ReportAway(affinity.Transient, time.Minute)
		first := h.pick(r)
		first.Report(affinity.Transient)
		h.fitness[first.Auth] = affinity.Away
		second := h.serve(r)
		require.Equal(t, affinity.OutcomeDetour, second.Outcome)
		require.NotEqual(t, first.Auth, second.Auth)
		require.NotEqual(t, "A", second.Auth)
		clear(h.fitness)
		require.Equal(t, second.Auth, h.serve(r).Auth)
		time.Sleep(time.Minute)
		require.Equal(t, "A", h.serve(r).Auth)
	})
}

func TestAnAuthThatComesBackAndFailsSendsItsSessionToTheSameDetour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		p := h.pick(r)
		p.ReportAway(affinity.Transient, time.Minute)
		first := h.serve(r)
		for i := range 2 {
			h.serve(session(fmt.Sprint("other", i))) // the balancer's turn goes on
			time.Sleep(2 * time.Minute)
			p = h.pick(r)
			require.Equal(t, "A", p.Auth)
			p.ReportAway(affinity.Transient, time.Minute)
			require.Equal(t, first.Auth, h.serve(r).Auth)
		}
		time.Sleep(3 * time.Minute)
		require.Equal(t, first.Auth, h.serve(r).Auth, "A has not served for five minutes")
		require.Equal(t, first.Auth, look(t, h.Selector, r))
	})
}

func TestABurstTakesOneDetour(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	p := h.pick(r)
	p.ReportAway(affinity.Transient, time.Minute)
	used := make(chan string, 64)
	var asked sync.WaitGroup // all have asked the balancer before one of them goes on
	asked.Add(64)
	for i := range 64 {
		go func() {
			p, err := h.Affinity.Pick(context.Background(), r, abc, func(_ context.Context, c []string) (string, error) {
				asked.Done()
				asked.Wait()
				return c[i%len(c)], nil
			})
			if err != nil {
				t.Error(err)
			}
			used <- p.Auth
		}()
	}
	first := <-used
	require.NotEqual(t, "A", first)
	for range 63 {
		require.Equal(t, first, <-used)
	}
}

func TestWhatEachResultDoes(t *testing.T) {
	for _, c := range []struct {
		status int
		header http.Header
		err    error
		want   affinity.Result
	}{
		{200, nil, nil, affinity.Served}, {204, nil, nil, affinity.Served},
		{408, nil, nil, affinity.Transient}, {429, nil, nil, affinity.Transient}, {500, nil, nil, affinity.Transient},
		{502, nil, nil, affinity.Transient}, {503, nil, nil, affinity.Transient}, {504, nil, nil, affinity.Transient}, {529, nil, nil, affinity.Transient},
		{403, http.Header{"Cf-Mitigated": {"challenge"}}, nil, affinity.Transient},
		{0, nil, context.Canceled, affinity.Cancelled}, {0, nil, fmt.Errorf("sending: %w", context.Canceled), affinity.Cancelled},
		{0, nil, context.DeadlineExceeded, affinity.Transient}, {0, nil, fmt.Errorf("EOF"), affinity.Transient},
		{401, nil, nil, affinity.Terminal}, {402, nil, nil, affinity.Terminal}, {403, nil, nil, affinity.Terminal}, {404, nil, nil, affinity.Terminal},
		{400, nil, nil, affinity.Rejected}, {413, nil, nil, affinity.Rejected}, {422, nil, nil, affinity.Rejected},
		{418, nil, nil, affinity.Unlisted}, {451, nil, nil, affinity.Unlisted}, {102, nil, nil, affinity.Unlisted},
	} {
		resp := &http.Response{StatusCode: c.status, Header: c.header}
		if c.err != nil {
			resp = nil
		}
		got, _ := affinity.Classify(resp, c.err)
		require.Equal(t, c.want, got, "%d %v", c.status, c.err)

		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		p := h.pick(r)
		p.Report(got)
		bound := look(t, h.Selector, r)
		if got == affinity.Terminal {
			require.Empty(t, bound, "%d: the binding is removed", c.status)
		} else {
			require.Equal(t, "A", bound, "%d: the binding stays", c.status)
		}
	}
}

func TestUnlistedAgainAndAgain(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	report := func(results ...affinity.Result) {
		for _, res := range results {
			p := h.pick(r)
			p.Report(res)
		}
	}
	report(affinity.Unlisted, affinity.Unlisted, affinity.Served, affinity.Unlisted, affinity.Unlisted)
	require.Equal(t, "A", look(t, h.Selector, r), "the failures were not three in a row, so the session stays")
	report(affinity.Unlisted)
	require.Empty(t, look(t, h.Selector, r))
}

func TestRetryAfter(t *testing.T) {
	away := func(h http.Header) time.Duration {
		_, away := affinity.Classify(&http.Response{StatusCode: 429, Header: h}, nil)
		return away
	}
	synctest.Test(t, func(t *testing.T) {
		for v, want := range map[string]time.Duration{
			"": 0, "7": 7 * time.Second, "0.5": 500 * time.Millisecond, "-3": 0, "soon": 0, "NaN": 0, "+Inf": time.Hour, "999999": time.Hour,
			time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		} {
			require.Equal(t, want, away(http.Header{"Retry-After": {v}}), v)
		}
		require.Equal(t, 250*time.Millisecond, away(http.Header{"Retry-After-Ms": {"250"}, "Retry-After": {"1"}}))
	})
}

func TestAnAuthThatIsGoneIsLeft(t *testing.T) {
	for _, how := range []string{"not among the candidates", "unfit"} {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		candidates, reason := abc, affinity.ReasonUnfit
		if how == "unfit" {
			h.fitness["A"] = affinity.Unfit
		} else {
			candidates, reason = []string{"B", "C"}, affinity.ReasonGone
		}
		p := pick(t, h.Selector, r, candidates)
		require.Equal(t, affinity.OutcomeMoved, p.Decision.Outcome, how)
		require.Equal(t, reason, p.Decision.Reason, how)
		p.Report(affinity.Served)
		clear(h.fitness)
		require.Equal(t, p.Auth, h.serve(r).Auth, "%s: the session stays at its new auth", how)
	}
}

func TestCancelledBeforeAnyByteLeavesNothing(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	p := h.pick(session("x"))
	p.Report(affinity.Cancelled)
	require.Empty(t, look(t, h.Selector, session("x")))
	r := h.bound("y")
	p = h.pick(r)
	p.Report(affinity.Cancelled)
	d := h.serve(r)
	require.Equal(t, "A", d.Auth)
	require.Equal(t, affinity.OutcomeHit, d.Outcome, "the session stays, because the failure is not the auth's")
}

func TestATerminalFailureUnderOneKeyIsOneUnderAll(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := session("x")
	r.Header.Set("X-Litellm-Session-Id", "alias")
	h.serve(r)
	alias := session("x")
	alias.Header = http.Header{"X-Litellm-Session-Id": {"alias"}}
	p := h.pick(alias)
	require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
	p.Report(affinity.Terminal)
	require.Empty(t, look(t, h.Selector, r))
	require.Empty(t, look(t, h.Selector, alias))
}

func TestAFullAuthSpillsAndTheBindingStays(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	h.fitness["A"] = affinity.Full
	for range 6 {
		p := h.pick(r)
		require.Equal(t, affinity.OutcomeSpill, p.Decision.Outcome)
		require.Equal(t, affinity.ReasonFull, p.Decision.Reason)
		require.NotEqual(t, "A", p.Auth)
		p.Report(affinity.Terminal) // that is B's or C's matter
	}
	clear(h.fitness)
	require.Equal(t, "A", h.serve(r).Auth)
	for _, a := range abc {
		h.fitness[a] = affinity.Full
	}
	_, err := h.Pick(t.Context(), r, abc)
	require.ErrorIs(t, err, selector.ErrNoCandidates, "all full")
	_, err = h.Pick(t.Context(), session("new"), abc)
	require.ErrorIs(t, err, selector.ErrNoCandidates)
}

func TestASlowAuthIsSkippedWhileThereIsAnother(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	h.fitness["A"] = affinity.Slow
	d := h.serve(r)
	require.Equal(t, affinity.OutcomeSpill, d.Outcome)
	require.Equal(t, affinity.ReasonSlow, d.Reason)
	h.fitness["B"], h.fitness["C"] = affinity.Away, affinity.Full
	require.Equal(t, "A", h.serve(r).Auth)
	clear(h.fitness)
	require.Equal(t, affinity.OutcomeHit, h.serve(r).Outcome)
}

func TestOneRequestCanBeWithoutASessionOrWithItsAuth(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	off := r
	off.Off = true
	seen := map[string]bool{}
	for range 6 {
		p := h.pick(off)
		require.Equal(t, affinity.OutcomeNone, p.Decision.Outcome)
		p.Report(affinity.Terminal)
		seen[p.Auth] = true
	}
	require.Len(t, seen, 3)
	forced := r
	forced.Force = "C"
	p := h.pick(forced)
	require.Equal(t, "C", p.Auth)
	require.Equal(t, affinity.OutcomeForced, p.Decision.Outcome)
	p.Report(affinity.Terminal)
	require.Equal(t, "A", h.serve(r).Auth, "the failure elsewhere does not change the binding")
	forced.Force = "Z"
	_, err := h.Pick(t.Context(), forced, abc)
	var none *affinity.NoAuthError
	require.ErrorAs(t, err, &none)
	require.Equal(t, affinity.ReasonForced, none.Reason)
	require.Equal(t, "Z", none.Auth)
}

func TestASecretSentAsASessionIsNowhere(t *testing.T) {
	const secret = "sk-ant-api03-0123456789"
	var told []string
	s := wrap(t, &affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) {
		d := e.Decision
		told = append(told, fmt.Sprintf("%v %+v %#v %v %+v %v", d, d, d, d.LogValue(), e, e.LogValue()))
	}})
	p := pick(t, s, session(secret), abc)
	p.Report(affinity.Served)
	told = append(told, fmt.Sprintf("%+v", p.Decision))
	for _, line := range told {
		require.False(t, strings.Contains(line, secret) || strings.Contains(line, "sk-ant"), line)
	}
	require.Len(t, told, 3)
}

// A handler that has panicked between a new session's pick and its report leaves that pick under
// way for ever. The session is not tied to a dead auth by that.
func TestAPickThatIsNeverReportedTiesNoSessionToADeadAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := affinity.Wrap(selector.FillFirst[string](), same, nil)
		require.NoError(t, err)
		defer s.Close()
		request := session("x")
		lost := pick(t, s, request, abc)
		require.Equal(t, "A", lost.Auth)
		dead := 0
		for range 60 {
			p := pick(t, s, request, abc)
			if p.Auth == "A" {
				dead++
				p.Report(affinity.Transient)
			} else {
				require.Equal(t, affinity.OutcomeDetour, p.Decision.Outcome)
				p.Report(affinity.Served)
			}
			time.Sleep(time.Second)
		}
		require.Less(t, dead, 40, "30 s as one burst, then a detour that is tried again")
		require.Greater(t, dead, 29)
	})
}
