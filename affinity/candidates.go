package affinity

import (
	"slices"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

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
	many    *crowd
	trouble trouble // the session's, zero for none
	now     int64
	all     bool    // look at all candidates, however many there are
	spread  bool    // Options.Balance places the session
	tokens  float64 // of the prompt, for Options.Balance
	tie     uint64  // draws one of the auths that have the same to do
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

// find is the candidate of a name, -1 if there is none.
func (c *candidates[T]) find(name string) int {
	for i, auth := range c.auths {
		if c.name(auth) == name { // nameOf would look at all candidates, when there are many
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

// indifferent reports whether there is nothing that tells the candidates apart.
// The balancer then gets the caller's slice as it is.
func (c *candidates[T]) indifferent() bool {
	return c.o.balance == BalanceOff && c.o.state == nil && c.trouble.isZero() && len(c.r.Tried) == 0 && c.o.slow.Above == 0 && c.drained.empty()
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
