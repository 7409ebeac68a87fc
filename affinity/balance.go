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

// Balance says whether an Affinity evens out the load of its auths. It measures the load
// itself: the prompt tokens that each auth was sent (Options.Loads). The host's balancer is
// then called with the one auth that is to be chosen. It is not called if a session is moved
// for load, or if the auth is chosen because it was sent a prompt with the same beginning.
//
// A new auth has been sent nothing, so it gets most new sessions until it has been sent as
// much as the others in the last half hour. To begin slowly, give it a small State.Share. The
// benchmarks measure the cost for each request: go test ./affinity -run '^$' -bench ManyAuths.
type Balance uint8

const (
	// BalanceOff: the host's balancer chooses for new sessions.
	BalanceOff Balance = iota
	// BalanceNew: a new session goes to the auth that was sent the least, and so does one
	// whose prompt cache is cold. If an auth was lately sent a prompt with the same beginning,
	// the session goes there instead, provided that at most two auths were sent such prompts
	// and that auth has not much more load than others. A host need not set ColdAnew. No
	// session loses a warm prompt cache.
	BalanceNew
	// BalanceMoving: as BalanceNew, and sessions with a short prompt are moved, with
	// ReasonLoad, if their auth was sent more than its share. Each such move costs one
	// uncached prompt. All of them together cost at most 2 % of the prompt tokens, and mostly
	// much less: examples/replay says how much on a trace. Of 25 requests of a pool
	// and model at most one moves its session. A session stays if it is nearly all of its
	// auth's load. It is not moved with a request of a subagent, or with one that names state
	// of an auth.
	BalanceMoving
)

var balanceNames = [...]string{"off", "new", "moving"}

// String returns the balance in lower case.
func (b Balance) String() string { return nameOf(balanceNames[:], int(b)) }

const (
	nearWeighs = 1.0 // tokens of the last seconds, against
	longWeighs = 4.0 // those of the last hour
	prefixLoad = 1.2 // times the mean that an auth may have to get a prompt with the same beginning
	coldStays  = 0.8 // times the mean up to which a cold session stays
)

// load returns what a candidate was sent, relative to its share.
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

// field sums up the auths of a level and what they were sent.
type field struct {
	level
	auths        int
	near, recent float64 // the means of a share
	least        float64 // the least recent
}

// weigh sums up the candidates of a level that may be chosen, except one.
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

// score is the load of an auth with more tokens added, as selector.LeastRecentTokens measures
// it. The added tokens do not count as those of the last seconds: for an auth with a small
// share one prompt is much in so short a time.
func (f *field) score(l selector.Load, more float64) (score float64) {
	if f.near > 0 {
		score += nearWeighs * l.Near / f.near
	}
	if f.recent > 0 {
		score += longWeighs * (l.Recent + more) / f.recent
	} else { // no auth was sent anything
		score += more
	}
	return score
}

// scoreWith returns the score of a candidate if it gets this request.
func (c *candidates[T]) scoreWith(f *field, i int) float64 {
	return f.score(c.load(i), c.tokens/c.candidate(i).state.share())
}

// lightest returns the candidate of a level with the least load, -1 if none may be chosen. Of
// equal ones it takes one that depends on the request's tie.
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

// lighter returns the candidate to which a session that could stay is to be moved, or -1. It
// charges the cost of the move to the budget for moves.
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

// light reports whether an auth has so little load that a cold session stays.
func (v *visit[T]) light(bound int, all *level) bool {
	f := v.weigh(*all, -1)
	return all.has(v.candidate(bound)) && v.load(bound).Recent <= coldStays*f.recent
}

// alone reports whether a session is nearly all of its auth's load: a move would move the load
// with it.
func alone(here *selector.Load, b *cache.Binding) bool {
	return here.Main == number(b.Session) && here.MainShare > moveAlone
}

// movable reports whether a session can be moved with this request. A subagent's prompt does
// not show the cost of the session's prompt, and state stays at its auth.
func (v *visit[T]) movable() bool { return v.id.Lane() == (sessionid.Key{}) && len(v.id.Owners()) == 0 }

// uneven reports whether Options.Balance may move a session whose auth can serve: because its
// prompt cache is cold, or for load. It examines no other auth.
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

// began returns the candidate that was lately sent a prompt with the same beginning. It is -1
// if there is none, or if all of them have too much load.
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

// draw sets what Options.Balance needs: the tokens of the request, and the tie that decides
// between auths with equal loads.
func (v *visit[T]) draw(f *found) {
	if v.tokens = float64(v.r.Tokens); v.o.loads != nil {
		v.tokens = v.traffics.at(v.scope.Pool, v.model).size(v.r.Tokens, len(v.r.Body))
	}
	if v.o.balance == BalanceOff {
		return
	}
	v.spread = !v.lookedUp.Local && f.err == nil // otherwise replicas must agree, but each knows only what it has sent itself
	switch {
	case v.id.IsZero() || v.r.Off:
		v.tie = uint64(v.now)
	default:
		v.tie = v.number()
	}
}

// prefixes returns digests of the beginnings of this request's prompt, in its scope, the
// shortest first.
func (v *visit[T]) prefixes() []uint64 {
	if !v.cut {
		v.cut = true
		v.begins = sessionid.Prefixes(nil, v.r.Body)
		in := v.scope
		in.Model = v.model // a prompt cache belongs to a model, whatever the session's scope is
		scope := placement(&in, cache.Key{})
		for i := range v.begins {
			v.begins[i] ^= scope
		}
	}
	return v.begins
}

// noteBegin records where a prompt was sent, for others with the same beginning.
func (v *visit[T]) noteBegin() {
	d, sent := &v.p.Decision, v.p.visitor.sent
	if v.o.balance == BalanceOff || v.r.Side || sent == nil {
		return
	}
	switch d.Outcome {
	case OutcomeNew, OutcomeMoved, OutcomeInherited, OutcomeNone:
		sent.prefixes = v.prefixes()
		v.begun.note(sent.prefixes, d.Auth, v.now, int64(v.o.warm))
	}
}
