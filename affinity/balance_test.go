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
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// balancing is a host whose load the Affinity levels.
type balancing struct {
	*affinity.Selector[string]
	t     *testing.T
	loads *selector.Loads
	auths []string
}

func newBalancing(t *testing.T, b affinity.Balance, auths int) *balancing {
	h := &balancing{t: t, loads: new(selector.Loads)}
	for i := range auths {
		h.auths = append(h.auths, fmt.Sprint("auth-", i))
	}
	var err error
	h.Selector, err = affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{Balance: b, Loads: h.loads})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// request returns a request of a session with a prompt of so many tokens.
func (h *balancing) request(name string, tokens int) affinity.Request {
	r := session(name)
	r.Tokens = tokens
	return r
}

func (h *balancing) send(r affinity.Request) affinity.Decision {
	h.t.Helper()
	p := pick(h.t, h.Selector, r, h.auths)
	p.Report(affinity.Served)
	return p.Decision
}

// says returns a request without an id whose first message has so many KiB of text.
func says(text string, kib int) affinity.Request {
	body := strings.Repeat(text+" ", kib<<10/len(text))
	return affinity.Request{Body: []byte(`{"model":"m","messages":[{"role":"user","content":"` + body + `"}]}`)}
}

func TestNewSessionsGoToTheAuthThatWasSentTheLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 4)
		sent := map[string]float64{}
		for i := range 400 {
			least := h.auths[0]
			for _, a := range h.auths {
				if sent[a] < sent[least] {
					least = a
				}
			}
			tokens := 1000 + i*7919%5000
			d := h.send(h.request(fmt.Sprint("s", i), tokens))
			require.Equal(t, affinity.OutcomeNew, d.Outcome)
			require.InDelta(t, sent[least], sent[d.Auth], 1e-6, "a new session goes to the auth that was sent the fewest tokens")
			sent[d.Auth] += float64(tokens)
		}
		for _, a := range h.auths {
			require.InDelta(t, sent[a], h.loads.Of(a).Recent, 1e-3)
			require.InDelta(t, sent[a], h.loads.Of(a).Near, 1e-3)
			require.Zero(t, h.loads.Of(a).InFlight)
		}
	})
}

// Explain returns the auth that a new session would get.
func TestExplainKnowsWhereTheLeastWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 5)
		for i := range 100 {
			r := h.request(fmt.Sprint("s", i), 1000+i*7919%5000)
			var would []string
			for _, c := range h.Explain(t.Context(), r, h.auths).Candidates {
				if c.Place {
					would = append(would, c.Name)
				}
			}
			require.Equal(t, []string{h.send(r).Auth}, would)
		}
	})
}

func TestAnAuthGetsItsShareOfTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := map[string]float64{"A": 1, "B": 3}
		s, err := affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{
			Balance: affinity.BalanceNew,
			State:   func(auth string, _ affinity.Request) affinity.State { return affinity.State{Share: share[auth]} },
		})
		require.NoError(t, err)
		defer s.Close()
		got := map[string]int{}
		for i := range 400 {
			r := session(fmt.Sprint("s", i))
			r.Tokens = 100
			p := pick(t, s, r, []string{"A", "B"})
			p.Report(affinity.Served)
			got[p.Auth]++
		}
		require.Equal(t, map[string]int{"A": 100, "B": 300}, got)
	})
}

// The host's State counts more than the tokens that an auth was sent.
func TestBalanceChoosesAmongThoseThatMayServe(t *testing.T) {
	h := newHost(t, affinity.Options[string]{Balance: affinity.BalanceMoving})
	h.fitness["A"] = affinity.Away
	h.tier = func(auth string) int { return map[string]int{"B": 1, "C": 0}[auth] }
	for i := range 20 {
		require.Equal(t, "B", h.serve(session(fmt.Sprint("s", i))).Auth, "of the highest tier")
	}
	for _, asked := range h.asked {
		require.Equal(t, []string{"B"}, asked, "the balancer is given only B")
	}
	h.fitness["B"] = affinity.Unfit
	require.Equal(t, "C", h.serve(session("s1")).Auth)
}

