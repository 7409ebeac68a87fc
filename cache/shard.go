package cache

import (
	"sync"
	"sync/atomic"
)

// shard is a part of a table under one lock.
type shard struct {
	mu      sync.RWMutex
	core    *core
	number  int
	keys    index // maps the digests of this shard to records, which may be in another shard
	slab    slab
	shelves [len(sizes)]shelf
	memos   map[uint32]string // by the record's number, as in twins; few sessions have one
	twins   map[uint32]*twin
	scopes  numbers[Scope]
	tenants numbers[string]
	auths   []list        // bound records by the auth's number in the registry
	moves   atomic.Uint32 // how often a record was moved to the front of the order of use, times moveStep
	exact   bool          // each use moves a session to the front
	hand    uint32        // the record that freeExpired looked at last
	_       [64]byte      // shards of two cores share no cache line
}

func (s *shard) init(c *core, number, shards, most int) {
	s.core, s.number, s.exact = c, number, shards == 1
	s.keys.expect(most, shards)
	s.clear()
}

func (s *shard) clear() {
	s.keys.clear()
	s.slab.clear()
	s.shelves = [len(sizes)]shelf{}
	s.memos, s.twins = map[uint32]string{}, map[uint32]*twin{}
	s.scopes.init()
	s.tenants.init()
	s.auths, s.hand = nil, 0
}

// held is a record whose shard is locked; the zero held is none.
type held struct {
	s *shard
	i uint32 // the record's number, by which it is linked
	r *record
}

func (h held) ok() bool       { return h.r != nil }
func (h held) extras() extras { return h.s.extras(h.r) }
func (h held) hasName(d digest) bool {
	return h.r.home.Load() == uint64(d) || h.extras().hasName(d)
}

// home returns the record whose home is d. It may have expired.
func (s *shard) home(d digest) (h held) {
	for n := 0; d != 0; n++ {
		to := s.keys.find(d.bits(), n)
		if to == 0 {
			break
		}
		if at, i := s.core.split(to); at == s.number {
			if r := s.slab.at(i); r.home.Load() == uint64(d) {
				return held{s, i, r}
			}
		}
	}
	return held{}
}

// A stamp is the count of moves when its record was last moved to the front of the order of
// use. Its lowest bit says that the record was used since then.
const (
	usedSince = 1
	moveStep  = 2
)

// renewed notes that a session was used. It reports whether the caller has to move the session
// to the front of the order of use, for which it needs the lock. In a large store a bit is set
// instead, and oldest takes it into account.
func (s *shard) renewed(r *record) (move bool) {
	stamp := r.stamp.Load()
	if s.exact {
		return stamp != s.moves.Load()
	}
	if stamp&usedSince == 0 {
		r.stamp.Or(usedSince)
	}
	return false
}

func (s *shard) promote(i uint32, r *record) {
	if r.stamp.Load() == s.moves.Load() {
		return // it is at the front
	}
	r.stamp.Store(s.moves.Add(moveStep))
	t := s.tenantOf(r)
	s.slab.cut(&t.list, i, byUse)
	s.slab.push(&t.list, i, byUse)
}

func (s *shard) tenantOf(r *record) *entry[string] {
	return s.tenants.at(s.scopes.at(r.scope.Load()).tenant)
}

// few is how many records oldest looks at. It stops before if the last ones, as many as enough
// says, were not used earlier than one before them.
const (
	few    = 16
	enough = 4
)

// oldest returns the tenant's least recently used record in the shard, except for the one
// whose home is keep. It walks from the end of the order of use. A record that was not used
// since it was moved is older than all records before it. A record that was used since may not
// be, so oldest compares the times of a few.
func (s *shard) oldest(tenant *entry[string], keep digest) (found held) {
	for i, seen, later := tenant.list.tail, 0, 0; i != 0 && seen < few && later < enough; seen++ {
		r := s.slab.at(i)
		if r.home.Load() != uint64(keep) {
			if later++; !found.ok() || r.used.Load() < found.r.used.Load() {
				found, later = held{s, i, r}, 0
			}
			if r.stamp.Load()&usedSince == 0 {
				break
			}
		}
		i = r.byUse.prev
	}
	return found
}

