package affinity

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// SlowPolicy says when an auth counts as slow. With the zero value none does.
//
// An auth becomes slow when Samples times to the first token in a row were above Above. Its
// sessions then go elsewhere, as if State had returned [Slow]. Once every Probe one of their
// requests still goes to the slow auth. When Samples of these probes in a row took Below or
// less, the auth is fast again. If no probe was reported for ten times Probe, the auth counts
// as fast, and one more slow answer makes it slow.
//
// Only requests with a warm prompt cache count, because the times of others depend on the
// length of the prompt. A probe with a cold prompt cache counts if it is fast.
//
// Speeds are kept for each auth and model, in this process only.
type SlowPolicy struct {
	// Above is the time to the first token above which an answer is slow. With 0 no auth is
	// slow, and the other fields must be 0, too.
	Above time.Duration
	// Below is the time up to which an answer of a slow auth is fast, so that an auth with
	// times about Above does not change all the time. 0 is three quarters of Above.
	Below time.Duration
	// Samples is how many such answers in a row make an auth slow or fast. 0 is 3.
	Samples int
	// Probe is how often a slow auth is tried. 0 is 30 seconds.
	Probe time.Duration
}

const (
	defaultSlowSamples = 3
	defaultProbe       = 30 * time.Second
	silence            = 10 // after so many times Probe without a sample a slow auth counts as fast
)

func (p *SlowPolicy) complete() error {
	switch {
	case p.Above == 0 && *p != SlowPolicy{}:
		return fmt.Errorf("Slow.Above is 0, but other fields of Slow are set")
	case p.Above < 0 || p.Below < 0 || p.Samples < 0 || p.Probe < 0:
		return fmt.Errorf("Slow has a negative field: %+v", *p)
	case p.Below > p.Above:
		return fmt.Errorf("Slow.Below is %v, want at most Slow.Above, %v", p.Below, p.Above)
	}
	if p.Below == 0 {
		p.Below = p.Above * 3 / 4
	}
	if p.Samples == 0 {
		p.Samples = defaultSlowSamples
	}
	if p.Probe == 0 {
		p.Probe = defaultProbe
	}
	return nil
}

// speedKey is an auth that serves a model.
type speedKey struct{ auth, model string }

// speed is what is known of a speedKey.
type speed struct {
	slow  bool
	run   int       // samples in a row that contradict slow
	probe time.Time // no probe before
	heard time.Time // when a sample counted last
}

// maxSpeeds bounds the speeds that are kept, because clients choose the names of models.
// Beyond it the speed that was reported least recently is forgotten.
const maxSpeeds = 4096

// speeds holds the auths that are slow, or that have begun to be slow.
type speeds struct {
	known atomic.Int64 // so that no pick takes the lock while all are fast
	mu    sync.RWMutex
	lru   *simplelru.LRU[speedKey, speed]
}

// slow reports whether an auth is slow.
func (s *speeds) slow(p *SlowPolicy, k speedKey) bool {
	if p.Above == 0 || s.known.Load() == 0 {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.lru.Peek(k)
	return ok && v.slow && time.Since(v.heard)/silence <= p.Probe
}

// at returns what is known of a speedKey, with old samples dropped.
func (s *speeds) at(p *SlowPolicy, k speedKey) speed {
	if s.lru == nil {
		return speed{}
	}
	v, ok := s.lru.Peek(k)
	if ok && time.Since(v.heard)/silence > p.Probe {
		if !v.slow {
			return speed{} // old samples that did not make it slow
		}
		v = speed{run: p.Samples - 1, heard: time.Now()}
	}
	return v
}

func (s *speeds) put(k speedKey, v speed) {
	if s.lru == nil {
		s.lru, _ = simplelru.NewLRU[speedKey, speed](maxSpeeds, nil) // the size is positive: no error
	}
	if v == (speed{}) {
		s.lru.Remove(k)
	} else {
		if !s.lru.Contains(k) {
			k.model = strings.Clone(k.model) // it may be a small part of a large body
		}
		s.lru.Add(k, v)
	}
	s.known.Store(int64(s.lru.Len()))
}

// due reports whether a request is to probe a slow auth. With take the probe is taken, and the
// next one is due after SlowPolicy.Probe.
func (s *speeds) due(p *SlowPolicy, k speedKey, take bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.at(p, k)
	now := time.Now()
	if !v.slow || now.Before(v.probe) {
		return false
	}
	if take {
		v.probe = now.Add(p.Probe)
		s.put(k, v)
	}
	return true
}

// sample records a time to the first token.
func (s *speeds) sample(p *SlowPolicy, k speedKey, took time.Duration, warm bool) {
	if took <= p.Above && s.known.Load() == 0 {
		return // all are fast, and so is this one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.at(p, k)
	now := time.Now()
	switch {
	case v.slow && took <= p.Below:
		v.probe = time.Time{} // the next request is a probe, too
		if v.run++; v.run >= p.Samples {
			v = speed{}
		}
	case v.slow && warm:
		v.run = 0
	case !warm:
		return
	case took <= p.Above:
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

// each removes the speeds of an auth, and calls do for each of its models.
func (s *speeds) each(auth string, do func(k speedKey, v speed)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru == nil {
		return
	}
	for _, k := range s.lru.Keys() {
		if k.auth == auth {
			v, _ := s.lru.Peek(k)
			s.put(k, speed{})
			do(k, v)
		}
	}
}

func (s *speeds) rename(from, to string) {
	s.each(from, func(k speedKey, v speed) { s.put(speedKey{to, k.model}, v) })
}

func (s *speeds) forget(auth string) { s.each(auth, func(speedKey, speed) {}) }