func TestAPromptThatBeginsAlikeGoesWhereTheFirstOneWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 4)
		for i := range 40 { // so that no auth has much more than the others
			h.send(h.request(fmt.Sprint("filler", i), 100_000))
		}
		first := h.send(says("a document", 30))
		require.Equal(t, affinity.ReasonNone, first.Reason)
		for i := range 3 {
			r := says("a document", 30)
			r.Body = []byte(strings.Replace(string(r.Body), `"}]}`, fmt.Sprintf(`and question %d"}]}`, i), 1))
			d := h.send(r)
			require.Equal(t, first.Auth, d.Auth)
			require.Equal(t, affinity.OutcomeNew, d.Outcome)
			require.Equal(t, affinity.ReasonPrefix, d.Reason)
		}
		other := says("a document", 30)
		other.Tenant = "somebody else"
		require.Equal(t, affinity.ReasonNone, h.send(other).Reason, "tenants do not learn of each other")
		time.Sleep(6 * time.Minute)
		again := says("a document", 30)
		again.Header = session("another").Header
		require.Equal(t, affinity.ReasonNone, h.send(again).Reason, "no prompt cache is warm any more")
	})
}

func TestAPromptThatBeginsAlikeDoesNotFollowWhereThatIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 4)
		for i := range 40 {
			h.send(h.request(fmt.Sprint("filler", i), 100_000))
		}
		p := pick(t, h.Selector, says("a document", 30), h.auths)
		p.Report(affinity.Terminal)
		again := says("a document", 30)
		again.Header = session("another").Header
		require.Equal(t, affinity.ReasonNone, h.send(again).Reason)
	})
}

// A prefix that all prompts of an application share attracts no session to an auth.
func TestAnOpeningOfAllPromptsDrawsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 8)
		got := map[string]int{}
		for i := range 800 {
			r := h.request(fmt.Sprint("s", i), 10_000)
			r.Body = says("instructions of the application", 12).Body
			got[h.send(r).Auth]++
		}
		for _, n := range got {
			require.InDelta(t, 100, n, 10)
		}
	})
}

func TestAColdSessionIsPlacedByWhatTheAuthsWereSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 2)
		home := h.send(h.request("x", 1000)).Auth
		for i := range 10 {
			h.send(h.request(fmt.Sprint("filler", i), 1000))
		}
		for range 20 { // its auth has the most to do
			d := h.send(h.request("x", 20_000))
			require.Equal(t, home, d.Auth, "a warm session stays")
		}
		time.Sleep(6 * time.Minute)
		d := h.send(h.request("x", 20_000))
		require.NotEqual(t, home, d.Auth)
		require.Equal(t, affinity.OutcomeMoved, d.Outcome)
		require.Equal(t, affinity.ReasonCold, d.Reason)
	})
}

// uneven sends most of the load to one auth: some long sessions and one short session.
func (h *balancing) uneven() (loaded string, long, short affinity.Request) {
	place := func(r affinity.Request) {
		force := r
		all := h.auths
		h.auths = all[:1]
		h.send(force)
		h.auths = all
	}
	long, short = h.request("long", 400_000), h.request("short", 2_000)
	for i := range 6 {
		place(h.request(fmt.Sprint("long", i), 80_000))
	}
	place(h.request("long", 2_000))
	place(short)
	for i := range 12 {
		h.send(h.request(fmt.Sprint("filler", i), 20_000))
	}
	for range 10 {
		for i := range 6 {
			r := h.request(fmt.Sprint("long", i), 80_000)
			r.Side = true // it counts as load and moves nothing
			h.send(r)
		}
	}
	return h.auths[0], long, short
}

func TestAShortSessionLeavesALoadedAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceMoving, 4)
		loaded, long, short := h.uneven()
		require.Equal(t, loaded, h.send(long).Auth, "a session with a long prompt is not moved")

		side := short
		side.Side = true
		require.Equal(t, loaded, h.send(side).Auth, "a request beside the conversation moves nothing")

		x := h.Explain(t.Context(), short, h.auths)
		d := h.send(short)
		require.NotEqual(t, loaded, d.Auth)
		require.Equal(t, affinity.OutcomeMoved, d.Outcome)
		require.Equal(t, affinity.ReasonLoad, d.Reason)
		require.Equal(t, loaded, d.Before)
		require.Equal(t, d.Auth, x.Decision.Auth, "as Explain has foreseen")
		require.Equal(t, d.Reason, x.Decision.Reason)
		next := h.send(short)
		require.Equal(t, affinity.OutcomeHit, next.Outcome)
		require.Equal(t, d.Auth, next.Auth)
	})
}

func TestWithBalanceNewNobodyIsMovedForLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 4)
		loaded, _, short := h.uneven()
		for range 100 {
			require.Equal(t, loaded, h.send(short).Auth)
		}
	})
}

// A session that is nearly all of its auth's load is not moved: the load would move with it.
func TestALoneSessionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceMoving, 8)
		home := h.send(h.request("x", 1000)).Auth
		for i := range 2000 {
			time.Sleep(2 * time.Second)
			require.Equal(t, home, h.send(h.request("x", 1000+10*i)).Auth)
		}
	})
}

// Whatever the sessions do, moves cost at most two per cent of the tokens.
func TestWhatMovesCostIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceMoving, 8)
		var sent, paid float64
		moves := 0
		for i := range 20_000 {
			time.Sleep(100 * time.Millisecond)
			name := (i * i) % 37 // few sessions, of very different loads
			tokens := 500 + i*7919%3000
			d := h.send(h.request(fmt.Sprint("s", name), tokens))
			sent += float64(tokens)
			if d.Outcome == affinity.OutcomeMoved && d.Reason == affinity.ReasonLoad {
				paid += float64(tokens)
				moves++
			}
		}
		require.NotZero(t, moves)
		require.LessOrEqual(t, paid, 0.02*sent)
	})
}

func TestLoadsFollowPicksAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceOff, 1)
		a := h.auths[0]
		at := func(inFlight, tokens float64) {
			t.Helper()
			l := h.loads.Of(a)
			require.InDelta(t, inFlight, l.InFlight, 1e-9)
			require.InDelta(t, tokens, l.Recent, 1e-6)
		}
		p := pick(t, h.Selector, h.request("x", 1000), h.auths)
		at(1, 1000)
		p.Begun()
		at(1, 1000)
		p.Report(affinity.Served)
		at(0, 1000)
		p.Report(affinity.Transient) // the stream has broken: the prompt was read
		at(0, 1000)
		p = pick(t, h.Selector, h.request("x", 1000), h.auths)
		p.Report(affinity.Transient)
		at(0, 2000) // one that fails counts as a usual one
		r := says("words", 8)
		p = pick(t, h.Selector, r, h.auths)
		at(1, 2000+float64(len(r.Body))/4) // four bytes a token, as long as nobody knows better
		p.Done(affinity.Report{Result: affinity.Served, Usage: affinity.Usage{Prompt: 4000}})
		at(0, 6000)
		_, err := h.Selector.Pick(t.Context(), h.request("x", 7), nil)
		require.Error(t, err)
		at(0, 6000)
		pick(t, h.Selector, h.request("x", 1000), h.auths)
		at(1, 7000)
		time.Sleep(selector.RecentHalf)
		at(0.5, 3500) // one that is never reported counts less and less
	})
}

func TestBalanceThatIsNone(t *testing.T) {
	_, err := affinity.New(same, &affinity.Options[string]{Balance: 7})
	require.ErrorContains(t, err, "Options.Balance is 7")
}

