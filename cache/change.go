package cache

import "strings"

// What changes the session of a binding, with its shard locked.

func (t *table) move(b *Binding, auth string) (now Binding, moved bool, err error) {
	err = t.on(b, func(s *shard, i uint32, r *record, at moment, gone *leavings) {
		if r.gen == b.Gen {
			s.rebind(i, r, auth)
			moved = true
		}
		now = t.binding(r, r.open(), at)
	})
	return now, moved, err
}

func (t *table) amend(b *Binding, memo string) (now Binding, amended bool, err error) {
	err = t.on(b, func(_ *shard, _ uint32, r *record, at moment, _ *leavings) {
		if r.gen == b.Gen {
			amended = r.amend(b.Memo, memo)
		}
		now = t.binding(r, r.load(), at)
	})
	return now, amended, err
}

// amend replaces a memo if it is still the old one. The new one is copied: it may
// be a small part of a large string.
func (r *record) amend(old, memo string) bool {
	if have := r.memo(); have != old {
		return false
	}
	if r.memo() != memo {
		r.extras().memo = strings.Clone(memo)
	}
	return true
}

func (t *table) unbind(b *Binding) (unbound bool, err error) {
	err = t.on(b, func(s *shard, _ uint32, r *record, now moment, gone *leavings) {
		if r.gen == b.Gen && r.load().cause() == 0 {
			s.lose(r, Unbound, now, gone)
			unbound = true
		}
	})
	return unbound, err
}

func (t *table) release(b *Binding, failed bool) (unbound bool, err error) {
	if lose, err := t.closeUse(b, failed); !lose || err != nil {
		return false, err
	}
	err = t.on(b, func(s *shard, _ uint32, r *record, now moment, gone *leavings) {
		// Another use may have been opened meanwhile.
		if r.gen == b.Gen && r.close(failed) {
			s.lose(r, Released, now, gone)
			unbound = true
		}
	})
	return unbound, err
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
