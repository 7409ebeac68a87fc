package cache

import "iter"

// All are the live sessions, in no order, those without an auth included. Each
// part of the store is copied under its lock and then yielded without it: a
// session that comes or goes meanwhile may be missing or there. The TTLs do not
// start again. Names that are longer than 128 bytes come in their short form, see
// [Scope.Short].
func (m *Memory) All() iter.Seq2[Scope, Binding] {
	return m.sessions.list((*shard).all)
}

// OfAuth are the live sessions that are bound to auth, as All yields them. Cost:
// these, and a look at each shard.
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

// Counts is how many sessions are bound to each auth that has any; expired ones
// that were not freed yet count. Cost: the auths, in each shard.
func (m *Memory) Counts() map[string]int {
	counts := map[string]int{}
	t := &m.sessions
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for id, l := range s.auths {
			if l.n > 0 {
				counts[t.auths.name(uint32(id))] += int(l.n)
			}
		}
		s.mu.RUnlock()
	}
	return counts
}

// Len is how many sessions are held, those without an auth included; expired ones
// that were not freed yet count. Notes do not count.
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

// Sweep frees all sessions and notes that have expired. It returns how many
// sessions these were. Nobody has to call it: it is for stores that are to shrink
// while nothing is written. Cost: all sessions and notes.
func (m *Memory) Sweep() (freed int) {
	m.notes.sweep()
	return m.sessions.sweep()
}
