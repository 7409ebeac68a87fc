package selector

import (
	"context"
	"math"
	"reflect"
	"strings"
	"sync"
)

// RoundRobin takes the candidates in turn, in the order of the list, separately for each pool
// and model (Hint). The next candidate is the one after the auth that was taken last, wherever
// in the list that auth now is. If that auth is not in the list, it is the one that now has
// its index.
//
// RoundRobin has no names, so it compares auths with ==. That is enough for strings and for
// pointers that stay the same. If a reload makes new pointers, or if the order of the list
// changes often, use [WeightedRoundRobin] with a name and without weights. It costs more,
// because it examines every candidate.
//
// The first pool and model begins at the first candidate, the next one at the second, and so
// on, so that many models with one request each are spread, too.
func RoundRobin[T any]() Selector[T] {
	turns := newScopes[place[T]]()
	values := reflect.TypeFor[T]().Comparable()
	return Func[T](func(ctx context.Context, candidates []T) (T, error) {
		n := len(candidates)
		if n == 0 {
			return none[T]()
		}
		s := turns.of(ctx, 0)
		s.mu.Lock()
		defer s.mu.Unlock()
		p := &s.state
		next := p.at
		switch {
		case !p.begun:
			next = int(s.nth % uint64(n))
		case !values:
			next++
		case next < n && same(candidates[next], p.last):
			next++
		default:
			for i := range candidates {
				if same(candidates[i], p.last) {
					next = i + 1
					break
				}
			}
		}
		if next >= n {
			next = 0
		}
		*p = place[T]{true, next, candidates[next]}
		return p.last, nil
	})
}

// place is the candidate that was taken last.
type place[T any] struct {
	begun bool
	at    int
	last  T
}

// same compares with ==. An interface may hold values for which == panics: such values are not
// the same.
func same[T any](a, b T) (yes bool) {
	defer func() { _ = recover() }()
	return any(a) == any(b)
}

// WeightedRoundRobin takes the candidates in turn, each as often as its weight says, and
// spread over time: with weights 2, 1 and 1 the first one gets every other request. It does so
// separately for each pool and model (Hint). As long as candidates and weights are the same,
// an auth gets its share of any sequence of requests, with a difference of less than two.
//
// name returns the lasting name of an auth. The order of the list does not matter. If a reload
// makes a new value with the same name, it is the same auth. An auth that was away continues
// where it was, and does not catch up.
//
// weight returns the auth's share relative to the others, which may change at any time. An
// auth whose weight is 0, negative or NaN is taken only if there is no other. A weight above
// 1e12 counts as 1e12. If weight is nil, all weights are 1, and the order is stricter: the
// candidate that was not taken for the longest time is next, and candidates that were never
// taken come first. Use this for lists that are filtered, shuffled or reloaded.
//
// A call takes time for each candidate, and allocates nothing for candidates that are known.
func WeightedRoundRobin[T any](name func(T) string, weight func(T) float64) Selector[T] {
	need(name != nil, "WeightedRoundRobin: name is nil")
	turns := newScopes[turn]()
	var scratch sync.Pool
	return Func[T](func(ctx context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		// The host's functions are called before a lock is taken.
		asked, _ := scratch.Get().(*[]entrant)
		if asked == nil {
			asked = new([]entrant)
		}
		all := (*asked)[:0]
		for _, c := range candidates {
			e := entrant{name(c), 1}
			if weight != nil {
				e.weight = weight(c)
			}
			all = append(all, e)
		}
		s := turns.of(ctx, len(all))
		s.mu.Lock()
		best := s.state.take(all, s.nth, weight != nil)
		s.mu.Unlock()
		clear(all)
		*asked = all
		scratch.Put(asked)
		return candidates[best], nil
	})
}

type entrant struct {
	name   string
	weight float64
}

// turn is the state of one pool and model.
type turn struct {
	known map[string]*runner
	order []*runner // those of the last call, so that an unchanged list needs no look-ups
	calls int64
	limit int // how many may be known before forget is called
}

