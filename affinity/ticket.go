package affinity

import (
	"sync"
	"sync/atomic"
)

// ticket is what all copies of a pick share.
type ticket struct {
	use   atomic.Uint32
	begun atomic.Bool // the auth has begun to answer
	told  atomic.Bool // it was reported
	sent  *sent       // nil if Options.Loads does not know of it
}

// States of a ticket's use. A pick of a binding that has never served has one.
const (
	useNone uint32 = iota
	useOpen
	useEnded
	useServed
)

// tickets makes some at a time. A pick that is kept keeps those beside it.
type tickets struct{ pool sync.Pool }

type someTickets struct {
	all  [40]ticket // 960 bytes
	used int
}

func (p *tickets) take(used bool) *ticket {
	some, _ := p.pool.Get().(*someTickets)
	if some == nil {
		some = new(someTickets)
	}
	t := &some.all[some.used]
	if some.used++; some.used < len(some.all) {
		p.pool.Put(some)
	}
	if used {
		t.use.Store(useOpen)
	}
	return t
}

// end ends an open use, if there is one.
func (v *visitor) end(as uint32) bool {
	return v.ticket != nil && v.ticket.use.CompareAndSwap(useOpen, as)
}
