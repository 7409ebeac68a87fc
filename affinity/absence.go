package affinity

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// absence is how often an auth was away lately. If an auth is away often, each absence would
// make each of its sessions switch twice. So a session on a detour comes back at once only
// after the first absence. Later it comes back when the auth has been available for a while.
type absence struct {
	count int
	until time.Time // reported to be away until then
	last  time.Time // when the auth was away last
}

const (
	// steadyFirst is how long an auth must have been available after its second absence. Each
	// further absence doubles that, up to the life of a prompt cache.
	steadyFirst = 30 * time.Second
	// maxAbsences bounds the absences that are kept. Beyond it the oldest is forgotten.
	maxAbsences = 1024
)

// absences holds all auths that were away lately. It is known in this process only.
type absences struct {
	gone nameSet // were away and have not been seen since
	mu   sync.Mutex
	lru  *simplelru.LRU[string, absence]
}

// init makes the memory of absences.
func (s *absences) init() {
	s.lru, _ = simplelru.NewLRU(maxAbsences, func(old string, _ absence) { s.gone.set(old, false) }) // the size is positive: no error
}

// away records that an auth was away when a request came for it.
func (s *absences) away(auth string, warm time.Duration) {
	s.change(auth, warm, func(v *absence, now time.Time) {
		v.last = now
	})
}

// failed records that an auth has failed and is away for wait.
func (s *absences) failed(auth string, wait, warm time.Duration) {
	s.change(auth, warm, func(v *absence, now time.Time) {
		if until := now.Add(wait); until.After(v.until) {
			v.until, v.last = until, until
		}
	})
}

// there records that an auth was available when a request came for it.
func (s *absences) there(auth string) {
	if !s.gone.has(auth) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.lru.Peek(auth); !ok || !time.Now().Before(v.until) {
		s.gone.set(auth, false)
	}
}

func (s *absences) change(auth string, warm time.Duration, do func(v *absence, now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru == nil {
		s.init()
	}
	now := time.Now()
	v, ok := s.lru.Peek(auth)
	if ok && now.Sub(v.last) > warm {
		v = absence{} // long ago
	}
	if v.count == 0 || !s.gone.has(auth) {
		v.count++
	}
	do(&v, now)
	s.lru.Add(auth, v)
	if !s.gone.has(auth) {
		s.gone.set(auth, true)
	}
}

// unsteady reports whether an auth that is available again was away so often that its sessions
// do not come back yet.
func (s *absences) unsteady(auth string, warm time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru == nil {
		return false
	}
	v, _ := s.lru.Peek(auth)
	if v.count < 2 {
		return false
	}
	return time.Since(v.last) < min(steadyFirst<<min(v.count-2, 8), warm)
}

func (s *absences) rename(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru == nil {
		return
	}
	if v, ok := s.lru.Peek(from); ok {
		gone := s.gone.has(from)
		s.lru.Remove(from)
		s.lru.Add(to, v)
		if gone {
			s.gone.set(to, true)
		}
	}
}

func (s *absences) forget(auth string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru != nil {
		s.lru.Remove(auth)
	}
}