// A client that makes up models and prompts cannot fill the memory with them.
func TestBalanceIsBounded(t *testing.T) {
	h := newBalancing(t, affinity.BalanceMoving, 3)
	for i := range 2000 {
		r := says(fmt.Sprint("text number ", i), 3)
		r.Model = fmt.Sprint("model-", i)
		h.send(r)
	}
	traffics, prefixes := affinity.Remembered(h.Selector.Affinity)
	require.LessOrEqual(t, traffics, 256)
	require.LessOrEqual(t, prefixes, 10_000)
	require.Greater(t, prefixes, 5000)
}

func TestBalanceInManyGoroutines(t *testing.T) {
	h := newBalancing(t, affinity.BalanceMoving, 4)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				r := h.request(fmt.Sprint("s", (g*i)%17), 100+i)
				if i%3 == 0 {
					r = says(fmt.Sprint("text ", i%5), 2)
				}
				p, err := h.Selector.Pick(t.Context(), r, h.auths)
				if err != nil {
					t.Error(err)
					return
				}
				p.Report(affinity.Served)
			}
		})
	}
	wg.Wait()
	for _, a := range h.auths {
		require.Less(t, h.loads.Of(a).InFlight, 1e-6)
	}
}

// An auth that fails must not count as the one with the least load, or it gets all new
// sessions.
func TestAnAuthThatFailsDrawsNobody(t *testing.T) {
	for _, how := range []affinity.Result{affinity.Transient, affinity.Terminal, affinity.Unlisted, affinity.Rejected} {
		synctest.Test(t, func(t *testing.T) {
			h := newBalancing(t, affinity.BalanceMoving, 8)
			asked := 0
			for i := range 400 {
				time.Sleep(time.Second)
				r := h.request(fmt.Sprint("s", i), 20_000)
				p := pick(t, h.Selector, r, h.auths)
				if p.Auth == h.auths[0] {
					asked++
					p.Report(how)
					r.Tried = []string{p.Auth}
					p = pick(t, h.Selector, r, h.auths)
				}
				p.Report(affinity.Served)
			}
			require.Less(t, asked, 80, "an auth that fails gets about its share, an eighth of 400 picks: 50")
		})
	}
}

// One request changes an auth's load only a little. Neither a large body that is refused nor a
// usage that is larger than the body takes the auth out of use.
func TestOneRequestDoesNotKeepAnAuthFromWork(t *testing.T) {
	long := affinity.Request{Body: []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("x", 20<<20) + `"}]}`)}
	for name, disturb := range map[string]func(t *testing.T, h *balancing){
		"refused": func(t *testing.T, h *balancing) { pick(t, h.Selector, long, h.auths).Report(affinity.Rejected) },
		"cancelled": func(t *testing.T, h *balancing) {
			pick(t, h.Selector, long, h.auths).Report(affinity.Cancelled)
		},
		"a part is at the provider": func(t *testing.T, h *balancing) {
			for i := range 20 {
				r := session(fmt.Sprint("other", i))
				r.Tenant, r.Body = "other", []byte(`{"input":"go on"}`)
				pick(t, h.Selector, r, h.auths).Done(affinity.Report{Result: affinity.Served, Usage: affinity.Usage{Prompt: 200_000}})
			}
			r := session("usual")
			r.Body = make([]byte, 28_000)
			before := h.loads.Of(look(t, h.Selector, session("filler0"))).Recent
			p := pick(t, h.Selector, r, h.auths)
			p.Report(affinity.Served)
			require.Less(t, h.loads.Of(p.Auth).Recent, before+2_000_000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newBalancing(t, affinity.BalanceNew, 4)
				for i := range 400 {
					time.Sleep(3 * time.Second)
					h.send(h.request(fmt.Sprint("filler", i), 7000))
				}
				disturb(t, h)
				got := map[string]int{}
				for i := range 400 {
					time.Sleep(3 * time.Second)
					got[h.send(h.request(fmt.Sprint("s", i), 7000)).Auth]++
				}
				require.Len(t, got, 4, "%v", got)
			})
		})
	}
}

