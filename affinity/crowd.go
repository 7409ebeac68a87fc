package affinity

import "sync"

// crowd holds the candidates of a pick that has many. It is reused, so that a pick does no
// work for candidates that it does not examine.
type crowd struct {
	of    []candidate
	pick  []uint32 // the round in which each was last used
	round uint32
}

// crowds holds those that no pick uses.
type crowds struct{ pool sync.Pool }

// take returns a crowd for n candidates. Return it with give.
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

// at returns a candidate. It is zero if this pick has not used it before.
func (c *crowd) at(i int) *candidate {
	s := &c.of[i]
	if c.pick[i] != c.round {
		c.pick[i] = c.round
		*s = candidate{}
	}
	return s
}

// give returns a crowd, which may no longer be used.
func (s *crowds) give(c *crowd) {
	if c != nil {
		s.pool.Put(c)
	}
}
