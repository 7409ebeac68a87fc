package cache

// quick answers for a request with one explicit id and nothing else, the usual
// case, under a read lock. done is false if that is not the case, or if the key
// is an alias.
func (t *table) quick(scope *Scope, keys *Keys, use bool) (b Binding, ok, done bool) {
	if keys.Names[1] != (Key{}) || keys.End != (Key{}) || keys.Also != [2]Key{} || keys.Names[0] == (Key{}) {
		return b, false, false
	}
	k := in(t.mix(scope), keys.Names[0])
	now := t.now()
	s := t.shard(k)
	s.mu.RLock()
	r := s.home(k)
	if r == nil || !r.live(now) || s.scopes.at(r.scope).name != *scope {
		_, aliased := s.aliases[k]
		s.mu.RUnlock()
		return b, false, !aliased
	}
	stale := false
	if use {
		b = t.binding(r, r.open(), now)
		r.used.Store(now.at)
		stale = s.stale(r)
	} else {
		b = t.binding(r, r.load(), now)
	}
	s.mu.RUnlock()
	if stale {
		t.promote(k)
	}
	return b, true, true
}

// promote makes the session with a home the most recently used one of its shard.
func (t *table) promote(home Key) {
	s := t.shard(home)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.home(home); r != nil {
		s.promote(r)
	}
}

// touch starts the TTL of a current binding again. With served, the binding must
// be bound, and is no longer provisional.
func (t *table) touch(b *Binding, served bool) (memo string, current bool, err error) {
	if t.closed.Load() {
		return "", false, ErrClosed
	}
	now := t.now()
	s := t.shard(b.Ref)
	s.mu.RLock()
	r := s.home(b.Ref)
	if r == nil || r.gen != b.Gen || !r.live(now) || served && r.load().cause() != 0 {
		s.mu.RUnlock()
		return "", false, nil
	}
	r.used.Store(now.at)
	if served {
		r.serve(now)
	}
	memo = r.memo()
	stale := s.stale(r)
	s.mu.RUnlock()
	if stale {
		t.promote(b.Ref)
	}
	return memo, true, nil
}

// closeUse ends a use of a current, provisional binding. lose says that it is the
// last one, is still open, and has failed: the session is to lose its auth.
func (t *table) closeUse(b *Binding, failed bool) (lose bool, err error) {
	if t.closed.Load() {
		return false, ErrClosed
	}
	s := t.shard(b.Ref)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.home(b.Ref); r != nil && r.gen == b.Gen && r.live(t.now()) {
		lose = r.close(failed)
	}
	return lose, nil
}
