package affinity

import "time"

// Fitness is whether an auth may serve a request now. The same answer decides
// whether a session stays on its auth and whether a balancer may choose the
// auth.
type Fitness uint8

const (
	// Fit: the auth may serve.
	Fit Fitness = iota
	// Busy: the auth may serve, but its remaining capacity is for the sessions that it has.
	// New sessions go elsewhere, unless no other auth is fit.
	Busy
	// Away: the auth cannot serve for a moment, for example in a cooldown after a
	// 429. A bound session takes a detour: all of its requests go to one other
	// auth until its own is back.
	Away
	// Full: the auth has no capacity for this request. The request of a bound session goes
	// elsewhere, and the session stays bound. Further requests go to the same other auth as
	// long as the session's own is full.
	Full
	// Slow: the auth serves, but other auths are faster. A bound session is treated as with
	// Full, as long as another auth is fit.
	Slow
	// Unfit: the auth cannot serve the request at all: it is disabled, or it does
	// not know the model. A bound session leaves the auth.
	Unfit
)

var fitnessNames = [...]string{"fit", "busy", "away", "full", "slow", "unfit"}

// String returns the fitness in lower case, fit for a metric label.
func (f Fitness) String() string { return nameOf(fitnessNames[:], int(f)) }

// nameOf returns the name of an enum's value.
func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// State is what the host knows of an auth when a request comes. With the zero State the auth
// may serve.
type State struct {
	// Fitness is whether the auth may serve the request.
	Fitness Fitness
	// Until is when an auth that is Away comes back. The zero time means that it is not known.
	// Pick returns it in the error if no auth can serve.
	Until time.Time
	// Guess says that Away is the host's own guess from failures, and that the auth has not
	// asked for it. If no other auth can serve, Pick chooses this one all the same.
	Guess bool
	// Tier says how much the auth is preferred, the highest first. New sessions go to the
	// highest tier that has a fit auth. If the client gives a new session the id of a parent,
	// as for OpenCode's subagents and Codex's forks, it goes to the auth of its parent, whatever
	// the tier. A subagent that sends the id of its session goes where the session goes. With
	// sessionid.Options.LanesApart it is placed by the tiers, as any new session.
	Tier int
	// Load is the current load of the auth, in any unit that is the same for all candidates,
	// such as requests in flight or tokens a minute. It must be finite and not negative; other
	// values count as 0. See LoadPolicy.
	Load float64
	// Share is how much of the load the auth is to get, relative to the others: under
	// Options.Balance, and where a LoadPolicy compares loads. 0 and all values that are no
	// positive number mean 1.
	Share float64
	// Warm is how long the provider's prompt cache lives after its last use. 0 is
	// Options.Warm.
	Warm time.Duration
}
