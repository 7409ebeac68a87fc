package cache

import (
	"strings"
	"sync"
	"sync/atomic"
)

// registry gives each name of an auth a number, for all shards, for as long as something uses
// it.
type registry struct {
	mu    sync.RWMutex
	ids   map[string]uint32
	free  []uint32
	names atomic.Pointer[[]*authName] // by number; replaced, never changed
}

type authName struct {
	name string
	id   uint32
	uses atomic.Int64
}

func (r *registry) init() {
	r.ids = map[string]uint32{}
	r.names.Store(&[]*authName{})
}

// name returns the name of a number that is in use.
func (r *registry) name(id uint32) string { return (*r.names.Load())[id].name }

// use returns the number of a name, and counts a use. Each use is followed by one drop.
func (r *registry) use(name string) uint32 {
	if id, ok := r.find(name); ok {
		return id
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := r.ids[name]; ok {
		(*r.names.Load())[id].uses.Add(1)
		return id
	}
	name = strings.Clone(name) // it may be a small part of a large string
	names := append([]*authName(nil), *r.names.Load()...)
	a := &authName{name: name, id: uint32(len(names))}
	if n := len(r.free); n > 0 {
		a.id = r.free[n-1]
		r.free = r.free[:n-1]
		names[a.id] = a
	} else {
		names = append(names, a)
	}
	a.uses.Store(1)
	r.names.Store(&names)
	r.ids[name] = a.id
	return a.id
}

// find is use for a name that has a number already.
func (r *registry) find(name string) (id uint32, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if id, ok = r.ids[name]; ok {
		(*r.names.Load())[id].uses.Add(1)
	}
	return id, ok
}

// drop undoes one use or find.
func (r *registry) drop(id uint32) {
	a := (*r.names.Load())[id]
	if a.uses.Add(-1) == 0 {
		r.forget(a)
	}
}

// forget frees the number of a name whose count has reached zero.
func (r *registry) forget(a *authName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Meanwhile another goroutine may have taken the name again, and may have dropped it for
	// good.
	if id, ok := r.ids[a.name]; ok && (*r.names.Load())[id] == a && a.uses.Load() == 0 {
		delete(r.ids, a.name)
		r.free = append(r.free, a.id)
	}
}
