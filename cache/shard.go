package cache

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// shard is a part of a table under one lock.
type shard struct {
	mu      sync.RWMutex
	core    *core
	index   int
	secret  uint64
	lru     *simplelru.LRU[uint64, uint32] // by the home's hash, in order of use; it never evicts
	aliases map[Key]alias
	slab    slab
	scopes  numbers[Scope]
	tenants numbers[string]
	auths   []list   // bound records by the auth's number in the registry
	moves   uint32   // to the front of the order of use
	slack   uint32   // how many a session may be behind when it is used
	_       [64]byte // shards of two cores share no cache line
}

func (s *shard) init(c *core, index int) (err error) {
	s.core, s.index, s.secret = c, index, c.spread
	s.clear()
	s.lru, err = simplelru.NewLRU[uint64, uint32](math.MaxInt, nil)
	return err
}

func (s *shard) clear() {
	if s.lru != nil {
		s.lru.Purge()
	}
	s.aliases = map[Key]alias{}
	s.slab = slab{}
	s.scopes.init()
	s.tenants.init()
	s.auths = nil
}

// home is the record at a home, whose time may be over; nil if there is none.
func (s *shard) home(k Key) *record {
	_, r := s.number(k)
	return r
}

// hashed is home for a key whose hash is known.
func (s *shard) hashed(k Key, h uint64) *record {
	if i, ok := s.lru.Peek(h); ok {
		if r := s.slab.at(i); r.home == k {
			return r
		}
	}
	return nil
}

// number is home with the record's number, by which it is linked.
func (s *shard) number(k Key) (uint32, *record) {
	if i, ok := s.lru.Peek(hash(k, s.secret)); ok {
		if r := s.slab.at(i); r.home == k {
			return i, r
		}
	}
	return 0, nil
}

// stale reports whether a session that was used has to be moved to the front of
// the order of use. In a large store that is not so for the first sixteenth: moving
// takes the lock from all others, a busy session is always near the front, and
// from there it is a long way to the end.
func (s *shard) stale(r *record) bool { return s.moves-r.stamp > s.slack }

func (s *shard) promote(r *record) {
	if r.stamp == s.moves {
		return // it is in front
	}
	i, _ := s.lru.Get(hash(r.home, s.secret))
	s.moves++
	r.stamp = s.moves
	t := s.tenantOf(r)
	s.slab.cut(&t.list, r, byUse)
	s.slab.push(&t.list, i, byUse)
}

func (s *shard) tenantOf(r *record) *entry[string] {
	return s.tenants.at(s.scopes.at(r.scope).tenant)
}

// oldest is the tenant's least recently used record here, but not the one whose
// home is keep. A record may have been used without being moved to the front: so
// the times of a few are compared, unless the last one was used long ago in any
// case.
func (s *shard) oldest(tenant *entry[string], keep Key) (number uint32, found *record) {
	const few = 16
	for i, seen := tenant.list.tail, 0; i != 0 && seen < few; seen++ {
		r := s.slab.at(i)
		if r.home != keep {
			if found == nil || r.used.Load() < found.used.Load() {
				number, found = i, r
			}
			if s.slack == 0 || (s.moves-r.stamp)/2 > s.slack {
				break
			}
		}
		i = r.byUse.prev
	}
	return number, found
}

// insert makes a new session that is bound to auth; nobody has its home. It
// reports whether the store has too many now.
func (s *shard) insert(scope *Scope, home Key, born uint64, auth string, now moment, gone *leavings) (r *record, over bool) {
	s.freeExpired(now, gone)
	s.moves++
	i := s.slab.take()
	r = s.slab.at(i)
	r.home, r.born, r.gen, r.more, r.stamp = home, born, born, nil, s.moves
	r.state.Store(uint32(provisional))
	r.used.Store(now.at)
	r.scope = s.scope(scope)
	s.scopes.use(r.scope)
	s.tenants.use(s.scopes.at(r.scope).tenant)
	s.lru.Add(hash(home, s.secret), i)
	t := s.tenantOf(r)
	s.slab.push(&t.list, i, byUse)
	s.linkAuth(i, s.core.auths.use(auth))
	return r, s.core.tenants.add(t.account)
}

