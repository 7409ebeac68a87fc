package affinity

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// SlowPolicy says when an auth counts as slow: after Samples times in a row
// above Above. Its sessions then go elsewhere, as with a [Slow] of the host,
// and every Probe one of their requests goes to it all the same; after Samples of
// these in a row of Below or less it is fast again. Only requests count whose
// prompt cache can be warm: the time of others says how long their prompt is.
// A probe that is cold counts if it is fast. When nothing was heard of a slow auth
// for ten times Probe it is given a chance, and one more slow answer ends that.
//
// What is measured is known in this process only, by auth and model.
type SlowPolicy struct {
	// Above is what is slow; 0 is never, and the rest must then be 0, too.
	Above time.Duration
	// Below is what is fast enough to come back, so that an auth about at Above
	// does not go to and fro; 0 is three quarters of Above.
	Below time.Duration
	// Samples is how many in a row it takes; 0 is DefaultSlowSamples.
	Samples int
	// Probe is how often a slow auth is tried; 0 is DefaultProbe.
	Probe time.Duration
}

const (
	// DefaultSlowSamples is enough that one slow answer says nothing.
	DefaultSlowSamples = 3
	// DefaultProbe costs one session in thirty seconds a slow answer.
	DefaultProbe = 30 * time.Second

	chance = 10 // times Probe
)

func (p *SlowPolicy) settle() error {
	switch {
	case p.Above == 0 && *p != SlowPolicy{}:
		return fmt.Errorf("Slow has no Above")
	case p.Above < 0 || p.Below < 0 || p.Samples < 0 || p.Probe < 0:
		return fmt.Errorf("Slow is negative: %+v", *p)
	case p.Below > p.Above:
		return fmt.Errorf("Slow.Below is %v, more than Above, %v", p.Below, p.Above)
	}
	if p.Below == 0 {
		p.Below = p.Above * 3 / 4
	}
	if p.Samples == 0 {
		p.Samples = DefaultSlowSamples
	}
	if p.Probe == 0 {
		p.Probe = DefaultProbe
	}
	return nil
}

// speedKey is who serves what.
type speedKey struct{ auth, model string }

// speed is what is known of one.
type speed struct {
	slow  bool
	run   int       // samples in a row that speak against what slow says
	probe time.Time // no probe before
	heard time.Time // when a sample counted last
}

// speeds are those that are slow or on the way to it. A pick looks at slow only,
// where nobody waits for a lock.
type speeds struct {
	slowOnes atomic.Pointer[map[speedKey]time.Time] // when a sample counted last; replaced, never changed

	n  atomic.Int64
	mu sync.Mutex
	of map[speedKey]speed
}

// maxSpeeds bounds what is known; beyond it, one of them is forgotten. The names
// of models come from clients.
const maxSpeeds = 4096

// slow reports whether an auth is slow.
func (s *speeds) slow(p *SlowPolicy, k speedKey) bool {
	slow := s.slowOnes.Load()
	if slow == nil || p.Above == 0 {
		return false
	}
	heard, ok := (*slow)[k]
	if !ok || time.Since(heard)/chance <= p.Probe {
		return ok
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(p, k).slow
}

// at is what is known of one, after what time has done to it.
func (s *speeds) at(p *SlowPolicy, k speedKey) speed {
	v, ok := s.of[k]
	if ok && time.Since(v.heard)/chance > p.Probe {
		if !v.slow {
			s.put(k, speed{}) // old samples that came to nothing
			return speed{}
		}
		v = speed{run: p.Samples - 1, heard: time.Now()}
		s.put(k, v)
	}
	return v
}

func (s *speeds) put(k speedKey, v speed) {
	old, had := s.of[k]
	if v == (speed{}) {
		delete(s.of, k)
	} else {
		if s.of == nil {
			s.of = map[speedKey]speed{}
		}
		if !had && len(s.of) >= maxSpeeds {
			for other := range s.of {
				s.put(other, speed{})
				break
			}
		}
		s.of[k] = v
	}
	s.n.Store(int64(len(s.of)))
	if v.slow || old.slow {
		s.publish()
	}
}

func (s *speeds) publish() {
	slow := map[speedKey]time.Time{}
	for k, v := range s.of {
		if v.slow {
			slow[k] = v.heard
		}
	}
	if len(slow) == 0 {
		s.slowOnes.Store(nil)
		return
	}
	s.slowOnes.Store(&slow)
}

// due reports whether a request is to try a slow auth; the next is not, for as
// long as the policy says.
func (s *speeds) due(p *SlowPolicy, k speedKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.at(p, k)
	now := time.Now()
	if !v.slow || now.Before(v.probe) {
		return false
	}
	v.probe = now.Add(p.Probe)
	s.put(k, v)
	return true
}

// sample is a time that was measured.
func (s *speeds) sample(p *SlowPolicy, k speedKey, d time.Duration, warm bool) {
	if d <= p.Above && s.n.Load() == 0 {
		return // all are fast, and so is this one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.at(p, k)
	now := time.Now()
	switch {
	case v.slow && d <= p.Below:
		v.probe = time.Time{} // one more, at once
		if v.run++; v.run >= p.Samples {
			v = speed{}
		}
	case v.slow && warm:
		v.run = 0
	case v.slow:
		return
	case !warm:
		return
	case d <= p.Above:
		v = speed{}
	default:
		if v.run++; v.run >= p.Samples {
			v = speed{slow: true, probe: now.Add(p.Probe)}
		}
	}
	if v != (speed{}) {
		v.heard = now
	}
	s.put(k, v)
}

func (s *speeds) rename(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.of {
		if k.auth == from {
			delete(s.of, k)
			s.of[speedKey{to, k.model}] = v
		}
	}
	s.publish()
}

// FirstToken says how long the auth took to the first token of its answer, for
// Options.Slow. Without that it does nothing. Like Report it may be called from
// any goroutine.
func (p Pick[T]) FirstToken(took time.Duration) {
	if p.of == nil || p.Decision.Auth == "" {
		return
	}
	if o := &p.of.conf.Load().Slow; o.Above > 0 {
		p.of.speeds.sample(o, speedKey{p.Decision.Auth, p.model}, took, p.warm)
	}
}
