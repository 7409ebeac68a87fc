package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// A tenant that floods a full store loses its own sessions and nobody else's, and
// one tenant can be given a bound of its own.
func TestAFloodTakesNoSessionOfAnotherTenant(t *testing.T) {
	s := wrap(t, &affinity.Options[string]{Memory: cache.Options{MaxSessions: 1000, MaxPerTenant: 900}})
	quiet := func(i int) affinity.Request {
		r := session(fmt.Sprint("quiet", i))
		r.Tenant = "quiet"
		return r
	}
	for i := range 200 {
		served(t, s, quiet(i), abc)
	}
	for i := range 5000 {
		served(t, s, session(fmt.Sprint("flood", i)), abc)
	}
	for i := range 200 {
		require.Equal(t, affinity.OutcomeHit, pick(t, s, quiet(i), abc).Decision.Outcome, i)
	}
	one := wrap(t, &affinity.Options[string]{Memory: cache.Options{MaxPerTenant: 1}})
	served(t, one, session("x"), abc)
	served(t, one, session("y"), abc)
	require.Empty(t, look(t, one, session("x")))
	require.NotEmpty(t, look(t, one, session("y")))
}

// A name of four bytes that is part of a large body does not keep the body in memory. Names of
// any length are distinguished.
func TestNamesKeepNoBodies(t *testing.T) {
	s := wrap(t, &affinity.Options[string]{Slow: affinity.SlowPolicy{Above: time.Second}})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 400 {
		body := strings.Repeat("x", 256<<10) + fmt.Sprintf("m%03d", i)
		r := session("same")
		r.Tenant, r.Pool, r.Model = body[len(body)-3:], body[len(body)-2:], body[len(body)-4:]
		p := pick(t, s, r, abc)
		p.FirstToken(time.Minute) // makes the auth and the model known as slow, perhaps
		p.Report(affinity.Served)
		require.NoError(t, p.Owns(t.Context(), "container", body[len(body)-4:]))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(20<<20), "400 bodies are 100 MB")

	long := strings.Repeat("m", 64<<10)
	a, b := session("x"), session("x")
	a.Model, b.Model = long+"a", long+"b"
	first := served(t, s, a, abc)
	require.Equal(t, affinity.OutcomeNew, pick(t, s, b, abc).Decision.Outcome)
	require.Equal(t, first, look(t, s, a))
}

// When all auths are away, the balancer is not called, neither for bound nor for new sessions,
// and the error says until when. The first auth that comes back gets its sessions.
func TestWhenAllAreAwayNobodyIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		h.asked = nil
		now := time.Now()
		for i, a := range abc {
			h.fitness[a] = affinity.Away
			h.until = map[string]time.Time{"A": now.Add(9 * time.Minute), "B": now.Add(4 * time.Minute), "C": {}}
			_ = i
		}
		for _, q := range []affinity.Request{r, session("new"), {Off: true}, content(`{}`)} {
			_, err := h.Pick(t.Context(), q, abc)
			var none *affinity.NoAuthError
			require.ErrorAs(t, err, &none)
			require.Equal(t, affinity.ReasonAway, none.Reason)
			require.True(t, none.Until.Equal(now.Add(4*time.Minute)), "%v", none.Until)
			require.ErrorIs(t, err, selector.ErrNoCandidates)
			require.Contains(t, err.Error(), "until")
		}
		require.Empty(t, h.asked)
		require.EqualValues(t, 4, h.Stats().Outcome(affinity.OutcomeRefused))
		h.fitness["A"] = affinity.Fit
		d := h.serve(r)
		require.Equal(t, "A", d.Auth)
		require.Equal(t, affinity.OutcomeHit, d.Outcome)
	})
}

func TestTheErrorSaysWhyNobodyServes(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	reason := func(fitness affinity.Fitness, candidates []string) affinity.Reason {
		t.Helper()
		for _, a := range abc {
			h.fitness[a] = fitness
		}
		_, err := h.Pick(t.Context(), session("x"), candidates)
		var none *affinity.NoAuthError
		require.ErrorAs(t, err, &none)
		require.NotEmpty(t, none.Error())
		return none.Reason
	}
	require.Equal(t, affinity.ReasonFull, reason(affinity.Full, abc))
	require.Equal(t, affinity.ReasonUnfit, reason(affinity.Unfit, abc))
	require.Equal(t, affinity.ReasonGone, reason(affinity.Fit, nil))
	require.Empty(t, h.asked)
	plain := wrap(t, nil)
	_, err := plain.Pick(t.Context(), session("x"), nil)
	require.ErrorIs(t, err, selector.ErrNoCandidates, "without a State, too")
}

