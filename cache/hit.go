package cache

// Hit is for package affinity, and may change in any minor version before v1: use Get. It is
// Get for keys that are one name and nothing else, without copies and mostly without a lock. It
// finds a session only if the name was its first, its auth has served it, and it has no memo.
// Most hits are such.
//
// b must point to a zero Binding. If Hit returns true, b is what Get would have returned. If it
// returns false, b is zero and nothing was used: the session may exist, and Get says so. Hit
// only reads scope and name.
func (m *Memory) Hit(scope *Scope, name *Key, b *Binding) bool {
	t := &m.sessions
	if t.closed.Load() || *name == (Key{}) || !scope.fits() {
		return false
	}
	d := t.digest(t.mix(scope), name)
	return t.shard(d).glimpse(b, d, scope, t.now(), true)
}

// Renew is for package affinity, and may change in any minor version before v1: use Confirm.
// It is Confirm for a session that Hit can find and that has no End, without a copy and mostly
// without a lock.
//
// It only reads b. If it returns false, nothing has happened: b may still be current, and
// Confirm says so.
func (m *Memory) Renew(b *Binding) bool {
	t := &m.sessions
	if t.closed.Load() {
		return false
	}
	home, i := referred(b)
	return t.shard(home).renew(home, i, b.Gen, t.now(), true)
}

// quick fills b for a request with one explicit id and nothing else, the usual case. It takes
// no lock, or a read lock. done is false if the request is of another kind, or if the key is
// an alias.
func (t *table) quick(b *Binding, scope *Scope, keys *Keys, use bool) (ok, done bool) {
	if keys.Names[1] != (Key{}) || keys.End != (Key{}) || keys.Also != [MaxAlso]Key{} || keys.Marks != [MaxMarks]Key{} || keys.Names[0] == (Key{}) {
		return false, false
	}
	k := t.digest(t.mix(scope), &keys.Names[0])
	now := t.now()
	s := t.shard(k)
	if s.glimpse(b, k, scope, now, use) {
		return true, true
	}
	s.mu.RLock()
	h := s.home(k)
	if !h.ok() || !h.r.live(now) || s.scopes.at(h.r.scope.Load()).name != *scope {
		none := s.keys.find(k.bits(), 0) == 0 && !t.closed.Load()
		s.mu.RUnlock()
		return false, none
	}
	if !use {
		*b = h.binding(h.r.load(), now)
		s.mu.RUnlock()
		return true, true
	}
	*b = h.binding(h.r.open(), now)
	h.r.use(now)
	move := s.renewed(h.r)
	s.mu.RUnlock()
	if move {
		s.move(k)
	}
	return true, true
}

// move makes the session with a home the most recently used one.
func (s *shard) move(home digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.home(home); h.ok() {
		s.promote(h.i, h.r)
	}
}

// touch starts the TTL of a current binding again. With served, the session must have an auth,
// and the binding is no longer provisional.
func (t *table) touch(b *Binding, served bool) (memo string, current bool, err error) {
	if t.closed.Load() {
		return "", false, ErrClosed
	}
	home, i := referred(b)
	now := t.now()
	s := t.shard(home)
	if s.renew(home, i, b.Gen, now, served) {
		return "", true, nil
	}
	s.mu.RLock()
	h := s.refer(home, i)
	if !h.ok() || h.r.gen.Load() != b.Gen || !h.r.live(now) || served && h.r.load().cause() != 0 {
		s.mu.RUnlock()
		return "", false, t.shut()
	}
	h.r.use(now)
	if served {
		h.r.serve(now)
		if e := h.extras(); e != nil {
			e.serve()
		}
	}
	memo = s.memo(h.i, h.r)
	move := s.renewed(h.r)
	s.mu.RUnlock()
	if move {
		s.move(home)
	}
	return memo, true, nil
}
