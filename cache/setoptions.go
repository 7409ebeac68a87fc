package cache

// SetOptions changes TTL, MaxSessions and MaxPerTenant of a store in use. It ignores
// o.OnRemove: OnRemove stays what New was given. A nil o means the zero Options. The errors
// are those of New, or ErrClosed. After an error nothing has changed.
//
// A new TTL also holds for the sessions that exist. A session that was idle for longer has
// expired, and a session that had expired before does not come back. Sessions over the new
// bounds are evicted. The number of parts of the store stays what it is: a store that was made
// for a few thousand sessions can hold a million, but its operations wait for each other more
// than in a store that was made for them. Cost: all sessions.
func (m *Memory) SetOptions(o *Options) error {
	all, err := o.withDefaults()
	if err != nil {
		return err
	}
	m.options.Lock()
	defer m.options.Unlock()
	if m.sessions.closed.Load() {
		return ErrClosed
	}
	for _, t := range []*table{&m.sessions, &m.notes} {
		t.set(&all)
	}
	return nil
}

func (t *table) set(o *Options) {
	if int64(o.TTL) > t.ttl.Load() {
		t.sweep()
	}
	if t.ttl.Swap(int64(o.TTL)) > int64(o.TTL) {
		t.sweep()
	}
	t.tenants.limit(o)
	var gone leavings
	t.trim(nil, 0, 0, &gone)
	t.clean(&gone)
}