// No session leaves an auth because another auth, which may take no new sessions, has less
// load.
func TestAnAuthThatIsFullOfOtherWorkMovesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{
			Balance: affinity.BalanceMoving,
			State: func(auth string, _ affinity.Request) affinity.State {
				return affinity.State{Load: map[string]float64{"B": 20}[auth]}
			},
		})
		require.NoError(t, err)
		defer s.Close()
		moves := 0
		for i := range 6000 {
			time.Sleep(time.Second)
			r := session(fmt.Sprint("s", i%12))
			r.Tokens = 5000
			p := pick(t, s, r, abc)
			p.Report(affinity.Served)
			require.NotEqual(t, "B", p.Auth)
			if p.Decision.Outcome == affinity.OutcomeMoved {
				moves++
			}
		}
		require.LessOrEqual(t, moves, 12)
	})
}

// An auth with a tiny share gets hardly any load, and the others are level.
func TestASmallShareIsSmall(t *testing.T) {
	for _, small := range []float64{0.5, 0.05, 0.01, 1e-300} {
		synctest.Test(t, func(t *testing.T) {
			s, err := affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{
				Balance: affinity.BalanceMoving,
				State: func(auth string, _ affinity.Request) affinity.State {
					return affinity.State{Share: map[string]float64{"A": 1, "B": 1, "C": small}[auth]}
				},
			})
			require.NoError(t, err)
			defer s.Close()
			got := map[string]float64{}
			for i := range 1000 {
				time.Sleep(time.Second)
				r := session(fmt.Sprint("s", i))
				r.Tokens = 5000
				p := pick(t, s, r, abc)
				p.Report(affinity.Served)
				got[p.Auth]++
			}
			share := 1000 * small / (2 + small)
			require.LessOrEqual(t, got["C"], share+5)
			require.GreaterOrEqual(t, got["C"], share/2-2, "an auth with a small share gets less than it, because one prompt is much for it for some seconds")
			require.InDelta(t, got["A"], got["B"], 10)
		})
	}
}

func TestARenamedAuthKeepsItsLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 8)
		for i := range 400 {
			h.send(h.request(fmt.Sprint("s", i), 7000))
		}
		p := pick(t, h.Selector, h.request("under way", 7000), h.auths)
		_, err := h.RenameAuth(t.Context(), p.Auth, "another")
		require.NoError(t, err)
		for i, a := range h.auths {
			if a == p.Auth {
				h.auths[i] = "another"
			}
		}
		require.InDelta(t, 1, h.loads.Of("another").InFlight, 1e-9)
		p.Report(affinity.Served)
		require.InDelta(t, 0, h.loads.Of("another").InFlight, 1e-9)
		got := 0
		for i := range 80 {
			if h.send(h.request(fmt.Sprint("new", i), 7000)).Auth == "another" {
				got++
			}
		}
		require.InDelta(t, 10, got, 2)
	})
}

// An account is renamed. Meanwhile the list has both names, and no name is taken for that of a
// new account. Later a new account gets the old name, and most new sessions.
func TestAnAuthWithTheOldNameOfAnotherIsNew(t *testing.T) {
	for _, forget := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := newBalancing(t, affinity.BalanceNew, 4)
			n := 0
			send := func(times int) (got map[string]int) {
				got = map[string]int{}
				for range times {
					n++
					got[h.send(h.request(fmt.Sprint("s", n), 7000)).Auth]++
				}
				return got
			}
			send(400)
			old := h.auths[0]
			late := pick(t, h.Selector, h.request("late", 7000), h.auths[:1])
			h.auths = append(h.auths, "renamed")
			_, err := h.RenameAuth(t.Context(), old, "renamed")
			require.NoError(t, err)
			got := send(40)
			require.InDelta(t, 10, got[old]+got["renamed"], 3, "they are one account: %v", got)
			h.auths = h.auths[1:]
			if forget {
				_, err = h.InvalidateAuth(t.Context(), old)
				require.NoError(t, err)
			} else {
				time.Sleep(5 * time.Minute)
			}
			h.auths = append(h.auths, old)
			require.Greater(t, send(60)[old], 30, "a quarter is 15")
			before := h.loads.Of(old)
			late.Report(affinity.Served)
			require.Equal(t, before, h.loads.Of(old), "a late report is for the renamed account")
			require.InDelta(t, 0, h.loads.Of("renamed").InFlight, 1e-3)
		})
	}
}

