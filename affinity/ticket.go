package affinity

import (
	"sync"
	"sync/atomic"
)

// ticket is the part of a pick that all of its copies share.
type ticket struct {
	use   atomic.Uint32
	begun atomic.Bool // the auth has begun to answer
	told  atomic.Bool // it was reported
}

// States of a ticket's use. Only a pick of a binding that has never served opens a use.
const (
	useNone uint32 = iota
	useOpen
	useEnded
	useServed
)

// tickets allocates many tickets at a time. A pick that is kept keeps all of them alive.
type tickets struct {
	pool sync.Pool
	made atomic.Uint32
}

type someTickets struct {
	all    [119]ticket // with the rest 960 bytes, a size class of the allocator
	used   uint32
	stripe uint32
}

// take returns a ticket, and the stripe of the counters that its pick uses. As two cores take
// from different blocks, they mostly get different stripes.
func (p *tickets) take(used bool) (t *ticket, stripe uint32) {
	some, _ := p.pool.Get().(*someTickets)
	if some == nil {
		some = &someTickets{stripe: p.made.Add(1) % stripes}
	}
	t, stripe = &some.all[some.used], some.stripe
	if some.used++; int(some.used) < len(some.all) {
		p.pool.Put(some)
	}
	if used {
		t.use.Store(useOpen)
	}
	return t, stripe
}

// end ends an open use, if there is one.
func (v *visitor) end(as uint32) bool {
	return v.ticket != nil && v.ticket.use.Load() == useOpen && v.ticket.use.CompareAndSwap(useOpen, as)
}
