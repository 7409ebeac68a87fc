package affinity_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
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

// tiers: A is in tier 1, B in 2, C in 3.
func tiers(auth string) int {
	return map[string]int{"A": 1, "B": 2, "C": 3}[auth]
}

// The same function says the tiers to the Affinity and to a balancer of package selector.
func TestTheTiersOfABalancerAreThoseOfState(t *testing.T) {
	under := selector.Tiers(tiers, selector.RoundRobin[string]())
	for _, list := range [][]string{{"A", "B", "C"}, {"B", "A"}, {"A"}} {
		h := newHost(t, affinity.Options[string]{})
		h.tier = tiers
		p, err := h.Pick(t.Context(), session("x"), list)
		require.NoError(t, err)
		auth, err := under.Select(t.Context(), list)
		require.NoError(t, err)
		require.Equal(t, p.Auth, auth)
	}
}

// Which subagents go to the auth of their session in a lower tier.
func TestTiersOfSubagents(t *testing.T) {
	e, err := sessionid.NewExtractor(&sessionid.Options{LanesApart: true})
	require.NoError(t, err)
	for lanes, extract := range map[string]func(http.Header, []byte) sessionid.ID{"A": nil, "C": e.Extract} {
		h := newHost(t, affinity.Options[string]{Extract: extract})
		h.tier = tiers
		h.fitness["B"], h.fitness["C"] = affinity.Away, affinity.Away
		require.Equal(t, "A", h.serve(session("ses_1")).Auth)
		require.Equal(t, "A", h.serve(agent("")).Auth)
		clear(h.fitness)
		child := session("ses_2")
		child.Header.Set("X-Parent-Session-Id", "ses_1")
		require.Equal(t, "A", h.serve(child).Auth, "a subagent with a session id of its own")
		require.Equal(t, lanes, h.serve(agent("a")).Auth, "a subagent that sends the id of its session")
	}
}

func TestFailbackOverTiers(t *testing.T) {
	for _, c := range []struct {
		name          string
		policy        affinity.Failback
		next, cold    string // where the next request goes, and the one after its cache is cold
		moved, moved2 bool
	}{
		{"stay", affinity.FailbackNever, "A", "A", false, false},
		{"at once", affinity.FailbackAtOnce, "C", "C", true, false},
		{"when cold", affinity.FailbackCold, "A", "C", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t, affinity.Options[string]{Failback: c.policy})
				h.tier = tiers
				r := h.bound("x") // while 3 and 2 were down
				require.Equal(t, "C", h.serve(session("new")).Auth, "new ones go to the highest tier")
				check := func(want string, moved bool) {
					t.Helper()
					d := h.serve(r)
					require.Equal(t, want, d.Auth)
					if moved {
						require.Equal(t, affinity.OutcomeMoved, d.Outcome)
						require.Equal(t, affinity.ReasonTier, d.Reason)
					} else {
						require.Equal(t, affinity.OutcomeHit, d.Outcome)
					}
				}
				check(c.next, c.moved)
				time.Sleep(5*time.Minute - time.Second)
				check(c.next, false)
				time.Sleep(5*time.Minute + time.Second)
				check(c.cold, c.moved2)
				check(c.cold, false)

				// Then its auth fails: tier 3 is tried first, without the failed one.
				p := h.pick(r)
				p.Report(affinity.Terminal)
				again := r
				again.Tried = []string{p.Auth}
				h.asked = nil
				d := h.serve(again)
				want := "C"
				if p.Auth == "C" {
					want = "B"
				}
				require.Equal(t, want, d.Auth)
				require.Equal(t, [][]string{{want}}, h.asked)
			})
		})
	}
}

func TestALowerTierServesWhileTheHigherOnesCannot(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	h.tier = tiers
	h.fitness["C"], h.fitness["B"] = affinity.Away, affinity.Slow
	require.Equal(t, "A", h.serve(session("x")).Auth, "fit in tier 1 goes before slow in tier 2")
	h.fitness["A"] = affinity.Full
	require.Equal(t, "B", h.serve(session("y")).Auth)
}

func TestAuthsThatWereTriedAreNotChosenAgain(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := h.bound("x")
	r.Tried = []string{"A"}
	p := h.pick(r)
	require.Equal(t, affinity.OutcomeDetour, p.Decision.Outcome)
	second := p.Auth
	p.Report(affinity.Transient)
	r.Tried = append(r.Tried, second)
	p = h.pick(r)
	require.NotContains(t, r.Tried, p.Auth)
	p.Report(affinity.Served)
	all := r
	all.Tried = abc
	_, err := h.Pick(t.Context(), all, abc)
	require.Error(t, err, "all auths were tried, so the pick is refused, and the bound auth is not used once more")
	all.Header = session("new").Header
	_, err = h.Pick(t.Context(), all, abc)
	require.Error(t, err)
	r.Tried = nil
	require.Equal(t, "A", h.serve(r).Auth, "Tried is about one request only")
}

func TestASessionThatIsColdIsPlacedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{ColdAnew: true})
		r := h.bound("x")
		time.Sleep(5*time.Minute - time.Second)
		require.Equal(t, "A", h.serve(r).Auth, "warm")
		moved := 0
		for range 6 {
			time.Sleep(5*time.Minute + time.Second)
			d := h.serve(r)
			if d.Outcome == affinity.OutcomeMoved {
				require.Equal(t, affinity.ReasonCold, d.Reason)
				moved++
			} else {
				require.Equal(t, affinity.OutcomeHit, d.Outcome, "the balancer has chosen the session's own auth")
			}
			require.Equal(t, d.Auth, h.serve(r).Auth, "the session stays there while its prompt cache is warm")
		}
		require.NotZero(t, moved)

		// The balancer has no candidate. The session's own auth is fit, and serves.
		time.Sleep(5*time.Minute + time.Second)
		own := look(t, h.Selector, r)
		p, err := h.Affinity.Pick(t.Context(), r, abc, failing)
		require.NoError(t, err)
		require.Equal(t, own, p.Auth)
	})
}

func TestWarmthDependsOnTheAuthAndTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{ColdAnew: true, Memory: cache.Options{TTL: 4 * time.Hour}})
		h.warm = func(auth string, r affinity.Request) time.Duration {
			if auth == "A" && r.Model == "m" {
				return time.Hour
			}
			return 0 // the default
		}
		r := h.bound("x")
		h.fitness["A"] = affinity.Busy // the balancer would not choose it
		time.Sleep(59 * time.Minute)
		require.Equal(t, "A", h.serve(r).Auth)
		time.Sleep(61 * time.Minute)
		d := h.serve(r)
		require.Equal(t, affinity.OutcomeMoved, d.Outcome)
		time.Sleep(6 * time.Minute)
		h.fitness[d.Auth] = affinity.Busy
		require.Equal(t, affinity.OutcomeMoved, h.serve(r).Outcome, "the prompt cache lives five minutes at that auth, so the session is cold")
	})
}

func TestNewSessionsAvoidALoadedAuth(t *testing.T) {
	load := map[string]float64{"A": 10, "B": 4, "C": 4}
	h := newHost(t, affinity.Options[string]{})
	h.load = func(auth string) float64 { return load[auth] }
	r := h.bound("x")
	for i := range 10 {
		require.NotEqual(t, "A", h.serve(session(fmt.Sprint("new", i))).Auth)
	}
	require.Equal(t, "A", h.serve(r).Auth, "without Load.Spill a bound session stays, whatever the load")
	load["A"] = 5 // of a mean of 4.3
	used := map[string]bool{}
	for i := range 9 {
		used[h.serve(session(fmt.Sprint("more", i))).Auth] = true
	}
	require.Len(t, used, 3)
}

// An auth with a share of four may have four times the load of one with a share of one.
func TestLoadsAreComparedByShares(t *testing.T) {
	load := map[string]float64{"A": 12, "B": 3, "C": 3}
	h := newHost(t, affinity.Options[string]{Load: affinity.LoadPolicy{Bound: 1.25, Spill: 1.3}})
	h.load = func(auth string) float64 { return load[auth] }
	places := func() map[string]int {
		used := map[string]int{}
		for range 12 {
			used[h.serve(affinity.Request{}).Auth]++
		}
		return used
	}
	r := h.bound("x")
	require.Equal(t, map[string]int{"B": 6, "C": 6}, places(), "State says nothing of shares")
	require.Equal(t, affinity.ReasonLoad, h.serve(r).Reason)

	h.share = map[string]float64{"A": 4}
	require.Equal(t, map[string]int{"A": 4, "B": 4, "C": 4}, places())
	require.Equal(t, "A", h.serve(r).Auth)
	load["B"] = 3.5 // of a mean of 3.1 for a share of 1
	require.Equal(t, map[string]int{"A": 4, "B": 4, "C": 4}, places())
	load["B"] = 5
	require.Equal(t, map[string]int{"A": 6, "C": 6}, places())
	load["A"], load["B"] = 36, 3 // 9 for a share of 1, of a mean of 7
	require.Equal(t, map[string]int{"B": 6, "C": 6}, places())
	require.Equal(t, "A", h.serve(r).Auth, "above the bound for new ones")
	load["A"] = 60 // 15 of a mean of 11
	require.Equal(t, affinity.ReasonLoad, h.serve(r).Reason)
}

// A load of a share that is too large for a number, or a share too small for one, leaves a choice.
func TestLoadsAndSharesAtTheEndsOfNumbers(t *testing.T) {
	for _, share := range []float64{math.SmallestNonzeroFloat64, -1, math.NaN(), math.Inf(1), math.MaxFloat64} {
		for _, load := range []float64{0, math.SmallestNonzeroFloat64, 1, math.MaxFloat64, math.Inf(1), math.NaN()} {
			h := newHost(t, affinity.Options[string]{Load: affinity.LoadPolicy{Bound: 1, Spill: 1}})
			h.share = map[string]float64{"A": share, "B": share, "C": share}
			h.load = func(string) float64 { return load }
			for range 6 {
				h.serve(affinity.Request{})
			}
			require.Equal(t, "A", h.serve(h.bound("x")).Auth)
			for _, from := range h.asked {
				require.NotEmpty(t, from)
			}
		}
	}
}

