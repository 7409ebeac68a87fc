package cache

// NumKeys is how many keys lead to a session.
func (m *Memory) NumKeys(b Binding) (n int) {
	t := &m.sessions
	_ = t.on(&b, func(_ *shard, _ uint32, r *record, _ moment, _ *leavings) {
		if r.home != t.name(r.born) { // otherwise its home is no key
			n++
		}
		if r.more != nil {
			r.more.each(func(Key) { n++ })
		}
	})
	return n
}

// AllAliases is how many keys lead to sessions besides their homes.
func (m *Memory) AllAliases() (n int) {
	for i := range m.sessions.shards {
		s := &m.sessions.shards[i]
		s.mu.Lock()
		n += len(s.aliases)
		s.mu.Unlock()
	}
	return n
}

// HasExtras reports whether a session needs more than its record.
func (m *Memory) HasExtras(b Binding) (has bool) {
	_ = m.sessions.on(&b, func(_ *shard, _ uint32, r *record, _ moment, _ *leavings) { has = r.more != nil })
	return has
}
