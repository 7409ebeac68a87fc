package selector

import (
	"context"
	"hash/maphash"
	"math/bits"
	"sync"
)

// Clients choose the names of models, so the number of pools and models that are remembered is
// bounded. The memory for each grows with its auths, so their number is bounded, too.
const (
	maxScopes     = 256
	maxScopeAuths = 1 << 16
)

// scopes holds the state of a Selector for each pool and model.
//
// There are two generations. A scope that is used is in the young one. If the young one is
// full, it becomes the old one, and the old one is dropped. So the cost of a call does not
// depend on the number of names, and a scope is kept if it is used again before 256 others
// are.
type scopes[S any] struct {
	seed  maphash.Seed
	mu    sync.Mutex
	young map[uint64]*scope[S]
	old   map[uint64]*scope[S]
	auths int // of the young ones
	made  uint64
}

type scope[S any] struct {
	mu    sync.Mutex
	nth   uint64 // 0 for the first one of a Selector
	state S
}

func newScopes[S any]() *scopes[S] {
	return &scopes[S]{seed: maphash.MakeSeed(), young: map[uint64]*scope[S]{}}
}

// of returns the scope of a request. auths is how many auths it has to remember.
//
// The key is a digest, because the names may be parts of a large body, which they would keep
// in memory. Two names with one digest share a turn, which does no harm.
func (s *scopes[S]) of(ctx context.Context, auths int) *scope[S] {
	h := HintOf(ctx)
	key := bits.RotateLeft64(maphash.String(s.seed, h.Pool), 1) ^ maphash.String(s.seed, h.Model)
	s.mu.Lock()
	defer s.mu.Unlock()
	if there, ok := s.young[key]; ok {
		return there
	}
	if len(s.young) >= maxScopes || s.auths > maxScopeAuths {
		s.old, s.young, s.auths = s.young, map[uint64]*scope[S]{}, 0
	}
	there, ok := s.old[key]
	if ok {
		delete(s.old, key)
	} else {
		there = &scope[S]{nth: s.made}
		s.made++
	}
	s.young[key] = there
	s.auths += auths
	return there
}
