package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

var abc = []string{"A", "B", "C"}

func same(s string) string { return s }

func wrap(t *testing.T, o *affinity.Options[string]) *affinity.Selector[string] {
	t.Helper()
	s, err := affinity.Wrap(selector.RoundRobin[string](), same, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func session(id string) affinity.Request {
	return affinity.Request{Tenant: "t", Pool: "p", Model: "m", Header: http.Header{"X-Session-Id": {id}}}
}

func content(body string) affinity.Request {
	return affinity.Request{Tenant: "t", Pool: "p", Model: "m", Body: []byte(body)}
}

// outcomes returns the outcomes of the picks so far.
func outcomes(s interface{ Stats() affinity.Stats }) map[affinity.Outcome]uint64 {
	all := map[affinity.Outcome]uint64{}
	stats := s.Stats()
	for o := range stats.Picks {
		if n := stats.Outcome(affinity.Outcome(o)); n > 0 {
			all[affinity.Outcome(o)] = n
		}
	}
	return all
}

func pick(t *testing.T, s *affinity.Selector[string], r affinity.Request, candidates []string) affinity.Pick[string] {
	t.Helper()
	p, err := s.Pick(t.Context(), r, candidates)
	require.NoError(t, err)
	return p
}

func served(t *testing.T, s *affinity.Selector[string], r affinity.Request, candidates []string) string {
	t.Helper()
	p := pick(t, s, r, candidates)
	p.Report(affinity.Served)
	return p.Auth
}

// look returns the auth that a session is bound to, or "".
func look(t *testing.T, s *affinity.Selector[string], r affinity.Request) string {
	t.Helper()
	auth, ok, err := s.Look(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, ok, auth != "")
	return auth
}

func invalidated(t *testing.T, s *affinity.Selector[string], r affinity.Request) bool {
	t.Helper()
	ok, err := s.InvalidateSession(t.Context(), r)
	require.NoError(t, err)
	return ok
}

func TestTheSameSessionStaysOnItsAuth(t *testing.T) {
	s := wrap(t, nil)
	first := served(t, s, session("x"), abc)
	for i := range 20 {
		served(t, s, session(fmt.Sprint("other", i)), abc) // the balancer's turn goes on
		require.Equal(t, first, served(t, s, session("x"), abc))
	}
}

func TestNoSessionFallsThroughToTheBalancerAndIsCounted(t *testing.T) {
	s := wrap(t, nil)
	got := map[string]int{}
	for range 30 {
		p := pick(t, s, content(`{"messages":[]}`), abc)
		require.Equal(t, affinity.OutcomeNone, p.Decision.Outcome)
		p.Report(affinity.Terminal) // no session, so nothing is unbound
		got[p.Auth]++
	}
	require.Equal(t, map[string]int{"A": 10, "B": 10, "C": 10}, got)
	require.Equal(t, map[affinity.Outcome]uint64{affinity.OutcomeNone: 30}, outcomes(s))
}

func TestDifferentSessionsSpread(t *testing.T) {
	s := wrap(t, nil)
	got := map[string]int{}
	for i := range 99 {
		got[served(t, s, session(fmt.Sprint("s", i)), abc)]++
	}
	require.Equal(t, map[string]int{"A": 33, "B": 33, "C": 33}, got)
}

func TestSharedSystemPromptAndOpeningSpread(t *testing.T) {
	s := wrap(t, nil)
	system, opening := make([]byte, 8<<10), make([]byte, 2<<10)
	for i := range system {
		system[i] = 'a' + byte(i%26)
	}
	copy(opening, system)
	got := map[string]int{}
	for i := range 100 {
		got[served(t, s, content(fmt.Sprintf(`{"system":%q,"messages":[{"role":"user","content":"%s %d"}]}`, system, opening, i)), abc)]++
	}
	for _, auth := range abc {
		require.InDelta(t, 33, got[auth], 2)
	}
}

func TestTheBoundAuthIsAwayTheSessionMovesAndStays(t *testing.T) {
	s := wrap(t, nil)
	first := served(t, s, session("x"), []string{"A"})
	require.Equal(t, "A", first)
	p := pick(t, s, session("x"), []string{"B", "C"})
	require.Equal(t, affinity.OutcomeMoved, p.Decision.Outcome)
	p.Report(affinity.Served)
	for range 5 {
		require.Equal(t, p.Auth, served(t, s, session("x"), abc), "A is back, the session stays where it moved")
	}
}

func TestModelsProvidersAndTenantsDoNotMeet(t *testing.T) {
	for name, other := range map[string]affinity.Request{
		"model":    {Tenant: "t", Pool: "p", Model: "m2"},
		"provider": {Tenant: "t", Pool: "p2", Model: "m"},
		"tenant":   {Tenant: "t2", Pool: "p", Model: "m"},
	} {
		t.Run(name, func(t *testing.T) {
			s := wrap(t, nil)
			other.Header = session("default-chat").Header
			require.Equal(t, "A", served(t, s, session("default-chat"), abc))
			require.Equal(t, "B", served(t, s, other, abc), "bound independently")
			p := pick(t, s, other, abc)
			p.Report(affinity.Terminal)
			require.Empty(t, look(t, s, other))
			require.Equal(t, "A", served(t, s, session("default-chat"), abc))
		})
	}
}

func TestTurnOneIsInheritedByTurnTwo(t *testing.T) {
	s := wrap(t, nil)
	one := `{"messages":[{"role":"user","content":"one"}]}`
	two := `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"1"},{"role":"user","content":"two"}]}`
	first := served(t, s, content(one), abc)
	served(t, s, session("other"), abc)
	require.Equal(t, first, served(t, s, content(two), abc))
	require.Equal(t, first, served(t, s, content(two), abc), "a retry")
	require.Equal(t, map[affinity.Outcome]uint64{affinity.OutcomeNew: 2, affinity.OutcomeHit: 2}, outcomes(s))
	require.NotEqual(t, first, served(t, s, content(one), abc), "another user who begins with the same word has another session")
}

func TestAClaudeIDWinsOverAHeaderAndAHeaderOverTheBody(t *testing.T) {
	s := wrap(t, nil)
	claude := []byte(`{"metadata":{"user_id":"user_ab_account__session_8a218e62-bb55-446a-bc6c-b288fc65f5b5"}}`)
	r := session("stamped-by-a-proxy")
	r.Body = claude
	p := pick(t, s, r, abc)
	require.Equal(t, "metadata.user_id", p.Decision.Signal.Name)
	require.Equal(t, p.Auth, served(t, s, content(string(claude)), abc))

	r = session("mine")
	r.Body = []byte(`{"conversation_id":"weaker","metadata":{"user_id":"bob"}}`)
	p = pick(t, s, r, abc)
	require.Equal(t, sessionid.KindGenericHeader, p.Decision.Signal.Kind)
	require.Equal(t, p.Auth, served(t, s, session("mine"), abc))
}

func TestAHundredGoroutinesOverTenSessionsEachSessionOneAuth(t *testing.T) {
	s := wrap(t, nil)
	var mu sync.Mutex
	got := map[int]map[string]bool{}
	var wg sync.WaitGroup
	for g := range 100 {
		wg.Go(func() {
			p, err := s.Pick(context.Background(), session(fmt.Sprint("s", g%10)), abc)
			if err != nil {
				t.Error(err)
				return
			}
			p.Report(affinity.Served)
			mu.Lock()
			defer mu.Unlock()
			if got[g%10] == nil {
				got[g%10] = map[string]bool{}
			}
			got[g%10][p.Auth] = true
		})
	}
	wg.Wait()
	for i := range 10 {
		require.Len(t, got[i], 1, "session %d", i)
	}
}

// The barrier makes sure that all requests have asked the balancer before one of them binds.
// Many goroutines alone rarely do that.
func TestABurstOfFirstRequestsEndsOnOneAuth(t *testing.T) {
	const burst = 64
	for round := range 50 {
		var asked sync.WaitGroup
		asked.Add(burst)
		var n atomic.Int64
		next := selector.Func[int](func(context.Context, []int) (int, error) {
			asked.Done()
			asked.Wait()
			return int(n.Add(1)), nil
		})
		s, err := affinity.Wrap(next, func(i int) string { return fmt.Sprint(i) }, nil)
		require.NoError(t, err)
		candidates := make([]int, burst)
		for i := range candidates {
			candidates[i] = i + 1
		}
		got := make([]int, burst)
		var done sync.WaitGroup
		for i := range burst {
			done.Go(func() {
				p, err := s.Pick(context.Background(), session("x"), candidates)
				if err != nil {
					t.Error(err)
				}
				got[i] = p.Auth
			})
		}
		done.Wait()
		for _, auth := range got {
			require.Equal(t, got[0], auth, "round %d", round)
		}
		require.Equal(t, map[affinity.Outcome]uint64{affinity.OutcomeNew: 1, affinity.OutcomeHit: burst - 1}, outcomes(s))
		s.Close()
	}
}

func TestABurstThatMovesEndsOnOneAuth(t *testing.T) {
	const burst = 16
	var asked sync.WaitGroup
	var barrier atomic.Bool
	var n atomic.Int64
	next := selector.Func[string](func(_ context.Context, candidates []string) (string, error) {
		if barrier.Load() {
			asked.Done()
			asked.Wait()
		}
		return candidates[int(n.Add(1))%len(candidates)], nil
	})
	s, err := affinity.Wrap(next, same, nil)
	require.NoError(t, err)
	served(t, s, session("x"), []string{"A"})
	asked.Add(burst)
	barrier.Store(true)
	got := make([]string, burst)
	var done sync.WaitGroup
	for i := range burst {
		done.Go(func() {
			p, err := s.Pick(context.Background(), session("x"), []string{"B", "C", "D"})
			if err != nil {
				t.Error(err)
			}
			got[i] = p.Auth
		})
	}
	done.Wait()
	for _, auth := range got {
		require.Equal(t, got[0], auth)
	}
}

func TestTheBalancersErrorIsReturnedAsItIsAndBindsNothing(t *testing.T) {
	boom := errors.New("boom")
	s, err := affinity.Wrap(selector.Func[string](func(context.Context, []string) (string, error) { return "", boom }), same, nil)
	require.NoError(t, err)
	_, err = s.Pick(t.Context(), session("x"), abc)
	require.Equal(t, boom, err)
	bound := look(t, s, session("x")) != ""
	require.False(t, bound)
	_, err = s.Select(affinity.WithRequest(t.Context(), session("x")), abc)
	require.Equal(t, boom, err)
}

func TestResultsAreAboutTheirPick(t *testing.T) {
	where := func(s *affinity.Selector[string]) string {
		auth := look(t, s, session("x"))
		return auth
	}
	for name, c := range map[string]struct {
		servedBefore bool
		result       affinity.Result
		stays        bool
	}{
		"cancelled before any byte":     {false, affinity.Cancelled, false},
		"cancelled later":               {true, affinity.Cancelled, true},
		"a first failure":               {false, affinity.Transient, false},
		"a transient failure":           {true, affinity.Transient, true},
		"a terminal failure":            {true, affinity.Terminal, false},
		"the client's own fault":        {true, affinity.Rejected, true},
		"the client's own fault, first": {false, affinity.Rejected, true},
		"served":                        {false, affinity.Served, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := wrap(t, nil)
			if c.servedBefore {
				served(t, s, session("x"), abc)
			}
			pick(t, s, session("x"), abc).Report(c.result)
			require.Equal(t, c.stays, where(s) != "")
		})
	}
	t.Run("late results of an older generation", func(t *testing.T) {
		s := wrap(t, nil)
		old := pick(t, s, session("x"), []string{"A"})
		served(t, s, session("x"), []string{"B"})
		for _, late := range []affinity.Result{affinity.Terminal, affinity.Transient, affinity.Cancelled, affinity.Served} {
			old.Report(late)
			require.Equal(t, "B", where(s), late)
		}
	})
	t.Run("invalidated while in flight", func(t *testing.T) {
		s := wrap(t, nil)
		p := pick(t, s, session("x"), abc)
		require.True(t, invalidated(t, s, session("x")))
		p.Report(affinity.Served)
		require.Empty(t, where(s))
	})
	t.Run("the zero Pick", func(t *testing.T) { affinity.Pick[string]{}.Report(affinity.Served) })
}

func TestALateSuccessDoesNotRenewAnothersTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, &affinity.Options[string]{Memory: cache.Options{TTL: time.Minute}})
		old := pick(t, s, session("x"), []string{"A"})
		served(t, s, session("x"), []string{"B"})
		time.Sleep(40 * time.Second)
		old.Report(affinity.Served)
		time.Sleep(30 * time.Second)
		bound := look(t, s, session("x")) != ""
		require.False(t, bound)
	})
}

