package affinity

import "sync"

// crowd are the candidates of a pick that has many. It is used again for other picks, so
// that none of them pays for those that it does not look at.
type crowd struct {
	of    []candidate
	pick  []uint32 // for which pick each was last used
	round uint32
}

// crowds are those that no pick uses.
type crowds struct{ pool sync.Pool }

// take returns one for n candidates. It is given back with give.
func (s *crowds) take(n int) *crowd {
	c, _ := s.pool.Get().(*crowd)
	if c == nil || len(c.of) < n {
		c = &crowd{of: make([]candidate, n), pick: make([]uint32, n)}
	}
	if c.round++; c.round == 0 {
		clear(c.pick)
		c.round = 1
	}
	return c
}

// at is a candidate, of which nothing is known if this pick has not asked for it before.
func (c *crowd) at(i int) *candidate {
	s := &c.of[i]
	if c.pick[i] != c.round {
		c.pick[i] = c.round
		*s = candidate{}
	}
	return s
}

// give gives a crowd back. Nothing of it may be used any more.
func (s *crowds) give(c *crowd) {
	if c != nil {
		s.pool.Put(c)
	}
}
