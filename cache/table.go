package cache

// perShard is how many records a shard is to hold at least, if a table is to
// have more than one.
const perShard = 256

// table holds records in shards. A Memory has two: the sessions and the notes.
type table struct {
	core
	shift  uint
	shards []shard
}

func (t *table) init(o *Options, from origin) error {
	t.core.init(o, from)
	n := 1
	t.shift = 64
	for n < maxShards && o.MaxSessions/(2*n) >= perShard {
		n *= 2
		t.shift--
	}
	t.shards = make([]shard, n)
	for i := range t.shards {
		if err := t.shards[i].init(&t.core, i); err != nil {
			return err
		}
	}
	t.limit(o)
	return nil
}

// limit changes the bounds. What is too much has to be evicted after that.
func (t *table) limit(o *Options) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		if len(t.shards) > 1 {
			s.slack = uint32(min(o.MaxSessions/len(t.shards)/16, 1<<30))
		}
		s.mu.Unlock()
	}
	t.tenants.limit(o)
}

// at is the index of the shard of a key.
func (t *table) at(k Key) int {
	if t.shift == 64 {
		return 0
	}
	return int(hash(k, t.spread) >> t.shift)
}

func (t *table) shard(k Key) *shard { return &t.shards[t.at(k)] }

// locate is the shard of a key and the hash of the key, for hits.
func (t *table) locate(k Key) (*shard, uint64) {
	h := hash(k, t.spread)
	return &t.shards[h>>1>>(t.shift-1)], h // a shift by 64 in two steps
}

// each runs do with each shard locked, one after another.
func (t *table) each(do func(s *shard, now moment, gone *leavings)) error {
	if t.closed.Load() {
		return ErrClosed
	}
	for i := range t.shards {
		s := &t.shards[i]
		var gone leavings
		s.mu.Lock()
		do(s, t.now(), &gone)
		s.mu.Unlock()
		t.clean(&gone)
	}
	return nil
}

// on runs do for the live session of a binding, whatever its generation, with
// its shard locked.
func (t *table) on(b *Binding, do func(s *shard, i uint32, r *record, now moment, gone *leavings)) error {
	if t.closed.Load() {
		return ErrClosed
	}
	s := t.shard(b.Ref)
	now := t.now()
	var gone leavings
	s.mu.Lock()
	if i, r := s.number(b.Ref); r != nil && r.live(now) && t.name(r.born) == b.Session {
		do(s, i, r, now, &gone)
	}
	s.mu.Unlock()
	t.clean(&gone)
	return nil
}

// lock locks the shards of a set, to read or to write.
func (t *table) lock(set *lockset, write bool) {
	for _, i := range set.at[:set.n] {
		if write {
			t.shards[i].mu.Lock()
		} else {
			t.shards[i].mu.RLock()
		}
	}
}

func (t *table) unlock(set *lockset, write bool) {
	for _, i := range set.at[:set.n] {
		if write {
			t.shards[i].mu.Unlock()
		} else {
			t.shards[i].mu.RUnlock()
		}
	}
}

// clean deletes the aliases that were left behind, and tells who has to be told.
// It is called with no lock held.
func (t *table) clean(gone *leavings) {
	for _, l := range gone.aliases {
		l.keys.each(func(k Key) {
			s := t.shard(k)
			s.mu.Lock()
			if s.aliases[k].of(l.born) {
				delete(s.aliases, k)
			}
			s.mu.Unlock()
		})
	}
	for _, d := range gone.dropped[:gone.n] {
		t.forget(d)
	}
	for i := range gone.removals {
		r := &gone.removals[i]
		t.onRemove(r.scope, r.was, r.why)
	}
}

// forget deletes the alias of a key that a session has let go, unless the
// session has taken the key again.
func (t *table) forget(d drop) {
	var set lockset
	set.add(t.at(d.key))
	set.add(t.at(d.of.home))
	t.lock(&set, true)
	defer t.unlock(&set, true)
	s := t.shard(d.key)
	if !s.aliases[d.key].of(d.of.born) {
		return
	}
	if r := t.shard(d.of.home).home(d.of.home); r != nil && r.born == d.of.born && r.more.has(d.key) {
		return
	}
	delete(s.aliases, d.key)
}

// close frees everything.
func (t *table) close() {
	if t.closed.Swap(true) {
		return
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.clear()
		s.mu.Unlock()
	}
	t.tenants.close()
}
