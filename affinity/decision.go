package affinity

import (
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Outcome is the kind of a decision.
type Outcome uint8

const (
	// OutcomeNone: nothing in the request names a session, or it is a side request of a
	// session that is not bound, or the Store has failed. The balancer chose, and nothing was
	// bound.
	OutcomeNone Outcome = iota
	// OutcomeNew: the session was not bound, or it lost its auth before that auth had ever
	// served it. It is bound now.
	OutcomeNew
	// OutcomeHit: the session went to its auth.
	OutcomeHit
	// OutcomeMoved: the session has left its auth for good, and Reason says why. It is bound
	// to the auth that serves this request. That can be the same auth again if there was no
	// other.
	OutcomeMoved
	// OutcomeDetour: the session's auth is away for a moment. Meanwhile another auth serves
	// all requests of the session, which stays bound.
	OutcomeDetour
	// OutcomeSpill: the session's auth is full, slow or loaded. Another auth serves
	// this request; the session stays bound.
	OutcomeSpill
	// OutcomeForced: the request named its auth.
	OutcomeForced
	// OutcomeOwner: the request names state that this auth has.
	OutcomeOwner
	// OutcomeInherited: the session is new, and the request shows which session it came from.
	// It is bound to the auth of that session. It is a fork, or a subagent with a session id
	// of its own, such as OpenCode's.
	//
	// A subagent that sends the id of its session, such as Claude Code's, is part of that
	// session, and its requests have the session's outcomes. With sessionid.Options.LanesApart
	// it is a session of its own. The balancer places it, and the outcome is OutcomeNew, unless
	// its messages begin with those of another session, as a fork's do.
	OutcomeInherited
	// OutcomeRefused: Pick returned an error, and no auth serves the request.
	OutcomeRefused
	// OutcomeWaits: the session's auth is back within Request.Patience. Pick returned
	// an error that says when.
	OutcomeWaits

	outcomes = iota
)

var outcomeNames = [outcomes]string{"none", "new", "hit", "moved", "detour", "spill", "forced", "owner", "inherited", "refused", "waits"}

// String returns the outcome in lower case, fit for a metric label.
func (o Outcome) String() string { return nameOf(outcomeNames[:], int(o)) }

// Reason is why another auth than its own serves a session, or why no auth serves a request.
type Reason uint8

const (
	ReasonNone        Reason = iota
	ReasonGone               // the auth is no candidate
	ReasonUnfit              // the host says that the auth cannot serve the request at all
	ReasonAway               // the auth is away for a moment, or this request has tried it
	ReasonCold               // the prompt cache is cold
	ReasonFull               // the auth has no capacity
	ReasonSlow               // other auths are faster
	ReasonLoad               // the auth has much more load than others
	ReasonTier               // an auth of a higher tier is fit again
	ReasonRefused            // the auth has answered that it can no longer serve the session
	ReasonInvalidated        // InvalidateAuth was called for the auth
	ReasonForced             // the auth that the request names is no candidate
	ReasonOwner              // the auth that has the state which the request names cannot serve
	ReasonPrefix             // the prompt of a new session begins like one that the auth was sent lately
	ReasonBalancer           // the balancer has returned an error, or has panicked
	ReasonName               // the auth that the balancer chose has no name, or another candidate has its name
)

var reasonNames = [...]string{
	"", "gone", "unfit", "away", "cold", "full", "slow", "load", "tier", "refused", "invalidated", "forced", "owner", "prefix",
	"balancer", "name",
}

// String returns the reason in lower case, fit for a metric label; it is empty for ReasonNone.
func (r Reason) String() string { return nameOf(reasonNames[:], int(r)) }

// Decision says what a pick has decided and why. All of it is safe to log.
type Decision struct {
	Outcome Outcome
	// Reason is why the outcome of a bound session is not OutcomeHit, why the pick was
	// refused, or why this auth was chosen for a new session (ReasonPrefix). It is never
	// ReasonNone if the pick was refused, unless a function of the Options has panicked.
	Reason Reason
	// Signal is the place in the request that identifies the session.
	Signal sessionid.Signal
	// Auth is the name of the chosen auth, empty if the pick was refused.
	Auth string
	// Before is the name of the auth that the session has left, for OutcomeMoved.
	Before string
	// Session is the session's stable name: random, and constant as long as the session lives.
	// It is zero if the session is not known.
	Session sessionid.Key
	// Age is the age of the binding that the request found. A session gets a new binding after
	// it has lost its auth, and when its auth is chosen anew, even if that is the same one.
	// Idle is how long the session was not used before this request. Candidates is how many
	// auths the pick was given.
	Age, Idle  time.Duration
	Candidates int
	// LostHistory says that the content of a new session has a history, and that nothing is
	// known of it: it was not sent through this gateway, or not lately, or the client has
	// rewritten it. Past says what the content shows of that history.
	LostHistory bool
	Past        sessionid.Past
}

// NoAuthError is the error of a pick when no auth may serve the request: all candidates are
// away, full or unfit, or the request had to go to one auth that cannot serve. The balancer
// was not called. errors.Is(err, selector.ErrNoCandidates) is true.
type NoAuthError struct {
	// Reason is ReasonAway if a candidate is away or was tried, otherwise ReasonFull,
	// ReasonUnfit, or ReasonGone if there are no candidates. It is ReasonForced or
	// ReasonOwner if the request had to go to one auth.
	Reason Reason
	// Auth is the name of that one auth. With ReasonAway it is the session's own auth if the
	// request is to wait for it, see Request.Patience. Otherwise it is empty.
	Auth string
	// Until is when the first of the auths that are away comes back. It is the zero time if
	// that is not known.
	Until time.Time

	waits bool // Request.Patience is long enough
}

// Error says why no auth serves, and until when.
func (e *NoAuthError) Error() string {
	s := "affinity: no auth can serve this request: "
	switch e.Reason {
	case ReasonAway:
		if e.Auth == "" {
			s += "all candidates are away"
		} else {
			s += fmt.Sprintf("%q is away, and the session should wait for it", e.Auth)
		}
	case ReasonForced:
		s += fmt.Sprintf("the request names %q, which is not a candidate or was tried already", e.Auth)
	case ReasonOwner:
		s += fmt.Sprintf("only %q has what the request refers to, and it cannot serve", e.Auth)
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

// Waits reports whether the host should wait until Until and pick again, because that is
// within the request's Patience.
func (e *NoAuthError) Waits() bool { return e.waits }

// Unwrap returns selector.ErrNoCandidates.
func (e *NoAuthError) Unwrap() error { return selector.ErrNoCandidates }

// because sets the reason to that of one candidate, if it says more than the reason so far.
func (e *NoAuthError) because(r Reason) {
	weight := map[Reason]int{ReasonGone: 0, ReasonUnfit: 1, ReasonFull: 2, ReasonAway: 3}
	if weight[r] > weight[e.Reason] {
		e.Reason = r
	}
}
