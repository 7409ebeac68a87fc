package cache

// Most hits are of one kind: an id finds the session, its auth has served it, and it has no
// memo. glimpse answers these without a lock, so that cores do not wait for each
// other, not even for one session. If a session is of another kind, or changes meanwhile,
// glimpse returns false and its caller takes the lock.

// Writes to memory that cores share slow all of them down. So a use is written to the record
// only if the last one that was written is renewAlways nanoseconds old, or a part of the TTL if
// that is less. If a session was bound since, renewBound is enough: that session must not seem
// to be used later.
const (
	renewAlways = 10_000_000
	renewPart   = 1000
	renewBound  = 1000
)

// glimpse fills b for the session with a home. With use, the session's TTL starts again.
func (s *shard) glimpse(b *Binding, home digest, scope *Scope, now moment, use bool) bool {
	i, r := s.spot(home)
	if r == nil {
		return false
	}
	version := r.version.Load()
	st := r.load()
	if version&1 != 0 || r.home.Load() != uint64(home) || !st.served() || r.more.Load()&hasMemo != 0 || !r.live(now) {
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

// spot returns the record with a home and its number, or nil if it has found none. The record
// may change at any time.
func (s *shard) spot(home digest) (i uint32, r *record) {
	for n := 0; ; n++ {
		to, _ := s.keys.glimpse(home.bits(), n)
		if to == 0 {
			return 0, nil
		}
		at, number := s.core.split(to)
		if at != s.number {
			continue
		}
		if r = s.slab.look(number); r == nil || r.home.Load() == uint64(home) {
			return number, r
		}
	}
}

// renew starts the TTL of a current binding again. With served, it also notes that the auth
// serves now. It leaves alone a session that has an end: how often that was served has to be
// counted, for which the caller takes the lock.
func (s *shard) renew(home digest, i uint32, gen uint64, now moment, served bool) bool {
	r := s.slab.look(i)
	if r == nil || home == 0 {
		return false
	}
	version := r.version.Load()
	st := r.load()
	if version&1 != 0 || r.home.Load() != uint64(home) || r.gen.Load() != gen || !st.served() || r.more.Load()&(hasMemo|hasEnds) != 0 || !r.live(now) || r.version.Load() != version {
		return false
	}
	if to := tick(now); served && st < to {
		r.state.CompareAndSwap(uint32(st), uint32(to)) // it fails if another use was faster
	}
	s.used(r, home, now)
	return true
}

// used notes a use. If the record has become another session's meanwhile, it notes none.
func (s *shard) used(r *record, home digest, now moment) {
	last := r.used.Load()
	if ago := now.at - last; ago >= renewBound && (ago >= min(renewAlways, (now.at-now.alive)/renewPart) || s.core.boundSince(last)) {
		r.used.CompareAndSwap(last, now.at) // it fails if another use was faster
	}
	if s.renewed(r) {
		s.move(home)
	}
}