// runner is the state of one auth.
type runner struct {
	name   string
	last   int64   // the call that took it, below 0 if none did
	credit float64 // requests that it is behind its share, above 0, or ahead of it
	seen   int64   // the last call that it was a candidate of
}

// take chooses one of all and returns its index.
func (t *turn) take(all []entrant, nth uint64, weighted bool) int {
	first := t.known == nil
	if first {
		t.known = make(map[string]*runner, len(all))
	}
	t.calls++
	t.meet(all, nth, first)
	best := 0
	if sum := total(all); !weighted || sum == 0 {
		for i, r := range t.order {
			if r.last < t.order[best].last {
				best = i
			}
		}
	} else {
		best = t.due(all, sum, nth, first)
	}
	t.order[best].last = t.calls
	return best
}

// meet sets order to the runners of all entrants.
func (t *turn) meet(all []entrant, nth uint64, first bool) {
	n := len(all)
	if cap(t.order) < n {
		t.order = append(make([]*runner, 0, n), t.order...)
	}
	if n < len(t.order) {
		clear(t.order[n:])
	}
	had := len(t.order)
	t.order = t.order[:n]
	for i, e := range all {
		if i < had && t.order[i].name == e.name {
			t.order[i].seen = t.calls
			continue
		}
		r := t.known[e.name]
		if r == nil {
			r = &runner{name: strings.Clone(e.name), last: math.MinInt64}
			if first { // the order of the first round
				r.last = int64((i-int(nth%uint64(n))+n)%n - n)
			}
			t.known[r.name] = r
		}
		r.seen = t.calls
		t.order[i] = r
	}
	if len(t.known) > max(t.limit, 2*n+64) {
		t.forget()
	}
}

// forget drops the auths that were no candidates lately, and if too many remain all that are
// no candidates now. It is called again when there are twice as many as it has left.
func (t *turn) forget() {
	for _, lately := range []int64{1000, 1} {
		for name, r := range t.known {
			if t.calls-r.seen >= lately {
				delete(t.known, name)
			}
		}
		if len(t.known) <= maxCells/2 {
			break
		}
	}
	t.limit = 2 * len(t.known)
}

// total returns the sum of the weights, after it has made each a number between 0 and 1e12.
func total(all []entrant) (sum float64) {
	for i := range all {
		w := &all[i].weight
		if !(*w > 0) {
			*w = 0
		}
		*w = min(*w, mostWeight)
		sum += *w
	}
	return sum
}

// due gives each runner its share of one request as credit, and takes one of those with a
// positive credit: the one whose credit would first reach a whole request. With constant
// shares, no credit ever reaches 1 or -1 (Tijdeman 1980). If no credit is positive, because
// the auths with credit are gone, it takes one of all.
func (t *turn) due(all []entrant, sum float64, nth uint64, first bool) int {
	for i, r := range t.order {
		r.credit += all[i].weight / sum
	}
	best := t.soonest(all, sum, 1e-9)
	if best < 0 {
		best = t.soonest(all, sum, math.Inf(-1))
	}
	if first && nth > 0 {
		// A new model begins at a candidate in proportion to the weights, so that many models
		// with one request each are spread, too.
		_, u := math.Modf(float64(nth%(1<<32)) * 0.6180339887498949)
		u *= sum
		for i := range all {
			if all[i].weight > 0 {
				best = i
				if u -= all[i].weight; u < 0 {
					break
				}
			}
		}
	}
	t.order[best].credit--
	return best
}

// soonest returns the runner whose credit would first reach 1, of those with a credit of at
// least least. Of equal ones it is the one that has waited longest.
func (t *turn) soonest(all []entrant, sum, least float64) int {
	best, soon := -1, 0.0
	for i, r := range t.order {
		if all[i].weight == 0 || r.credit < least {
			continue
		}
		in := (1 - r.credit) * sum / all[i].weight
		if best >= 0 {
			d := in - soon
			if d > 1e-9 || d >= -1e-9 && r.last >= t.order[best].last {
				continue
			}
		}
		best, soon = i, in
	}
	return best
}

// need panics with a message unless ok.
func need(ok bool, what string) {
	if !ok {
		panic("selector: " + what)
	}
}