func TestARemovedAuthLosesItsSessionsOnly(t *testing.T) {
	s := wrap(t, nil)
	for i := range 9 {
		served(t, s, session(fmt.Sprint("s", i)), abc)
	}
	n, err := s.InvalidateAuth(t.Context(), "A")
	require.NoError(t, err)
	require.Equal(t, 3, n)
	for i := range 9 {
		bound := look(t, s, session(fmt.Sprint("s", i))) != ""
		require.Equal(t, i%3 != 0, bound, i)
	}
}

func TestAContextTakesThePickAlone(t *testing.T) {
	s := wrap(t, nil)
	bare := affinity.WithPick(t.Context())
	_, ok := affinity.PickFrom[string](bare)
	require.False(t, ok)
	_, err := s.Select(bare, abc)
	require.NoError(t, err)
	_, ok = affinity.PickFrom[string](bare)
	require.False(t, ok, "without a request the wrapped selector chooses")
	p, err := s.Pick(bare, session("y"), abc)
	require.NoError(t, err)
	from, ok := affinity.PickFrom[string](bare)
	require.True(t, ok)
	require.Equal(t, p, from)
}

func TestSelectTakesItsRequestFromTheContext(t *testing.T) {
	s := wrap(t, nil)
	var sel selector.Selector[string] = s
	ctx := affinity.WithRequest(t.Context(), session("x"))
	_, ok := affinity.PickFrom[string](ctx)
	require.False(t, ok, "nothing was picked yet")
	first, err := sel.Select(ctx, abc)
	require.NoError(t, err)
	p, ok := affinity.PickFrom[string](ctx)
	require.True(t, ok)
	require.Equal(t, affinity.OutcomeNew, p.Decision.Outcome)
	require.Equal(t, first, p.Auth)
	_, ok = affinity.PickFrom[int](ctx)
	require.False(t, ok, "auths of another type")
	plain, err := sel.Select(t.Context(), abc)
	require.NoError(t, err)
	require.NotEqual(t, first, plain, "without a request it is the balancer's choice")
	_, ok = affinity.PickFrom[string](t.Context())
	require.False(t, ok)
	_, err = s.Pick(ctx, session("y"), abc)
	require.NoError(t, err)
	other, ok := affinity.PickFrom[string](ctx)
	require.True(t, ok)
	require.NotEqual(t, p.Decision.Session, other.Decision.Session, "a pick without Select is found as well")
	q, err := s.Affinity.Pick(ctx, session("z"), abc, selector.Random[string]().Select)
	require.NoError(t, err)
	other, ok = affinity.PickFrom[string](ctx)
	require.True(t, ok)
	require.Equal(t, q.Decision, other.Decision)
	p.Report(affinity.Terminal)
	bound := look(t, s, session("x")) != ""
	require.False(t, bound, "the Terminal report of the pick has unbound the session")
}

