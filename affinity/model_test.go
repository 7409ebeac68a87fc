package affinity_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
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
	o        affinity.Options
	fitness  map[string]affinity.Fitness
	tier     map[string]int
	load     map[string]float64
	drained  map[string]bool
	sessions map[string]*refSession
	gen      int
}

type refSession struct {
	auth    string
	gen     int
	served  bool
	last    time.Time // served by auth
	used    time.Time
	trouble *refTrouble
}

type refTrouble struct {
	since, until time.Time
	detour       string
	last         time.Time // served by the detour
	away         bool
	failed       int
	avoid        map[string]time.Time // until then
}

// refRequest is what comes in.
type refRequest struct {
	session    string
	side       bool
	tried      []string
	candidates []string
	choose     func([]string) (string, bool) // what the balancer says
	avoid      map[string]time.Time          // what has failed the session
}

// refPick is what a pick was: whose it is, and of which generation.
type refPick struct {
	session string
	gen     int // 0: results concern nobody
	around  bool
	auth    string
	outcome affinity.Outcome
	reason  affinity.Reason
}

func (m *reference) of(name string) *refSession {
	s := m.sessions[name]
	if s != nil && time.Since(s.used) >= m.o.TTL {
		delete(m.sessions, name)
		return nil
	}
	return s
}

func (m *reference) fit(r *refRequest, auth string) affinity.Fitness {
	if f := m.fitness[auth]; f != affinity.Unfit && (slices.Contains(r.tried, auth) || time.Now().Before(r.avoid[auth])) {
		return affinity.Away
	} else {
		return f
	}
}

func (m *reference) mean(auths []string) (mean float64) {
	for _, a := range auths {
		mean += m.load[a] / float64(len(auths))
	}
	return mean
}

func (m *reference) rank(r *refRequest, a string) int {
	f := m.fit(r, a)
	switch {
	case !slices.Contains(r.candidates, a) || f != affinity.Fit && f != affinity.Busy && f != affinity.Slow:
		return 4
	case m.drained[a]:
		return 3
	}
	return map[affinity.Fitness]int{affinity.Fit: 0, affinity.Busy: 1, affinity.Slow: 2}[f]
}

// from is what the balancer may choose from: 0 is fit, 1 busy, 2 slow, 3 dry.
func (m *reference) from(r *refRequest, without string) (out []string, rank int) {
	rankOf := func(a string) int {
		if a == without {
			return 4
		}
		return m.rank(r, a)
	}
	for rank = range 4 {
		for tier := 3; tier >= 0; tier-- {
			var level []string
			for _, c := range r.candidates {
				if rankOf(c) == rank && (m.o.Tier == nil || m.tier[c] == tier) {
					level = append(level, c)
				}
			}
			for _, c := range level {
				if m.o.Load == nil || m.load[c] <= m.o.LoadLeast || m.load[c] <= m.o.LoadBound*m.mean(level)+1e-9 {
					out = append(out, c)
				}
			}
			if len(out) > 0 {
				return out, rank
			}
		}
	}
	return nil, 4
}

// anybody is from, and if need be what has failed the session before.
func (m *reference) anybody(r *refRequest, without string) (out []string, rank int) {
	if out, rank = m.from(r, without); rank == 4 {
		r.avoid = nil
		out, rank = m.from(r, without)
	}
	return out, rank
}

func (m *reference) overloaded(r *refRequest, auth string) bool {
	if m.o.SpillBound == 0 || m.load[auth] <= m.o.LoadLeast {
		return false
	}
	var fellows []string
	for _, c := range r.candidates {
		if f := m.fit(r, c); c == auth || f == affinity.Fit || f == affinity.Busy {
			fellows = append(fellows, c)
		}
	}
	return m.load[auth] > m.o.SpillBound*m.mean(fellows)+1e-9
}

