package affinity

import (
	"math"
	"math/rand/v2"
)

// A pick that is given many candidates examines some of them.
const (
	manyAuths = 128 // from so many candidates on a pick draws a sample
	fewOfMany = 16  // if fewer of the sample may be chosen, all are examined
)

// draw returns a random sample of n candidates, without one of them. It draws one from each
// run of neighbours, so that none is drawn twice.
func draw(n, without int) *sample {
	s := new(sample)
	for k := range sampled {
		from, to := k*n/sampled, (k+1)*n/sampled
		if i := from + rand.IntN(to-from); i != without {
			s.at[s.n] = int32(i)
			s.n++
		}
	}
	return s
}

// members calls do for each candidate that a level was found in, except one.
func (c *candidates[T]) members(l *level, without int, do func(i int)) {
	if l.sample != nil {
		for _, i := range l.sample.at[:l.sample.n] {
			if int(i) != without {
				do(int(i))
			}
		}
		return
	}
	for i := range c.auths {
		if i != without {
			do(i)
		}
	}
}

// level returns the level of all candidates except one; without is -1 for all. If there are
// many candidates it examines a sample. It examines all if the sample is not as good as the
// level that was found last, at most seenFor ago. So it may overlook for as long as that that
// an auth of a higher tier is fit again.
func (c *candidates[T]) level(without int) level {
	if len(c.auths) < manyAuths || c.all {
		return c.levelOf(nil, without)
	}
	t := c.traffics.at(c.scope.Pool, c.model)
	if best, ok := t.best(c.now); ok && best.rank != rankNone {
		l := c.levelOf(draw(len(c.auths), without), without)
		n := 0
		c.members(&l, without, func(i int) {
			if l.has(c.candidate(i)) {
				n++
			}
		})
		if l.rank <= best.rank && (l.rank < best.rank || l.tier >= best.tier) && n >= fewOfMany {
			if l.rank == best.rank && l.tier == best.tier {
				l.mean = best.mean
			}
			return l
		}
	}
	l := c.levelOf(nil, without)
	if without < 0 && c.trouble.isZero() && len(c.r.Tried) == 0 { // auths that this session avoids are not away for others
		t.found(l, c.now)
	}
	return l
}

// levelOf returns the level of a sample, or of all candidates if it is nil.
func (c *candidates[T]) levelOf(s *sample, without int) level {
	l := level{rank: rankNone, sample: s}
	c.members(&l, without, func(i int) {
		if s := c.judge(i); s.rank < l.rank || s.rank == l.rank && s.state.Tier > l.tier {
			l.rank, l.tier = s.rank, s.state.Tier
		}
	})
	if l.rank == rankNone {
		return l
	}
	shares := 0.0
	c.members(&l, without, func(i int) {
		if s := c.candidate(i); l.has(s) {
			l.mean += s.state.Load
			shares += s.state.share()
		}
	})
	l.mean /= shares
	return l
}

// anyLoad is more than every load.
var anyLoad = math.Inf(1)

// choices returns the auths that a balancer may choose from: those of the level whose load,
// relative to their share, is not too much and less than below. With anyLoad there is always
// one if the level has one. With Options.Balance it is the one with the least load.
func (c *candidates[T]) choices(l level, without int, below float64) (from []T) {
	if l.rank == rankNone {
		return nil
	}
	if c.spread {
		if i := c.lightest(l, without, below); i >= 0 {
			from = []T{c.auths[i]}
		}
	} else {
		n := len(c.auths)
		if l.sample != nil {
			n = l.sample.n
		}
		from = make([]T, 0, n)
		c.members(&l, without, func(i int) {
			if c.open(c.candidate(i), l, below) {
				from = append(from, c.auths[i])
			}
		})
	}
	if len(from) == 0 && l.sample != nil { // others may be better
		return c.choices(c.levelOf(nil, without), without, below)
	}
	return from
}

// open reports whether a balancer may choose a candidate.
func (c *candidates[T]) open(s *candidate, l level, below float64) bool {
	return l.has(s) && !c.o.load.exceeds(&s.state, c.o.load.Bound, l.mean) && s.state.relative() < below
}
