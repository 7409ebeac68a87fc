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
		t.tenants.settle(from, t.evict(from.name, where, near, keep, why, gone))
	}
}

// evict removes the least recently used record that a tenant has in some shards.
func (t *table) evict(tenant string, where shardSet, near int, keep digest, why Cause, gone *leavings) bool {
	if i := t.choose(tenant, where, near, keep); i >= 0 && t.shards[i].evict(tenant, keep, why, t.now(), gone) {
		return true
	}
	for i := range t.shards {
		if where.has(i) && t.shards[i].evict(tenant, keep, why, t.now(), gone) {
			return true
		}
	}
	return false
}

// choose is the shard to evict from, -1 if there is none. It looks at the shard
// near and at those behind it, and takes the one with the oldest record. It looks
// at some of the tenant's shards, or at two if the tenant has many records in each
// of them.
func (t *table) choose(tenant string, where shardSet, near int, keep digest) int {
	const some, many = 32, 64
	best, oldest, seen, full := -1, int64(0), 0, 0
	for j := range t.shards {
		i := (near + j) % len(t.shards)
		if !where.has(i) {
			continue
		}
		n, used := t.shards[i].age(tenant, keep)
		if n > 0 && (best < 0 || used < oldest) {
			best, oldest = i, used
		}
		if n >= many {
			full++
		}
		if seen++; seen == some || full == 2 {
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
func (s *shard) evict(tenant string, keep digest, why Cause, now moment, gone *leavings) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.tenants.find(tenant)
	if !ok {
		return false
	}
	h := s.oldest(s.tenants.at(id), keep)
	if !h.ok() {
		return false
	}
	if !h.r.live(now) {
		why = Expired
	}
	s.take(h, why, now, true, gone)
	return true
}