// pick says what a pick must be; false is the balancer's error.
func (m *reference) pick(r *refRequest) (p refPick, ok bool) {
	s := m.of(r.session)
	p = refPick{session: r.session}
	if s == nil {
		return m.place(r, p, nil, "")
	}
	if !r.side {
		s.used = time.Now()
	}
	bound, t := s.auth, s.trouble
	if t != nil {
		r.avoid = t.avoid
	}
	cold := time.Since(s.last) > m.o.Warm
	if !s.served {
		cold = t != nil && time.Since(t.since) > m.o.Warm
	}
	hit := func() (refPick, bool) {
		p.auth, p.outcome, p.reason = bound, affinity.OutcomeHit, affinity.ReasonNone
		if !r.side {
			p.gen = s.gen
		}
		return p, true
	}
	move := func(to string, why affinity.Reason) (refPick, bool) {
		m.gen++
		s.auth, s.gen, s.served, s.trouble = to, m.gen, false, nil
		p.auth, p.gen, p.outcome, p.reason = to, m.gen, affinity.OutcomeMoved, why
		return p, true
	}
	// settle makes the detour the session's auth, which does not go back as long
	// as the one that it leaves wants to be left alone.
	settle := func(to string) (refPick, bool) {
		avoid := map[string]time.Time{bound: t.until}
		for a, until := range t.avoid {
			avoid[a] = until
		}
		p, ok := move(to, affinity.ReasonCold)
		for _, until := range avoid {
			if until.After(time.Now()) {
				s.trouble = &refTrouble{since: time.Now(), avoid: avoid}
			}
		}
		return p, ok
	}
	others, rank := m.from(r, bound)
	// elsewhere is the session's detour, or the balancer's choice, which is then
	// the detour.
	elsewhere := func(away, again bool) (string, bool) {
		to, least := "", max(rank, 1)
		if rank == 4 {
			least = 3
		}
		if t != nil && t.detour != "" && m.rank(r, t.detour) <= least && again {
			to = t.detour
		} else if to, ok = m.choose(r, others); !ok {
			return "", false
		}
		if !r.side {
			if t == nil {
				t = &refTrouble{since: time.Now()}
				s.trouble = t
			}
			t.detour, t.away = to, t.away || away
		}
		return to, true
	}
	spill := func(why affinity.Reason, again bool) (refPick, bool) {
		if why == affinity.ReasonLoad {
			others = slices.DeleteFunc(others, func(a string) bool { return m.load[a] >= m.load[bound] })
		}
		if why != affinity.ReasonFull && (rank > 1 || len(others) == 0) {
			return hit()
		}
		if p.auth, ok = elsewhere(false, again); !ok {
			return p, false
		}
		p.outcome, p.reason = affinity.OutcomeSpill, why
		return p, true
	}
	if !slices.Contains(r.candidates, bound) {
		return m.place(r, p, s, affinity.ReasonGone.String())
	}
	f := m.fit(r, bound)
	if f <= affinity.Busy && t != nil && time.Now().Before(t.until) {
		f = affinity.Away
	}
	switch f {
	case affinity.Unfit:
		return m.place(r, p, s, affinity.ReasonUnfit.String())
	case affinity.Full:
		others, rank = m.anybody(r, bound)
		return spill(affinity.ReasonFull, true)
	case affinity.Slow:
		return spill(affinity.ReasonSlow, true)
	case affinity.Away:
		if len(others) == 0 && !slices.Contains(r.tried, bound) {
			return hit()
		}
		others, rank = m.anybody(r, bound)
		to, ok := elsewhere(true, true)
		if !ok {
			return p, false
		}
		if !s.served {
			cold = t != nil && time.Since(t.since) > m.o.Warm
		}
		if cold && !r.side {
			return settle(to)
		}
		p.auth, p.outcome, p.reason = to, affinity.OutcomeDetour, affinity.ReasonAway
		if !r.side {
			p.gen, p.around = s.gen, true
		}
		return p, true
	}
	if r.side {
		return hit()
	}
	if t != nil && t.away && t.detour != "" && m.rank(r, t.detour) <= 1 && cold &&
		(time.Since(t.last) <= m.o.Warm || t.until.Sub(t.since) > m.o.Warm) {
		return settle(t.detour)
	}
	if m.overloaded(r, bound) {
		return spill(affinity.ReasonLoad, t == nil || m.load[t.detour] < m.load[bound])
	}
	cold = s.served && cold
	why := affinity.ReasonNone
	all, _ := m.from(r, "")
	// A cold session that stays is as new there.
	stay := func() (refPick, bool) {
		if cold && m.o.ColdAnew {
			move(bound, affinity.ReasonNone)
		}
		return hit()
	}
	switch {
	case (m.o.Failback == affinity.FailbackAtOnce || m.o.Failback == affinity.FailbackCold && cold) && rank <= 1 && m.tier[others[0]] > m.tier[bound]:
		why = affinity.ReasonTier
	case m.o.ColdAnew && cold && (m.o.Load == nil || m.drained[bound] || m.load[bound] > m.meanOfLevel(r)+1e-9):
		why = affinity.ReasonCold
	default:
		return stay()
	}
	to, ok := m.choose(r, all)
	if !ok || to == bound {
		return stay()
	}
	return move(to, why)
}