func TestEveryDecisionIsTold(t *testing.T) {
	var got []affinity.Decision
	s := wrap(t, &affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) {
		if !e.Reported {
			got = append(got, e.Decision)
		}
	}})
	served(t, s, session("x"), []string{"A"})
	served(t, s, session("x"), []string{"A"})
	served(t, s, session("x"), []string{"B"})
	served(t, s, content(``), []string{"B"})
	require.Len(t, got, 4)
	for i, o := range []affinity.Outcome{affinity.OutcomeNew, affinity.OutcomeHit, affinity.OutcomeMoved, affinity.OutcomeNone} {
		require.Equal(t, o, got[i].Outcome)
	}
	require.Equal(t, got[0].Session, got[2].Session, "the stable name survives the move")
	require.NotZero(t, got[0].Session)
	require.Zero(t, got[3].Session)
	require.Contains(t, fmt.Sprint(got[0].LogValue()), "X-Session-Id")
}

func TestBadConfigurationIsAConstructorError(t *testing.T) {
	next := selector.RoundRobin[string]()
	state := func(string, affinity.Request) affinity.State { return affinity.State{} }
	type options = affinity.Options[string]
	for name, o := range map[string]options{
		"Memory.*TTL":                  {Memory: cache.Options{TTL: -1}},
		"Memory.*MaxSess":              {Memory: cache.Options{MaxSessions: -1}},
		"Memory must be empty":         {Memory: cache.Options{TTL: time.Hour}, Store: &cache.Memory{}},
		"Store is a nil .cache.Memory": {Store: (*cache.Memory)(nil)},
		"Warm is":                      {Warm: -1},
		"Away is":                      {Away: -1},
		"Unlisted is":                  {Unlisted: -1},
		"Failback needs":               {Failback: affinity.FailbackCold},
		"Failback is 9":                {Failback: 9, State: state},
		"Load needs Options.State":     {Load: affinity.LoadPolicy{Bound: 2}},
		"Load needs .*also with Opt":   {Load: affinity.LoadPolicy{Least: 8}, Balance: affinity.BalanceMoving},
		"Load needs .*loads.Of.name":   {Load: affinity.LoadPolicy{Least: 8}, Loads: new(selector.Loads)},
		"Load.Bound is .Inf, want a f": {Load: affinity.LoadPolicy{Bound: math.Inf(1)}, State: state},
		"Load.Spill is .Inf, want 0 o": {Load: affinity.LoadPolicy{Spill: math.Inf(1)}, State: state},
		"Load.Spill is N":              {Load: affinity.LoadPolicy{Spill: math.NaN()}, State: state},
		"Load.Least is .Inf, want a f": {Load: affinity.LoadPolicy{Least: math.Inf(1)}, State: state},
		"Load.Bound is 0":              {Load: affinity.LoadPolicy{Bound: 0.5}, State: state},
		"Load.Bound is N":              {Load: affinity.LoadPolicy{Bound: math.NaN()}, State: state},
		"Load.Spill is":                {Load: affinity.LoadPolicy{Bound: 2, Spill: 1.5}, State: state},
		"Load.Least is":                {Load: affinity.LoadPolicy{Least: -1}, State: state},
		"Slow.Above is 0":              {Slow: affinity.SlowPolicy{Samples: 2}},
		"Slow has a negative":          {Slow: affinity.SlowPolicy{Above: 1, Probe: -1}},
		"Slow.Below is":                {Slow: affinity.SlowPolicy{Above: 1, Below: 2}},
	} {
		_, err := affinity.Wrap(next, same, &o)
		require.Error(t, err, name)
		require.Regexp(t, "^affinity: Options."+name, err.Error())
	}
	require.ErrorContains(t, second(affinity.Wrap(nil, same, nil)), "the selector to wrap is nil")
	require.ErrorContains(t, second(affinity.Wrap(selector.Func[string](nil), same, nil)), "the selector to wrap is nil")
	require.ErrorContains(t, second(affinity.Wrap(next, nil, nil)), "the function that names an auth is nil")
	a, err := affinity.New(same, nil)
	require.NoError(t, err)
	_, err = a.Pick(t.Context(), session("x"), abc, nil)
	require.ErrorContains(t, err, "the function that chooses an auth is nil")
	_, err = a.Pick(t.Context(), session("x"), []string{""}, next.Select)
	require.ErrorContains(t, err, "the name of the chosen auth is empty", "an auth without a name cannot be bound")
}

