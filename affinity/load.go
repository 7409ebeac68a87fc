package affinity

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// LoadPolicy says which loads (State.Load) are too much. It reads no other loads: to limit what
// Options.Loads has counted, let State return that, as in State{Load: loads.Of(name).InFlight}.
//
// A load is divided by the auth's share (State.Share) and compared with the mean of the auths
// that new sessions may go to: the fit ones of the highest tier. If a balancer gives some auths
// more than others and State does not say the shares, Bound takes sessions from the auths that
// are to have the most.
type LoadPolicy struct {
	// Bound is the highest load, as a multiple of the mean, with which an auth gets new
	// sessions. 0 is 1.25. It must be finite and at least 1.
	Bound float64
	// Spill is the highest load, as a multiple of the mean, with which an auth serves all
	// requests of its bound sessions. Above it single requests go elsewhere, each without its
	// prompt cache. 0 disables spilling. It must be finite and at least Bound; between the two
	// an auth gets no new sessions but keeps its own.
	Spill float64
	// Least is a load that is never too much, whatever the mean and the share are. Set it to a
	// few requests if loads are requests in flight, because a mean of few requests says
	// nothing. It must be finite and not negative.
	Least float64
}

const defaultLoadBound = 1.25

func (p *LoadPolicy) complete() error {
	if p.Bound == 0 {
		p.Bound = defaultLoadBound
	}
	switch {
	case !isLoad(p.Bound) || p.Bound < 1:
		return fmt.Errorf("Load.Bound is %v, want a finite number of at least 1", p.Bound)
	case p.Spill != 0 && !(isLoad(p.Spill) && p.Spill >= p.Bound):
		return fmt.Errorf("Load.Spill is %v, want 0 or a finite number of at least Load.Bound, %v", p.Spill, p.Bound)
	case !isLoad(p.Least):
		return fmt.Errorf("Load.Least is %v, want a finite number of at least 0", p.Least)
	}
	return nil
}

func isLoad(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

// exceeds reports whether the load of a share is above times the mean. Sums of equal loads may
// differ in the last digits.
func (p *LoadPolicy) exceeds(s *State, times, mean float64) bool {
	return s.Load > p.Least && s.relative() > times*mean*(1+1e-9)
}

// relative returns the load of a share. It is less than anyLoad.
func (s *State) relative() float64 { return min(s.Load/s.share(), math.MaxFloat64) }

// share returns State.Share, or 1 if that is no positive number.
func (s *State) share() float64 {
	if s.Share > 0 && isLoad(s.Share) {
		return min(max(s.Share, leastShare), 1/leastShare)
	}
	return 1
}

// leastShare is the least share that counts, and its inverse is the most: sums and quotients of
// others could be no numbers.
const leastShare = 1e-6

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
	mu sync.Mutex // held by Rename
	of sync.Map   // name -> *count
}

// count is how many requests of an auth are under way. Those that it had under other names have
// counts of their own.
type count struct {
	n       atomic.Int64
	earlier atomic.Pointer[count]
}

// Begin adds a request to those of an auth. It returns the function that removes the request:
// once, however often it is called.
func (f *InFlight) Begin(auth string) (end func()) {
	c := f.count(auth)
	if c == nil {
		made, _ := f.of.LoadOrStore(auth, new(count))
		c = made.(*count)
	}
	c.n.Add(1)
	return sync.OnceFunc(func() { c.n.Add(-1) })
}

func (f *InFlight) count(auth string) *count {
	c, _ := f.of.Load(auth)
	all, _ := c.(*count)
	return all
}

// Rename gives an auth another name. Its requests that are under way then count for that name,
// beside those of an auth that has it already. Requests that begin under the old name later count
// for the old name.
func (f *InFlight) Rename(from, to string) {
	if from == to {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := f.count(from)
	if moved == nil {
		return
	}
	f.of.Delete(from)
	made, _ := f.of.LoadOrStore(to, new(count))
	last := made.(*count)
	for next := last.earlier.Load(); next != nil; next = last.earlier.Load() {
		if next.n.Load() == 0 { // its requests have ended
			last.earlier.Store(next.earlier.Load())
			continue
		}
		last = next
	}
	last.earlier.Store(moved)
}

// Load returns how many requests are under way at an auth, for State.Load.
func (f *InFlight) Load(auth string) float64 {
	n := int64(0)
	for c := f.count(auth); c != nil; c = c.earlier.Load() {
		n += c.n.Load()
	}
	return float64(n)
}
