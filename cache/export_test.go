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
