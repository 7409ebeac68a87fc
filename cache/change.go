package cache

import (
	"context"
	"fmt"
	"time"
)

// SetTTL changes how long a binding lives after its last use, for those that
// are there, too: what was idle for longer has expired, and what had expired
// before does not come back. Cost: all sessions. The same errors as from New.
func (m *Memory) SetTTL(ttl time.Duration) error {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	if ttl < 0 {
		return fmt.Errorf("%w: TTL is %v", ErrOptions, ttl)
	}
	if int64(ttl) > m.ttl.Load() {
		m.Sweep()
	}
	if m.ttl.Swap(int64(ttl)) > int64(ttl) {
		m.Sweep()
	}
	return nil
}

// SetMaxSessions changes how many sessions are held. If there are more, the
// least recently used ones go. The parts of the store stay as many as they are,
// with room for one session each at least: a store that was made for a few
// thousand and is to hold a million works, but with more waiting than one that
// was made for it. The same errors as from New.
func (m *Memory) SetMaxSessions(n int) error {
	if n == 0 {
		n = DefaultMaxSessions
	}
	if n < 0 {
		return fmt.Errorf("%w: MaxSessions is %d", ErrOptions, n)
	}
	for i := range m.shards {
		m.shards[i].resize(m, max((n+i)/len(m.shards), 1))
	}
	return nil
}

func (s *shard) resize(m *Memory, capacity int) {
	var gone leavings
	s.mu.Lock()
	if len(m.shards) > 1 {
		s.slack = uint32(capacity / 16)
	}
	s.capacity = capacity
	now := m.now()
	for s.lru.Len() > capacity {
		_, i, _ := s.lru.GetOldest()
		why := Evicted
		if !s.slab.at(i).live(now) {
			why = Expired
		}
		s.remove(m, i, why, &gone)
	}
	s.lru.Resize(capacity + 1)
	s.mu.Unlock()
	m.clean(&gone)
}

// RenameAuth says that an auth has another name from now on: what is bound to
// from is bound to to, in the same generation and without a use. It returns how
// many bindings these were. What is bound to the old name meanwhile keeps it.
// Cost: what it renames, and a look at each shard.
func (m *Memory) RenameAuth(_ context.Context, from, to string) (renamed int, err error) {
	if m.closed.Load() {
		return 0, ErrClosed
	}
	a, ok := m.auths.find(from)
	if !ok {
		return 0, nil
	}
	defer m.auths.drop(a)
	if from == to || to == "" {
		return 0, nil
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		now := m.now()
		if int(a) < len(s.auths) {
			s.slab.each(&s.auths[a], byAuth, func(i uint32, r *record) {
				s.unlinkAuth(m, r)
				s.linkAuth(i, m.auths.use(to))
				if r.live(now) {
					renamed++
				}
			})
		}
		s.mu.Unlock()
	}
	return renamed, nil
}