// evictOldest removes the record that oldest has returned. It moves the records behind that
// one to the front if they were used since they were last moved, so that the next call of
// oldest does not look at them again.
func (s *shard) evictOldest(tenant *entry[string], out held, why Cause, now moment, gone *leavings) {
	for range few {
		i := tenant.list.tail
		r := s.slab.at(i)
		if i == out.i || r.stamp.Load()&usedSince == 0 {
			break
		}
		s.promote(i, r)
	}
	if !out.r.live(now) {
		why = Expired
	}
	s.take(out, why, now, true, gone)
}

// insert makes a new session that is bound to auth. No session may have its home. over says
// that the store now has too many.
func (s *shard) insert(scope *Scope, home digest, born uint64, auth string, now moment, gone *leavings) (h held, over bool) {
	s.freeExpired(now, gone)
	i := s.slab.take()
	r := s.slab.at(i)
	of := s.scope(scope)
	to := s.core.auths.use(auth)
	r.change(func() {
		r.born.Store(born)
		r.gen.Store(born)
		r.used.Store(now.at)
		r.state.Store(uint32(provisional))
		r.scope.Store(of)
		r.home.Store(uint64(home))
	})
	r.stamp.Store(s.moves.Add(moveStep))
	s.scopes.use(of)
	s.tenants.use(s.scopes.at(of).tenant)
	s.keys.put(home.bits(), s.core.join(s.number, i))
	t := s.tenantOf(r)
	s.slab.push(&t.list, i, byUse)
	s.linkAuth(i, r, to)
	return held{s, i, r}, s.core.tenants.add(t.account)
}

// exchange removes the tenant's oldest session in the shard of h, its newest, if that tenant
// has to lose one and the ledger accepts this one. It returns the tenant's account if there
// are still too many, else nil.
func (s *shard) exchange(h held, now moment, gone *leavings) (over *account) {
	t := s.tenantOf(h.r)
	out := s.oldest(t, digest(h.r.home.Load()))
	if !out.ok() {
		return t.account
	}
	why, many := s.core.tenants.exchange(t.account, out.r.used.Load())
	if many {
		over = t.account
	}
	if why != 0 {
		s.evictOldest(t, out, why, now, gone)
	}
	return over
}

// scope returns the number of a scope, for a record that is about to use it.
func (s *shard) scope(scope *Scope) uint32 {
	if id, ok := s.scopes.find(*scope); ok {
		return id
	}
	tenant, ok := s.tenants.find(scope.Tenant)
	if !ok {
		account := s.core.tenants.open(scope.Tenant, s.number)
		tenant = s.tenants.add(account.name)
		s.tenants.at(tenant).account = account
	}
	kept := Scope{Pool: scope.Pool, Model: scope.Model}.clone()
	kept.Tenant = s.tenants.at(tenant).name
	id := s.scopes.add(kept)
	s.scopes.at(id).tenant = tenant
	return id
}

// freeExpired looks at the next few records and frees those that have expired. It may free
// several for one insert, so that the store shrinks to its live sessions.
func (s *shard) freeExpired(now moment, gone *leavings) {
	const look, free = 8, 4
	for looked, freed := 0, 0; looked < look && freed < free && uint32(looked) < s.slab.used; looked++ {
		if s.hand++; s.hand > s.slab.used {
			s.hand = 1
		}
		if r := s.slab.at(s.hand); r.home.Load() != 0 && !r.live(now) {
			s.remove(held{s, s.hand, r}, Expired, now, gone)
			freed++
		}
	}
}

// remove removes a session from its shard. Its aliases are deleted after the lock is released;
// until then they find nothing.
func (s *shard) remove(h held, why Cause, now moment, gone *leavings) {
	s.take(h, why, now, false, gone)
}

