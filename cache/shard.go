package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A session has a home: the key under which its record is found, for as long
// as it lives. It is its first explicit id, which no other session can take;
// a session that only content names has its stable name for a home. Its other
// keys are aliases: entries in the shards of those keys that say which home is
// meant, and which birth, so that an alias that was left behind leads nowhere.

// genBits are the lower bits of a generation, which count the moves; the upper
// ones count the births.
const genBits = 24

// record is one session: 72 bytes, in slabs, linked by numbers.
type record struct {
	home   Key
	gen    uint64
	used   atomic.Int64 // last; written under a read lock, too
	more   *aliases     // nil for a session of one key
	scope  uint32
	auth   uint32
	served atomic.Uint32 // a tick, 0 for never; written under a read lock, too
	stamp  uint32        // the shard's count of moves when it was moved to the front
	byAuth links
	byUse  links // of its tenant, most recently used first
}

type links struct{ prev, next uint32 }

func (r *record) born() uint64 { return r.gen >> genBits }

// live reports whether a session was used within the TTL.
func (r *record) live(now moment) bool { return r.used.Load() > now.alive }

// tickBits make ticks of 67 ms, of which 32 bits are nine years. A tick begins
// after what it stands for, so that nothing seems to be older than it is.
const tickBits = 26

func tick(now moment) uint32 { return uint32(min(now.at>>tickBits+2, 1<<32-1)) }

// serve says that the session was served now.
func (r *record) serve(now moment) {
	if t := tick(now); r.served.Load() != t {
		r.served.Store(t)
	}
}

// sinceServed is how long ago that was; 0 for never.
func (r *record) sinceServed(now moment) time.Duration {
	t := r.served.Load()
	if t == 0 {
		return 0
	}
	return time.Duration(max(now.at-int64(t-1)<<tickBits, 0))
}

// shard is a part of the store under one lock.
type shard struct {
	mu       sync.RWMutex
	capacity int
	secret   uint64
	lru      *simplelru.LRU[uint64, uint32] // by the home's hash, in order of use
	aliases  map[Key]alias
	slab     slab
	scopes   table[Scope]
	auths    []list // by their number in the registry
	tenants  table[string]
	moves    uint32   // to the front of the order of use
	slack    uint32   // how many a session may be behind when it is used
	_        [64]byte // shards of two cores share no cache line
}

// alias says whose key it is.
type alias struct {
	home Key
	born uint64
}

func (s *shard) init(capacity int, large bool, secret uint64) (err error) {
	s.capacity, s.secret = capacity, secret
	if large {
		s.slack = uint32(capacity / 16)
	}
	s.clear()
	// One more than the capacity: who goes is decided here, not by the LRU.
	s.lru, err = simplelru.NewLRU[uint64, uint32](capacity+1, nil)
	return err
}

func (s *shard) clear() {
	if s.lru != nil {
		s.lru.Purge()
	}
	s.aliases = map[Key]alias{}
	s.slab = slab{}
	s.scopes.init()
	s.auths = nil
	s.tenants.init()
}

// home is the record at a home, whose time may be over; nil if there is none.
func (s *shard) home(k Key) *record {
	_, r := s.number(k)
	return r
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

// insert makes room for a new session, and makes it; nobody has its home.
func (s *shard) insert(m *Memory, scope *Scope, home Key, gen uint64, auth string, now moment, gone *leavings) *record {
	s.freeExpired(m, now, gone)
	tenant := s.tenants.use(scope.Tenant)
	if s.lru.Len() >= s.capacity || m.maxPerTenant > 0 && int(s.tenants.at(tenant).list.n) >= m.maxPerTenant {
		s.evict(m, s.tenants.at(tenant), now, gone)
	}
	s.moves++
	i := s.slab.take()
	r := s.slab.at(i)
	r.home, r.gen, r.more, r.stamp = home, gen, nil, s.moves
	r.served.Store(0)
	r.used.Store(now.at)
	r.scope = s.scopes.use(*scope)
	s.scopes.at(r.scope).tenant = tenant
	s.lru.Add(hash(home, s.secret), i)
	s.slab.push(&s.tenants.at(tenant).list, i, byUse)
	s.linkAuth(i, m.auths.use(auth))
	return r
}

// evict removes the least recently used session: the tenant's own, if it has
// its share.
func (s *shard) evict(m *Memory, tenant *entry[string], now moment, gone *leavings) {
	own := tenant.list.n > 0 && (int(tenant.list.n) >= s.capacity/len(s.tenants.ids) || m.maxPerTenant > 0 && int(tenant.list.n) >= m.maxPerTenant)
	i, why := tenant.list.tail, EvictedByTenant
	if !own {
		var ok bool
		if _, i, ok = s.lru.GetOldest(); !ok {
			return
		}
		why = Evicted
	}
	if !s.slab.at(i).live(now) {
		why = Expired
	}
	s.remove(m, i, why, gone)
}

// freeExpired frees a few expired sessions: more than one an insert, so that
// the store shrinks to what lives.
func (s *shard) freeExpired(m *Memory, now moment, gone *leavings) {
	const most = 4
	for range most {
		_, i, ok := s.lru.GetOldest()
		if !ok {
			return
		}
		if s.slab.at(i).live(now) {
			return
		}
		s.remove(m, i, Expired, gone)
	}
}

// remove takes a session out of everything in its shard. Its aliases in other
// shards go when the lock is released: until then they lead nowhere.
func (s *shard) remove(m *Memory, i uint32, why Cause, gone *leavings) {
	r := s.slab.at(i)
	if m.onRemove != nil {
		gone.removals = append(gone.removals, Removal{
			Scope: s.scopes.at(r.scope).name, Session: m.name(r.born()), Auth: m.auths.name(r.auth), Cause: why,
		})
	}
	if r.more != nil {
		gone.aliases = append(gone.aliases, leaving{r.more, r.born()})
	}
	s.lru.Remove(hash(r.home, s.secret))
	tenant := s.scopes.at(r.scope).tenant
	s.slab.cut(&s.tenants.at(tenant).list, r, byUse)
	s.unlinkAuth(m, r)
	s.scopes.drop(r.scope)
	s.tenants.drop(tenant)
	r.more = nil
	s.slab.give(i)
}

// linkAuth binds a record to an auth, whose number it uses from now on.
func (s *shard) linkAuth(i, auth uint32) {
	r := s.slab.at(i)
	r.auth = auth
	for int(r.auth) >= len(s.auths) {
		s.auths = append(s.auths, list{})
	}
	s.slab.push(&s.auths[r.auth], i, byAuth)
}

func (s *shard) unlinkAuth(m *Memory, r *record) {
	s.slab.cut(&s.auths[r.auth], r, byAuth)
	m.auths.drop(r.auth)
}
