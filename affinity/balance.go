package affinity

import (
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Balance says whether an Affinity evens out the load of its auths, by what it measures
// itself: the tokens of the prompts that each was sent (Options.Loads). The host's balancer
// is then called with the one auth that is to be chosen. It is not called for a session that
// is moved for load, nor where a prompt goes that begins like another one.
//
// An auth that is new has been sent nothing, so most new sessions go there until it has
// caught up with what the others were sent in the last half hour. To begin slowly, give it
// a small State.Share. What it costs for each request is in the benchmarks: go test ./affinity
// -run '^$' -bench ManyAuths.
type Balance uint8

const (
	// BalanceOff: the host's balancer places sessions.
	BalanceOff Balance = iota
	// BalanceNew: a new session goes to the auth that was sent the least, and so does one
	// whose prompt cache is cold. Before that, it goes where a prompt that begins alike was
	// sent lately, if no more than two auths have had such a one, and that auth has not much
	// more to do than others. A host need not set ColdAnew. None of this costs a prompt
	// cache.
	BalanceNew
	// BalanceMoving: besides, sessions are moved whose prompt is still short and whose auth
	// was sent more than its share, with ReasonLoad. Each such move costs one uncached
	// prompt. All of them together cost at most two of a hundred prompt tokens; on real
	// traffic over 8 auths it was 0.1 to 0.4 of a hundred (examples/replay). Of 25 requests
	// of a pool and model one moves its session, at most. A session that is nearly all that
	// its auth has to do stays, and so does every session with a request of a subagent, or
	// with one that names state of an auth.
	BalanceMoving
)

var balanceNames = [...]string{"off", "new", "moving"}

// String is the balance in lower case.
func (b Balance) String() string { return nameOf(balanceNames[:], int(b)) }

const (
	nearWeighs = 1.0 // tokens of the last seconds, against
	longWeighs = 4.0 // those of the last hour
	prefixLoad = 1.2 // times the mean that an auth may have where a prompt that begins alike is drawn
	coldStays  = 0.8 // times the mean up to which a cold session stays
	leastShare = 1e-6
)

// load is what a candidate was sent, in relation to its share.
func (c *candidates[T]) load(i int) selector.Load {
	s := c.judge(i)
	if !s.weighed {
		s.weighed = true
		s.sent = c.o.loads.Of(s.name)
		share := s.state.share()
		s.sent.Near /= share
		s.sent.Recent /= share
	}
	return s.sent
}

// share is State.Share, 1 if that is no share.
func (s *State) share() float64 {
	if s.Share > 0 && isLoad(s.Share) {
		return max(s.Share, leastShare)
	}
	return 1
}

// field are the auths of a level, and what they were sent.
type field struct {
	level
	auths        int
	near, recent float64 // the means of a share
	least        float64 // the least recent
}

// weigh looks at the candidates of a level, but for one, that may be chosen.
func (c *candidates[T]) weigh(l level, without int) (f field) {
	f = field{level: l, least: math.Inf(1)}
	shares := 0.0
	c.members(&l, without, func(i int) {
		if s := c.candidate(i); c.open(s, l, anyLoad) {
			sent, share := c.load(i), s.state.share()
			f.near += sent.Near * share
			f.recent += sent.Recent * share
			f.least = min(f.least, sent.Recent)
			f.auths++
			shares += share
		}
	})
	f.near /= shares
	f.recent /= shares
	if l.sample != nil {
		f.auths = f.auths * len(c.auths) / l.sample.n
	}
	return f
}

// score is how much an auth has to do, as selector.LeastRecentTokens measures it, with so many tokens more. They do not count as of
// the last seconds: for an auth of a small share one prompt is much in so short a time.
func (f *field) score(l selector.Load, more float64) (score float64) {
	if f.near > 0 {
		score += nearWeighs * l.Near / f.near
	}
	if f.recent > 0 {
		score += longWeighs * (l.Recent + more) / f.recent
	} else { // nobody was sent anything
		score += more
	}
	return score
}

// scoreWith is the score of a candidate if it gets this request.
func (c *candidates[T]) scoreWith(f *field, i int) float64 {
	return f.score(c.load(i), c.tokens/c.candidate(i).state.share())
}

// lightest is the candidate of a level that has the least to do, -1 if none may be
// chosen. Of equals a number of the request's draws one.
func (c *candidates[T]) lightest(l level, without int, below float64) int {
	if l.rank == rankNone || !c.spread {
		return -1
	}
	f := c.weigh(l, without)
	best, least, drawn := -1, math.Inf(1), uint64(0)
	c.members(&l, without, func(i int) {
		if !c.open(c.candidate(i), l, below) {
			return
		}
		score := c.scoreWith(&f, i)
		if score > least*(1+1e-9) {
			return
		}
		draw := (xxhash.Sum64String(c.candidate(i).name) ^ c.tie) * 0x9e3779b97f4a7c15
		if score < least*(1-1e-9) || draw > drawn {
			best, least, drawn = i, score, draw
		}
	})
	return best
}

// lighter is the candidate to which a session is to be moved, that could stay where it
// is, or -1. It takes what the move costs from what may be spent.
func (v *visit[T]) lighter(bound int) int {
	if v.o.balance != BalanceMoving || v.r.Side || !v.movable() {
		return -1
	}
	l := v.level(-1)
	f, here := v.weigh(l, -1), v.load(bound)
	t := v.traffics.at(v.scope.Pool, v.model)
	t.see(f.recent, f.least, f.auths, v.now)
	if !l.has(v.candidate(bound)) || alone(&here, &v.session) || !t.worth(here.Recent, v.tokens) {
		return -1
	}
	i := v.lightest(l, bound, anyLoad)
	if i < 0 || v.scoreWith(&f, i) >= f.score(here, 0) || !v.dry && !t.spend(here.Recent, v.tokens) {
		return -1
	}
	return i
}

// light reports whether an auth has so little to do that a cold session stays.
func (v *visit[T]) light(bound int, all *level) bool {
	f := v.weigh(*all, -1)
	return all.has(v.candidate(bound)) && v.load(bound).Recent <= coldStays*f.recent
}

// alone reports whether a session is what its auth has to do: it would take the load along.
func alone(here *selector.Load, b *cache.Binding) bool {
	return here.Main == number(b.Session) && here.MainShare > moveAlone
}

// movable reports whether a session can be moved with this request. A subagent's prompt
// says nothing of what the session's costs, and what one auth holds stays where it is.
func (v *visit[T]) movable() bool { return v.id.Lane() == (sessionid.Key{}) && len(v.id.Owners()) == 0 }

// uneven reports whether a session that is bound to an auth that can serve may have to
// leave it, for what Options.Balance says: because its prompt cache is cold, or for load.
// It looks at no other auth.
func (a *Affinity[T]) uneven(o *settings[T], r *Request, at *where, f *found, b *cache.Binding) bool {
	own := &f.state
	if r.Side {
		return false
	}
	if b.Served && b.SinceServed > o.warmAt(b.Auth, own.Warm) {
		return true
	}
	if o.balance != BalanceMoving || f.lane {
		return false
	}
	t, now := a.traffics.at(at.scope.Pool, at.model), time.Now().UnixNano()
	if !t.saw(now) {
		return true
	}
	here := o.loads.Of(b.Auth)
	if alone(&here, b) {
		return false
	}
	return t.worth(here.Recent/own.share(), t.size(r.Tokens, len(r.Body)))
}

// began is the candidate that was sent a prompt lately that begins as this one does. It is
// -1 if there is none, or all of them have enough to do.
func (v *visit[T]) began() int {
	if !v.spread || v.r.Side {
		return -1
	}
	prefixes := v.prefixes()
	if len(prefixes) == 0 {
		return -1
	}
	l := v.level(-1)
	if l.rank == rankNone {
		return -1
	}
	f := v.weigh(l, -1)
	for _, p := range slices.Backward(prefixes) {
		best := -1
		for _, name := range v.begun.of(p, v.now, int64(v.o.warm)) {
			i := v.serving(name, rankSlow)
			if i >= 0 && v.open(v.candidate(i), l, anyLoad) && v.load(i).Recent <= prefixLoad*f.recent && (best < 0 || v.load(i).Recent < v.load(best).Recent) {
				best = i
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

// draw makes the number by which one of several auths is drawn that have the same to do,
// and notes what there is to do.
func (v *visit[T]) draw(f *found) {
	if v.tokens = float64(v.r.Tokens); v.o.loads != nil {
		v.tokens = v.traffics.at(v.scope.Pool, v.model).size(v.r.Tokens, len(v.r.Body))
	}
	if v.o.balance == BalanceOff {
		return
	}
	v.spread = !v.lookedUp.Away && f.err == nil // or else replicas must agree, and each knows only what it has sent itself
	switch {
	case v.id.IsZero() || v.r.Off:
		v.tie = uint64(v.now)
	default:
		v.tie = v.number()
	}
}

// prefixes are how this request's prompt begins, in its scope, the shortest first.
func (v *visit[T]) prefixes() []uint64 {
	if !v.cut {
		v.cut = true
		v.begins = sessionid.Prefixes(nil, v.r.Body)
		in := v.scope
		in.Model = v.model // that the prompt cache belongs to, whatever the session is bound for
		scope := placement(&in, cache.Key{})
		for i := range v.begins {
			v.begins[i] ^= scope
		}
	}
	return v.begins
}

// noteBegin remembers where a prompt was sent, for others that begin alike.
func (v *visit[T]) noteBegin() {
	d, t := &v.p.Decision, v.p.visitor.ticket
	if v.o.balance == BalanceOff || v.r.Side || t == nil || t.sent == nil {
		return
	}
	switch d.Outcome {
	case OutcomeNew, OutcomeMoved, OutcomeInherited, OutcomeNone:
		t.sent.prefixes = v.prefixes()
		v.begun.note(t.sent.prefixes, d.Auth, v.now, int64(v.o.warm))
	}
}
