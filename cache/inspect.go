package cache

import "iter"

// All iterates over the live sessions, in no order, those without an auth included. It copies
// each part of the store under a lock, and yields the copies without it. A session that is
// made or removed meanwhile may or may not be included. TTLs do not start again. Names that
// are longer than 128 bytes are in their short form, see [Scope.Short].
func (m *Memory) All() iter.Seq2[Scope, Binding] {
	return m.sessions.list((*shard).all)
}

// OfAuth iterates over the live sessions that are bound to auth, as All does. Cost: these
// sessions, and a look at each shard.
func (m *Memory) OfAuth(auth string) iter.Seq2[Scope, Binding] {
	return func(yield func(Scope, Binding) bool) {
		t := &m.sessions
		a, ok := t.auths.find(auth)
		if !ok {
			return
		}
		defer t.auths.drop(a)
		t.list(func(s *shard, do func(held)) { s.ofAuth(a, do) })(yield)
	}
}

func (t *table) list(each func(s *shard, do func(held))) iter.Seq2[Scope, Binding] {
	return func(yield func(Scope, Binding) bool) {
		type session struct {
			scope Scope
			b     Binding
		}
		for i := range t.shards {
			var live []session
			s := &t.shards[i]
			s.mu.RLock()
			now := t.now()
			each(s, func(h held) {
				if h.r.live(now) {
					live = append(live, session{s.scopeOf(h.r), h.binding(h.r.load(), now)})
				}
			})
			s.mu.RUnlock()
			for i := range live {
				if !yield(live[i].scope, live[i].b) {
					return
				}
			}
		}
	}
}

// Len returns how many sessions the store holds, those without an auth included. Expired
// sessions that were not freed yet are counted. Notes are not.
func (m *Memory) Len() (n int) {
	t := &m.sessions
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += s.slab.n
		s.mu.RUnlock()
	}
	return n
}

// Sweep frees all sessions and notes that have expired, and returns how many sessions it has
// freed. It need not be called: it is for a store that is to shrink while nothing is written.
// Cost: all sessions and notes.
func (m *Memory) Sweep() (freed int) {
	m.notes.sweep()
	return m.sessions.sweep()
}
