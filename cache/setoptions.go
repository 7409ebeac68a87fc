package cache

// SetOptions changes TTL, MaxSessions and MaxPerTenant of a store in use. OnRemove
// stays what New was given; o.OnRemove is ignored. nil means the zero Options. The
// errors are those of New, or ErrClosed; after an error nothing has changed.
//
// A new TTL holds for the sessions that are there, too: a session that was idle
// for longer has expired, and a session that had expired before does not come
// back. What is over new bounds is evicted. The parts of the store stay as many as
// they are: a store that was made for a few thousand and is to hold a million
// works, but with more waiting than a store that was made for it. Cost: all
// sessions.
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
