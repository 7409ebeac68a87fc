package affinity

import (
	"github.com/llmaffinity/llmaffinity/cache"
)

// Fitness is whether an auth may serve a request now: the one answer that
// decides both for the auth that a session is bound to and for the candidates
// of a fresh choice.
type Fitness uint8

const (
	// Fit: it may.
	Fit Fitness = iota
	// Away: not for a moment, such as a cooldown after a 429. A bound session
	// takes a detour, all of its requests the same one, and comes back.
	Away
	// Full: it has no room for this request. A bound session's request is served
	// elsewhere, and the session stays.
	Full
	// Slow: it serves, but others are better. As Full, if there is another one.
	Slow
	// Unfit: not at all, as a disabled auth, or one that does not know the model.
	// A bound session leaves it.
	Unfit
)

var fitnessNames = [...]string{"fit", "away", "full", "slow", "unfit"}

// String is the fitness in lower case, fit for a metric label.
func (f Fitness) String() string {
	if int(f) < len(fitnessNames) {
		return fitnessNames[f]
	}
	return "unknown"
}

// fitness asks the host.
func (a *Affinity[T]) fitness(name string, r *Request) Fitness {
	if a.opts.Eligible == nil {
		return Fit
	}
	return a.opts.Eligible(name, *r)
}

// fit are the candidates that a balancer may choose from, without one of them:
// those that are fit, or else those that are at least slow, or else those that
// run dry. Without a predicate and an exception they are the caller's slice.
func (a *Affinity[T]) fit(candidates []T, r *Request, without string) []T {
	if a.opts.Eligible == nil && without == "" && a.drained.of.Load() == nil {
		return candidates
	}
	var fit, slow, dry []T
	for _, c := range candidates {
		name := a.name(c)
		if name == without {
			continue
		}
		switch f := a.fitness(name, r); {
		case f != Fit && f != Slow:
		case a.drained.has(name):
			dry = append(dry, c)
		case f == Fit:
			fit = append(fit, c)
		default:
			slow = append(slow, c)
		}
	}
	switch {
	case len(fit) > 0:
		return fit
	case len(slow) > 0:
		return slow
	}
	return dry
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
