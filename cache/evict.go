package cache

// trim evicts until the table is within its bounds. It is called with no lock held. grown is
// the tenant that has just got a new record, nil if there is none; keep is the home of that
// record, and near its shard.
func (t *table) trim(grown *account, near int, keep digest, gone *leavings) {
	for !t.closed.Load() {
		from, where, why := t.tenants.claim(grown)
		if from == nil {
			return
		}
		// If evict finds no record, other operations have removed them meanwhile.
		evicted, used := t.evict(from.name, where, near, keep, why, gone)
		t.tenants.settle(from, evicted, used)
	}
}

// evict removes the least recently used record that a tenant has in the shards where. used is
// the time of its last use.
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

// choose returns the shard to evict from, or -1 if there is none: the one with the oldest
// record of those that it looks at. It looks at near and the shards behind it, at no more than
// some of them, and at fewer if the tenant has many records there: the oldest of 32 is one of
// the older half of the tenant's records but once in 2^32 times.
func (t *table) choose(tenant string, where shardSet, near int, keep digest) int {
	const some, many = 16, 32
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

// age returns how many records a tenant has in the shard, and when the oldest was used. It
// returns 0 if there is none besides the one whose home is keep.
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

// evict removes a tenant's oldest record in the shard, if there is one besides keep.
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
