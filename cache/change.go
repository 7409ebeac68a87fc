package cache

import "strings"

// Operations that change the session of a binding, with its shard locked.

func (t *table) move(b *Binding, auth string) (now Binding, moved bool, err error) {
	err = t.on(b, func(h held, at moment, _ *leavings) {
		if h.r.gen.Load() == b.Gen {
			h.s.rebind(h, auth, at)
			moved = true
		}
		now = h.binding(h.r.open(), at)
	})
	return now, moved, err
}

func (t *table) amend(b *Binding, memo string) (now Binding, amended bool, err error) {
	err = t.on(b, func(h held, at moment, _ *leavings) {
		if h.r.gen.Load() == b.Gen {
			amended = h.amend(b.Memo, memo)
		}
		now = h.binding(h.r.load(), at)
	})
	return now, amended, err
}

// amend replaces the memo if it is still old. It copies the new one, which may be a small part
// of a large string.
func (h held) amend(old, memo string) bool {
	have := h.s.memo(h.i, h.r)
	if have != old {
		return false
	}
	if have != memo {
		h.s.setMemo(h.i, h.r, strings.Clone(memo))
	}
	return true
}

func (t *table) unbind(b *Binding) (unbound bool, err error) {
	err = t.on(b, func(h held, now moment, gone *leavings) {
		if h.r.gen.Load() == b.Gen && h.r.load().cause() == 0 {
			h.s.lose(h, Unbound, now, gone)
			unbound = true
		}
	})
	return unbound, err
}

func (t *table) release(b *Binding, failed bool) (unbound bool, err error) {
	if lose, err := t.closeUse(b, failed); !lose || err != nil {
		return false, err
	}
	err = t.on(b, func(h held, now moment, gone *leavings) {
		// Another use may have been opened meanwhile.
		if h.r.gen.Load() == b.Gen && h.r.close(failed) {
			h.s.lose(h, Released, now, gone)
			unbound = true
		}
	})
	return unbound, err
}

// closeUse ends a use of a current, provisional binding. lose says that the use is the last
// one and has failed: it is still open, and the session is to lose its auth.
func (t *table) closeUse(b *Binding, failed bool) (lose bool, err error) {
	if t.closed.Load() {
		return false, ErrClosed
	}
	home, i := referred(b)
	s := t.shard(home)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h := s.refer(home, i); h.ok() && h.r.gen.Load() == b.Gen && h.r.live(t.now()) {
		return h.r.close(failed), nil
	}
	return false, t.shut()
}