// An auth that has sent Retry-After is not used, even if there is no other. An auth that is
// only guessed to be away is.
func TestAGuessIsNoReasonToRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, nil)
		served(t, s, session("x"), []string{"A"})
		pick(t, s, session("x"), []string{"A"}).Report(affinity.Transient)
		require.Equal(t, "A", served(t, s, session("x"), []string{"A"}))
		pick(t, s, session("x"), []string{"A"}).ReportAway(affinity.Transient, time.Minute)
		_, err := s.Pick(t.Context(), session("x"), []string{"A"})
		var none *affinity.NoAuthError
		require.ErrorAs(t, err, &none)
		require.Equal(t, time.Minute, time.Until(none.Until))
		time.Sleep(time.Minute)
		require.Equal(t, "A", served(t, s, session("x"), []string{"A"}))
	})
}

// One of a burst is cancelled, one gets a 429, one a 400, in any order among the
// others: all end on one auth, and so does the next request.
func TestAFailureInABurstSplitsNothing(t *testing.T) {
	bad := []affinity.Result{affinity.Cancelled, affinity.Transient, affinity.Rejected}
	for round := range 60 {
		synctest.Test(t, func(t *testing.T) {
			s := wrap(t, nil)
			var picks []affinity.Pick[string]
			for range 64 {
				picks = append(picks, pick(t, s, session("x"), abc))
			}
			home := picks[0].Auth
			for i, p := range picks {
				require.Equal(t, home, p.Auth)
				if at := i - round; at >= 0 && at < len(bad) {
					p.Report(bad[at])
					require.Equal(t, home, pick(t, s, session("x"), abc).Auth, "the session stays while other requests of it are open")
				} else {
					p.Report(affinity.Served)
				}
			}
			d := pick(t, s, session("x"), abc).Decision
			require.Equal(t, home, d.Auth)
			require.Equal(t, affinity.OutcomeHit, d.Outcome)
		})
	}
}

func TestWhenAllOfABurstFailNothingIsBound(t *testing.T) {
	for _, result := range []affinity.Result{affinity.Transient, affinity.Cancelled} {
		s := wrap(t, nil)
		var picks []affinity.Pick[string]
		for range 8 {
			picks = append(picks, pick(t, s, session("x"), abc))
		}
		for _, p := range picks[1:] {
			p.Report(result)
			p.Report(result) // a second report of one pick counts once
			require.NotEmpty(t, look(t, s, session("x")))
		}
		picks[0].Report(result)
		require.Empty(t, look(t, s, session("x")))
		require.Equal(t, affinity.OutcomeNew, pick(t, s, session("x"), abc).Decision.Outcome)
	}
}

// A request that another auth serves holds no use of a binding that has not served.
func TestARequestElsewhereEndsItsUse(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	r := session("x")
	first := h.pick(r)
	h.fitness[first.Auth] = affinity.Full
	require.Equal(t, affinity.OutcomeSpill, h.pick(r).Decision.Outcome)
	for _, a := range abc {
		h.fitness[a] = affinity.Full
	}
	_, err := h.Pick(t.Context(), r, abc)
	require.Error(t, err)
	clear(h.fitness)
	first.Report(affinity.Cancelled)
	require.Empty(t, look(t, h.Selector, r), "the binding is removed, because no other pick of it is open")
}

// Each of many sessions with a failing auth keeps its detour.
func TestFortyThousandSessionsInTroubleKeepTheirDetours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40_000 / thorough
		s := wrap(t, nil)
		detour := make([]string, n)
		of := func(i int) affinity.Request {
			r := session(fmt.Sprint("s", i))
			r.Tenant = fmt.Sprint("t", i%7)
			return r
		}
		for i := range n {
			served(t, s, of(i), abc)
			pick(t, s, of(i), abc).ReportAway(affinity.Transient, 4*time.Minute)
		}
		for i := range n {
			detour[i] = served(t, s, of(i), abc)
		}
		time.Sleep(time.Minute)
		for i := range n {
			require.Equal(t, detour[i], pick(t, s, of(i), abc).Auth)
		}
	})
}

// What is known of a session's failures is freed with the session.
func TestTroubleEndsWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := cache.New(nil)
		require.NoError(t, err)
		defer m.Close()
		s := wrap(t, &affinity.Options[string]{Store: m})
		memos := func() (n int) {
			for _, b := range m.All() {
				if b.Memo != "" {
					n++
				}
			}
			return n
		}
		for i := range 10 {
			served(t, s, session(fmt.Sprint("s", i)), abc)
			pick(t, s, session(fmt.Sprint("s", i)), abc).Report(affinity.Transient)
		}
		require.Equal(t, 10, memos())
		time.Sleep(longerThanAway)
		for i := range 5 {
			served(t, s, session(fmt.Sprint("s", i)), abc)
		}
		require.Equal(t, 5, memos(), "sessions that were served again have no memo, and the other five have one")
		time.Sleep(2 * time.Hour)
		require.Zero(t, memos())
		require.Zero(t, m.Len()-m.Sweep())
	})
}

const longerThanAway = 10 * time.Second

