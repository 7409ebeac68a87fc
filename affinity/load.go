package affinity

import (
	"sync"
	"sync/atomic"
)

// InFlight counts the requests that are under way at each auth: a load for
// hosts that have no such number.
//
//	var flying affinity.InFlight
//	o := &affinity.Options{Load: flying.Load}
//	...
//	defer flying.Begin(pick.Decision.Auth)() // until the answer has been passed on
//
// The zero value is ready. It is safe for concurrent use.
type InFlight struct {
	of sync.Map // name -> *atomic.Int64
}

// Begin counts a request in and returns what counts it out, once, however
// often it is called.
func (f *InFlight) Begin(auth string) (end func()) {
	n, ok := f.of.Load(auth)
	if !ok {
		n, _ = f.of.LoadOrStore(auth, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
	return sync.OnceFunc(func() { n.(*atomic.Int64).Add(-1) })
}

// Load is how many are under way, as Options.Load wants it.
func (f *InFlight) Load(auth string, _ Request) float64 {
	n, ok := f.of.Load(auth)
	if !ok {
		return 0
	}
	return float64(n.(*atomic.Int64).Load())
}

// overloaded reports whether a bound session's auth has so much to do that even
// its own sessions go elsewhere.
func (a *Affinity[T]) overloaded(o *settings, q *query, candidates []T, name string) bool {
	if o.SpillBound == 0 {
		return false
	}
	load := o.Load(name, q.Request)
	if load <= o.LoadLeast {
		return false
	}
	sum, n := 0.0, 0
	for _, c := range candidates {
		if other := a.name(c); other == name {
			sum, n = sum+load, n+1
		} else if f := a.fitness(o, q, other); f == Fit || f == Busy {
			sum, n = sum+o.Load(other, q.Request), n+1
		}
	}
	return above(load, o.SpillBound*sum/float64(n))
}

// above compares loads that were added up: equal ones may differ in the last
// digits.
func above(load, bound float64) bool { return load > bound*(1+1e-9) }
