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
	sent  *sent       // nil if it is not counted in Options.Loads
}

// States of a ticket's use. Only a pick of a binding that has never served opens a use.
const (
	useNone uint32 = iota
	useOpen
	useEnded
	useServed
)

// tickets allocates several tickets at a time. A pick that is kept keeps all of them alive.
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