func second[T any](_ T, err error) error { return err }

func TestAnIDCanBeComputedOnceAndHandedOn(t *testing.T) {
	s := wrap(t, nil)
	id := sessionid.Extract(http.Header{"X-Session-Id": {"x"}}, nil)
	auth := served(t, s, affinity.Request{Tenant: "t", Pool: "p", Model: "m", ID: &id}, abc)
	require.Equal(t, auth, served(t, s, session("x"), abc))
}

func TestAfterCloseTheBalancerServesAndNothingIsBound(t *testing.T) {
	s := wrap(t, nil)
	served(t, s, session("x"), abc)
	require.NoError(t, s.Close())
	served(t, s, session("x"), abc)
	bound := look(t, s, session("x")) != ""
	require.False(t, bound)
	_, err := s.Sessions(t.Context())
	require.ErrorIs(t, err, cache.ErrClosed)
}

func TestEnumsHaveNames(t *testing.T) {
	require.Equal(t, "terminal", affinity.Terminal.String())
	require.Equal(t, "unknown", affinity.Result(99).String())
	require.Equal(t, "refused", affinity.OutcomeRefused.String())
	require.Equal(t, "unknown", affinity.Outcome(99).String())
	require.Equal(t, "owner", affinity.ReasonOwner.String())
	require.Equal(t, "unknown", affinity.Reason(99).String())
	require.Equal(t, "unfit", affinity.Unfit.String())
	require.Equal(t, "unknown", affinity.Fitness(99).String())
}

func TestTheBindingsTTLIsOneHourByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, nil)
		served(t, s, session("x"), abc)
		time.Sleep(cache.DefaultTTL - time.Second)
		bound := look(t, s, session("x")) != ""
		require.True(t, bound)
		time.Sleep(2 * time.Second)
		bound = look(t, s, session("x")) != ""
		require.False(t, bound)
	})
}
