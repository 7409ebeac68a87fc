package cache

import "context"

// InvalidateSession implements [Admin].
func (m *Memory) InvalidateSession(_ context.Context, scope Scope, keys Keys) (removed bool, err error) {
	if m.sessions.closed.Load() {
		return false, ErrClosed
	}
	if keys.IsZero() {
		return false, nil
	}
	if !scope.fits() {
		scope = scope.Short()
	}
	return m.sessions.invalidate(&scope, &keys)
}

// InvalidateAuth implements [Admin]. Cost: the sessions and notes of the auth, and a look at
// each shard.
func (m *Memory) InvalidateAuth(_ context.Context, auth string) (unbound int, err error) {
	if err := m.notes.removeAuth(auth); err != nil {
		return 0, err
	}
	return m.sessions.unbindAuth(auth)
}

// InvalidateTenant implements [Admin]. Cost: the sessions and notes of the
// tenant, and a look at each shard.
func (m *Memory) InvalidateTenant(_ context.Context, tenant, auth string) (n int, err error) {
	tenant = short(tenant)
	if _, err := m.notes.removeTenant(tenant, auth); err != nil {
		return 0, err
	}
	if auth == "" {
		return m.sessions.removeTenant(tenant, "")
	}
	return m.sessions.unbindTenant(tenant, auth)
}

// RenameAuth implements [Admin]. If to is empty or equals from, nothing happens. Cost: the
// sessions and notes that it renames, and a look at each shard.
func (m *Memory) RenameAuth(_ context.Context, from, to string) (renamed int, err error) {
	if m.sessions.closed.Load() {
		return 0, ErrClosed
	}
	if from == to || to == "" {
		return 0, nil
	}
	if _, err := m.notes.renameAuth(from, to); err != nil {
		return 0, err
	}
	return m.sessions.renameAuth(from, to)
}

// CountAuth implements [Admin]. It counts expired sessions that were not freed yet. Cost: a
// look at each shard.
func (m *Memory) CountAuth(_ context.Context, auth string) (bound int, err error) {
	t := &m.sessions
	if t.closed.Load() {
		return 0, ErrClosed
	}
	a, ok := t.auths.find(auth)
	if !ok {
		return 0, nil
	}
	defer t.auths.drop(a)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		if int(a) < len(s.auths) {
			bound += int(s.auths[a].n)
		}
		s.mu.RUnlock()
	}
	return bound, nil
}

// CountAuths implements [Admin]. It counts expired sessions that were not freed yet. Cost: the
// auths, in each shard.
func (m *Memory) CountAuths(context.Context) (bound map[string]int, err error) {
	t := &m.sessions
	if t.closed.Load() {
		return nil, ErrClosed
	}
	bound = map[string]int{}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for id, l := range s.auths {
			if l.n > 0 {
				bound[t.auths.name(uint32(id))] += int(l.n)
			}
		}
		s.mu.RUnlock()
	}
	return bound, nil
}

// EditMemos implements [Admin]. edit runs with no lock held, and runs again for a memo that
// has changed meanwhile. Cost: all sessions.
func (m *Memory) EditMemos(_ context.Context, edit func(b Binding) (memo string)) error {
	return m.sessions.editMemos(edit)
}