// Two thousand turns of one session, each of which notes its response, evict no binding.
func TestOwnersTakeNoRoomFromSessions(t *testing.T) {
	s := wrap(t, &affinity.Options[string]{Memory: cache.Options{MaxSessions: 300}})
	for i := range 100 {
		served(t, s, session(fmt.Sprint("s", i)), abc)
	}
	for i := range 2000 {
		p := pick(t, s, session("long"), abc)
		require.NoError(t, p.Owns(t.Context(), "previous_response_id", fmt.Sprint("resp_", i)))
		p.Report(affinity.Served)
	}
	for i := range 100 {
		require.NotEmpty(t, look(t, s, session(fmt.Sprint("s", i))))
	}
	// A model with a name that looks like a note's meets no note.
	for _, model := range []string{"\x00owner", "\x00model", ""} {
		r := follows("resp_1999")
		r.Model = model
		require.Equal(t, affinity.OutcomeOwner, pick(t, s, r, abc).Decision.Outcome)
		q := session("s")
		q.Model = model
		require.Equal(t, affinity.OutcomeNew, pick(t, s, q, abc).Decision.Outcome)
	}
}

// A session that has lost its auth stays the same session: it moves, its Decision says why and
// from which auth, and it keeps its name.
func TestASessionThatLosesItsAuthMovesUnderItsName(t *testing.T) {
	for what, lose := range map[affinity.Reason]func(*host, affinity.Request){
		affinity.ReasonRefused: func(h *host, r affinity.Request) {
			p := h.pick(r)
			p.Report(affinity.Terminal)
		},
		affinity.ReasonInvalidated: func(h *host, _ affinity.Request) {
			n, err := h.InvalidateAuth(h.t.Context(), "A")
			require.NoError(h.t, err)
			require.Equal(h.t, 1, n)
		},
	} {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		name := h.serve(r).SessionName(false)
		lose(h, r)
		require.Empty(t, look(t, h.Selector, r))
		d := h.serve(r)
		require.Equal(t, affinity.OutcomeMoved, d.Outcome)
		require.Equal(t, what, d.Reason)
		require.Equal(t, "A", d.Before)
		require.Equal(t, name, d.SessionName(false))
		require.EqualValues(t, 1, h.Stats().Outcome(affinity.OutcomeMoved))
		require.Equal(t, affinity.OutcomeHit, h.serve(r).Outcome)
	}
}

// If an auth fails, the session's next request does not go there, whatever the outcome was with
// which the auth served.
func TestEveryWayOfBeingServedThatFailsIsLeftAlone(t *testing.T) {
	ways := map[string]func(h *host, r affinity.Request) affinity.Pick[string]{
		"bound": func(h *host, r affinity.Request) affinity.Pick[string] { return h.pick(r) },
		"a detour": func(h *host, r affinity.Request) affinity.Pick[string] {
			h.fitness["A"] = affinity.Away
			return h.pick(r)
		},
		"a spill": func(h *host, r affinity.Request) affinity.Pick[string] {
			h.fitness["A"] = affinity.Full
			return h.pick(r)
		},
		"forced": func(h *host, r affinity.Request) affinity.Pick[string] {
			r.Force = "B"
			p := h.pick(r)
			h.fitness["A"] = affinity.Full
			return p
		},
		"forced to its own": func(h *host, r affinity.Request) affinity.Pick[string] {
			r.Force = "A"
			return h.pick(r)
		},
		"an owner": func(h *host, r affinity.Request) affinity.Pick[string] {
			h.fitness["A"], h.fitness["C"] = affinity.Unfit, affinity.Unfit
			p := h.pick(content(`{"input":"begin"}`))
			require.NoError(h.t, p.Owns(h.t.Context(), "previous_response_id", "resp_1"))
			clear(h.fitness)
			q := content(`{"previous_response_id":"resp_1","session_id":"x"}`)
			p = h.pick(q)
			require.Equal(h.t, affinity.OutcomeOwner, p.Decision.Outcome)
			h.fitness["A"] = affinity.Full
			return p
		},
	}
	for name, serve := range ways {
		for _, result := range []affinity.Result{affinity.Transient, affinity.Terminal} {
			t.Run(fmt.Sprint(name, " ", result), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHost(t, affinity.Options[string]{})
					r := content(`{"session_id":"x"}`)
					h.fitness["B"], h.fitness["C"] = affinity.Unfit, affinity.Unfit
					require.Equal(t, "A", h.serve(r).Auth)
					clear(h.fitness)
					p := serve(h, r)
					p.ReportAway(result, time.Minute)
					for range 6 {
						next := h.pick(r)
						require.NotEqual(t, p.Auth, next.Auth)
						next.Report(affinity.Served)
					}
					if name == "an owner" {
						q := content(`{"previous_response_id":"resp_1","session_id":"x"}`)
						require.NotEqual(t, p.Auth, h.pick(q).Auth)
					}
				})
			})
		}
	}
}

// The times of a detour that has served the session count like those of its own auth.
func TestADetourCanBecomeSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		h.fitness["A"] = affinity.Away
		first := h.answers(r, slow) // cold there
		for range 2 {
			require.Equal(t, first.Auth, h.answers(r, slow).Auth)
		}
		require.Equal(t, first.Auth, h.answers(r, slow).Auth, "the session stays until the third slow time with a warm prompt cache")
		require.NotEqual(t, first.Auth, h.answers(r, fast).Auth)
	})
}

