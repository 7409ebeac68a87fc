package affinity

import (
	"slices"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Fitness is whether an auth may serve a request now: the one answer that
// decides both for the auth that a session is bound to and for the candidates
// of a fresh choice.
type Fitness uint8

const (
	// Fit: it may.
	Fit Fitness = iota
	// Busy: it may, but what room it has left is for the sessions that it has. New
	// ones go elsewhere, unless nobody else is fit.
	Busy
	// Away: not for a moment, such as a cooldown after a 429. A bound session
	// takes a detour, all of its requests the same one, and comes back.
	Away
	// Full: it has no room for this request. A bound session's request is served
	// elsewhere, the next ones by the same auth while it lasts, and the session
	// stays.
	Full
	// Slow: it serves, but others are better. As Full, as long as another is fit.
	Slow
	// Unfit: not at all, as a disabled auth, or one that does not know the model.
	// A bound session leaves it.
	Unfit
)

var fitnessNames = [...]string{"fit", "busy", "away", "full", "slow", "unfit"}

// String is the fitness in lower case, fit for a metric label.
func (f Fitness) String() string {
	if int(f) < len(fitnessNames) {
		return fitnessNames[f]
	}
	return "unknown"
}

// fitness is the host's answer, and what else is known.
func (a *Affinity[T]) fitness(o *settings, q *query, name string) Fitness {
	f := Fit
	if o.Eligible != nil {
		f = o.Eligible(name, q.Request)
	}
	switch {
	case f >= Unfit:
		return Unfit
	case slices.Contains(q.Tried, name), q.avoid != nil && q.avoid.avoiding(name, time.Now()):
		return Away
	case f <= Busy && a.speeds.slow(&o.Slow, speedKey{name, q.model}):
		return Slow
	}
	return f
}

// rank is how much an auth is wanted for a fresh choice.
type rank uint8

const (
	rankFit rank = iota
	rankBusy
	rankSlow
	rankDry // drained
	rankNone
)

// choice is what a balancer may choose from.
type choice[T any] struct {
	from []T
	rank rank
	tier int
	mean float64 // load
}

// fit are the candidates that a balancer may choose from, without one of them:
// of those of the best rank those of the highest tier, and of these those that
// are not loaded above the bound. Without anything to tell them apart they are
// the caller's slice.
func (a *Affinity[T]) fit(o *settings, q *query, candidates []T, without string) choice[T] {
	if o.Eligible == nil && o.Tier == nil && o.Load == nil && o.Slow.Above == 0 &&
		without == "" && len(q.Tried) == 0 && a.drained.of.Load() == nil {
		return choice[T]{from: candidates}
	}
	type verdict struct {
		rank rank
		tier int
		load float64
	}
	var room [64]verdict
	verdicts := room[:0]
	best := choice[T]{rank: rankNone}
	for _, c := range candidates {
		v := verdict{rank: rankNone}
		if name := a.name(c); name != without {
			v.rank = a.rank(o, q, name)
			if o.Tier != nil && v.rank != rankNone {
				v.tier = o.Tier(name, q.Request)
			}
			if v.rank < best.rank || v.rank == best.rank && v.tier > best.tier {
				best.rank, best.tier = v.rank, v.tier
			}
		}
		verdicts = append(verdicts, v)
	}
	if best.rank == rankNone {
		return best
	}
	n := 0
	for i, c := range candidates {
		v := &verdicts[i]
		if v.rank != best.rank || v.tier != best.tier {
			v.rank = rankNone
			continue
		}
		n++
		if o.Load != nil {
			v.load = o.Load(a.name(c), q.Request)
			best.mean += v.load
		}
	}
	best.mean /= float64(n)
	best.from = make([]T, 0, n)
	for i, c := range candidates {
		if v := verdicts[i]; v.rank == best.rank && (v.load <= o.LoadLeast || !above(v.load, o.LoadBound*best.mean)) {
			best.from = append(best.from, c)
		}
	}
	if len(best.from) == 0 { // loads that are no loads: below 0
		for i, c := range candidates {
			if verdicts[i].rank == best.rank {
				best.from = append(best.from, c)
			}
		}
	}
	return best
}

func (a *Affinity[T]) rank(o *settings, q *query, name string) rank {
	f := a.fitness(o, q, name)
	switch {
	case f != Fit && f != Busy && f != Slow:
		return rankNone
	case a.drained.has(name):
		return rankDry
	case f == Slow:
		return rankSlow
	case f == Busy:
		return rankBusy
	}
	return rankFit
}

// candidate is the candidate of a name.
func (a *Affinity[T]) candidate(candidates []T, name string) (T, bool) {
	for _, c := range candidates {
		if a.name(c) == name {
			return c, true
		}
	}
	var zero T
	return zero, false
}

// passing is what a request without a say in it has of a binding: results that
// are reported of it concern nobody.
func passing(b cache.Binding, auth string) cache.Binding {
	return cache.Binding{Auth: auth, Session: b.Session}
}
