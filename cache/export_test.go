package cache

// NumKeys returns how many keys find a session.
func (m *Memory) NumKeys(b Binding) (n int) {
	t := &m.sessions
	_ = t.on(&b, func(h held, _ moment, _ *leavings) {
		n = h.extras().len()
		if r := h.r; r.home.Load() != uint64(t.own(r.born.Load())) { // otherwise its home is no key
			n++
		}
	})
	return n
}

// AllAliases returns how many keys besides their homes find sessions.
func (m *Memory) AllAliases() (n int) {
	for i := range m.sessions.shards {
		s := &m.sessions.shards[i]
		s.mu.Lock()
		n += s.keys.n - s.slab.n
		s.mu.Unlock()
	}
	return n
}

// HasExtras reports whether a session needs more than its record.
func (m *Memory) HasExtras(b Binding) (has bool) {
	_ = m.sessions.on(&b, func(h held, _ moment, _ *leavings) { has = h.r.more.Load() != 0 })
	return has
}