// The balancer gets the session's key also when the store is away, because replicas agree by
// it.
func TestWithoutAStoreRendezvousStillAgrees(t *testing.T) {
	store := &broken{}
	one, err := affinity.Wrap(selector.Rendezvous(same, nil), same, &affinity.Options[string]{Store: store})
	require.NoError(t, err)
	two, err := affinity.Wrap(selector.Rendezvous(same, nil), same, &affinity.Options[string]{Store: store})
	require.NoError(t, err)
	well := wrap(t, nil)
	require.NoError(t, well.Reconfigure(selector.Rendezvous(same, nil), nil))
	used := map[string]bool{}
	for i := range 50 {
		r := session(fmt.Sprint("s", i))
		p := pick(t, one, r, abc)
		require.Equal(t, p.Auth, pick(t, two, r, abc).Auth)
		require.Equal(t, p.Auth, pick(t, well, r, abc).Auth, "a process that reaches its store chooses the same auth")
		require.Equal(t, affinity.OutcomeNone, p.Decision.Outcome)
		used[p.Auth] = true
	}
	require.Len(t, used, 3)
	forced := session("s0")
	forced.Force = "B"
	require.Equal(t, "B", pick(t, one, forced, abc).Auth, "a request that names its auth is served without the store")
	require.NoError(t, well.Close())
	require.Equal(t, pick(t, one, session("s0"), abc).Auth, pick(t, well, session("s0"), abc).Auth, "after Close the processes agree, too")
}

// broken is a store whose operations fail. With hanging they do not return.
type broken struct {
	cache.Store
	hanging bool
	asked   []context.Context
}

func (s *broken) wait(ctx context.Context) error {
	s.asked = append(s.asked, ctx)
	if s.hanging {
		<-ctx.Done()
		return ctx.Err()
	}
	return errAway
}

func (s *broken) Get(ctx context.Context, _ cache.Scope, _ cache.Keys) (cache.Binding, bool, error) {
	return cache.Binding{}, false, s.wait(ctx)
}

func (s *broken) Peek(ctx context.Context, _ cache.Scope, _ cache.Keys) (cache.Binding, bool, error) {
	return cache.Binding{}, false, s.wait(ctx)
}

func (s *broken) Confirm(ctx context.Context, _ cache.Binding) (string, bool, error) {
	return "", false, s.wait(ctx)
}

func (s *broken) Bind(ctx context.Context, _ cache.Scope, _ cache.Keys, auth string) (cache.Binding, bool, error) {
	return cache.Binding{Auth: auth, Gen: 1, Served: true}, false, nil
}

// A report has no deadline of a request, so it has one of its own.
func TestAStoreThatHangsHangsNoReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingConfirm{broken{hanging: true}}
		s, err := affinity.Wrap(selector.RoundRobin[string](), same, &affinity.Options[string]{Store: store})
		require.NoError(t, err)
		p := pick(t, s, session("x"), abc)
		begin := time.Now()
		p.Report(affinity.Served)
		require.Equal(t, time.Second, time.Since(begin))
		require.EqualValues(t, 1, s.Stats().StoreFailed)
	})
}

type hangingConfirm struct{ broken }

func (s *hangingConfirm) Get(context.Context, cache.Scope, cache.Keys) (cache.Binding, bool, error) {
	return cache.Binding{}, false, nil
}

// Both bounds use one mean: that of the tier where new sessions go.
func TestLoadIsComparedWithOneMean(t *testing.T) {
	h := newHost(t, affinity.Options[string]{Load: affinity.LoadPolicy{Bound: 1.25, Spill: 1.25}})
	load := map[string]float64{}
	h.load = func(a string) float64 { return load[a] }
	h.tier = func(a string) int { return map[string]int{"C": 0}[a] + map[string]int{"A": 1, "B": 1}[a] }
	r := h.bound("x")
	load["A"], load["B"], load["C"] = 12, 10, 1 // of a mean of 11 in the tier, 7.7 over all
	require.Equal(t, affinity.OutcomeHit, h.serve(r).Outcome)
	used := map[string]bool{}
	for i := range 8 {
		used[h.serve(session(fmt.Sprint("s", i))).Auth] = true
	}
	require.Equal(t, map[string]bool{"A": true, "B": true}, used)
	load["A"] = 20 // of a mean of 15
	require.Equal(t, affinity.OutcomeSpill, h.serve(r).Outcome)
	require.NotEqual(t, "A", h.serve(session("last")).Auth)
}

