package affinity

import (
	"log/slog"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Outcome is what a pick was.
type Outcome uint8

const (
	// OutcomeNone: nothing in the request names a session, or it is a side
	// request of one that is not bound; the balancer chose, and nothing was bound.
	OutcomeNone Outcome = iota
	// OutcomeNew: the session was not bound; the balancer chose, and it is now.
	OutcomeNew
	// OutcomeHit: the session went back to its auth.
	OutcomeHit
	// OutcomeMoved: the session has left its auth for good, for the Reason, and is
	// bound to the one that serves this request.
	OutcomeMoved
	// OutcomeDetour: the session's auth is away for a moment; another one serves
	// all of its requests meanwhile, and the binding stays.
	OutcomeDetour
	// OutcomeSpill: the session's auth is full, slow or loaded; another one serves this
	// request, and the binding stays.
	OutcomeSpill
	// OutcomeForced: the request named its auth.
	OutcomeForced
	// OutcomeOwner: the request names state that this auth has.
	OutcomeOwner
	// OutcomeInherited: a subagent's session is new, and bound where its
	// parent's is.
	OutcomeInherited

	outcomes = iota
)

var outcomeNames = [outcomes]string{"none", "new", "hit", "moved", "detour", "spill", "forced", "owner", "inherited"}

// String is the outcome in lower case, fit for a metric label.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}

// Reason is why a session is not served by the auth that it was bound to.
type Reason uint8

const (
	ReasonNone  Reason = iota
	ReasonGone         // the auth is no candidate any more
	ReasonUnfit        // the host says that it cannot serve the request at all
	ReasonAway         // it is away for a moment, or this request has tried it
	ReasonCold         // its cache is cold: it was away for so long, or the session was
	ReasonFull         // it has no room
	ReasonSlow         // others are faster
	ReasonLoad         // it has much more to do than others
	ReasonTier         // one of a higher tier is fit again
)

var reasonNames = [...]string{"", "gone", "unfit", "away", "cold", "full", "slow", "load", "tier"}

// String is the reason in lower case, fit for a metric label; empty for none.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// Decision says what a pick was and why. All of it is safe to log.
type Decision struct {
	Outcome Outcome
	// Reason is why it was no OutcomeHit, for a session that is bound.
	Reason Reason
	// Signal is the place in the request that named the session.
	Signal sessionid.Signal
	// Auth is the name of the chosen auth.
	Auth string
	// Session is the stable name of the session's binding: random, the same
	// over the session's turns and moves. Zero for OutcomeNone.
	Session sessionid.Key
	// LostHistory says why a session is new although its content has a history
	// of at least four messages: none of it was seen here, or not lately, or
	// the client has rewritten it beyond recognition (a compaction).
	LostHistory bool
}

// lostHistory is more than what clients put before a first prompt: up to
// three messages of boilerplate.
const lostHistory = 4

// LogValue groups the decision's parts.
func (d Decision) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("outcome", d.Outcome.String()),
		slog.String("reason", d.Reason.String()),
		slog.String("signal", d.Signal.Name),
		slog.String("auth", d.Auth),
	)
}

// Stats counts the picks of an Affinity since it was made, by outcome.
type Stats struct {
	None, New, Hit, Moved, Detour, Spill, Forced, Owner, Inherited uint64
	// LostHistory are those of New whose Decision says so.
	LostHistory uint64
	// StoreFailed counts operations that the Store could not do, also after
	// Close. The requests went on without it.
	StoreFailed uint64
}

// Stats is a snapshot; each number is exact, together they may be a few picks
// apart.
func (a *Affinity[T]) Stats() Stats {
	return Stats{
		None:  a.counts[OutcomeNone].Load(),
		New:   a.counts[OutcomeNew].Load(),
		Hit:   a.counts[OutcomeHit].Load(),
		Moved: a.counts[OutcomeMoved].Load(),

		Detour: a.counts[OutcomeDetour].Load(),
		Spill:  a.counts[OutcomeSpill].Load(),
		Forced: a.counts[OutcomeForced].Load(),
		Owner:  a.counts[OutcomeOwner].Load(),

		Inherited: a.counts[OutcomeInherited].Load(),

		LostHistory: a.lost.Load(),
		StoreFailed: a.failed.Load(),
	}
}
