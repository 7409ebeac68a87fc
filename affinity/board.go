package affinity

import (
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
	o       *settings[T]
	name    func(T) string
	q       query
	auths   []T
	seats   []seat
	room    [12]seat // seats, if they are few
	trouble *trouble // the session's, nil for none
	now     int64
}

// sit makes the seats. It is called once the board stands where it will stay.
func (b *board[T]) sit() {
	if len(b.auths) <= len(b.room) {
		b.seats = b.room[:len(b.auths)]
	} else {
		b.seats = make([]seat, len(b.auths))
	}
}

// find is the candidate of a name, -1 if there is none.
func (b *board[T]) find(name string) int {
	for i := range b.seats {
		if b.nameOf(i) == name {
			return i
		}
	}
	return -1
}

func (b *board[T]) nameOf(i int) string {
	s := &b.seats[i]
	if s.name == "" {
		s.name = b.name(b.auths[i])
	}
	return s.name
}

// judge is a candidate, with what the host says of it.
func (b *board[T]) judge(i int) *seat {
	s := &b.seats[i]
	if !s.judged {
		s.judged = true
		b.nameOf(i)
		if b.o.state != nil && !s.asked {
			s.state = b.o.state(b.auths[i], *b.q.Request)
		}
		if !isLoad(s.state.Load) {
			s.state.Load = 0
		}
		s.rank = b.rank(s)
	}
	return s
}

func (b *board[T]) rank(s *seat) rank {
	if f := s.state.Fitness; f == Away || f == Full || f >= Unfit || slices.Contains(b.q.Tried, s.name) {
		return rankNone
	}
	failed := false
	if b.trouble != nil {
		until, asked := b.trouble.left(s.name, b.now)
		if asked {
			return rankNone
		}
		failed = until != 0
	}
	switch {
	case failed:
		return rankFailed
	case b.drained.has(s.name):
		return rankDry
	case s.state.Fitness == Slow, b.speeds.slow(&b.o.slow, speedKey{s.name, b.q.model}):
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
	case s.state.Fitness == Away, slices.Contains(b.q.Tried, s.name):
		return Away
	}
	if b.trouble != nil {
		if until, _ := b.trouble.left(s.name, b.now); until != 0 {
			return Away
		}
	}
	if s.state.Fitness <= Busy && b.speeds.slow(&b.o.slow, speedKey{s.name, b.q.model}) {
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
	for i := range b.seats {
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
	for i := range b.seats {
		if s := &b.seats[i]; i != without && l.has(s) {
			l.mean += s.state.Load
			n++
		}
	}
	l.mean /= n
	return l
}

// choices are the auths that a balancer may choose from: those of the level that
// are not loaded too much. There is always one if the level has one.
func (b *board[T]) choices(l level, without int, fits func(*seat) bool) []T {
	if l.rank == rankNone {
		return nil
	}
	from := make([]T, 0, len(b.seats))
	for i := range b.seats {
		s := &b.seats[i]
		if i != without && l.has(s) && !b.o.load.exceeds(s.state.Load, b.o.load.Bound, l.mean) && (fits == nil || fits(s)) {
			from = append(from, b.auths[i])
		}
	}
	return from
}

// indifferent reports whether there is nothing that tells the candidates apart.
// The balancer then gets the caller's slice as it is.
func (b *board[T]) indifferent() bool {
	return b.o.state == nil && b.trouble == nil && len(b.q.Tried) == 0 && b.o.slow.Above == 0 && b.drained.empty()
}

// nobody is the error when no candidate may serve.
func (b *board[T]) nobody() *NoAuthError {
	e := &NoAuthError{Reason: ReasonGone}
	back := int64(0)
	for i := range b.seats {
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
		case b.trouble != nil:
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
