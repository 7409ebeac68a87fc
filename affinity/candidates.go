package affinity

import (
	"math"
	"slices"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// rank is how much an auth is wanted for a request, the best first.
type rank uint8

const (
	rankFit rank = iota
	rankBusy
	rankSlow
	rankDrained
	rankFailed // has failed the session lately: better than nobody
	rankNone   // may not serve
)

// candidate is what one pick knows of one auth.
type candidate struct {
	name   string
	state  State
	asked  bool // state is what the host says
	judged bool // rank is known
	rank   rank
}

// candidates are what one pick knows of all of them. The host is asked about each
// of them at most once.
type candidates[T any] struct {
	*core
	store cache.Store // the core's, or one that changes nothing
	o     *settings[T]
	name  func(T) string
	r     Request
	where
	auths   []T
	few     [12]candidate // of each auth, or else many
	many    []candidate
	trouble trouble // the session's, zero for none
	now     int64
}

func (c *candidates[T]) candidate(i int) *candidate {
	if len(c.auths) <= len(c.few) {
		return &c.few[i]
	}
	if c.many == nil {
		c.many = make([]candidate, len(c.auths))
	}
	return &c.many[i]
}

// find is the candidate of a name, -1 if there is none.
func (c *candidates[T]) find(name string) int {
	for i := range c.auths {
		if c.nameOf(i) == name {
			return i
		}
	}
	return -1
}

func (c *candidates[T]) nameOf(i int) string {
	s := c.candidate(i)
	if s.name == "" {
		s.name = c.name(c.auths[i])
	}
	return s.name
}

// judge is a candidate, with what the host says of it.
func (c *candidates[T]) judge(i int) *candidate {
	s := c.candidate(i)
	if !s.judged {
		s.judged = true
		c.nameOf(i)
		if c.o.state != nil && !s.asked {
			s.state = c.o.state(c.auths[i], c.r)
		}
		if !isLoad(s.state.Load) {
			s.state.Load = 0
		}
		s.rank = c.rank(s)
	}
	return s
}

func (c *candidates[T]) rank(s *candidate) rank {
	guess := s.state.Fitness == Away && s.state.Guess
	if f := s.state.Fitness; f == Away && !guess || f == Full || f >= Unfit || slices.Contains(c.r.Tried, s.name) {
		return rankNone
	}
	until, asked := c.trouble.left(s.name, c.now)
	switch {
	case asked:
		return rankNone
	case until != 0, guess:
		return rankFailed
	case c.drained.has(s.name):
		return rankDrained
	case s.state.Fitness == Slow, c.speeds.slow(&c.o.slow, speedKey{s.name, c.model}):
		return rankSlow
	case s.state.Fitness == Busy:
		return rankBusy
	}
	return rankFit
}

// fitness is what a candidate can do for a session that is bound to it.
func (c *candidates[T]) fitness(i int) Fitness {
	s := c.judge(i)
	switch {
	case s.state.Fitness >= Unfit:
		return Unfit
	case s.state.Fitness == Away, slices.Contains(c.r.Tried, s.name):
		return Away
	}
	if until, _ := c.trouble.left(s.name, c.now); until != 0 {
		return Away
	}
	if s.state.Fitness <= Busy && c.speeds.slow(&c.o.slow, speedKey{s.name, c.model}) {
		return Slow
	}
	return s.state.Fitness
}

// warm is how long the prompt cache of a candidate lives.
func (c *candidates[T]) warm(i int) time.Duration {
	if i < 0 {
		return c.o.warm
	}
	s := c.judge(i)
	return c.o.warmAt(s.name, s.state.Warm)
}

// warmAt is how long the prompt cache of an auth lives, of which the host has said that,
// or 0.
func (p *policy) warmAt(auth string, said time.Duration) time.Duration {
	if said > 0 {
		return said
	}
	if p.warmOf != nil {
		if w, ok := p.warmOf(auth); ok {
			return w
		}
	}
	return p.warm
}

// serving is the candidate of a name, if it can serve and is wanted so much at
// least; otherwise -1.
func (c *candidates[T]) serving(name string, least rank) int {
	if name == "" {
		return -1
	}
	if i := c.find(name); i >= 0 && c.judge(i).rank <= least {
		return i
	}
	return -1
}

// level is where new sessions are placed: the best rank that there is among the
// candidates, in it the highest tier, and the mean load of those.
type level struct {
	rank rank
	tier int
	mean float64
}

func (l *level) has(s *candidate) bool { return s.rank == l.rank && s.state.Tier == l.tier }

// level looks at all candidates but one; without is -1 for all.
func (c *candidates[T]) level(without int) level {
	l := level{rank: rankNone}
	for i := range c.auths {
		if i == without {
			continue
		}
		if s := c.judge(i); s.rank < l.rank || s.rank == l.rank && s.state.Tier > l.tier {
			l.rank, l.tier = s.rank, s.state.Tier
		}
	}
	if l.rank == rankNone {
		return l
	}
	n := 0.0
	for i := range c.auths {
		if s := c.candidate(i); i != without && l.has(s) {
			l.mean += s.state.Load
			n++
		}
	}
	l.mean /= n
	return l
}

// anyLoad is more than every load.
var anyLoad = math.Inf(1)

// choices are the auths that a balancer may choose from: those of the level that
// are not loaded too much, and whose load is below a limit. Without a limit there
// is always one if the level has one.
func (c *candidates[T]) choices(l level, without int, below float64) []T {
	if l.rank == rankNone {
		return nil
	}
	from := make([]T, 0, len(c.auths))
	for i := range c.auths {
		s := c.candidate(i)
		if i != without && l.has(s) && !c.o.load.exceeds(s.state.Load, c.o.load.Bound, l.mean) && s.state.Load < below {
			from = append(from, c.auths[i])
		}
	}
	return from
}

// indifferent reports whether there is nothing that tells the candidates apart.
// The balancer then gets the caller's slice as it is.
func (c *candidates[T]) indifferent() bool {
	return c.o.state == nil && c.trouble.isZero() && len(c.r.Tried) == 0 && c.o.slow.Above == 0 && c.drained.empty()
}

// nobody is the error when no candidate may serve.
func (c *candidates[T]) nobody() *NoAuthError {
	e := &NoAuthError{Reason: ReasonGone}
	for i := range c.auths {
		switch f := c.judge(i).state.Fitness; {
		case f >= Unfit:
			e.because(ReasonUnfit)
			continue
		case f == Full:
			e.because(ReasonFull)
			continue
		}
		e.because(ReasonAway)
		if back := c.back(i); !back.IsZero() && (e.Until.IsZero() || back.Before(e.Until)) {
			e.Until = back
		}
	}
	return e
}

// back is when a candidate is back that is away, the zero time if nobody has said.
func (c *candidates[T]) back(i int) time.Time {
	s := c.judge(i)
	until := int64(0)
	switch f := s.state.Fitness; {
	case f == Away && !s.state.Until.IsZero():
		until = s.state.Until.UnixNano()
	case f <= Busy || f == Slow:
		until, _ = c.trouble.left(s.name, c.now)
	}
	if until <= c.now {
		return time.Time{}
	}
	return time.Unix(0, until)
}