// take is remove for a session that the ledger may have uncounted before.
func (s *shard) take(h held, why Cause, now moment, claimed bool, gone *leavings) {
	i, r := h.i, h.r
	if r.load().cause() == 0 {
		s.tell(h, why, now, gone)
		s.unlinkAuth(i, r)
	}
	to := s.core.join(s.number, i)
	for _, d := range h.extras().all() {
		gone.aliases = append(gone.aliases, entryOf{d, to})
	}
	home, scope := digest(r.home.Load()), r.scope.Load()
	tenant := s.scopes.at(scope).tenant
	t := s.tenants.at(tenant)
	account := t.account
	s.slab.cut(&t.list, i, byUse)
	r.change(func() {
		r.home.Store(0)
		r.born.Store(0)
	})
	// After the change: a glimpse must neither miss the record while the binding is still
	// current, nor the memo, nor read a number's next name.
	s.keys.cut(home.bits(), to)
	s.dropExtras(i, r)
	s.core.auths.drop(r.auth.Load())
	s.scopes.drop(scope)
	last := s.tenants.drop(tenant)
	s.core.tenants.remove(account, s.number, last, claimed)
	s.slab.give(i)
}

// lose takes the auth from a bound session.
func (s *shard) lose(h held, why Cause, now moment, gone *leavings) {
	s.tell(h, why, now, gone)
	s.unlinkAuth(h.i, h.r)
	gen := s.core.next(now)
	h.r.change(func() {
		h.r.gen.Store(gen)
		h.r.state.Store(uint32(lost | state(why)))
	})
}

// tell notes a call of OnRemove for a binding that ends.
func (s *shard) tell(h held, why Cause, now moment, gone *leavings) {
	if s.core.onRemove != nil {
		gone.removals = append(gone.removals, removal{s.scopeOf(h.r), h.binding(h.r.load(), now), why})
	}
}

// scopeOf returns the scope of a record.
func (s *shard) scopeOf(r *record) Scope { return s.scopes.at(r.scope.Load()).name }

// rebind binds a session to an auth anew, whether it is bound or not.
func (s *shard) rebind(h held, auth string, now moment) {
	to := s.core.auths.use(auth) // before the old one is dropped: it may be the same
	if h.r.load().cause() == 0 {
		s.unlinkAuth(h.i, h.r)
	}
	old, gen := h.r.auth.Load(), s.core.next(now)
	h.r.change(func() {
		h.r.auth.Store(to)
		h.r.gen.Store(gen)
		h.r.state.Store(uint32(provisional))
	})
	s.core.auths.drop(old)
	s.linkAuth(h.i, h.r, to)
}

// rename gives the auth of a bound session another name.
func (s *shard) rename(h held, to string) {
	auth, old := s.core.auths.use(to), h.r.auth.Load()
	s.unlinkAuth(h.i, h.r)
	s.linkAuth(h.i, h.r, auth)
	s.core.auths.drop(old)
}

// linkAuth binds a record to an auth, whose number the caller has taken with use.
func (s *shard) linkAuth(i uint32, r *record, auth uint32) {
	r.change(func() { r.auth.Store(auth) })
	for int(auth) >= len(s.auths) {
		s.auths = append(s.auths, list{})
	}
	s.slab.push(&s.auths[auth], i, byAuth)
}

func (s *shard) unlinkAuth(i uint32, r *record) {
	s.slab.cut(&s.auths[r.auth.Load()], i, byAuth)
}

// ofAuth runs do for the records that are bound to an auth.
func (s *shard) ofAuth(auth uint32, do func(held)) {
	if int(auth) < len(s.auths) {
		s.slab.each(&s.auths[auth], byAuth, func(i uint32, r *record) { do(held{s, i, r}) })
	}
}

// ofTenant runs do for the records of a tenant, live or not.
func (s *shard) ofTenant(name string, do func(held)) {
	if id, ok := s.tenants.find(name); ok {
		// The entry may be gone after the last record is.
		l := s.tenants.at(id).list
		s.slab.each(&l, byUse, func(i uint32, r *record) { do(held{s, i, r}) })
	}
}

// all runs do for all records, live or not.
func (s *shard) all(do func(held)) {
	for i := uint32(1); i <= s.slab.used; i++ {
		if r := s.slab.at(i); r.home.Load() != 0 {
			do(held{s, i, r})
		}
	}
}