func TestBoundSessionsComeFirstWhenRoomIsShort(t *testing.T) {
	load := map[string]float64{"A": 6, "B": 4, "C": 4}
	h := newHost(t, affinity.Options[string]{Load: affinity.LoadPolicy{Bound: 1.2, Spill: 1.5, Least: 5}})
	h.load = func(auth string) float64 { return load[auth] }
	r := h.bound("x")
	require.Equal(t, "A", h.serve(r).Auth, "the session stays: the load is above the bound for new sessions, 5.6, but not above Spill")
	require.NotEqual(t, "A", h.serve(session("new")).Auth)
	load["A"] = 9 // of a mean of 5.7
	first := h.serve(r)
	require.Equal(t, affinity.OutcomeSpill, first.Outcome)
	require.Equal(t, affinity.ReasonLoad, first.Reason)
	h.serve(session("turn"))
	require.Equal(t, first.Auth, h.serve(r).Auth, "the session spills to the same auth each time")
	load["B"], load["C"], load["A"] = 1, 1, 4 // twice the mean, but next to nothing
	require.Equal(t, "A", h.serve(r).Auth)
	load["A"] = 9
	h.fitness["B"], h.fitness["C"] = affinity.Full, affinity.Away
	require.Equal(t, "A", h.serve(r).Auth, "no other auth can serve, and load is no reason to refuse")

	// The host's own word for room that is short.
	clear(h.fitness)
	load["A"] = 1
	h.fitness["A"] = affinity.Busy
	require.Equal(t, "A", h.serve(r).Auth)
	for i := range 6 {
		require.NotEqual(t, "A", h.serve(session(fmt.Sprint("busy", i))).Auth)
	}
	h.fitness["B"], h.fitness["C"] = affinity.Full, affinity.Full
	require.Equal(t, "A", h.serve(session("last")).Auth)
}

func TestColdSessionsBalanceTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load := map[string]float64{}
		h := newHost(t, affinity.Options[string]{ColdAnew: true})
		h.load = func(auth string) float64 { return load[auth] }
		r := h.bound("x")
		load["A"], load["B"], load["C"] = 3, 3, 3
		for range 5 {
			time.Sleep(6 * time.Minute)
			require.Equal(t, "A", h.serve(r).Auth, "the load of A is not above the mean, so the cold session stays")
		}
		load["A"] = 4
		require.Equal(t, "A", h.serve(r).Auth, "warm")
		time.Sleep(6 * time.Minute)
		d := h.serve(r)
		require.Equal(t, affinity.ReasonCold, d.Reason)
		require.NotEqual(t, "A", d.Auth)
	})
}

func TestInFlightCounts(t *testing.T) {
	var f affinity.InFlight
	require.Zero(t, f.Load("A"))
	one, two := f.Begin("A"), f.Begin("A")
	require.EqualValues(t, 2, f.Load("A"))
	one()
	one()
	require.EqualValues(t, 1, f.Load("A"))
	two()
	require.Zero(t, f.Load("A"))
}

// A burst of requests of a session that is cold, or that goes back to a higher tier, ends on
// one auth, whatever the balancer and the load say for each request.
func TestABurstThatIsPlacedAnewEndsOnOneAuth(t *testing.T) {
	for round := range 50 {
		synctest.Test(t, func(t *testing.T) {
			var turn atomic.Int64
			o := affinity.Options[string]{ColdAnew: true, Load: affinity.LoadPolicy{Bound: 1000}}
			if round%2 == 0 {
				o = affinity.Options[string]{Failback: affinity.FailbackAtOnce}
			}
			h := newHost(t, o)
			if round%2 == 0 {
				h.tier = func(auth string) int { return len(auth) }
			} else {
				h.load = func(string) float64 { return float64(turn.Add(1) % 5) }
			}
			r := session("x")
			require.Equal(t, "A", served(t, h.Selector, r, []string{"A"}))
			time.Sleep(6 * time.Minute)
			candidates := []string{"A", "B1", "C1", "D1", "E"}
			const burst = 64
			asked := make(chan struct{})
			got := make(chan string, burst)
			for range burst {
				go func() {
					p, err := h.Affinity.Pick(context.Background(), r, candidates, func(_ context.Context, c []string) (string, error) {
						<-asked
						return c[int(turn.Add(1))%len(c)], nil
					})
					if err != nil {
						t.Error(err)
					}
					got <- p.Auth
				}()
			}
			synctest.Wait()
			close(asked)
			first := <-got
			for range burst - 1 {
				require.Equal(t, first, <-got)
			}
			if round%2 == 0 {
				require.Len(t, first, 2, "the higher tier")
			}
		})
	}
}
