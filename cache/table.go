package cache

// perShard is the least number of records that each shard holds, if a table has more than one
// shard.
const perShard = 256

// table holds records in shards. A Memory has two: the sessions and the notes.
type table struct {
	core
	shift  uint
	shards []shard
}

func (t *table) init(o *Options, from origin) {
	t.core.init(o, from)
	n := 1
	t.shift = 64
	for n < maxShards && o.MaxSessions/(2*n) >= perShard {
		n *= 2
		t.shift--
	}
	t.low = 64 - t.shift
	t.shards = make([]shard, n)
	for i := range t.shards {
		t.shards[i].init(&t.core, i, n, o.MaxSessions/n)
	}
	t.tenants.limit(o)
}

// at returns the number of the shard of a key.
func (t *table) at(d digest) int {
	return int(d >> 1 >> (t.shift - 1)) // a shift by 64 in two steps
}

func (t *table) shard(d digest) *shard { return &t.shards[t.at(d)] }

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

// on runs do for the live session of a binding, whatever its generation, with its shard
// locked.
func (t *table) on(b *Binding, do func(h held, now moment, gone *leavings)) error {
	if t.closed.Load() {
		return ErrClosed
	}
	home, i := referred(b)
	s := t.shard(home)
	now := t.now()
	var gone leavings
	s.mu.Lock()
	h := s.refer(home, i)
	found := h.ok() && h.r.live(now) && t.named(h.r, &b.Session)
	if found {
		do(h, now, &gone)
	}
	s.mu.Unlock()
	t.clean(&gone)
	if !found {
		return t.shut()
	}
	return nil
}

// refer is home for a caller that knows the number that the record had.
func (s *shard) refer(home digest, i uint32) held {
	if home == 0 {
		return held{}
	}
	if r := s.slab.look(i); r != nil && r.home.Load() == uint64(home) {
		return held{s, i, r}
	}
	return s.home(home)
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

// clean deletes the index entries that were left behind, and calls OnRemove. It is called with
// no lock held.
func (t *table) clean(gone *leavings) {
	for _, e := range gone.aliases {
		t.forget(e)
	}
	for _, e := range gone.dropped[:gone.n] {
		t.forget(e)
	}
	for i := range gone.removals {
		r := &gone.removals[i]
		t.onRemove(r.scope, r.was, r.why)
	}
}

func (t *table) forget(e entryOf) {
	s := t.shard(e.key)
	s.mu.Lock()
	s.keys.cut(e.key.bits(), e.to)
	s.mu.Unlock()
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
