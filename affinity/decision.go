package affinity

import (
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Outcome is what a pick was.
type Outcome uint8

const (
	// OutcomeNone: nothing in the request names a session, or it is a side
	// request of a session that is not bound, or the store is away. The balancer
	// chose, and nothing was bound.
	OutcomeNone Outcome = iota
	// OutcomeNew: the session was not bound, or has lost its auth before that ever
	// served it. It is bound now.
	OutcomeNew
	// OutcomeHit: the session went to its auth.
	OutcomeHit
	// OutcomeMoved: the session has left its auth for good, for the Reason, and is
	// bound to the auth that serves this request. If there was no other, that can be
	// the same auth again.
	OutcomeMoved
	// OutcomeDetour: the session's auth is away for a moment. Another auth serves
	// all of its requests meanwhile; the session stays bound.
	OutcomeDetour
	// OutcomeSpill: the session's auth is full, slow or loaded. Another auth serves
	// this request; the session stays bound.
	OutcomeSpill
	// OutcomeForced: the request named its auth.
	OutcomeForced
	// OutcomeOwner: the request names state that this auth has.
	OutcomeOwner
	// OutcomeInherited: the session of a subagent or a fork is new, and bound where
	// the session is that it came from.
	OutcomeInherited
	// OutcomeRefused: Pick returned an error and nobody serves the request.
	OutcomeRefused
	// OutcomeWaits: the session's auth is back within Request.Patience. Pick returned
	// an error that says when.
	OutcomeWaits

	outcomes = iota
)

var outcomeNames = [outcomes]string{"none", "new", "hit", "moved", "detour", "spill", "forced", "owner", "inherited", "refused", "waits"}

// String is the outcome in lower case, fit for a metric label.
func (o Outcome) String() string { return nameOf(outcomeNames[:], int(o)) }

// Reason is why a session is not served by the auth that it was bound to, or why
// nobody serves a request.
type Reason uint8

const (
	ReasonNone        Reason = iota
	ReasonGone               // the auth is no candidate
	ReasonUnfit              // the host says that the auth cannot serve the request at all
	ReasonAway               // the auth is away for a moment, or this request has tried it
	ReasonCold               // the prompt cache is cold
	ReasonFull               // the auth has no room
	ReasonSlow               // others are faster
	ReasonLoad               // the auth has much more to do than others
	ReasonTier               // an auth of a higher tier is fit again
	ReasonRefused            // the auth has answered that it cannot serve the session any more
	ReasonInvalidated        // InvalidateAuth was called for the auth
	ReasonForced             // the auth that the request names is no candidate
	ReasonOwner              // the auth that holds what the request names cannot serve
	ReasonPrefix             // a new session, whose prompt begins as one that the auth was sent lately
)

var reasonNames = [...]string{
	"", "gone", "unfit", "away", "cold", "full", "slow", "load", "tier", "refused", "invalidated", "forced", "owner", "prefix",
}

// String is the reason in lower case, fit for a metric label; empty for none.
func (r Reason) String() string { return nameOf(reasonNames[:], int(r)) }

// Decision says what a pick was and why. All of it is safe to log.
type Decision struct {
	Outcome Outcome
	// Reason is why a bound session was no OutcomeHit, why the pick was refused, or why a
	// new session is where it is (ReasonPrefix). The balancer's own error has no Reason.
	Reason Reason
	// Signal is the place in the request that named the session.
	Signal sessionid.Signal
	// Auth is the name of the chosen auth, empty if the pick was refused.
	Auth string
	// Before is the name of the auth that an OutcomeMoved has left.
	Before string
	// Session is the session's stable name: random, and the same for as long as the
	// session lives. It is zero if the session is not known.
	Session sessionid.Key
	// Age is how old the session's binding is, as the request found it: a session that was
	// placed anew, if only at the same auth, or that has lost its auth, has a new one. Idle is
	// how long it was not used before this request. Candidates is how many auths the
	// pick was given.
	Age, Idle  time.Duration
	Candidates int
	// LostHistory says that a new session's content has a history of which nothing is
	// known: it was not sent through this gateway, or not lately, or the client has
	// rewritten it. Past says what the content shows of that history.
	LostHistory bool
	Past        sessionid.Past
}

// NoAuthError is the error of a pick when nobody may serve the request: all
// candidates are away, full or unfit, or the one auth that had to serve cannot.
// The balancer was not called. It is a selector.ErrNoCandidates to errors.Is.
type NoAuthError struct {
	// Reason is ReasonAway if a candidate is away or was tried, otherwise ReasonFull,
	// ReasonUnfit, or ReasonGone if there are no candidates. It is ReasonForced or
	// ReasonOwner if the request had to go to one auth.
	Reason Reason
	// Auth is the name of that one auth. With ReasonAway it is the session's own auth,
	// see Request.Patience. Otherwise it is empty.
	Auth string
	// Until is when the first of the auths that are away comes back. It is the zero
	// time if nobody has said.
	Until time.Time

	waits bool // the request has the patience
}

// Error says why nobody serves, and until when.
func (e *NoAuthError) Error() string {
	s := "affinity: no auth can serve this request: "
	switch e.Reason {
	case ReasonAway:
		if e.Auth == "" {
			s += "all candidates are away"
		} else {
			s += fmt.Sprintf("%q is away and worth waiting for", e.Auth)
		}
	case ReasonForced:
		s += fmt.Sprintf("%q is no candidate, or was tried", e.Auth)
	case ReasonOwner:
		s += fmt.Sprintf("%q holds what it names and cannot serve", e.Auth)
	case ReasonGone:
		s += "there are no candidates"
	default:
		s += "all candidates are " + e.Reason.String()
	}
	if !e.Until.IsZero() {
		s += " until " + e.Until.UTC().Format(time.RFC3339)
	}
	return s
}

// Waits reports whether the request has the Patience to wait until Until, and is to be
// picked for again then.
func (e *NoAuthError) Waits() bool { return e.waits }

// Unwrap is selector.ErrNoCandidates.
func (e *NoAuthError) Unwrap() error { return selector.ErrNoCandidates }

// because takes the reason of one candidate, if it says more than those before.
func (e *NoAuthError) because(r Reason) {
	weight := map[Reason]int{ReasonGone: 0, ReasonUnfit: 1, ReasonFull: 2, ReasonAway: 3}
	if weight[r] > weight[e.Reason] {
		e.Reason = r
	}
}
