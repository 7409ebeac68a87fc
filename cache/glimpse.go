package cache

// What most hits are: a session of one id, whose auth has served it, and that remembers
// nothing. It is answered without a lock, so that cores do not wait for each other, not
// even for one session. If anything changes meanwhile, or is not as usual, the answer is
// false, and whoever asks takes the lock.

// renewEvery is how often a use is noted, in nanoseconds: cores that use one session
// write to the memory that they share no more often.
const renewEvery = 1000

// glimpse answers into b for the session with a home. With use, its TTL starts again.
func (s *shard) glimpse(b *Binding, home digest, scope *Scope, now moment, use bool) bool {
	to, _ := s.keys.glimpse(home.bits())
	if to == 0 {
		return false
	}
	at, i := s.core.split(to)
	r := s.slab.look(i)
	if at != s.number || r == nil {
		return false
	}
	version := r.version.Load()
	st := r.load()
	if version&1 != 0 || r.home.Load() != uint64(home) || !st.served() || r.more.Load() != 0 || !r.live(now) {
		return false
	}
	name := s.scopes.look(r.scope.Load())
	if name == nil || *name != *scope {
		return false
	}
	s.core.fill(b, r, i, st, now)
	if r.version.Load() != version {
		*b = Binding{}
		return false
	}
	if use {
		s.used(r, home, now)
	}
	return true
}

// renew starts the TTL of a current binding again. With served, its auth serves now.
func (s *shard) renew(home digest, i uint32, gen uint64, now moment, served bool) bool {
	r := s.slab.look(i)
	if r == nil || home == 0 {
		return false
	}
	version := r.version.Load()
	st := r.load()
	if version&1 != 0 || r.home.Load() != uint64(home) || r.gen.Load() != gen || !st.served() || r.more.Load() != 0 || !r.live(now) || r.version.Load() != version {
		return false
	}
	if to := tick(now); served && st < to {
		r.state.CompareAndSwap(uint32(st), uint32(to)) // it fails if another use was quicker
	}
	s.used(r, home, now)
	return true
}

// used notes a use. If the record is another session's meanwhile, that was used just now.
func (s *shard) used(r *record, home digest, now moment) {
	if now.at-r.used.Load() >= renewEvery {
		r.used.Store(now.at)
	}
	if s.renewed(r) {
		s.move(home)
	}
}
