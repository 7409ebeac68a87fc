package affinity

import (
	"slices"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// candidates is what one pick knows of all candidates. Options.State is called at most once
// for each of them.
type candidates[T any] struct {
	*core
	store cache.Store // the core's, or a rehearsal
	o     *settings[T]
	name  func(T) string
	r     Request
	where
	auths   []T
	few     [12]candidate // one for each auth; if there are more, many is used
	many    *crowd
	trouble trouble // the session's, zero for none
	now     int64
	all     bool    // examine all candidates, however many there are
	spread  bool    // Options.Balance chooses for the session
	tokens  float64 // of the prompt, for Options.Balance
	tie     uint64  // decides between auths with equal loads
}

func (c *candidates[T]) candidate(i int) *candidate {
	if len(c.auths) <= len(c.few) {
		return &c.few[i]
	}
	if c.many == nil {
		c.many = c.crowds.take(len(c.auths))
	}
	return c.many.at(i)
}

// find returns the candidate with a name, -1 if there is none.
func (c *candidates[T]) find(name string) int {
	for i, auth := range c.auths {
		if c.name(auth) == name { // nameOf would store all candidates, when there are many
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

// judge returns a candidate with its state and its rank.
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

// fitness returns the Fitness of a candidate for a session that is bound to it.
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

// warm returns how long the prompt cache of a candidate lives.
func (c *candidates[T]) warm(i int) time.Duration {
	if i < 0 {
		return c.o.warm
	}
	s := c.judge(i)
	return c.o.warmAt(s.name, s.state.Warm)
}

// warmAt returns how long the prompt cache of an auth lives. said is the host's State.Warm.
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

// serving returns the candidate with a name, if its rank is least or better; otherwise -1.
func (c *candidates[T]) serving(name string, least rank) int {
	if name == "" {
		return -1
	}
	if i := c.find(name); i >= 0 && c.judge(i).rank <= least {
		return i
	}
	return -1
}

// indifferent reports whether nothing distinguishes the candidates. The balancer then gets the
// caller's slice as it is.
func (c *candidates[T]) indifferent() bool {
	return c.o.balance == BalanceOff && c.o.state == nil && c.trouble.isZero() && len(c.r.Tried) == 0 && c.o.slow.Above == 0 && c.drained.empty()
}

// nobody returns the error for the case that no candidate may serve.
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

// back returns when a candidate that is away is back, the zero time if that is not known.
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