func TestAccountsThatBecomeOneAddUpTheirLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 3)
		var open []affinity.Pick[string]
		for i, auth := range []string{"auth-0", "auth-1", "auth-1"} {
			open = append(open, pick(t, h.Selector, h.request(fmt.Sprint("s", i), 1000), []string{auth}))
		}
		_, err := h.RenameAuth(t.Context(), "auth-0", "auth-1")
		require.NoError(t, err)
		got := h.loads.Of("auth-1")
		require.InDelta(t, 3, got.InFlight, 1e-6)
		require.InDelta(t, 3000, got.Recent, 1e-6)
		for _, p := range open {
			p.Report(affinity.Served)
		}
		require.Zero(t, h.loads.Of("auth-1").InFlight)
	})
}

// mover is a host whose next request may move a session: other sessions have given its auth
// most of the load.
func mover(t *testing.T, prompts int) (h *balancing, home string, r affinity.Request) {
	h = newBalancing(t, affinity.BalanceMoving, 4)
	all := h.auths
	h.auths = all[:1]
	r = h.request("moved", 1000)
	h.send(r)
	for i := range prompts {
		h.send(h.request(fmt.Sprint("s", i), 1000))
	}
	h.auths = all
	return h, all[0], r
}

func moved(d affinity.Decision) bool { return d.Reason == affinity.ReasonLoad }

func TestAMoveIsRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, r := mover(t, 200)
		require.True(t, moved(h.send(r)))
		since := 0
		for i := range 200 {
			if moved(h.send(h.request(fmt.Sprint("s", i), 1000))) {
				require.GreaterOrEqual(t, since, 24)
				since = 0
			} else {
				since++
			}
		}
	})
}

// A session is moved only if the budget for moves is enough for its prompt.
func TestAMoveIsPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, home, _ := mover(t, 200) // 201,000 tokens: 4,020 may be spent
		large := h.request("s7", 4500)
		d := h.send(large)
		require.Equal(t, home, d.Auth)
		d = h.send(h.request("s8", 3900))
		require.True(t, moved(d))
		for i := range 30 {
			r := h.request(fmt.Sprint("s", 20+i), 1000)
			r.Side = true
			h.send(r)
		}
		require.False(t, moved(h.send(h.request("s9", 1500))), "the rest of the budget is too small for this session")
	})
}

func TestALongPromptStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, home, _ := mover(t, 200)
		for i := range 400 { // until the auth has little more than the others
			h.send(h.request(fmt.Sprint("new", i), 1000))
		}
		require.Greater(t, h.loads.Of(home).Recent, 1.04*h.loads.Of(h.auths[1]).Recent)
		require.False(t, moved(h.send(h.request("s7", 4000))))
		require.True(t, moved(h.send(h.request("s8", 300))))
	})
}

func TestNobodyLeavesAnAuthThatHasItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceMoving, 4)
		for i := range 4000 {
			require.False(t, moved(h.send(h.request(fmt.Sprint("s", i%400), 1000+i%3))))
		}
	})
}

func TestASmallGapMovesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, r := mover(t, 30)
		for i := range 40 { // the others have ten thousand each, and the gap is less than twenty prompts
			h.send(h.request(fmt.Sprint("new", i), 900))
		}
		r.Tokens = 1100
		require.False(t, moved(h.send(r)))
	})
}

func TestTheTokensOfABodyAreLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 1)
		r := says("words", 40)
		p := pick(t, h.Selector, r, h.auths)
		p.Done(affinity.Report{Result: affinity.Served, Usage: affinity.Usage{Prompt: len(r.Body) / 2}})
		before := h.loads.Of(h.auths[0]).Recent
		pick(t, h.Selector, says("wordy", 40), h.auths).Report(affinity.Served)
		require.InDelta(t, len(r.Body)/2, h.loads.Of(h.auths[0]).Recent-before, 100)
	})
}

// Sessions that begin in the same seconds are spread, whatever was sent before.
func TestTheLastSecondsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 2)
		h.auths = []string{"new", "old"}
		h.loads.Begin("old", 300_000, 0)
		h.loads.Begin("new", 280_000, 0)
		time.Sleep(2 * time.Minute)
		got := map[string]int{}
		for i := range 10 {
			got[h.send(h.request(fmt.Sprint("s", i), 1000)).Auth]++
		}
		require.Greater(t, got["old"], 2)
		require.Greater(t, got["new"], 5)
	})
}

func TestASubagentMovesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, home, r := mover(t, 200)
		r.Header = http.Header{"X-Claude-Code-Session-Id": {"0c8b6b0e-5b39-4b63-9d5e-0d4f3c2b1a00"}}
		all := h.auths
		h.auths = all[:1]
		h.send(r)
		h.auths = all
		child := r
		child.Header = r.Header.Clone()
		child.Header.Set("X-Claude-Code-Agent-Id", "a1b2c3d4e5f6")
		id := sessionid.Extract(child.Header, nil)
		require.NotZero(t, id.Lane())
		for range 30 {
			require.Equal(t, home, h.send(child).Auth)
		}
		require.NotEqual(t, home, h.send(r).Auth)
	})
}

func TestExplainPaysForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, r := mover(t, 200)
		for range 3 {
			require.Equal(t, affinity.ReasonLoad, h.Explain(t.Context(), r, h.auths).Decision.Reason)
		}
		require.True(t, moved(h.send(r)))
	})
}

func TestAPromptThatBeginsAlikeDoesNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 4)
		for i := range 40 {
			h.send(h.request(fmt.Sprint("filler", i), 1000))
		}
		got := map[string]int{}
		for i := range 40 {
			r := h.request(fmt.Sprint("s", i), 10_000)
			r.Body = says("a document", 30).Body
			got[h.send(r).Auth]++
		}
		for _, n := range got {
			require.Less(t, n, 20)
		}
	})
}

func TestAColdSessionStaysWhereThereIsLittleToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBalancing(t, affinity.BalanceNew, 4)
		h.auths = []string{"A", "B", "C", "D"}
		for a, tokens := range map[string]float64{"A": 70_000, "B": 60_000, "C": 130_000, "D": 130_000} {
			h.loads.Begin(a, tokens, 0)
			h.loads.End(a)
		}
		only := h.auths
		h.auths = []string{"A"}
		h.send(h.request("x", 10))
		h.auths = only
		time.Sleep(6 * time.Minute)
		require.Equal(t, affinity.OutcomeHit, h.send(h.request("x", 10)).Outcome, "the session stays, because the loads of A and B differ little")
	})
}

func TestManyAuthsAreAskedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCrowded(t, affinity.Options[string]{})
		h.send("first")
		h.asked = 0
		for i := range 20 {
			h.send(fmt.Sprint("s", i))
		}
		require.Greater(t, h.asked, 20*50)
	})
}

// Replicas without their store must agree, so they do not use their loads: each replica knows
// only its own.
func TestWithoutAStoreTheBalancerPlaces(t *testing.T) {
	asked := 0
	s, err := affinity.Wrap(selector.Func[string](func(_ context.Context, all []string) (string, error) {
		require.Equal(t, abc, all)
		asked++
		return all[0], nil
	}), same, &affinity.Options[string]{Store: &broken{}, Balance: affinity.BalanceMoving})
	require.NoError(t, err)
	for i := range 10 {
		require.Equal(t, "A", pick(t, s, session(fmt.Sprint("s", i)), abc).Auth)
	}
	require.Equal(t, 10, asked)
}
