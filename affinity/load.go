package affinity

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// LoadPolicy says what State.Load does. It is compared with the mean load of
// the auths among which new sessions are placed: the fit ones of the highest
// tier.
type LoadPolicy struct {
	// Bound is how many times the mean an auth may have and still get new
	// sessions. 0 is 1.25. It must be at least 1.
	Bound float64
	// Spill is how many times the mean an auth may have and still serve its bound
	// sessions. Above it, single requests go elsewhere, which costs their prompt
	// cache each time. 0 disables spilling. It must be at least Bound; between
	// the two an auth gets no new sessions but keeps its own.
	Spill float64
	// Least is a load that is never too much, whatever the mean is. With few
	// requests a mean says nothing: for loads in requests in flight take some.
	Least float64
}

const defaultLoadBound = 1.25

func (p *LoadPolicy) complete() error {
	if p.Bound == 0 {
		p.Bound = defaultLoadBound
	}
	switch {
	case !isLoad(p.Bound) || p.Bound < 1:
		return fmt.Errorf("Load.Bound is %v, not at least 1", p.Bound)
	case p.Spill != 0 && !(isLoad(p.Spill) && p.Spill >= p.Bound):
		return fmt.Errorf("Load.Spill is %v, not at least Load.Bound, %v", p.Spill, p.Bound)
	case !isLoad(p.Least):
		return fmt.Errorf("Load.Least is %v", p.Least)
	}
	return nil
}

func isLoad(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

// exceeds compares a load with so many times the mean. Sums of equal loads may
// differ in the last digits.
func (p *LoadPolicy) exceeds(load, times, mean float64) bool {
	return load > p.Least && load > times*mean*(1+1e-9)
}

// InFlight counts the requests under way at each auth. It is a load for hosts
// that have no other number. With Options.Loads nobody has to count: the Affinity does, from
// picks and reports.
//
//	var flying affinity.InFlight
//	... State{Load: flying.Load(account.ID)}
//	...
//	defer flying.Begin(pick.Decision.Auth)() // until the answer was passed on
//
// The zero value is ready. Any number of goroutines may use it.
type InFlight struct {
	of sync.Map // name -> *atomic.Int64
}

// Begin counts a request in. It returns the function that counts the request
// out: once, however often it is called.
func (f *InFlight) Begin(auth string) (end func()) {
	n, ok := f.of.Load(auth)
	if !ok {
		n, _ = f.of.LoadOrStore(auth, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
	return sync.OnceFunc(func() { n.(*atomic.Int64).Add(-1) })
}

// Load is how many requests are under way at an auth, for State.Load.
func (f *InFlight) Load(auth string) float64 {
	n, ok := f.of.Load(auth)
	if !ok {
		return 0
	}
	return float64(n.(*atomic.Int64).Load())
}
