package affinity_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// reference is the contract of a pick and its report, one thing after the other,
// for one tenant and sessions that send an id.
type reference struct {
	fitness  map[string]affinity.Fitness
	drained  map[string]bool
	sessions map[string]*refSession
	gen      int
}

type refSession struct {
	auth    string
	gen     int
	served  bool
	used    time.Time
	trouble *refTrouble
}

type refTrouble struct {
	since, until time.Time
	detour       string
	failed       int
}

// refPick is what a pick was: whose it is, and of which generation.
type refPick struct {
	session string
	gen     int // 0: results concern nobody
	around  bool
	auth    string
}

const (
	refTTL  = time.Hour
	refWarm = affinity.DefaultWarm
)

func (m *reference) of(name string) *refSession {
	s := m.sessions[name]
	if s != nil && time.Since(s.used) >= refTTL {
		delete(m.sessions, name)
		return nil
	}
	return s
}

// fit is what the balancer may choose from.
func (m *reference) fit(candidates []string, without string) []string {
	for _, want := range []func(string) bool{
		func(a string) bool { return m.fitness[a] == affinity.Fit && !m.drained[a] },
		func(a string) bool { return m.fitness[a] == affinity.Slow && !m.drained[a] },
		func(a string) bool { return m.fitness[a] == affinity.Fit || m.fitness[a] == affinity.Slow },
	} {
		var out []string
		for _, c := range candidates {
			if c != without && want(c) {
				out = append(out, c)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// pick says what a pick must be; choose is what the balancer says when it is
// given these.
func (m *reference) pick(name string, side bool, candidates []string, choose func([]string) (string, bool)) (o affinity.Outcome, why affinity.Reason, p refPick, ok bool) {
	s := m.of(name)
	p = refPick{session: name}
	isFit := func(a string) bool {
		return a != "" && slices.Contains(candidates, a) && m.fitness[a] == affinity.Fit
	}
	if s != nil {
		if !side {
			s.used = time.Now()
		}
		f := m.fitness[s.auth]
		t := s.trouble
		if !slices.Contains(candidates, s.auth) {
			why = affinity.ReasonGone
		} else if f == affinity.Unfit {
			why = affinity.ReasonUnfit
		}
		hit := func() (affinity.Outcome, affinity.Reason, refPick, bool) {
			p.auth = s.auth
			if !side {
				p.gen = s.gen
			}
			return affinity.OutcomeHit, affinity.ReasonNone, p, true
		}
		move := func(to string) {
			m.gen++
			s.auth, s.gen, s.served, s.trouble = to, m.gen, false, nil
			p.gen, p.auth = s.gen, to
		}
		if why == affinity.ReasonNone {
			if f == affinity.Fit && t != nil && time.Now().Before(t.until) {
				f = affinity.Away
			}
			switch f {
			case affinity.Fit:
				if t != nil && !side && isFit(t.detour) && time.Since(t.since) > refWarm {
					move(t.detour)
					return affinity.OutcomeMoved, affinity.ReasonCold, p, true
				}
				return hit()
			case affinity.Full, affinity.Slow:
				others := m.fit(candidates, s.auth)
				if len(others) == 0 && f == affinity.Slow {
					return hit()
				}
				if p.auth, ok = choose(others); !ok {
					return 0, 0, p, false
				}
				why = affinity.ReasonFull
				if f == affinity.Slow {
					why = affinity.ReasonSlow
				}
				return affinity.OutcomeSpill, why, p, true
			}
			// Away.
			if t != nil && isFit(t.detour) {
				p.auth = t.detour
			} else {
				others := m.fit(candidates, s.auth)
				if len(others) == 0 {
					return hit()
				}
				if p.auth, ok = choose(others); !ok {
					return 0, 0, p, false
				}
				if !side {
					if t == nil {
						t = &refTrouble{since: time.Now()}
						s.trouble = t
					}
					t.detour = p.auth
				}
			}
			if side {
				return affinity.OutcomeDetour, affinity.ReasonAway, p, true
			}
			if time.Since(t.since) > refWarm {
				move(p.auth)
				return affinity.OutcomeMoved, affinity.ReasonCold, p, true
			}
			p.gen, p.around = s.gen, true
			return affinity.OutcomeDetour, affinity.ReasonAway, p, true
		}
	}
	if p.auth, ok = choose(m.fit(candidates, "")); !ok {
		return 0, 0, p, false
	}
	if side {
		return affinity.OutcomeNone, why, p, true
	}
	m.gen++
	p.gen = m.gen
	if s == nil {
		m.sessions[name] = &refSession{auth: p.auth, gen: m.gen, used: time.Now()}
		return affinity.OutcomeNew, affinity.ReasonNone, p, true
	}
	s.auth, s.gen, s.served, s.trouble = p.auth, m.gen, false, nil
	return affinity.OutcomeMoved, why, p, true
}

func (m *reference) report(p refPick, r affinity.Result, away time.Duration) {
	s := m.of(p.session)
	if s == nil || p.gen == 0 || s.gen != p.gen {
		return // late, or nobody's
	}
	bad := r == affinity.Transient || r == affinity.Terminal || r == affinity.Unlisted
	if p.around {
		if bad && s.trouble != nil && s.trouble.detour == p.auth {
			s.trouble.detour = ""
		}
		return
	}
	trouble := func() *refTrouble {
		if s.trouble == nil {
			s.trouble = &refTrouble{since: time.Now()}
		}
		return s.trouble
	}
	switch r {
	case affinity.Served:
		s.served, s.used = true, time.Now()
		if s.trouble != nil && !time.Now().Before(s.trouble.until) {
			s.trouble = nil
		}
	case affinity.Terminal:
		delete(m.sessions, p.session)
	case affinity.Cancelled, affinity.Transient:
		if !s.served {
			delete(m.sessions, p.session)
		} else if r == affinity.Transient {
			s.used = time.Now()
			if away <= 0 {
				away = affinity.DefaultAway
			}
			if t := trouble(); time.Now().Add(away).After(t.until) {
				t.until = time.Now().Add(away)
			}
		}
	case affinity.Unlisted:
		s.used = time.Now()
		t := trouble()
		if t.failed++; t.failed >= affinity.DefaultUnlisted {
			delete(m.sessions, p.session)
		}
	}
}

// TestModel runs random histories of picks, reports (late ones too), cooldowns,
// removals, drains and time on an Affinity and on the reference.
func TestModel(t *testing.T) {
	for seed := range uint64(3000) {
		synctest.Test(t, func(t *testing.T) { modelHistory(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func modelHistory(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	auths := []string{"A", "B", "C", "D"}
	m := &reference{fitness: map[string]affinity.Fitness{}, drained: map[string]bool{}, sessions: map[string]*refSession{}}
	a, err := affinity.New(same, &affinity.Options{
		Eligible: func(auth string, _ affinity.Request) affinity.Fitness { return m.fitness[auth] },
	})
	require.NoError(t, err)
	defer a.Close()
	type made struct {
		pick affinity.Pick[string]
		ref  refPick
	}
	var picks []made
	for step := range 120 {
		what := fmt.Sprintf("seed %d, step %d", seed, step)
		switch op := rng.IntN(20); {
		case op < 8:
			name, side := fmt.Sprint("s", rng.IntN(4)), rng.IntN(8) == 0
			var candidates []string
			for _, c := range auths {
				if rng.IntN(10) > 0 {
					candidates = append(candidates, c)
				}
			}
			// The balancer's answer is drawn once, for whoever asks.
			draw := rng.IntN(100)
			choose := func(from []string) (string, bool) {
				if len(from) == 0 {
					return "", false
				}
				return from[draw%len(from)], true
			}
			outcome, reason, ref, ok := m.pick(name, side, candidates, choose)
			p, err := a.Pick(t.Context(), affinity.Request{Side: side, Header: http.Header{"X-Session-Id": {name}}}, candidates,
				func(_ context.Context, from []string) (string, error) {
					if auth, ok := choose(from); ok {
						return auth, nil
					}
					return "", selector.ErrNoCandidates
				})
			if !ok {
				require.ErrorIs(t, err, selector.ErrNoCandidates, what)
				break
			}
			require.NoError(t, err, what)
			require.Equal(t, outcome.String(), p.Decision.Outcome.String(), what)
			require.Equal(t, reason.String(), p.Decision.Reason.String(), what)
			require.Equal(t, ref.auth, p.Auth, what)
			picks = append(picks, made{p, ref})
		case op < 15 && len(picks) > 0:
			p := picks[len(picks)-1-rng.IntN(min(len(picks), 5))]
			result := []affinity.Result{
				affinity.Served, affinity.Served, affinity.Served, affinity.Transient, affinity.Terminal, affinity.Rejected,
				affinity.Cancelled, affinity.Unlisted,
			}[rng.IntN(8)]
			away := time.Duration(rng.IntN(3)) * 2 * time.Minute
			m.report(p.ref, result, away)
			p.pick.ReportAway(result, away)
		case op < 17:
			m.fitness[auths[rng.IntN(4)]] = affinity.Fitness(rng.IntN(5))
		case op == 17:
			clear(m.fitness)
		case op == 18:
			time.Sleep([]time.Duration{time.Second, time.Minute, 4 * time.Minute, 40 * time.Minute}[rng.IntN(4)])
		default:
			auth := auths[rng.IntN(4)]
			if rng.IntN(2) == 0 {
				on := rng.IntN(2) == 0
				m.drained[auth] = on
				a.Drain(auth, on)
				break
			}
			n := 0
			for name := range m.sessions {
				if s := m.of(name); s != nil && s.auth == auth {
					delete(m.sessions, name)
					n++
				}
			}
			removed, err := a.InvalidateAuth(t.Context(), auth)
			require.NoError(t, err)
			require.Equal(t, n, removed, what)
		}
	}
}
