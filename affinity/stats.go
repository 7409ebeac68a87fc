package affinity

import (
	"sync/atomic"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

const (
	kinds   = int(sessionid.KindSide) + 1
	reasons = int(ReasonPrefix) + 1
	results = int(Cancelled) + 1
	pasts   = int(sessionid.PastSummary) + 1
	causes  = int(cache.AuthInvalidated) + 1
)

// Stats counts what an Affinity has done since it was made.
type Stats struct {
	// Picks are by Outcome, and by the Kind of the signal that named the session.
	Picks [outcomes][kinds]uint64
	// Reasons are the picks that have one.
	Reasons [reasons]uint64
	// Results are the first reports of picks.
	Results [results]uint64
	// Again are the reports of picks that had been reported.
	Again uint64
	// Lost are the new sessions whose Decision says LostHistory, by what their content
	// shows of it.
	Lost [pasts]uint64
	// Removed are the sessions that the Affinity's own memory has removed, by cause. With
	// a Store of the caller's they are zero.
	Removed [causes]uint64
	// StoreFailed counts operations that the Store could not do, also after Close. The
	// requests went on without it.
	StoreFailed uint64
}

// Outcome counts the picks of an outcome.
func (s Stats) Outcome(o Outcome) (n uint64) {
	for _, one := range s.Picks[o] {
		n += one
	}
	return n
}

// Signal counts the picks whose session was named by a kind of signal. KindNone are those
// of requests without a session.
func (s Stats) Signal(k sessionid.Kind) (n uint64) {
	for o := range s.Picks {
		n += s.Picks[o][k]
	}
	return n
}

// Total counts all picks, refused ones too.
func (s Stats) Total() (n uint64) {
	for o := range s.Picks {
		n += s.Outcome(Outcome(o))
	}
	return n
}

// Reported counts the picks that were reported.
func (s Stats) Reported() (n uint64) {
	for _, one := range s.Results {
		n += one
	}
	return n
}

// Unreported counts the picks that have chosen an auth and were not reported: those under
// way, and those that the host has forgotten. A host that forgets Report looks healthy
// otherwise, because no auth ever fails. There this number grows for ever.
func (s Stats) Unreported() uint64 {
	return s.Total() - s.Outcome(OutcomeRefused) - s.Outcome(OutcomeWaits) - s.Reported()
}

// LostHistory counts all of Lost.
func (s Stats) LostHistory() (n uint64) {
	for _, one := range s.Lost {
		n += one
	}
	return n
}

// counters are what Stats is a snapshot of.
type counters struct {
	picks   [outcomes][kinds]atomic.Uint64
	reasons [reasons]atomic.Uint64
	results [results]atomic.Uint64
	again   atomic.Uint64
	lost    [pasts]atomic.Uint64
	removed [causes]atomic.Uint64
	failed  atomic.Uint64
}

// decided counts a decision and tells the hook.
func (k *core) decided(p *policy, d *Decision, v *visitor) {
	kind := int(d.Signal.Kind)
	if kind >= kinds { // of a host's own Extract
		kind = int(sessionid.KindOwn)
	}
	k.counts.picks[d.Outcome][kind].Add(1)
	if d.Reason != ReasonNone {
		k.counts.reasons[d.Reason].Add(1)
	}
	if d.LostHistory {
		k.counts.lost[d.Past].Add(1)
	}
	if p.onEvent != nil {
		p.onEvent(v.event(d))
	}
}

// reported counts a report and tells the hook.
func (k *core) reported(v *visitor, d *Decision, r *Report) {
	again := v.ticket != nil && v.ticket.told.Swap(true)
	if again {
		k.counts.again.Add(1)
	} else {
		result := r.Result
		if int(result) >= results {
			result = Unlisted
		}
		k.counts.results[result].Add(1)
		if v.ticket != nil && v.ticket.sent != nil {
			k.ended(v.ticket.sent, d.Auth, r)
		}
	}
	if p := k.policy.Load(); p.onEvent != nil {
		e := v.event(d)
		e.Reported, e.Report, e.Again = true, *r, again
		p.onEvent(e)
	}
}

// event is what both halves of a request have in common.
func (v *visitor) event(d *Decision) Event {
	scope := short(v.scope)
	return Event{
		Decision: *d, Pool: plain(scope.Pool), Model: plain(v.model),
		at: v.binding.Ref, found: v.binding.Gen != 0, where: where{scope, v.model},
	}
}

// Stats is a snapshot. Each number is exact; together they may be a few picks apart.
func (k *core) Stats() (s Stats) {
	c := &k.counts
	// What is counted last is read first, so that nothing is reported before it is picked.
	read(s.Results[:], c.results[:])
	s.Again = c.again.Load()
	for o := range s.Picks {
		read(s.Picks[o][:], c.picks[o][:])
	}
	read(s.Reasons[:], c.reasons[:])
	read(s.Lost[:], c.lost[:])
	read(s.Removed[:], c.removed[:])
	s.StoreFailed = c.failed.Load()
	return s
}

func read(to []uint64, from []atomic.Uint64) {
	for i := range from {
		to[i] = from[i].Load()
	}
}

// counting is how the Affinity's own memory is made: what it removes is counted.
func (k *core) counting(o cache.Options) cache.Options {
	tell := o.OnRemove
	o.OnRemove = func(scope cache.Scope, b cache.Binding, why cache.Cause) {
		k.counts.removed[why].Add(1)
		if tell != nil {
			tell(scope, b, why)
		}
	}
	return o
}
