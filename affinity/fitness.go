package affinity

import "time"

// Fitness is whether an auth may serve a request now. The same answer decides
// whether a session stays on its auth and whether a balancer may choose the
// auth.
type Fitness uint8

const (
	// Fit: the auth may serve.
	Fit Fitness = iota
	// Busy: the auth may serve, but the room that is left is for the sessions it
	// has. New sessions go elsewhere, unless no other auth is fit.
	Busy
	// Away: the auth cannot serve for a moment, for example in a cooldown after a
	// 429. A bound session takes a detour: all of its requests go to one other
	// auth until its own is back.
	Away
	// Full: the auth has no room for this request. The request of a bound session
	// goes elsewhere, the session stays. Further requests go to the same other
	// auth as long as the session's own is full.
	Full
	// Slow: the auth serves, but others are better. A bound session does as with
	// Full, as long as another auth is fit.
	Slow
	// Unfit: the auth cannot serve the request at all: it is disabled, or it does
	// not know the model. A bound session leaves the auth.
	Unfit
)

var fitnessNames = [...]string{"fit", "busy", "away", "full", "slow", "unfit"}

// String is the fitness in lower case, fit for a metric label.
func (f Fitness) String() string { return nameOf(fitnessNames[:], int(f)) }

// nameOf is the name of an enum's value.
func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// State is what the host knows of an auth when a request comes. The zero State
// is an auth that may serve.
type State struct {
	// Fitness is whether the auth may serve the request.
	Fitness Fitness
	// Until is when an auth that is Away comes back. The zero time is unknown. It
	// goes into the error when nobody can serve.
	Until time.Time
	// Guess says that an Away is the host's own guess, made of failures, and nothing
	// that the auth has said. If nobody else is left the auth is asked all the same.
	Guess bool
	// Tier says how much the auth is preferred, the highest first. New sessions go
	// to the highest tier that has a fit auth. A subagent goes where its parent
	// is, in whatever tier.
	Tier int
	// Load is how much the auth has to do, in any unit that is the same for all
	// candidates, such as requests in flight or tokens a minute. It must be finite
	// and not negative; other values count as 0. See LoadPolicy.
	Load float64
	// Share is how much of the load the auth is to get under Options.Balance, relative to
	// the others. 0 is 1, and so is what is no positive number.
	Share float64
	// Warm is how long the provider's prompt cache lives after its last use. 0 is
	// Options.Warm.
	Warm time.Duration
}
