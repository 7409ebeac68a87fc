package affinity

import (
	"math"
	"slices"
	"time"
)

// rank is how much an auth is wanted for a request, the best first.
type rank uint8

const (
	rankFit rank = iota
	rankBusy
	rankSlow
	rankDry    // drained
	rankFailed // has failed the session lately: better than nobody
	rankNone   // may not serve
)

// seat is one candidate of a pick.
type seat struct {
	name   string
	state  State
	asked  bool // state is what the host says
	judged bool // rank is known
	rank   rank
}

// board is what one pick knows of its candidates. The host is asked about each
// of them at most once.
type board[T any] struct {
	*core
	o    *settings[T]
	name func(T) string
	r    Request
	place
	auths   []T
	few     [12]seat // the seats, or else many
	many    []seat
	trouble trouble // the session's, zero for none
	now     int64
}

func (b *board[T]) seat(i int) *seat {
	if len(b.auths) <= len(b.few) {
		return &b.few[i]
	}
	if b.many == nil {
		b.many = make([]seat, len(b.auths))
	}
	return &b.many[i]
}

// find is the candidate of a name, -1 if there is none.
func (b *board[T]) find(name string) int {
	for i := range b.auths {
		if b.nameOf(i) == name {
			return i
		}
	}
	return -1
}

func (b *board[T]) nameOf(i int) string {
	s := b.seat(i)
	if s.name == "" {
		s.name = b.name(b.auths[i])
	}
	return s.name
}

// judge is a candidate, with what the host says of it.
func (b *board[T]) judge(i int) *seat {
	s := b.seat(i)
	if !s.judged {
		s.judged = true
		b.nameOf(i)
		if b.o.state != nil && !s.asked {
			s.state = b.o.state(b.auths[i], b.r)
		}
		if !isLoad(s.state.Load) {
			s.state.Load = 0
		}
		s.rank = b.rank(s)
	}
	return s
}

func (b *board[T]) rank(s *seat) rank {
	if f := s.state.Fitness; f == Away || f == Full || f >= Unfit || slices.Contains(b.r.Tried, s.name) {
		return rankNone
	}
	until, asked := b.trouble.left(s.name, b.now)
	switch {
	case asked:
		return rankNone
	case until != 0:
		return rankFailed
	case b.drained.has(s.name):
		return rankDry
	case s.state.Fitness == Slow, b.speeds.slow(&b.o.slow, speedKey{s.name, b.model}):
		return rankSlow
	case s.state.Fitness == Busy:
		return rankBusy
	}
	return rankFit
}

// fitness is what a candidate can do for a session that is bound to it.
func (b *board[T]) fitness(i int) Fitness {
	s := b.judge(i)
	switch {
	case s.state.Fitness >= Unfit:
		return Unfit
	case s.state.Fitness == Away, slices.Contains(b.r.Tried, s.name):
		return Away
	}
	if until, _ := b.trouble.left(s.name, b.now); until != 0 {
		return Away
	}
	if s.state.Fitness <= Busy && b.speeds.slow(&b.o.slow, speedKey{s.name, b.model}) {
		return Slow
	}
	return s.state.Fitness
}

// warm is how long the prompt cache of a candidate lives.
func (b *board[T]) warm(i int) time.Duration {
	if i >= 0 {
		if w := b.judge(i).state.Warm; w > 0 {
			return w
		}
	}
	return b.o.warm
}

// serving is the candidate of a name, if it can serve and is wanted so much at
// least; otherwise -1.
func (b *board[T]) serving(name string, least rank) int {
	if name == "" {
		return -1
	}
	if i := b.find(name); i >= 0 && b.judge(i).rank <= least {
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

func (l *level) has(s *seat) bool { return s.rank == l.rank && s.state.Tier == l.tier }

// level looks at all candidates but one; without is -1 for all.
func (b *board[T]) level(without int) level {
	l := level{rank: rankNone}
	for i := range b.auths {
		if i == without {
			continue
		}
		if s := b.judge(i); s.rank < l.rank || s.rank == l.rank && s.state.Tier > l.tier {
			l.rank, l.tier = s.rank, s.state.Tier
		}
	}
	if l.rank == rankNone {
		return l
	}
	n := 0.0
	for i := range b.auths {
		if s := b.seat(i); i != without && l.has(s) {
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
func (b *board[T]) choices(l level, without int, below float64) []T {
	if l.rank == rankNone {
		return nil
	}
	from := make([]T, 0, len(b.auths))
	for i := range b.auths {
		s := b.seat(i)
		if i != without && l.has(s) && !b.o.load.exceeds(s.state.Load, b.o.load.Bound, l.mean) && s.state.Load < below {
			from = append(from, b.auths[i])
		}
	}
	return from
}

// indifferent reports whether there is nothing that tells the candidates apart.
// The balancer then gets the caller's slice as it is.
func (b *board[T]) indifferent() bool {
	return b.o.state == nil && b.trouble == (trouble{}) && len(b.r.Tried) == 0 && b.o.slow.Above == 0 && b.drained.empty()
}

// nobody is the error when no candidate may serve.
func (b *board[T]) nobody() *NoAuthError {
	e := &NoAuthError{Reason: ReasonGone}
	back := int64(0)
	for i := range b.auths {
		s := b.judge(i)
		until := int64(0)
		switch f := s.state.Fitness; {
		case f >= Unfit:
			e.because(ReasonUnfit)
			continue
		case f == Full:
			e.because(ReasonFull)
			continue
		case f == Away && !s.state.Until.IsZero():
			until = s.state.Until.UnixNano()
		case f == Away:
		default:
			until, _ = b.trouble.left(s.name, b.now)
		}
		e.because(ReasonAway)
		if until > b.now && (back == 0 || until < back) {
			back = until
		}
	}
	if back != 0 {
		e.Until = time.Unix(0, back)
	}
	return e
}
