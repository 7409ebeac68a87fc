package affinity

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// nameSet is a small set of auths that each pick reads and that seldom changes. The map is
// replaced, never changed, so that reading needs no lock.
type nameSet struct {
	mu sync.Mutex
	of atomic.Pointer[map[string]bool] // nil when empty
}

func (s *nameSet) empty() bool { return s.of.Load() == nil }

func (s *nameSet) has(name string) bool {
	of := s.of.Load()
	return of != nil && (*of)[name]
}

func (s *nameSet) set(name string, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]bool{}
	if of := s.of.Load(); of != nil {
		maps.Copy(next, *of)
	}
	if in {
		next[name] = true
	} else {
		delete(next, name)
	}
	if len(next) == 0 {
		s.of.Store(nil)
		return
	}
	s.of.Store(&next)
}

func (s *nameSet) rename(from, to string) {
	if s.has(from) {
		s.set(to, true)
		s.set(from, false)
	}
}

// names returns the names in the set, sorted.
func (s *nameSet) names() []string {
	if of := s.of.Load(); of != nil {
		return slices.Sorted(maps.Keys(*of))
	}
	return nil
}

// become sets the set to names.
func (s *nameSet) become(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(names) == 0 {
		s.of.Store(nil)
		return
	}
	of := make(map[string]bool, len(names))
	for _, n := range names {
		of[n] = true
	}
	s.of.Store(&of)
}