// A slow auth that has asked to be left alone is not probed meanwhile.
func TestRetryAfterHoldsForASlowAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		for range 3 {
			h.answers(r, slow)
		}
		time.Sleep(31 * time.Second) // a probe is due
		p := h.pick(r)
		require.Equal(t, "A", p.Auth)
		p.ReportAway(affinity.Transient, time.Minute)
		for range 5 {
			require.NotEqual(t, "A", h.answers(r, fast).Auth)
			time.Sleep(11 * time.Second)
		}
		time.Sleep(6 * time.Second)
		require.Equal(t, "A", h.answers(r, fast).Auth)
	})
}

// If an auth is away for two seconds again and again, each of its sessions switches a few
// times, and not twice each time.
func TestAnAuthThatFlapsCostsFewSwitches(t *testing.T) {
	for _, there := range []time.Duration{2 * time.Second, 8 * time.Second, 18 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t, affinity.Options[string]{})
			const sessions = 100
			last := map[int]string{}
			for i := range sessions {
				h.bound(fmt.Sprint("s", i))
				last[i] = "A"
			}
			switches, perAuth := 0, map[int]map[string]bool{}
			begin := time.Now()
			for step := 0; time.Since(begin) < 10*time.Minute; step++ {
				if time.Since(begin)%(2*time.Second+there) < 2*time.Second {
					h.fitness["A"] = affinity.Away
				} else {
					h.fitness["A"] = affinity.Fit
				}
				for i := step % 18; i < sessions; i += 18 { // each every 18 s
					d := h.serve(session(fmt.Sprint("s", i)))
					if d.Auth != last[i] {
						switches++
					}
					last[i] = d.Auth
					if perAuth[i] == nil {
						perAuth[i] = map[string]bool{}
					}
					perAuth[i][d.Auth] = true
				}
				time.Sleep(time.Second)
			}
			t.Logf("away for 2 s of %v: %d switches of %d sessions", there+2*time.Second, switches, sessions)
			require.LessOrEqual(t, switches, 3*sessions)
			for i := range sessions {
				require.LessOrEqual(t, len(perAuth[i]), 2, "each session is at one of two auths, where its prompt cache is warm")
			}
		})
	}
}

// The session comes back when the auth has not failed for a while.
func TestAnAuthThatWasFlappingGetsItsSessionsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, affinity.Options[string]{})
		r := h.bound("x")
		flap := func() {
			h.fitness["A"] = affinity.Away
			require.NotEqual(t, "A", h.serve(r).Auth)
			time.Sleep(2 * time.Second)
			h.fitness["A"] = affinity.Fit
		}
		flap()
		require.Equal(t, "A", h.serve(r).Auth, "after the first absence the session is back at once")
		flap()
		d := h.serve(r)
		require.Equal(t, affinity.OutcomeDetour, d.Outcome)
		require.Equal(t, affinity.ReasonAway, d.Reason)
		time.Sleep(29 * time.Second)
		require.Equal(t, "A", h.serve(r).Auth, "after the second absence the session is back after thirty seconds")
		flap()
		time.Sleep(40 * time.Second)
		require.NotEqual(t, "A", h.serve(r).Auth, "after the third absence the session is not back before sixty seconds")
		time.Sleep(20 * time.Second)
		require.Equal(t, "A", h.serve(r).Auth)
		time.Sleep(6 * time.Minute)
		h.serve(r)
		flap()
		require.Equal(t, "A", h.serve(r).Auth, "absences of long ago do not delay the session")
	})
}

// If a credential was renewed or a quota raised, the host can say so, and its sessions come
// back at once.
func TestAnAuthCanBeSaidToBeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r, other, refused := h.bound("x"), h.bound("y"), h.bound("z")
		h.pick(refused).ReportAway(affinity.Terminal, 30*time.Minute)
		for range 4 {
			h.answers(other, slow)
		}
		h.pick(r).ReportAway(affinity.Transient, 30*time.Minute)
		require.NotEqual(t, "A", h.serve(r).Auth)
		require.NotEqual(t, "A", h.serve(other).Auth)
		h.fitness["B"], h.fitness["C"] = affinity.Away, affinity.Away
		_, err := h.Pick(t.Context(), refused, abc)
		require.Error(t, err)
		clear(h.fitness)

		require.NoError(t, h.Back(t.Context(), "A"))
		require.Equal(t, "A", h.serve(r).Auth)
		require.Equal(t, "A", h.serve(other).Auth)
		h.fitness["B"], h.fitness["C"] = affinity.Away, affinity.Away
		require.Equal(t, "A", h.serve(refused).Auth)
	})
}

// An auth that was removed while it was drained, and comes back, gets sessions again.
func TestInvalidateAuthEndsTheDraining(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	h.Drain("A", true)
	_, err := h.InvalidateAuth(t.Context(), "A")
	require.NoError(t, err)
	used := map[string]bool{}
	for i := range 6 {
		used[h.serve(session(fmt.Sprint("s", i))).Auth] = true
	}
	require.Len(t, used, 3)
}

