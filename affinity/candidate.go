package affinity

import "github.com/llmaffinity/llmaffinity/selector"

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

	weighed bool // sent is known
	sent    selector.Load
}

// level is where new sessions are placed: the best rank that there is among the
// candidates, in it the highest tier, and the mean load of those.
type level struct {
	rank rank
	tier int
	mean float64

	sample *sample // that the level was found in; nil: all candidates
}

func (l *level) has(s *candidate) bool { return s.rank == l.rank && s.state.Tier == l.tier }

// sampled is how many of many candidates are looked at.
const sampled = 64

// sample are the indices of candidates that are looked at.
type sample struct {
	n  int
	at [sampled]int32
}
