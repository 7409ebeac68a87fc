package affinity

import (
	"maps"
	"sync"
	"sync/atomic"
)

// drained are the auths that get no new sessions. Replaced, never changed.
type drained struct {
	mu sync.Mutex
	of atomic.Pointer[map[string]bool]
}

func (d *drained) has(name string) bool {
	of := d.of.Load()
	return of != nil && (*of)[name]
}

// Drain says whether an auth is to run dry: it is not handed to the balancer for
// new sessions, moves, detours and requests without a session any more, unless
// there is no other; sessions that are bound to it stay. When [Affinity.Bound]
// says 0, or when it has taken long enough, remove it from the candidates and
// call InvalidateAuth.
func (a *Affinity[T]) Drain(name string, on bool) {
	d := &a.drained
	d.mu.Lock()
	defer d.mu.Unlock()
	next := map[string]bool{}
	if of := d.of.Load(); of != nil {
		maps.Copy(next, *of)
	}
	if on {
		next[name] = true
	} else {
		delete(next, name)
	}
	if len(next) == 0 {
		d.of.Store(nil)
		return
	}
	d.of.Store(&next)
}

// Bound is how many sessions are bound to an auth; ok is false if the Store
// cannot tell. A cache.Memory can.
func (a *Affinity[T]) Bound(name string) (n int, ok bool) {
	s, ok := a.bindings.(interface{ Counts() map[string]int })
	if !ok {
		return 0, false
	}
	return s.Counts()[name], true
}
