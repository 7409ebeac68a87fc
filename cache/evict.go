package cache

// trim evicts until the table holds no more than its bounds allow. It is called
// with no lock held. grown is the tenant that has just been given the record with
// the home keep in the shard near; nil if there is none.
func (t *table) trim(grown *account, near int, keep digest, gone *leavings) {
	for !t.closed.Load() {
		from, where, why := t.tenants.claim(grown)
		if from == nil {
			return
		}
		// If no record is found, other operations have removed them meanwhile.
		evicted, used := t.evict(from.name, where, near, keep, why, gone)
		t.tenants.settle(from, evicted, used)
	}
}

// evict removes the least recently used record that a tenant has in some shards. used is
// when that was used.
func (t *table) evict(tenant string, where shardSet, near int, keep digest, why Cause, gone *leavings) (evicted bool, used int64) {
	if i := t.choose(tenant, where, near, keep); i >= 0 {
		if evicted, used = t.shards[i].evict(tenant, keep, why, t.now(), gone); evicted {
			return true, used
		}
	}
	for i := range t.shards {
		if where.has(i) {
			if evicted, used = t.shards[i].evict(tenant, keep, why, t.now(), gone); evicted {
				return true, used
			}
		}
	}
	return false, 0
}

// choose is the shard to evict from, -1 if there is none. It looks at the shard
// near and at those behind it, and takes the one with the oldest record. It looks
// at some of the tenant's shards, at fewer if the tenant has many records there.
func (t *table) choose(tenant string, where shardSet, near int, keep digest) int {
	const some, many = 32, 128
	best, oldest, seen, records := -1, int64(0), 0, 0
	for j := range t.shards {
		i := (near + j) % len(t.shards)
		if !where.has(i) {
			continue
		}
		n, used := t.shards[i].age(tenant, keep)
		if n > 0 && (best < 0 || used < oldest) {
			best, oldest = i, used
		}
		records += int(n)
		if seen++; seen == some || seen > 1 && records >= many {
			break
		}
	}
	return best
}

// age is how many records a tenant has here, and when the oldest was used. It is
// 0 if there is none but the one whose home is keep.
func (s *shard) age(tenant string, keep digest) (n uint32, used int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, ok := s.tenants.find(tenant)
	if !ok {
		return 0, 0
	}
	t := s.tenants.at(id)
	h := s.oldest(t, keep)
	if !h.ok() {
		return 0, 0
	}
	return t.list.n, h.r.used.Load()
}

// evict removes a tenant's oldest record here, if there is one besides keep.
func (s *shard) evict(tenant string, keep digest, why Cause, now moment, gone *leavings) (evicted bool, used int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.tenants.find(tenant)
	if !ok {
		return false, 0
	}
	t := s.tenants.at(id)
	h := s.oldest(t, keep)
	if !h.ok() {
		return false, 0
	}
	used = h.r.used.Load()
	s.evictOldest(t, h, why, now, gone)
	return true, used
}
