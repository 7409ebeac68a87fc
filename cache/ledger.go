package cache

import (
	"container/heap"
	"strings"
	"sync"
)

// maxShards is the greatest number of shards of a table.
const maxShards = 64

// shardSet is a set of shards.
type shardSet [maxShards / 64]uint64

func (s *shardSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *shardSet) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s *shardSet) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }
func (s *shardSet) empty() bool    { return *s == shardSet{} }

// ledger counts the records of each tenant, and says which tenant loses one when there are too
// many. Only inserts and removals use it. Its lock is taken while a shard is locked, never the
// other way round.
type ledger struct {
	mu        sync.Mutex
	max       int    // of all tenants
	perTenant int    // 0 or less for no bound
	total     int    // records, without those that were claimed
	clock     uint64 // number of records that were ever added
	accounts  map[string]*account
	most      byCount
}

// account is a tenant that has records.
type account struct {
	name     string
	n        int      // records, without those that were claimed
	claimed  int      // records that are about to be evicted
	grown    uint64   // the ledger's clock when the last record was added
	frontier int64    // last use of the record that the last claim evicted
	shards   shardSet // where it has records
	index    int      // in the heap
}

// byCount is a heap. In front is the account that has the most records; of two with equally
// many, the one that has not grown for longer.
type byCount []*account

func (h byCount) Len() int { return len(h) }
func (h byCount) Less(i, j int) bool {
	if h[i].n != h[j].n {
		return h[i].n > h[j].n
	}
	return h[i].grown < h[j].grown
}
func (h byCount) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *byCount) Push(x any) {
	a := x.(*account)
	a.index = len(*h)
	*h = append(*h, a)
}
func (h *byCount) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return a
}

func (l *ledger) init() { l.accounts = map[string]*account{} }

// close frees everything. No record is added or removed after it.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts, l.most = nil, nil
}

// limit changes the bounds.
func (l *ledger) limit(o *Options) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max, l.perTenant = o.MaxSessions, o.MaxPerTenant
}

// open returns the account of a tenant that has no record in a shard yet. The caller is about
// to add one there.
func (l *ledger) open(tenant string, shard int) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[tenant]
	if !ok {
		a = &account{name: strings.Clone(tenant)}
		l.accounts[a.name] = a
		heap.Push(&l.most, a)
	}
	a.shards.add(shard)
	return a
}

// add counts a new record. It reports whether there are too many now.
func (l *ledger) add(a *account) (over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	l.total++
	a.n++
	a.grown = l.clock
	heap.Fix(&l.most, a.index)
	return l.over(a)
}

func (l *ledger) over(a *account) bool {
	return l.total > l.max || l.perTenant > 0 && a.n > l.perTenant
}

// exchange uncounts a record of a, which has just grown, if a itself has to lose one and the
// record is as old as the one that its last claim evicted. used is the record's last use. If
// why is not 0, the caller must remove the record at once. over says that there are still too
// many.
func (l *ledger) exchange(a *account, used int64) (why Cause, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, why := l.whose(a)
	if from != a || used > a.frontier {
		return 0, l.over(a)
	}
	a.n--
	l.total--
	heap.Fix(&l.most, a.index)
	return why, l.over(a)
}

// remove uncounts a record that is gone from a shard. last says that it was the tenant's last
// one there, and claimed that claim or exchange has uncounted it before.
func (l *ledger) remove(a *account, shard int, last, claimed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last {
		a.shards.remove(shard)
	}
	if !claimed {
		l.total--
		a.n--
	}
	l.changed(a)
}

// changed restores the order of the heap.
func (l *ledger) changed(a *account) {
	if a.shards.empty() && a.claimed == 0 {
		delete(l.accounts, a.name)
		heap.Remove(&l.most, a.index)
		return
	}
	heap.Fix(&l.most, a.index)
}

// claim says which tenant has to lose its least recently used record, if there are too many.
// It uncounts that record at once, so that two operations do not evict for one reason. a is
// the account that has grown, nil if none has. Each claim is followed by settle.
func (l *ledger) claim(a *account) (from *account, where shardSet, why Cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from, why = l.whose(a); from == nil {
		return nil, where, 0
	}
	from.n--
	from.claimed++
	l.total--
	heap.Fix(&l.most, from.index)
	return from, from.shards, why
}

// whose returns the account that has to lose a record, nil if there are not too many.
func (l *ledger) whose(a *account) (from *account, why Cause) {
	switch {
	case len(l.most) == 0: // or the table is closed
		return nil, 0
	case l.perTenant > 0 && a == nil && l.most[0].n > l.perTenant:
		return l.most[0], EvictedByTenant
	case l.perTenant > 0 && a != nil && a.n > l.perTenant:
		return a, EvictedByTenant
	case l.total <= l.max:
		return nil, 0
	// a is over its share: more than max / accounts. The record that was just added is never
	// evicted, so there must be another.
	case a != nil && a.n > 1 && int64(a.n)*int64(len(l.accounts)) > int64(l.max):
		return a, Evicted
	}
	// There are more than max records, so the account with the most is over its share.
	return l.first(a), Evicted
}

// first returns the account that has the most records. If that is a, and its only record is
// the one that was just added, every account has one record, and first returns the next
// account.
func (l *ledger) first(a *account) *account {
	h := l.most
	switch {
	case h[0] != a || a.n > 1 || len(h) == 1:
		return h[0]
	case len(h) > 2 && h.Less(2, 1):
		return h[2]
	}
	return h[1]
}

// settle ends a claim: a record that was last used at used was evicted, or none was found.
func (l *ledger) settle(a *account, evicted bool, used int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.accounts == nil {
		return // closed
	}
	a.claimed--
	if evicted {
		a.frontier = used
	} else {
		a.n++
		l.total++
	}
	l.changed(a)
}