// A pick that nobody serves is counted, and the hook is told.
func TestARefusedPickIsSeen(t *testing.T) {
	var told []affinity.Decision
	boom := errors.New("boom")
	s, err := affinity.Wrap(selector.Func[string](func(context.Context, []string) (string, error) { return "", boom }), same,
		&affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) { told = append(told, e.Decision) }})
	require.NoError(t, err)
	_, err = s.Pick(t.Context(), session("x"), abc)
	require.ErrorIs(t, err, boom)
	_, err = s.Pick(t.Context(), session("x"), nil)
	require.Error(t, err)
	require.Equal(t, map[affinity.Outcome]uint64{affinity.OutcomeRefused: 2}, outcomes(s))
	require.Len(t, told, 2)
	require.Equal(t, affinity.OutcomeRefused, told[0].Outcome)
	require.Equal(t, affinity.ReasonBalancer, told[0].Reason)
	require.Equal(t, affinity.ReasonGone, told[1].Reason)
	require.Equal(t, "X-Session-Id", told[1].Signal.Name)
}

func TestTwoAuthsOfOneNameAreAnError(t *testing.T) {
	s := wrap(t, nil)
	_, err := s.Pick(t.Context(), session("x"), []string{"A", "B", "A"})
	require.ErrorContains(t, err, `2 candidates have the name "A"`)
	require.Empty(t, look(t, s, session("x")))
}

func TestTheZeroResultIsUnlistedAndTheZeroPickIsNothing(t *testing.T) {
	s := wrap(t, nil)
	served(t, s, session("x"), abc)
	var nothing affinity.Result
	require.Equal(t, affinity.Unlisted, nothing)
	for range 3 {
		pick(t, s, session("x"), abc).Report(nothing)
	}
	require.Empty(t, look(t, s, session("x")), "a host that forgets to say how it went has not served")
	var zero affinity.Pick[string]
	zero.Report(affinity.Served)
	zero.FirstToken(time.Second)
	require.NoError(t, zero.Owns(t.Context(), "container", "c"))
	require.NotEqual(t, affinity.OutcomeHit, zero.Decision.Outcome)
}

type closer struct {
	selector.Selector[string]
	closed int
	err    error
}

func (c *closer) Close() error {
	c.closed++
	return c.err
}

func TestCloseClosesAWrappedSelectorThatHoldsSomething(t *testing.T) {
	c := &closer{Selector: selector.RoundRobin[string](), err: errors.New("stuck")}
	s, err := affinity.Wrap[string](c, same, nil)
	require.NoError(t, err)
	require.ErrorIs(t, s.Close(), c.err)
	require.NoError(t, s.Close())
	require.Equal(t, 1, c.closed)
}

// A store that is no cache.Admin serves, and its missing operations return an error.
func TestAStoreWithoutAdminServes(t *testing.T) {
	m, err := cache.New(nil)
	require.NoError(t, err)
	defer m.Close()
	s := wrap(t, &affinity.Options[string]{Store: struct{ cache.Store }{m}})
	require.Equal(t, served(t, s, session("x"), abc), served(t, s, session("x"), abc))
	for _, err := range []error{
		second(s.InvalidateSession(t.Context(), session("x"))), second(s.InvalidateAuth(t.Context(), "A")),
		second(s.InvalidateTenant(t.Context(), "t")),
		second(s.Bound(t.Context(), "A")), second(s.Sessions(t.Context())), second(s.RenameAuth(t.Context(), "A", "B")), s.Back(t.Context(), "A"),
	} {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	require.ErrorContains(t, second(s.RenameAuth(t.Context(), "A", "")), "empty")
}

// An id in the header counts more than one in the body.
func TestRetryAfterGoesBeforeRetryInfo(t *testing.T) {
	resp := answer(429, `{"error":{"details":[{"retryDelay":"34s"}]}}`)
	resp.Header.Set("Retry-After", "3")
	r, away := affinity.Classify(resp, nil)
	require.Equal(t, affinity.Transient, r)
	require.Equal(t, 3*time.Second, away)
	resp = answer(429, `{"error":{"type":"usage_limit_reached","resets_in_seconds":1200}}`)
	resp.Header.Set("Retry-After-Ms", "250")
	_, away = affinity.Classify(resp, nil)
	require.Equal(t, 250*time.Millisecond, away)
}

// State belongs to one pool of one tenant, and to all models there.
func TestStateIsFoundInItsPoolOnly(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	p := h.pick(content(`{"input":"begin"}`))
	require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
	p.Report(affinity.Served)
	for range 3 {
		other := follows("resp_1")
		other.Pool = "another"
		other.ID = nil
		d := h.pick(other).Decision
		require.NotEqual(t, affinity.OutcomeOwner, d.Outcome)
		model := follows("resp_1")
		model.Model = "another"
		require.Equal(t, p.Auth, h.pick(model).Auth)
	}
}

// A session that begins with state of an auth is bound to that auth.
func TestARequestByItsOwnerBindsItsSession(t *testing.T) {
	h := newHost(t, affinity.Options[string]{})
	p := h.pick(content(`{"input":"begin"}`))
	require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
	first := h.serve(content(`{"previous_response_id":"resp_1","session_id":"x"}`))
	require.Equal(t, affinity.OutcomeOwner, first.Outcome)
	d := h.serve(content(`{"session_id":"x"}`))
	require.Equal(t, affinity.OutcomeHit, d.Outcome)
	require.Equal(t, p.Auth, d.Auth)
	require.Equal(t, first.Session, d.Session)
	side := content(`{"previous_response_id":"resp_1","session_id":"y"}`)
	side.Side = true
	require.Equal(t, p.Auth, h.serve(side).Auth)
	require.Empty(t, look(t, h.Selector, content(`{"session_id":"y"}`)), "a side request binds nothing")
}

func TestARenamedAuthIsAsSlowAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		for range 4 {
			h.answers(r, slow)
		}
		_, err := h.RenameAuth(t.Context(), "A", "X")
		require.NoError(t, err)
		p := pick(t, h.Selector, r, []string{"X", "B", "C"})
		require.Equal(t, affinity.ReasonSlow, p.Decision.Reason)
		for i := range 6 {
			require.NotEqual(t, "X", pick(t, h.Selector, session(fmt.Sprint("s", i)), []string{"X", "B", "C"}).Auth)
		}
		_, err = h.InvalidateAuth(t.Context(), "X")
		require.NoError(t, err)
		used := map[string]bool{}
		for i := range 6 {
			used[pick(t, h.Selector, session(fmt.Sprint("t", i)), []string{"X", "B", "C"}).Auth] = true
		}
		require.Contains(t, used, "X", "an invalidated auth that comes back is used for new sessions")
	})
}

