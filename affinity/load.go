package affinity

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// LoadPolicy says which loads (State.Load) are too much. A load is compared with the mean load
// of the auths that new sessions may go to: the fit ones of the highest tier.
type LoadPolicy struct {
	// Bound is the highest load, as a multiple of the mean, with which an auth gets new
	// sessions. 0 is 1.25. It must be at least 1.
	Bound float64
	// Spill is the highest load, as a multiple of the mean, with which an auth serves all
	// requests of its bound sessions. Above it single requests go elsewhere, each without its
	// prompt cache. 0 disables spilling. It must be at least Bound; between the two an auth
	// gets no new sessions but keeps its own.
	Spill float64
	// Least is a load that is never too much, whatever the mean is. Set it to a few requests
	// if loads are requests in flight, because a mean of few requests says nothing.
	Least float64
}

const defaultLoadBound = 1.25

func (p *LoadPolicy) complete() error {
	if p.Bound == 0 {
		p.Bound = defaultLoadBound
	}
	switch {
	case !isLoad(p.Bound) || p.Bound < 1:
		return fmt.Errorf("Load.Bound is %v, want at least 1", p.Bound)
	case p.Spill != 0 && !(isLoad(p.Spill) && p.Spill >= p.Bound):
		return fmt.Errorf("Load.Spill is %v, want 0 or at least Load.Bound, %v", p.Spill, p.Bound)
	case !isLoad(p.Least):
		return fmt.Errorf("Load.Least is %v, want a finite number of at least 0", p.Least)
	}
	return nil
}

func isLoad(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

// exceeds reports whether a load is above times the mean. Sums of equal loads may differ in
// the last digits.
func (p *LoadPolicy) exceeds(load, times, mean float64) bool {
	return load > p.Least && load > times*mean*(1+1e-9)
}

// InFlight counts the requests under way at each auth. It is a load for hosts that have no
// other number. It is not needed with Options.Loads, where the Affinity counts picks and
// reports.
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

// Begin adds a request to those of an auth. It returns the function that removes the request:
// once, however often it is called.
func (f *InFlight) Begin(auth string) (end func()) {
	n, ok := f.of.Load(auth)
	if !ok {
		n, _ = f.of.LoadOrStore(auth, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
	return sync.OnceFunc(func() { n.(*atomic.Int64).Add(-1) })
}

// Load returns how many requests are under way at an auth, for State.Load.
func (f *InFlight) Load(auth string) float64 {
	n, ok := f.of.Load(auth)
	if !ok {
		return 0
	}
	return float64(n.(*atomic.Int64).Load())
}