// scope is the number of a scope, for a record that is about to use it.
func (s *shard) scope(scope *Scope) uint32 {
	if id, ok := s.scopes.find(*scope); ok {
		return id
	}
	tenant, ok := s.tenants.find(scope.Tenant)
	if !ok {
		account := s.core.tenants.open(scope.Tenant, s.index)
		tenant = s.tenants.add(account.name)
		s.tenants.at(tenant).account = account
	}
	kept := Scope{Pool: scope.Pool, Model: scope.Model}.clone()
	kept.Tenant = s.tenants.at(tenant).name
	id := s.scopes.add(kept)
	s.scopes.at(id).tenant = tenant
	return id
}

// freeExpired frees a few expired sessions: more than one an insert, so that
// the store shrinks to what lives.
func (s *shard) freeExpired(now moment, gone *leavings) {
	const most = 4
	for range most {
		_, i, ok := s.lru.GetOldest()
		if !ok || s.slab.at(i).live(now) {
			return
		}
		s.remove(i, Expired, now, gone)
	}
}

// remove takes a session out of everything in its shard. Its aliases in other
// shards go when the lock is released: until then they lead nowhere.
func (s *shard) remove(i uint32, why Cause, now moment, gone *leavings) {
	s.take(i, why, now, false, gone)
}

// take is remove for a session that the ledger may have uncounted before.
func (s *shard) take(i uint32, why Cause, now moment, claimed bool, gone *leavings) {
	r := s.slab.at(i)
	if r.load().cause() == 0 {
		s.tell(r, why, now, gone)
		s.unlinkAuth(r)
	}
	s.core.auths.drop(r.auth)
	if r.more != nil {
		gone.aliases = append(gone.aliases, leaving{r.more, r.born})
	}
	s.lru.Remove(hash(r.home, s.secret))
	tenant := s.scopes.at(r.scope).tenant
	t := s.tenants.at(tenant)
	account := t.account
	s.slab.cut(&t.list, r, byUse)
	s.scopes.drop(r.scope)
	last := s.tenants.drop(tenant)
	s.core.tenants.remove(account, s.index, last, claimed)
	r.more = nil
	s.slab.give(i)
}

// lose takes the auth from a bound session.
func (s *shard) lose(r *record, why Cause, now moment, gone *leavings) {
	s.tell(r, why, now, gone)
	s.unlinkAuth(r)
	r.gen = s.core.next()
	r.state.Store(uint32(lost | state(why)))
}

// tell notes for OnRemove that a binding has ended.
func (s *shard) tell(r *record, why Cause, now moment, gone *leavings) {
	if s.core.onRemove != nil {
		gone.removals = append(gone.removals, removal{s.scopes.at(r.scope).name, s.core.binding(r, r.load(), now), why})
	}
}

// rebind binds a session to an auth anew, whether it is bound or not.
func (s *shard) rebind(i uint32, r *record, auth string) {
	to := s.core.auths.use(auth) // before the old one is let go: it may be the same
	if r.load().cause() == 0 {
		s.unlinkAuth(r)
	}
	s.core.auths.drop(r.auth)
	s.linkAuth(i, to)
	r.gen = s.core.next()
	r.state.Store(uint32(provisional))
}

// rename gives the auth of a bound session another name.
func (s *shard) rename(i uint32, r *record, to string) {
	auth := s.core.auths.use(to)
	s.unlinkAuth(r)
	s.core.auths.drop(r.auth)
	s.linkAuth(i, auth)
}

// linkAuth binds a record to an auth, whose number it uses from now on.
func (s *shard) linkAuth(i, auth uint32) {
	s.slab.at(i).auth = auth
	for int(auth) >= len(s.auths) {
		s.auths = append(s.auths, list{})
	}
	s.slab.push(&s.auths[auth], i, byAuth)
}

func (s *shard) unlinkAuth(r *record) { s.slab.cut(&s.auths[r.auth], r, byAuth) }

// ofAuth are the records that are bound to an auth.
func (s *shard) ofAuth(auth uint32, do func(uint32, *record)) {
	if int(auth) < len(s.auths) {
		s.slab.each(&s.auths[auth], byAuth, do)
	}
}

// ofTenant are the records of a tenant, live or not.
func (s *shard) ofTenant(name string, do func(uint32, *record)) {
	if id, ok := s.tenants.find(name); ok {
		// The entry may be gone after the last record is.
		l := s.tenants.at(id).list
		s.slab.each(&l, byUse, do)
	}
}

// all are the records, live or not.
func (s *shard) all(do func(uint32, *record)) {
	for name := range s.tenants.ids {
		s.ofTenant(name, do)
	}
}
