package selector

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// maxLooks is how many candidates are looked at to find one of least load. Of 64 that are
// drawn at random, one is among the best 5 % of all but once in 26 calls.
const maxLooks = 64

// looks draws the candidates to look at: all of a short list, and of a long one 64
// different ones, each candidate with the same probability. The list is cut into 64
// parts at a place drawn at random, and one is drawn from each part.
type looks struct{ n, count, at int }

func look(n int) looks {
	if n <= maxLooks {
		return looks{n, n, 0}
	}
	return looks{n, maxLooks, rand.IntN(n)}
}

// index is the place in the list of look i.
func (l looks) index(i int) int {
	if l.n <= maxLooks {
		return i
	}
	from, to := i*l.n/maxLooks, (i+1)*l.n/maxLooks
	return (l.at + from + rand.IntN(to-from)) % l.n
}

// TwoChoices draws two candidates at random and takes the one of less load (Mitzenmacher
// 2001). It looks at two candidates, however many there are. Callers that come at the same
// time draw different pairs, so they do not all run to the auth that had the least: take
// it if loads are some seconds old, or if several replicas choose.
//
// load is called once for each of the two, and for none if there is one candidate only.
// What it returns means what it means for [LeastLoad].
func TwoChoices[T any](load func(T) float64) Selector[T] {
	need(load != nil, "TwoChoices without loads")
	return Func[T](func(_ context.Context, candidates []T) (T, error) {
		n := len(candidates)
		switch n {
		case 0:
			return none[T]()
		case 1:
			return candidates[0], nil
		}
		i, j := rand.IntN(n), rand.IntN(n-1)
		if j >= i {
			j++
		}
		if known(load(candidates[j])) < known(load(candidates[i])) {
			i = j
		}
		return candidates[i], nil
	})
}

// LeastLoad takes the candidate of least load, one at random of those that have the same.
// Beyond 64 candidates it takes the least of 64 that are drawn at random: one of the best
// 5 % of all in 96 of 100 calls.
//
// load is called once for each candidate that is looked at. Only its order counts, so it
// may be negative. NaN is as much as infinity: such an auth is taken only if the others
// looked at have infinite loads, too.
//
// Loads that are not up to date send all callers to the same auth until they are: see
// [TwoChoices]. For requests under way, as Loads counts them:
//
//	selector.LeastLoad(func(a *Account) float64 { return loads.Of(a.Name).InFlight })
func LeastLoad[T any](load func(T) float64) Selector[T] {
	need(load != nil, "LeastLoad without loads")
	return Func[T](func(_ context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		l := look(len(candidates))
		best, least, ties := 0, 0.0, 0
		for k := range l.count {
			i := l.index(k)
			switch now := known(load(candidates[i])); {
			case ties == 0 || now < least:
				best, least, ties = i, now, 1
			case now == least:
				if ties++; rand.IntN(ties) == 0 {
					best = i
				}
			}
		}
		return candidates[best], nil
	})
}

// known makes a load of what has none.
func known(load float64) float64 {
	if load != load {
		return math.Inf(1)
	}
	return load
}

// LeastRecentTokens takes the candidate that was sent the fewest tokens lately, which
// loads knows. Two things count: its share of what was sent in the last seconds, and,
// four times, its share of what was sent in the last hour, each in proportion to the mean
// of the candidates (Load.Near and Load.Recent). Candidates that are equal, such as those
// that were sent nothing, are told apart by the key of the Hint, as Rendezvous does it, and
// at random if there is none.
//
// Beyond 64 candidates it takes the best of 64 that are drawn at random, and the means are
// those of the 64.
//
// name is the name that loads knows an auth by.
func LeastRecentTokens[T any](name func(T) string, loads *Loads) Selector[T] {
	need(name != nil, "LeastRecentTokens without names")
	need(loads != nil, "LeastRecentTokens without loads")
	return Func[T](func(ctx context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		type seen struct {
			at           int
			near, recent float64
		}
		var (
			all          [maxLooks]seen
			near, recent float64
			l            = look(len(candidates))
			now          = clock()
		)
		for k := range l.count {
			i := l.index(k)
			a := seen{at: i}
			a.near, a.recent = loads.sent(name(candidates[i]), now)
			near += a.near
			recent += a.recent
			all[k] = a
		}
		// Dividing by the sum and by the mean give the same order. 0 of 0 is 0.
		near, recent = 1/max(near, math.SmallestNonzeroFloat32), 4/max(recent, math.SmallestNonzeroFloat32)
		best, least, drawn := 0, math.Inf(1), math.Inf(-1)
		key, ok := KeyOf(ctx)
		if !ok {
			key = rand.Uint64()
		}
		for k := range l.count {
			a := all[k]
			measure := a.near*near + a.recent*recent
			if measure > least {
				continue
			}
			mine := draw(key, name(candidates[a.at]), 1)
			if measure < least || mine > drawn {
				best, least, drawn = a.at, measure, mine
			}
		}
		return candidates[best], nil
	})
}

// began is a moment, to measure time from. A clock that is set has no effect on it.
var began = time.Now()

func clock() int64 { return int64(time.Since(began)) }
