package cache

// Notes are records in a table of their own: their keys, bounds and evictions never touch
// those of sessions.

// note notes an auth under a key. The last note wins.
func (t *table) note(scope *Scope, key Key, auth string) error {
	home := t.digest(t.mix(scope), &key)
	var gone leavings
	over, err := t.noteLocked(scope, home, auth, &gone)
	if over != nil {
		t.trim(over, t.at(home), home, &gone)
	}
	t.clean(&gone)
	return err
}

func (t *table) noteLocked(scope *Scope, home digest, auth string, gone *leavings) (over *account, err error) {
	s := t.shard(home)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.closed.Load() {
		return nil, ErrClosed
	}
	now := t.now()
	if h := s.home(home); h.ok() {
		if h.r.live(now) && s.scopes.at(h.r.scope.Load()).name == *scope {
			s.rename(h, auth)
			h.r.used.Store(now.at)
			s.promote(h.i, h.r)
			return nil, nil
		}
		s.remove(h, Expired, now, gone)
	}
	h, many := s.insert(scope, home, t.next(now), auth, now, gone)
	if many {
		over = s.exchange(h, now, gone)
	}
	return over, nil
}

// recall returns the auth that was noted under a key.
func (t *table) recall(scope *Scope, key Key) (auth string, ok bool, err error) {
	if t.closed.Load() {
		return "", false, ErrClosed
	}
	var b Binding
	if ok, _ = t.quick(&b, scope, &Keys{Names: [MaxNames]Key{key}}, true); !ok {
		return "", false, t.shut()
	}
	return b.Auth, true, nil
}
