package affinity

import (
	"context"
	"sync/atomic"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

const (
	kinds   = int(sessionid.KindSide) + 1
	reasons = int(ReasonName) + 1
	results = int(Cancelled) + 1
	pasts   = int(sessionid.PastSummary) + 1
	causes  = int(cache.AuthInvalidated) + 1
)

// Stats are the counters of an Affinity since it was made.
type Stats struct {
	// Picks are counted by Outcome, and by the Kind of the signal that named the session.
	Picks [outcomes][kinds]uint64
	// Reasons counts the picks that have a Reason.
	Reasons [reasons]uint64
	// Results counts the first report of each pick.
	Results [results]uint64
	// Again counts the further reports of picks that had been reported.
	Again uint64
	// Lost counts the new sessions whose Decision says LostHistory, by Decision.Past.
	Lost [pasts]uint64
	// Removed counts the sessions that the Affinity's own memory has removed, by cause. With
	// Options.Store it stays zero.
	Removed [causes]uint64
	// StoreFailed counts the operations of the Store that have failed, including those after
	// Close. The requests were served without it.
	StoreFailed uint64
}

// Outcome returns the number of picks with an outcome.
func (s Stats) Outcome(o Outcome) (n uint64) {
	for _, one := range s.Picks[o] {
		n += one
	}
	return n
}

// Signal returns the number of picks whose session was named by a kind of signal. For KindNone
// these are the requests without a session.
func (s Stats) Signal(k sessionid.Kind) (n uint64) {
	for o := range s.Picks {
		n += s.Picks[o][k]
	}
	return n
}

// Total returns the number of all picks, including the refused ones.
func (s Stats) Total() (n uint64) {
	for o := range s.Picks {
		n += s.Outcome(Outcome(o))
	}
	return n
}

// Reported returns the number of picks that were reported.
func (s Stats) Reported() (n uint64) {
	for _, one := range s.Results {
		n += one
	}
	return n
}

// Unreported returns the number of picks that have chosen an auth and were not reported: those
// under way, and those that the host has forgotten. If a host forgets Report, this number
// grows for ever. Nothing else shows it, because no auth ever fails.
func (s Stats) Unreported() uint64 {
	return s.Total() - s.Outcome(OutcomeRefused) - s.Outcome(OutcomeWaits) - s.Reported()
}

// LostHistory returns the sum of Lost.
func (s Stats) LostHistory() (n uint64) {
	for _, one := range s.Lost {
		n += one
	}
	return n
}

// counters hold the numbers of Stats.
type counters struct {
	busy    [stripes]stripe
	reasons [reasons]atomic.Uint64
	again   atomic.Uint64
	lost    [pasts]atomic.Uint64
	removed [causes]atomic.Uint64
	failed  atomic.Uint64
}

// stripes is how many numbers each pick or report counts in one of: cores that count in one
// number wait for each other.
const stripes = 8

type stripe struct {
	picks   [outcomes][kinds]atomic.Uint64
	results [results]atomic.Uint64
	_       [64]byte // two stripes share no cache line
}

// decided counts a decision and calls Options.OnEvent.
func (k *core) decided(ctx context.Context, p *policy, d *Decision, v *visitor) {
	kind := int(d.Signal.Kind)
	if kind >= kinds { // of a host's own Extract
		kind = int(sessionid.KindOwn)
	}
	k.counts.busy[v.stripe].picks[d.Outcome][kind].Add(1)
	if d.Reason != ReasonNone {
		k.counts.reasons[d.Reason].Add(1)
	}
	if d.LostHistory {
		k.counts.lost[d.Past].Add(1)
	}
	if p.onEvent != nil {
		v.ctx = context.WithoutCancel(ctx)
		p.onEvent(v.ctx, v.event(d))
	}
}

// reported counts a report and calls Options.OnEvent.
func (k *core) reported(v *visitor, d *Decision, r *Report) {
	again := v.ticket != nil && v.ticket.told.Swap(true)
	if again {
		k.counts.again.Add(1)
	} else {
		result := r.Result
		if int(result) >= results {
			result = Unlisted
		}
		k.counts.busy[v.stripe].results[result].Add(1)
		if v.sent != nil {
			k.ended(v.sent, d.Auth, r)
		}
	}
	if p := k.policy.Load(); p.onEvent != nil {
		ctx := v.ctx
		if ctx == nil { // there was no OnEvent when the pick was made
			ctx = context.Background()
		}
		e := v.event(d)
		e.Reported, e.Report, e.Again = true, *r, again
		p.onEvent(ctx, e)
	}
}

// event returns the fields that the events of a pick and of its reports have in common.
func (v *visitor) event(d *Decision) Event {
	scope := short(v.scope)
	return Event{
		Decision: *d, Pool: plain(scope.Pool), Model: plain(v.model),
		at: v.binding.Ref, found: v.binding.Gen != 0, where: where{scope, v.model},
	}
}

// Stats returns the counters. Each number is exact, but they are not read at one moment: they
// may be a few picks apart.
func (k *core) Stats() (s Stats) {
	c := &k.counts
	// Results are read before picks, so that no report is counted without its pick.
	for i := range c.busy {
		add(s.Results[:], c.busy[i].results[:])
	}
	s.Again = c.again.Load()
	for i := range c.busy {
		for o := range s.Picks {
			add(s.Picks[o][:], c.busy[i].picks[o][:])
		}
	}
	add(s.Reasons[:], c.reasons[:])
	add(s.Lost[:], c.lost[:])
	add(s.Removed[:], c.removed[:])
	s.StoreFailed = c.failed.Load()
	return s
}

func add(to []uint64, from []atomic.Uint64) {
	for i := range from {
		to[i] += from[i].Load()
	}
}

// counting returns the options for the Affinity's own memory: it counts the sessions that are
// removed.
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
