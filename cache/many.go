package cache

// Operations on many records, shard by shard.

// unbindAuth takes an auth from all sessions that are bound to it.
func (t *table) unbindAuth(auth string) (unbound int, err error) {
	a, ok := t.auths.find(auth)
	if ok {
		defer t.auths.drop(a)
	}
	err = t.each(func(s *shard, now moment, gone *leavings) {
		if ok {
			s.ofAuth(a, func(h held) {
				if h.r.live(now) {
					s.lose(h, AuthInvalidated, now, gone)
					unbound++
				} else {
					s.remove(h, Expired, now, gone)
				}
			})
		}
	})
	return unbound, err
}

// removeAuth removes all records that are bound to an auth.
func (t *table) removeAuth(auth string) error {
	a, ok := t.auths.find(auth)
	if ok {
		defer t.auths.drop(a)
	}
	return t.each(func(s *shard, now moment, gone *leavings) {
		if ok {
			s.ofAuth(a, func(h held) { s.remove(h, AuthInvalidated, now, gone) })
		}
	})
}

// unbindTenant takes an auth from the sessions of a tenant that are bound to it.
func (t *table) unbindTenant(tenant, auth string) (unbound int, err error) {
	err = t.each(func(s *shard, now moment, gone *leavings) {
		s.ofTenant(tenant, func(h held) {
			if h.r.load().cause() == 0 && h.r.live(now) && t.auths.name(h.r.auth.Load()) == auth {
				s.lose(h, AuthInvalidated, now, gone)
				unbound++
			}
		})
	})
	return unbound, err
}

// removeTenant removes the records of a tenant: all, or those bound to an auth.
func (t *table) removeTenant(tenant, auth string) (removed int, err error) {
	err = t.each(func(s *shard, now moment, gone *leavings) {
		s.ofTenant(tenant, func(h held) {
			switch {
			case auth != "" && t.auths.name(h.r.auth.Load()) != auth:
			case h.r.live(now):
				s.remove(h, Invalidated, now, gone)
				removed++
			default:
				s.remove(h, Expired, now, gone)
			}
		})
	})
	return removed, err
}

// renameAuth gives an auth another name in all records that are bound to it.
func (t *table) renameAuth(from, to string) (renamed int, err error) {
	a, ok := t.auths.find(from)
	if ok {
		defer t.auths.drop(a)
	}
	err = t.each(func(s *shard, now moment, _ *leavings) {
		if ok {
			s.ofAuth(a, func(h held) {
				s.rename(h, to)
				if h.r.live(now) {
					renamed++
				}
			})
		}
	})
	return renamed, err
}

// sweep frees all records that have expired.
func (t *table) sweep() (freed int) {
	_ = t.each(func(s *shard, now moment, gone *leavings) {
		s.all(func(h held) {
			if !h.r.live(now) {
				s.remove(h, Expired, now, gone)
				freed++
			}
		})
	})
	return freed
}

// editMemos replaces each memo by what edit returns for it.
func (t *table) editMemos(edit func(Binding) string) error {
	for i := range t.shards {
		if t.closed.Load() {
			return ErrClosed
		}
		s := &t.shards[i]
		var all []Binding
		s.mu.RLock()
		now := t.now()
		for i := range s.memos {
			if r := s.slab.at(i); r.live(now) {
				all = append(all, held{s, i, r}.binding(r.load(), now))
			}
		}
		s.mu.RUnlock()
		for _, b := range all {
			if err := t.editMemo(b, edit); err != nil {
				return err
			}
		}
	}
	return nil
}

// editMemo replaces one memo. edit runs with no lock held, so it runs again if the memo has
// changed meanwhile.
func (t *table) editMemo(b Binding, edit func(Binding) string) error {
	for edited := false; !edited && b.Memo != ""; {
		memo := edit(b)
		now := Binding{}
		err := t.on(&b, func(h held, at moment, _ *leavings) {
			edited = h.amend(b.Memo, memo)
			now = h.binding(h.r.load(), at)
		})
		b = now
		if err != nil {
			return err
		}
	}
	return nil
}
