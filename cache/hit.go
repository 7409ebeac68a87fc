package cache

// quick answers into b for a request with one explicit id and nothing else, the
// usual case, under a read lock. done is false if that is not the case, or if the
// key is an alias.
func (t *table) quick(b *Binding, scope *Scope, keys *Keys, use bool) (ok, done bool) {
	if keys.Names[1] != (Key{}) || keys.End != (Key{}) || keys.Also != [MaxAlso]Key{} || keys.Marks[0] != (Key{}) || keys.Names[0] == (Key{}) {
		return false, false
	}
	k := in(t.mix(scope), keys.Names[0])
	now := t.now()
	s, h := t.locate(k)
	s.mu.RLock()
	r := s.hashed(k, h)
	if r == nil || !r.live(now) || s.scopes.at(r.scope).name != *scope {
		_, aliased := s.aliases[k]
		s.mu.RUnlock()
		return false, !aliased
	}
	if !use {
		t.fill(b, r, r.load(), now)
		s.mu.RUnlock()
		return true, true
	}
	t.fill(b, r, r.open(), now)
	r.used.Store(now.at)
	stale := s.stale(r)
	s.mu.RUnlock()
	if stale {
		t.promote(k)
	}
	return true, true
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
	s, h := t.locate(b.Ref)
	s.mu.RLock()
	r := s.hashed(b.Ref, h)
	if r == nil || r.gen != b.Gen || !r.live(now) || served && r.load().cause() != 0 {
		s.mu.RUnlock()
		return "", false, nil
	}
	r.used.Store(now.at)
	if served {
		r.serve(now)
		if r.more != nil {
			r.more.served.Add(1)
		}
	}
	memo = r.memo()
	stale := s.stale(r)
	s.mu.RUnlock()
	if stale {
		t.promote(b.Ref)
	}
	return memo, true, nil
}