// meanOfLevel is the mean load of those among whom the balancer would choose,
// the loaded ones too.
func (m *reference) meanOfLevel(r *refRequest) float64 {
	o := m.o
	defer func() { m.o = o }()
	m.o.Load = nil
	level, _ := m.from(r, "")
	return m.mean(level)
}

func (m *reference) choose(r *refRequest, from []string) (string, bool) { return r.choose(from) }

func (m *reference) place(r *refRequest, p refPick, s *refSession, why string) (refPick, bool) {
	for reason := affinity.ReasonNone; reason <= affinity.ReasonTier; reason++ {
		if reason.String() == why {
			p.reason = reason
		}
	}
	from, _ := m.anybody(r, "")
	to, ok := m.choose(r, from)
	if !ok {
		return p, false
	}
	p.auth = to
	if r.side {
		p.outcome = affinity.OutcomeNone
		return p, true
	}
	m.gen++
	p.gen = m.gen
	if s == nil {
		m.sessions[r.session] = &refSession{auth: to, gen: m.gen, used: time.Now()}
		p.outcome = affinity.OutcomeNew
		return p, true
	}
	s.auth, s.gen, s.served, s.trouble = to, m.gen, false, nil
	p.outcome = affinity.OutcomeMoved
	return p, true
}

func (m *reference) report(p refPick, r affinity.Result, away time.Duration) {
	s := m.of(p.session)
	if s == nil || p.gen == 0 || s.gen != p.gen {
		return // late, or nobody's
	}
	trouble := func() *refTrouble {
		if s.trouble == nil {
			s.trouble = &refTrouble{since: time.Now()}
		}
		if s.trouble.avoid == nil {
			s.trouble.avoid = map[string]time.Time{}
		}
		return s.trouble
	}
	if p.around {
		bad := r == affinity.Transient || r == affinity.Terminal || r == affinity.Unlisted
		if t := s.trouble; r == affinity.Served && t != nil && t.detour == p.auth {
			t.last = time.Now()
		}
		if bad {
			t := trouble()
			if t.away = true; t.detour == p.auth {
				t.detour, t.last = "", time.Time{}
			}
			if r == affinity.Terminal {
				away = m.o.Warm
			} else if away <= 0 {
				away = affinity.DefaultAway
			}
			if until := time.Now().Add(away); until.After(t.avoid[p.auth]) {
				t.avoid[p.auth] = until
			}
		}
		return
	}
	switch r {
	case affinity.Served:
		s.served, s.used, s.last = true, time.Now(), time.Now()
		if t := s.trouble; t != nil && !time.Now().Before(t.until) {
			s.trouble = nil
			for _, until := range t.avoid {
				if until.After(time.Now()) {
					s.trouble = &refTrouble{since: t.since, avoid: t.avoid}
				}
			}
		} else if t != nil {
			t.failed = 0
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
			t := trouble()
			t.away, t.failed = true, 0
			if time.Now().Add(away).After(t.until) {
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
// loads, removals, drains, renamings, other configurations and time on an
// Affinity and on the reference.
func TestModel(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(4000) {
		synctest.Test(t, func(t *testing.T) { modelHistory(t, seed, seen) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, what := range []string{
		"new", "hit", "none", "moved gone", "moved unfit", "moved cold", "moved tier",
		"detour away", "spill full", "spill slow", "spill load",
	} {
		require.Greater(t, seen[what], 100, "the histories must show it: %v", seen)
	}
}

// modelOptions are options at random, for the affinity and for the reference.
func modelOptions(rng *rand.Rand, m *reference) *affinity.Options {
	o := &affinity.Options{
		TTL: []time.Duration{time.Hour, 30 * time.Minute}[rng.IntN(2)], Warm: []time.Duration{5 * time.Minute, time.Minute}[rng.IntN(2)],
		Eligible: func(auth string, _ affinity.Request) affinity.Fitness { return m.fitness[auth] },
	}
	if rng.IntN(2) == 0 {
		o.Tier = func(auth string, _ affinity.Request) int { return m.tier[auth] }
		o.Failback = affinity.Failback(rng.IntN(3))
	}
	if rng.IntN(2) == 0 {
		o.Load, o.LoadBound = func(auth string, _ affinity.Request) float64 { return m.load[auth] }, 1.25
		if rng.IntN(2) == 0 {
			o.SpillBound, o.LoadLeast = 1.5, 2
		}
	}
	o.ColdAnew = rng.IntN(3) == 0
	m.o = *o
	return o
}

func modelHistory(t *testing.T, seed uint64, seen map[string]int) {
	rng := rand.New(rand.NewPCG(seed, 7))
	auths := []string{"A", "B", "C", "D"}
	m := &reference{
		fitness: map[string]affinity.Fitness{}, tier: map[string]int{}, load: map[string]float64{},
		drained: map[string]bool{}, sessions: map[string]*refSession{},
	}
	a, err := affinity.New(same, modelOptions(rng, m))
	require.NoError(t, err)
	defer a.Close()
	type made struct {
		pick affinity.Pick[string]
		ref  refPick
	}
	var picks []made
	for step := range 120 {
		what := fmt.Sprintf("seed %d, step %d", seed, step)
		switch op := rng.IntN(22); {
		case op < 8:
			r := &refRequest{session: fmt.Sprint("s", rng.IntN(4)), side: rng.IntN(8) == 0}
			for _, c := range auths {
				if rng.IntN(10) > 0 {
					r.candidates = append(r.candidates, c)
				}
				if rng.IntN(16) == 0 {
					r.tried = append(r.tried, c)
				}
			}
			// The balancer's answer is drawn once, for whoever asks.
			draw := rng.IntN(100)
			r.choose = func(from []string) (string, bool) {
				if len(from) == 0 || draw == 99 {
					return "", false
				}
				return from[draw%len(from)], true
			}
			ref, ok := m.pick(r)
			p, err := a.Pick(t.Context(), affinity.Request{
				Side: r.side, Tried: r.tried, Header: http.Header{"X-Session-Id": {r.session}},
			}, r.candidates, func(_ context.Context, from []string) (string, error) {
				if auth, ok := r.choose(from); ok {
					return auth, nil
				}
				return "", selector.ErrNoCandidates
			})
			if !ok {
				require.ErrorIs(t, err, selector.ErrNoCandidates, what)
				break
			}
			require.NoError(t, err, what)
			told := strings.TrimSpace(p.Decision.Outcome.String() + " " + p.Decision.Reason.String())
			require.Equal(t, strings.TrimSpace(ref.outcome.String()+" "+ref.reason.String()), told, what)
			require.Equal(t, ref.auth, p.Auth, what)
			picks = append(picks, made{p, ref})
			seen[told]++
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
			m.fitness[auths[rng.IntN(4)]] = affinity.Fitness(rng.IntN(6))
		case op == 17:
			clear(m.fitness)
		case op == 18:
			time.Sleep([]time.Duration{time.Second, time.Minute, 4 * time.Minute, 40 * time.Minute}[rng.IntN(4)])
		case op == 19:
			m.load[auths[rng.IntN(4)]] = float64(rng.IntN(8))
			m.tier[auths[rng.IntN(4)]] = rng.IntN(4)
		case op == 20:
			for name := range m.sessions {
				m.of(name) // what has expired does not come back
			}
			require.NoError(t, a.Reconfigure(modelOptions(rng, m)), what)
		default:
			auth := auths[rng.IntN(4)]
			switch rng.IntN(3) {
			case 0:
				on := rng.IntN(2) == 0
				m.drained[auth] = on
				a.Drain(auth, on)
				continue
			case 1:
				// B is what A was: it is all the same account.
				to := auths[rng.IntN(4)]
				n := 0
				for name := range m.sessions {
					s := m.of(name)
					if s == nil || auth == to {
						continue
					}
					if s.trouble != nil && s.trouble.detour == auth {
						s.trouble.detour = to
					}
					if t := s.trouble; t != nil {
						if until, ok := t.avoid[auth]; ok {
							delete(t.avoid, auth)
							if until.After(t.avoid[to]) {
								t.avoid[to] = until
							}
						}
					}
					if s.auth == auth {
						s.auth = to
						n++
					}
				}
				if auth != to && m.drained[auth] {
					m.drained[auth], m.drained[to] = false, true
				}
				renamed, ok, err := a.RenameAuth(t.Context(), auth, to)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, n, renamed, what)
				continue
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
