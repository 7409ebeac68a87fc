package affinity_test

import (
	"slices"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// modelled are the options that the reference knows.
type modelled struct {
	ttl, warm time.Duration
	tiers     bool
	loads     bool
	shares    bool
	load      affinity.LoadPolicy
	failback  affinity.Failback
	coldAnew  bool
}

// reference is the contract of a pick and its report, for one tenant and for sessions that send
// an id. It is sequential, and written to be read, not to be fast.
type reference struct {
	o        modelled
	fitness  map[string]affinity.Fitness
	tier     map[string]int
	load     map[string]float64
	share    map[string]float64
	drained  map[string]bool
	absent   map[string]*refAbsence
	sessions map[string]*refSession
	gen      int
}

type refSession struct {
	auth   string
	lost   affinity.Reason // why the session has no auth
	never  bool            // … because that has never served it
	gen    int
	served bool
	made   time.Time // when it was bound to auth
	last   time.Time // served by auth
	used   time.Time
	uses   int // open ones, while auth has not served
	name   sessionid.Key
	t      refTrouble
	avoid  map[string]refAvoid
}

func (s *refSession) bound() bool { return s.lost == affinity.ReasonNone && !s.never }

// refTrouble is what a session remembers of the failures of one generation.
type refTrouble struct {
	gen          int
	since, until time.Time
	asked        bool
	detour       string
	last         time.Time // served by the detour
	former       string    // the detour to go back to, after single requests elsewhere
	formerLast   time.Time
	away         bool
	failed       int
}

func (t *refTrouble) abandon(auth string) {
	if t.detour == auth {
		t.detour, t.last = "", time.Time{}
	}
	if t.former == auth {
		t.former, t.formerLast = "", time.Time{}
	}
}

// resume takes the former detour, if there is one.
func (t *refTrouble) resume() {
	if t.former != "" {
		t.detour, t.last, t.away = t.former, t.formerLast, true
		t.former, t.formerLast = "", time.Time{}
	}
}

// remembered reports whether there was a detour that is worth going back to.
func (t *refTrouble) remembered(warm time.Duration) bool {
	return t.detour != "" && (t.away || t.since.IsZero()) && !t.last.IsZero() && time.Since(t.last) <= warm
}

type refAvoid struct {
	until time.Time
	asked bool
}

type refAbsence struct {
	count       int
	gone        bool
	until, last time.Time
}

// refRequest is a request, and what the host says of it.
type refRequest struct {
	session    string
	side       bool
	force      string
	tried      []string
	candidates []string
	choose     func([]string) (string, bool) // what the balancer says
	of         *refSession
}

// refPick is a pick that the reference has made.
type refPick struct {
	session string
	of      *refSession
	gen     int // 0: its results change no session
	guest   bool
	own     bool          // a guest at the session's own auth
	age     time.Duration // that of the binding which it found
	use     string        // "open", "ended" or "served", "" for none
	detour  string        // as it was when the pick was made, likewise former
	former  string
	auth    string
	before  string
	outcome affinity.Outcome
	reason  affinity.Reason
}

func (m *reference) find(name string) *refSession {
	s := m.sessions[name]
	if s != nil && time.Since(s.used) >= m.o.ttl {
		delete(m.sessions, name)
		return nil
	}
	return s
}

// trouble returns what the session remembers of the failures of its current binding.
func (s *refSession) trouble() refTrouble {
	if s == nil || s.t.gen != s.gen {
		return refTrouble{}
	}
	return s.t
}

func (s *refSession) begin() *refTrouble {
	if s.t.gen != s.gen {
		s.t = refTrouble{gen: s.gen, since: time.Now()}
	} else if s.t.since.IsZero() {
		s.t.since = time.Now()
	}
	return &s.t
}

// left reports whether the session leaves an auth alone, and whether the auth has asked for
// that.
func (s *refSession) left(auth string) (left, asked bool) {
	if s == nil {
		return false, false
	}
	if t := s.trouble(); auth == s.auth && time.Now().Before(t.until) {
		return true, t.asked
	}
	a, ok := s.avoid[auth]
	return ok && time.Now().Before(a.until), a.asked
}

func (s *refSession) leave(auth string, wait time.Duration, asked bool) {
	until := time.Now().Add(wait)
	t := &s.t
	if t.gen == s.gen && auth == s.auth {
		t.away, t.failed = true, 0
		if until.After(t.until) {
			t.until, t.asked = until, asked
		}
		return
	}
	if t.gen == s.gen {
		t.abandon(auth)
	}
	if until.After(s.avoid[auth].until) {
		s.avoid[auth] = refAvoid{until, asked}
	}
}

// The absences of auths.

func (m *reference) wasAway(auth string, wait time.Duration) {
	v := m.absent[auth]
	if v == nil {
		v = &refAbsence{}
		m.absent[auth] = v
	}
	now := time.Now()
	if now.Sub(v.last) > m.o.warm && v.count > 0 {
		*v = refAbsence{gone: v.gone}
	}
	if v.count == 0 || !v.gone {
		v.count++
	}
	v.gone = true
	if wait == 0 {
		v.last = now
	} else if until := now.Add(wait); until.After(v.until) {
		v.until, v.last = until, until
	}
}

func (m *reference) wasThere(auth string) {
	if v := m.absent[auth]; v != nil && !time.Now().Before(v.until) {
		v.gone = false
	}
}

func (m *reference) unsteady(auth string) bool {
	v := m.absent[auth]
	if v == nil || v.count < 2 {
		return false
	}
	hold := 30 * time.Second
	for i := 2; i < v.count; i++ {
		hold = min(2*hold, m.o.warm)
	}
	return time.Since(v.last) < min(hold, m.o.warm)
}

// Who may serve.

// bad reports whether an auth cannot serve this request.
func (m *reference) bad(r *refRequest, a string) bool {
	f := m.fitness[a]
	return f == affinity.Away || f == affinity.Full || f == affinity.Unfit || slices.Contains(r.tried, a) || !slices.Contains(r.candidates, a)
}

// rank: 0 is fit, 1 busy, 2 slow, 3 drained, 4 has failed the session, 5 cannot
// serve.
func (m *reference) rank(r *refRequest, a string) int {
	left, asked := r.of.left(a)
	switch {
	case m.bad(r, a), left && asked:
		return 5
	case left:
		return 4
	case m.drained[a]:
		return 3
	}
	return map[affinity.Fitness]int{affinity.Fit: 0, affinity.Busy: 1, affinity.Slow: 2}[m.fitness[a]]
}

type refLevel struct {
	rank int
	all  []string // of the best rank those of the highest tier
	from []string // without the loaded ones
	tier int
	mean float64 // the load of a share
}

func (m *reference) tierOf(a string) int {
	if m.o.tiers {
		return m.tier[a]
	}
	return 0
}

func (m *reference) loadOf(a string) float64 {
	if m.o.loads {
		return m.load[a]
	}
	return 0
}

func (m *reference) shareOf(a string) float64 {
	if s := m.share[a]; m.o.shares && s > 0 {
		return s
	}
	return 1
}

func (m *reference) relative(a string) float64 { return m.loadOf(a) / m.shareOf(a) }

// level returns the auths among which the balancer may choose, without one of them.
func (m *reference) level(r *refRequest, without string) refLevel {
	for rank := range 5 {
		for tier := 3; tier >= 0; tier-- {
			l, shares := refLevel{rank: rank, tier: tier}, 0.0
			for _, c := range r.candidates {
				if c != without && m.rank(r, c) == rank && m.tierOf(c) == tier {
					l.all = append(l.all, c)
					l.mean += m.loadOf(c)
					shares += m.shareOf(c)
				}
			}
			if l.all == nil {
				continue
			}
			l.mean /= shares
			for _, c := range l.all {
				if !m.exceeds(c, m.o.load.Bound*l.mean) {
					l.from = append(l.from, c)
				}
			}
			return l
		}
	}
	return refLevel{rank: 5}
}

func (m *reference) exceeds(a string, bound float64) bool {
	return m.loadOf(a) > m.o.load.Least && m.relative(a) > bound+1e-9
}

// The ways of a request. Each returns false if no auth serves.

func (m *reference) pick(r *refRequest) (p refPick, ok bool) {
	s := m.find(r.session)
	r.of = s
	p = refPick{session: r.session, of: s}
	held := 0
	defer func() {
		// The pick takes over the use, or the use ends.
		if held != 0 && s.gen == held && s.bound() && !s.served && !(ok && !p.guest && p.gen == held) {
			s.uses--
		}
		if ok && !p.guest && p.gen != 0 && !p.of.served {
			p.use = "open"
		}
		if ok && p.of != nil {
			p.detour, p.former = p.of.trouble().detour, p.of.trouble().former
		}
	}()
	if s != nil && !r.side && r.force == "" {
		s.used = time.Now()
		if s.bound() && !s.served {
			s.uses++
			held = s.gen
		}
	}
	switch {
	case r.force != "":
		if !slices.Contains(r.candidates, r.force) || slices.Contains(r.tried, r.force) {
			p.reason = affinity.ReasonForced
			return p, false
		}
		return m.visit(r, p, r.force, affinity.OutcomeForced, affinity.ReasonNone), true
	case s == nil:
		return m.place(r, p, affinity.ReasonNone)
	case !s.bound():
		return m.place(r, p, s.lost)
	}
	return m.stay(r, p)
}

// visit serves a request elsewhere than where its session is bound.
func (m *reference) visit(r *refRequest, p refPick, auth string, what affinity.Outcome, why affinity.Reason) refPick {
	p.auth, p.outcome, p.reason, p.guest = auth, what, why, true
	if !r.side && p.of != nil {
		p.gen, p.own = p.of.gen, auth == p.of.auth
	}
	return p
}

func (m *reference) hit(r *refRequest, p refPick) refPick {
	p.auth, p.outcome, p.reason = p.of.auth, affinity.OutcomeHit, affinity.ReasonNone
	if !r.side {
		p.gen, p.age = p.of.gen, time.Since(p.of.made)
	}
	return p
}

// bind makes an auth the session's.
func (m *reference) bind(p refPick, auth string, what affinity.Outcome, why affinity.Reason) refPick {
	s := p.of
	m.gen++
	if what == affinity.OutcomeMoved {
		p.before = s.auth
	}
	s.auth, s.gen, s.lost, s.never, s.served, s.uses = auth, m.gen, affinity.ReasonNone, false, false, 1
	s.made = time.Now()
	p.auth, p.gen, p.outcome, p.reason = auth, m.gen, what, why
	return p
}

func (m *reference) place(r *refRequest, p refPick, why affinity.Reason) (refPick, bool) {
	l := m.level(r, "")
	if l.rank == 5 {
		p.reason = m.refusal(r)
		return p, false
	}
	to, ok := "", true
	if t := p.of.trouble(); p.of != nil && !p.of.bound() && t.detour != "" && m.rank(r, t.detour) <= max(l.rank, 1) {
		to = t.detour
	} else if to, ok = r.choose(l.from); !ok {
		return p, false
	}
	what := affinity.OutcomeMoved
	if p.of == nil || p.of.never {
		what = affinity.OutcomeNew
	}
	if r.side {
		p.auth, p.outcome, p.reason, p.of = to, affinity.OutcomeNone, affinity.ReasonNone, nil
		if what == affinity.OutcomeMoved {
			p.reason = why
		}
		return p, true
	}
	if p.of == nil {
		p.of = &refSession{used: time.Now(), avoid: map[string]refAvoid{}}
		m.sessions[r.session] = p.of
	}
	return m.bind(p, to, what, why), true
}

// refusal returns why no auth can serve.
func (m *reference) refusal(r *refRequest) affinity.Reason {
	if len(r.candidates) == 0 {
		return affinity.ReasonGone
	}
	full, away := false, false
	for _, c := range r.candidates {
		switch m.fitness[c] {
		case affinity.Unfit:
		case affinity.Full:
			full = true
		default:
			away = true
		}
	}
	switch {
	case away:
		return affinity.ReasonAway
	case full:
		return affinity.ReasonFull
	}
	return affinity.ReasonUnfit
}

func (m *reference) cold(s *refSession) bool {
	if s.served {
		return time.Since(s.last) > m.o.warm
	}
	t := s.trouble()
	return !t.since.IsZero() && time.Since(t.since) > m.o.warm
}

func (m *reference) stay(r *refRequest, p refPick) (refPick, bool) {
	s := p.of
	own := s.auth
	if !slices.Contains(r.candidates, own) {
		return m.place(r, p, affinity.ReasonGone)
	}
	if m.fitness[own] == affinity.Away {
		m.wasAway(own, 0)
	} else {
		m.wasThere(own)
	}
	left, _ := s.left(own)
	switch f := m.fitness[own]; {
	case f == affinity.Unfit:
		return m.place(r, p, affinity.ReasonUnfit)
	case f == affinity.Away, left, slices.Contains(r.tried, own):
		return m.detour(r, p)
	case f == affinity.Full:
		return m.spill(r, p, affinity.ReasonFull)
	case f == affinity.Slow:
		return m.spill(r, p, affinity.ReasonSlow)
	case r.side:
		return m.hit(r, p), true
	}
	t := s.trouble()
	if t.away {
		s.t.resume()
		t = s.trouble()
	}
	if t.away && t.detour != "" && m.rank(r, t.detour) <= 1 {
		if m.cold(s) && (time.Since(t.last) <= m.o.warm || t.until.Sub(t.since) > m.o.warm) {
			return m.settle(p, t.detour), true
		}
		if m.unsteady(own) {
			return m.visit(r, p, t.detour, affinity.OutcomeDetour, affinity.ReasonAway), true
		}
	}
	all := m.level(r, "")
	if m.o.load.Spill != 0 && m.exceeds(own, m.o.load.Spill*all.mean) {
		return m.spill(r, p, affinity.ReasonLoad)
	}
	cold := s.served && m.cold(s)
	why := affinity.ReasonNone
	others := m.level(r, own)
	up := others.rank <= 1 && others.tier > m.tierOf(own)
	switch {
	case up && (m.o.failback == affinity.FailbackAtOnce || m.o.failback == affinity.FailbackCold && cold):
		why = affinity.ReasonTier
	case m.o.coldAnew && cold && (all.mean == 0 || m.drained[own] || m.relative(own) > all.mean+1e-9):
		why = affinity.ReasonCold
	}
	if why != affinity.ReasonNone {
		if to, ok := r.choose(all.from); ok && to != own {
			return m.bind(p, to, affinity.OutcomeMoved, why), true
		}
	}
	if cold && m.o.coldAnew { // it stays there like a new session
		return m.bind(p, own, affinity.OutcomeHit, affinity.ReasonNone), true
	}
	return m.hit(r, p), true
}

// elsewhere returns the auth of the session's detour. If there is none, it is the balancer's
// choice, which becomes the detour.
func (m *reference) elsewhere(r *refRequest, s *refSession, l refLevel, away bool, fits func(string) bool) (string, bool) {
	t := s.trouble()
	if away && !r.side && t.former != "" && m.rank(r, t.former) <= max(l.rank, 1) {
		s.begin().resume()
		t = s.trouble()
	}
	if t.detour != "" && m.rank(r, t.detour) <= max(l.rank, 1) && fits(t.detour) {
		if !r.side && away && !t.away {
			s.begin().away = true
		}
		return t.detour, true
	}
	var from []string
	for _, a := range l.from {
		if fits(a) {
			from = append(from, a)
		}
	}
	to, ok := r.choose(from)
	if ok && !r.side {
		keep := t.former == "" && t.remembered(m.o.warm)
		now := s.begin()
		switch {
		case away:
			now.former, now.formerLast = "", time.Time{}
		case keep:
			now.former, now.formerLast = t.detour, t.last
		}
		now.away, now.detour, now.last = t.away || away, to, time.Time{}
	}
	return to, ok
}

func (m *reference) spill(r *refRequest, p refPick, why affinity.Reason) (refPick, bool) {
	own := p.of.auth
	l := m.level(r, own)
	fits := func(a string) bool { return why != affinity.ReasonLoad || m.relative(a) < m.relative(own) }
	if why != affinity.ReasonFull && (l.rank > 1 || !slices.ContainsFunc(l.from, fits)) {
		return m.hit(r, p), true
	}
	if l.rank == 5 {
		p.reason = m.refusal(r)
		return p, false
	}
	to, ok := m.elsewhere(r, p.of, l, false, fits)
	if !ok {
		return p, false
	}
	return m.visit(r, p, to, affinity.OutcomeSpill, why), true
}

func (m *reference) detour(r *refRequest, p refPick) (refPick, bool) {
	s := p.of
	l := m.level(r, s.auth)
	if own := m.rank(r, s.auth); own < l.rank || own == 4 && l.rank == 4 {
		return m.hit(r, p), true
	}
	if l.rank == 5 {
		p.reason = m.refusal(r)
		return p, false
	}
	to, ok := m.elsewhere(r, s, l, true, func(string) bool { return true })
	switch {
	case !ok:
		return p, false
	case !r.side && m.cold(s):
		return m.settle(p, to), true
	}
	return m.visit(r, p, to, affinity.OutcomeDetour, affinity.ReasonAway), true
}

// settle binds the session to the auth of its detour. The session does not go back to the auth
// that it leaves while that auth is away.
func (m *reference) settle(p refPick, to string) refPick {
	s := p.of
	t, left := s.trouble(), s.auth
	p = m.bind(p, to, affinity.OutcomeMoved, affinity.ReasonCold)
	if t.until.After(time.Now()) && left != to && t.until.After(s.avoid[left].until) {
		s.avoid[left] = refAvoid{t.until, t.asked}
	}
	return p
}

// report applies a result.
func (m *reference) report(p *refPick, r affinity.Result, away time.Duration) {
	s := m.find(p.session)
	if s == nil || p.gen == 0 || s != p.of || s.gen != p.gen {
		return // the result is late, or of a pick without a session
	}
	wait, asked := 5*time.Second, away > 0
	switch {
	case asked:
		wait = away
	case r == affinity.Terminal:
		wait = m.o.warm
	}
	if p.guest {
		switch r {
		case affinity.Served:
			switch now := s.trouble(); {
			case p.detour != p.auth && p.former != p.auth:
			case now.detour == p.auth:
				s.t.last = time.Now()
			case now.former == p.auth:
				s.t.formerLast = time.Now()
			}
		case affinity.Transient, affinity.Terminal, affinity.Unlisted:
			s.begin()
			if p.own {
				s.leave(s.auth, wait, asked)
			} else {
				s.leave(p.auth, wait, asked)
			}
		}
		return
	}
	lose := func(why affinity.Reason, never, blamed bool) {
		auth := s.auth
		if t := s.trouble(); t.detour != "" { // other requests are there
			s.t = refTrouble{gen: m.gen + 1, since: time.Now(), detour: t.detour, last: t.last}
		}
		m.gen++
		s.gen, s.lost, s.never, s.served, s.uses = m.gen, why, never, false, 0
		if blamed {
			s.leave(auth, wait, asked)
		}
	}
	first := p.use == "open"
	end := func(failed bool) (lost bool) {
		if !first {
			return false
		}
		p.use = "ended"
		if s.served {
			return false
		}
		s.uses--
		return failed && s.uses == 0
	}
	switch r {
	case affinity.Served:
		if first {
			p.use = "served"
		}
		s.served, s.used, s.last = true, time.Now(), time.Now()
		if t := s.trouble(); t.gen != 0 {
			s.t.failed = 0
			if !time.Now().Before(t.until) {
				// The detour is remembered while it is warm.
				s.t = refTrouble{}
				if t.resume(); t.remembered(m.o.warm) {
					s.t = refTrouble{gen: s.gen, detour: t.detour, last: t.last}
				}
			}
		}
	case affinity.Terminal:
		end(false)
		lose(affinity.ReasonRefused, false, true)
	case affinity.Cancelled:
		if end(true) {
			lose(affinity.ReasonNone, true, false)
		}
	case affinity.Rejected:
		end(false)
	case affinity.Transient:
		if end(true) {
			lose(affinity.ReasonNone, true, true)
			return
		}
		s.used = time.Now()
		if first && !asked && p.age < 30*time.Second {
			return
		}
		m.wasAway(s.auth, wait)
		s.begin()
		s.leave(s.auth, wait, asked)
	case affinity.Unlisted:
		end(false)
		s.used = time.Now()
		if t := s.begin(); true {
			if t.failed++; t.failed >= 3 {
				lose(affinity.ReasonRefused, false, true)
			}
		}
	}
}

func (m *reference) rename(from, to string) (renamed int) {
	for name := range m.sessions {
		s := m.find(name)
		if s == nil {
			continue
		}
		if s.t.detour == from {
			s.t.detour = to
		}
		if s.t.former == from {
			s.t.former = to
		}
		if a, ok := s.avoid[from]; ok {
			delete(s.avoid, from)
			if !s.avoid[to].until.After(a.until) {
				s.avoid[to] = a
			}
		}
		if s.bound() && s.auth == from {
			s.auth = to
			renamed++
		}
	}
	if m.drained[from] {
		m.drained[from], m.drained[to] = false, true
	}
	if v := m.absent[from]; v != nil {
		delete(m.absent, from)
		if m.absent[to] != nil && m.absent[to].gone {
			v.gone = true
		}
		m.absent[to] = v
	}
	return renamed
}

func (m *reference) invalidate(auth string) (n int) {
	for name := range m.sessions {
		s := m.find(name)
		if s != nil && s.bound() && s.auth == auth {
			m.gen++
			s.gen, s.lost, s.served, s.uses = m.gen, affinity.ReasonInvalidated, false, 0
			n++
		}
		if s != nil && s.t.gen == s.gen {
			s.t.abandon(auth)
		}
	}
	m.drained[auth] = false
	delete(m.absent, auth)
	return n
}

// back ends the absence of an auth.
func (m *reference) back(auth string) {
	for _, s := range m.sessions {
		delete(s.avoid, auth)
		if s.auth == auth && s.t.gen == s.gen {
			s.t.until, s.t.asked, s.t.failed = time.Time{}, false, 0
		}
	}
	delete(m.absent, auth)
}
