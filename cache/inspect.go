package cache

import (
	"iter"
	"time"
)

// Cause is why a session was removed.
type Cause uint8

const (
	Expired         Cause = iota // idle for the TTL; found when something else was written, or by Sweep
	Evicted                      // the least recently used one of a full store
	EvictedByTenant              // its own tenant was over its share
	Deleted                      // its auth could not serve it any more
	Released                     // its auth has never served it
	Invalidated                  // InvalidateSession
	AuthInvalidated              // InvalidateAuth or InvalidateTenant
)

var causeNames = [...]string{"expired", "evicted", "evicted-by-tenant", "deleted", "released", "invalidated", "auth-invalidated"}

// String is the cause in lower case with dashes, fit for a metric label.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "unknown"
}

// Removal tells of a session that was removed.
type Removal struct {
	Scope   Scope
	Session Key
	Auth    string
	Cause   Cause
}

// Info is a session as it was at one moment.
type Info struct {
	Scope   Scope
	Binding Binding
	Idle    time.Duration // since its last use
	Keys    int           // how many keys lead to it
}

// All are the live sessions, in no order. Each part of the store is copied
// under its lock and then yielded without it: a session that comes or goes
// meanwhile may be missing or there. It renews nothing.
func (m *Memory) All() iter.Seq[Info] {
	return m.list(func(s *shard, yield func(uint32, *record)) {
		for _, t := range s.tenants.ids {
			s.slab.each(&s.tenants.at(t).list, byUse, yield)
		}
	})
}

// OfAuth are the live sessions that are bound to auth, as All yields them. Cost:
// these, and a look at each shard.
func (m *Memory) OfAuth(auth string) iter.Seq[Info] {
	return func(yield func(Info) bool) {
		a, ok := m.auths.find(auth)
		if !ok {
			return
		}
		defer m.auths.drop(a)
		m.list(func(s *shard, yield func(uint32, *record)) {
			if int(a) < len(s.auths) {
				s.slab.each(&s.auths[a], byAuth, yield)
			}
		})(yield)
	}
}

func (m *Memory) list(each func(s *shard, yield func(uint32, *record))) iter.Seq[Info] {
	return func(yield func(Info) bool) {
		for i := range m.shards {
			var infos []Info
			s := &m.shards[i]
			s.mu.RLock()
			now := m.now()
			each(s, func(_ uint32, r *record) {
				if r.live(now) {
					infos = append(infos, m.info(s, r, now))
				}
			})
			s.mu.RUnlock()
			for _, info := range infos {
				if !yield(info) {
					return
				}
			}
		}
	}
}

func (m *Memory) info(s *shard, r *record, now moment) Info {
	n := 0
	if r.home != m.name(r.born()) { // otherwise its home is no key
		n = 1
	}
	if r.more != nil {
		r.more.each(func(Key) { n++ })
	}
	return Info{
		Scope: s.scopes.at(r.scope).name, Binding: m.binding(r, now),
		Idle: time.Duration(now.at - r.used.Load()), Keys: n,
	}
}

// Counts is how many sessions are bound to each auth that has any; expired ones
// that were not freed yet count. Cost: the auths.
func (m *Memory) Counts() map[string]int {
	counts := map[string]int{}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		for id, l := range s.auths {
			if l.n > 0 {
				counts[m.auths.name(uint32(id))] += int(l.n)
			}
		}
		s.mu.RUnlock()
	}
	return counts
}

// Len is how many sessions are held; expired ones that were not freed yet
// count.
func (m *Memory) Len() (n int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		n += s.lru.Len()
		s.mu.RUnlock()
	}
	return n
}

// Sweep frees all sessions that have expired, and returns how many. Cost: all
// sessions. Nobody has to call it: it is for stores that are to shrink while
// nothing is written.
func (m *Memory) Sweep() (freed int) {
	for i := range m.shards {
		s := &m.shards[i]
		var gone leavings
		s.mu.Lock()
		now := m.now()
		for _, t := range s.tenants.ids {
			s.slab.each(&s.tenants.at(t).list, byUse, func(i uint32, r *record) {
				if !r.live(now) {
					s.remove(m, i, Expired, &gone)
					freed++
				}
			})
		}
		s.mu.Unlock()
		m.clean(&gone)
	}
	return freed
}