// An auth that is no longer away takes no memory.
func TestAnAvoidedAuthIsForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := cache.New(nil)
		require.NoError(t, err)
		defer m.Close()
		h := newHost(t, affinity.Options[string]{Store: m})
		r := h.bound("x")
		memo := func() (s string) {
			for _, b := range m.All() {
				s += b.Memo
			}
			return s
		}
		forced := r
		forced.Force = "B"
		h.pick(forced).Report(affinity.Transient)
		require.NotEmpty(t, memo())
		h.serve(r)
		require.NotEmpty(t, memo(), "the memo is kept while the absence lasts")
		time.Sleep(6 * time.Second)
		h.serve(r)
		require.Empty(t, memo())
	})
}

// Each pick asks the host about an auth at most once. If the session's own auth can serve, the
// pick asks about no other.
func TestTheHostIsAskedOnceForEachAuth(t *testing.T) {
	asked := map[string]int{}
	fitness := map[string]affinity.Fitness{}
	s := wrap(t, &affinity.Options[string]{
		Failback: affinity.FailbackAtOnce, ColdAnew: true, Load: affinity.LoadPolicy{Spill: 2},
		State: func(auth string, _ affinity.Request) affinity.State {
			asked[auth]++
			return affinity.State{Fitness: fitness[auth]}
		},
	})
	once := func(what string, candidates []string) {
		t.Helper()
		clear(asked)
		p := pick(t, s, session("x"), candidates)
		p.Report(affinity.Served)
		for auth, n := range asked {
			require.Equal(t, 1, n, "%s: %s", what, auth)
		}
	}
	many := abc
	for i := range 40 {
		many = append(many, fmt.Sprint("more", i))
	}
	for _, candidates := range [][]string{abc, many} {
		once("a new session", candidates)
		once("a hit", candidates)
		for _, f := range []affinity.Fitness{affinity.Away, affinity.Full, affinity.Slow, affinity.Busy, affinity.Unfit} {
			fitness["A"] = f
			once(f.String(), candidates)
			once(f.String(), candidates)
		}
		clear(fitness)
	}
	require.NoError(t, s.Affinity.Reconfigure(&affinity.Options[string]{State: func(auth string, _ affinity.Request) affinity.State {
		asked[auth]++
		return affinity.State{Fitness: fitness[auth]}
	}}))
	clear(asked)
	d := pick(t, s, session("x"), abc).Decision
	require.Equal(t, map[string]int{d.Auth: 1}, asked)
	fitness[d.Auth] = affinity.Away
	once("away, after the short way", abc)
}

// Processes with one store know of a session's failures: all send it on the same detour.
func TestTwoProcessesOnOneStoreTakeOneDetour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := cache.New(nil)
		require.NoError(t, err)
		defer m.Close()
		var processes []*affinity.Selector[string]
		for range 3 {
			s, err := affinity.Wrap(selector.Random[string](), same, &affinity.Options[string]{Store: m})
			require.NoError(t, err)
			processes = append(processes, s)
		}
		many := []string{"A", "B", "C", "D", "E", "F", "G", "H"}
		for i := range 50 {
			r := session(fmt.Sprint("s", i))
			home := served(t, processes[0], r, many)
			require.Equal(t, home, served(t, processes[1], r, many))
			pick(t, processes[1], r, many).ReportAway(affinity.Transient, time.Minute)
			detour := served(t, processes[2], r, many)
			require.NotEqual(t, home, detour)
			for _, p := range processes {
				require.Equal(t, detour, served(t, p, r, many))
			}
		}
		time.Sleep(time.Minute)
		for i := range 50 {
			require.Equal(t, affinity.OutcomeHit, pick(t, processes[i%3], session(fmt.Sprint("s", i)), many).Decision.Outcome)
		}
	})
}

