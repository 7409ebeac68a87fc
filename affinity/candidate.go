package affinity

import "github.com/llmaffinity/llmaffinity/selector"

// rank is how suitable an auth is for a request, the best first.
type rank uint8

const (
	rankFit rank = iota
	rankBusy
	rankSlow
	rankDrained
	rankFailed // has failed the session lately: better than no auth
	rankNone   // may not serve
)

// candidate is one auth as one pick sees it.
type candidate struct {
	name   string
	state  State
	asked  bool // state was set by Options.State
	judged bool // rank is known
	rank   rank

	weighed bool // sent is known
	sent    selector.Load
}

// level describes the candidates among which new sessions are placed: those of the best rank,
// and of these the ones of the highest tier. mean is their mean load of a share.
type level struct {
	rank rank
	tier int
	mean float64

	sample *sample // the candidates that were examined; nil if all were
}

func (l *level) has(s *candidate) bool { return s.rank == l.rank && s.state.Tier == l.tier }

// sampled is how many candidates a pick examines if there are many.
const sampled = 64

// sample holds the indices of the candidates that are examined.
type sample struct {
	n  int
	at [sampled]int32
}
