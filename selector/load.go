package selector

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// maxLooks is how many candidates are examined to find one with a small load. Of 64 that are
// drawn at random, one is among the best 5 % of all, except once in 26 calls.
const maxLooks = 64

// looks is the choice of the candidates to examine: all of a short list, and 64 different ones
// of a long list, each with the same probability. The list is rotated by a random number and
// cut into 64 parts, and one candidate is drawn from each part.
type looks struct{ n, count, at int }

func look(n int) looks {
	if n <= maxLooks {
		return looks{n, n, 0}
	}
	return looks{n, maxLooks, rand.IntN(n)}
}

// index returns the index in the list of the i-th candidate to examine.
func (l looks) index(i int) int {
	if l.n <= maxLooks {
		return i
	}
	from, to := i*l.n/maxLooks, (i+1)*l.n/maxLooks
	return (l.at + from + rand.IntN(to-from)) % l.n
}

// TwoChoices draws two candidates at random and takes the one with less load (Mitzenmacher
// 2001). It examines two candidates, however many there are. Calls at the same time draw
// different pairs, so they do not all choose the auth that had the least load. Use it if loads
// are some seconds old, or if several replicas choose.
//
// load is called once for each of the two, and not at all if there is only one candidate. Its
// values have the same meaning as for [LeastLoad].
func TwoChoices[T any](load func(T) float64) Selector[T] {
	need(load != nil, "TwoChoices: load is nil")
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

// LeastLoad takes the candidate with the least load, and of equal ones a random one. If there
// are more than 64 candidates it takes the least of 64 that are drawn at random: one of the
// best 5 % of all in 96 of 100 calls.
//
// load is called once for each candidate that is examined. Only the order of the loads counts,
// so they may be negative. NaN counts as infinity: such an auth is taken only if the others
// examined have infinite loads, too.
//
// If loads are not up to date, all calls choose the same auth until they are: see
// [TwoChoices]. For requests under way, as Loads counts them:
//
//	selector.LeastLoad(func(a *Account) float64 { return loads.Of(a.Name).InFlight })
func LeastLoad[T any](load func(T) float64) Selector[T] {
	need(load != nil, "LeastLoad: load is nil")
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

// known returns a load that can be compared: infinity for NaN.
func known(load float64) float64 {
	if load != load {
		return math.Inf(1)
	}
	return load
}

// LeastRecentTokens takes the candidate that was sent the fewest tokens lately, as loads has
// counted. It compares the sum of two ratios: the tokens of the last seconds (Load.Near) to
// their mean over the candidates, and, with a weight of four, those of the last hour
// (Load.Recent) to their mean. Between equal candidates, such as those that were sent nothing,
// the key of the Hint decides as in Rendezvous, or chance if there is no key.
//
// If there are more than 64 candidates, it takes the best of 64 that are drawn at random, and
// the means are those of the 64.
//
// name returns the name of an auth in loads.
func LeastRecentTokens[T any](name func(T) string, loads *Loads) Selector[T] {
	need(name != nil, "LeastRecentTokens: name is nil")
	need(loads != nil, "LeastRecentTokens: loads is nil")
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

// began is the origin of clock. Setting the system's clock has no effect on it.
var began = time.Now()

func clock() int64 { return int64(time.Since(began)) }