// An auth's name may be as long as the host likes.
func TestAnAuthWithALongNameKeepsItsSessions(t *testing.T) {
	s := wrap(t, nil)
	long := []string{strings.Repeat("projects/x/", 50) + "a", strings.Repeat("projects/x/", 50) + "b"}
	home := served(t, s, session("x"), long)
	for range 4 {
		p := pick(t, s, session("x"), long)
		require.Equal(t, home, p.Auth)
		require.Equal(t, home, p.Decision.Auth)
		require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
	}
}

// Two first requests of a session fail at their auth, one after the other. The second one
// follows the first one to its detour.
func TestAFirstBurstOnAFailingAuthEndsOnOneAuth(t *testing.T) {
	many := []string{"A", "B", "C", "D"}
	for _, result := range []affinity.Result{affinity.Transient, affinity.Terminal, affinity.Cancelled} {
		for _, away := range []time.Duration{0, time.Minute} {
			for _, first := range []bool{true, false} { // is served before the second one fails
				synctest.Test(t, func(t *testing.T) {
					s := wrap(t, nil)
					one, two := session("x"), session("x")
					p1, p2 := pick(t, s, one, many), pick(t, s, two, many)
					p1.ReportAway(affinity.Transient, away)
					one.Tried = []string{p1.Auth}
					q1 := pick(t, s, one, many)
					if first {
						q1.Report(affinity.Served)
					}
					p2.ReportAway(result, away)
					two.Tried = []string{p2.Auth}
					q2 := pick(t, s, two, many)
					require.Equal(t, q1.Auth, q2.Auth)
					q2.Report(affinity.Served)
					q1.Report(affinity.Served)
					require.Equal(t, q1.Auth, served(t, s, session("x"), many))
				})
			}
		}
	}
}

// Each of many auths that have said how long they are away is left alone for that time.
func TestASessionRemembersAllAuthsThatAskedToBeLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, nil)
		var many []string
		for i := range 20 {
			many = append(many, fmt.Sprint("auth-", i))
		}
		served(t, s, session("x"), many)
		seen := map[string]bool{}
		for range many {
			p := pick(t, s, session("x"), many)
			require.False(t, seen[p.Auth], p.Auth)
			seen[p.Auth] = true
			p.ReportAway(affinity.Transient, 10*time.Minute)
		}
		_, err := s.Pick(t.Context(), session("x"), many)
		var none *affinity.NoAuthError
		require.ErrorAs(t, err, &none)
		require.Equal(t, 10*time.Minute, time.Until(none.Until))
	})
}

func TestAForcedRequestIsNotSentToWhereItWas(t *testing.T) {
	s := wrap(t, nil)
	r := session("x")
	r.Force, r.Tried = "A", []string{"A"}
	_, err := s.Pick(t.Context(), r, abc)
	var none *affinity.NoAuthError
	require.ErrorAs(t, err, &none)
	require.Equal(t, affinity.ReasonForced, none.Reason)
}

// A time that is too long to be added to the clock counts as a long time.
func TestAnAuthCanBeAwayForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, nil)
		home := served(t, s, session("x"), abc)
		pick(t, s, session("x"), abc).ReportAway(affinity.Transient, 1<<63-1)
		require.NotEqual(t, home, served(t, s, session("x"), abc))
	})
	_, away := affinity.Classify(answer(429, `{"error":{"details":[{"retryDelay":"99999999999999s"}]}}`), nil)
	require.Equal(t, time.Hour, away)
}

func TestTheOwnersErrorSaysUntilWhen(t *testing.T) {
	h := newHost(t, affinity.Options[string]{RequireOwner: true})
	p := h.pick(content(`{"input":"begin"}`))
	require.NoError(t, p.Owns(t.Context(), "previous_response_id", "resp_1"))
	h.fitness[p.Auth] = affinity.Away
	h.until = map[string]time.Time{p.Auth: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	_, err := h.Pick(t.Context(), follows("resp_1"), abc)
	require.ErrorContains(t, err, "until 2100-01-01T00:00:00Z")
}

// If a pick is refused, PickFrom returns neither that pick nor the one before.
func TestAfterARefusedPickThereIsNoneToReport(t *testing.T) {
	s := wrap(t, nil)
	ctx := affinity.WithRequest(t.Context(), session("x"))
	_, err := s.Select(ctx, abc)
	require.NoError(t, err)
	_, ok := affinity.PickFrom[string](ctx)
	require.True(t, ok)
	_, err = s.Select(ctx, nil)
	require.Error(t, err)
	_, ok = affinity.PickFrom[string](ctx)
	require.False(t, ok)
}
