package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// DefaultTTL is how long a session may be idle. On real traffic 0.32 % of
	// the pauses inside a session are above an hour.
	DefaultTTL = time.Hour
	// DefaultMaxSessions bounds the store.
	DefaultMaxSessions = 100_000

	maxShards = 256
	// perShard is how many sessions a shard holds at least, if the store is to
	// have more than one.
	perShard = 256
	// tenantPerShard is the same for what one tenant may have at most.
	tenantPerShard = 64
)

// Options of a Memory. The zero value works.
type Options struct {
	// TTL is how long a binding lives after its last use. 0 is DefaultTTL,
	// a negative one an error.
	TTL time.Duration
	// MaxSessions is how many sessions are held, 0 is DefaultMaxSessions, a
	// negative one an error. Beyond it the least recently used one goes: of the
	// tenant that binds, if that has more than its share (the bound divided by
	// the tenants that have sessions), otherwise of all. Up to 511 sessions
	// the order is exact. Larger stores are up to 256 parts by the session's
	// key, each with its share of the bound and an order of its own, in which a
	// session that is among the first sixteenth is not moved when it is used.
	MaxSessions int
	// MaxPerTenant is how many sessions one tenant may have; 0 is no bound but
	// the share. Below 128 the store has one part only, for which all requests
	// wait; from there on each part has its part of the bound.
	MaxPerTenant int
	// OnRemove, if not nil, is told of every session that is removed, but not of
	// those that Close frees. It is called on the goroutine whose operation
	// removed it, with no lock held, and may use the store.
	OnRemove func(Removal)
}

// ErrOptions is wrapped by the errors of New.
var ErrOptions = errors.New("cache: bad options")

// Memory is the Store in this process. It starts no goroutine: what has
// expired is never returned, and is freed as others are written, or by Sweep.
// No operation waits for anything but other operations, so the contexts are
// not looked at.
//
// Operations are atomic as Store demands, with two limits. Earlier and
// EarlierTails are looked up before the operation, not in it: of two requests
// of one conversation at once, where one could only be known by what the other
// is just binding, each may begin a session. And the Invalidate methods that
// remove many remove them one after another.
type Memory struct {
	ttl          atomic.Int64 // nanoseconds, as all times here, which count from base
	base         time.Time
	maxPerTenant int // of each shard, 0 for no bound
	onRemove     func(Removal)

	seed   maphash.Seed
	spread uint64 // secret, odd
	shift  uint
	shards []shard
	auths  registry
	born   atomic.Uint64
	closed atomic.Bool
}

var _ Store = (*Memory)(nil)

// New makes a Memory.
func New(o Options) (*Memory, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	switch {
	case o.TTL < 0:
		return nil, fmt.Errorf("%w: TTL is %v", ErrOptions, o.TTL)
	case o.MaxSessions < 0:
		return nil, fmt.Errorf("%w: MaxSessions is %d", ErrOptions, o.MaxSessions)
	case o.MaxPerTenant < 0:
		return nil, fmt.Errorf("%w: MaxPerTenant is %d", ErrOptions, o.MaxPerTenant)
	}
	m := &Memory{base: time.Now(), onRemove: o.OnRemove, seed: maphash.MakeSeed(), shift: 64}
	m.ttl.Store(int64(o.TTL))
	m.spread = maphash.String(m.seed, "spread") | 1
	n := 1
	for n < maxShards && o.MaxSessions/(2*n) >= perShard && (o.MaxPerTenant == 0 || o.MaxPerTenant/(2*n) >= tenantPerShard) {
		n *= 2
		m.shift--
	}
	m.auths.init()
	m.maxPerTenant = o.MaxPerTenant / n
	m.shards = make([]shard, n)
	for i := range m.shards {
		if err := m.shards[i].init((o.MaxSessions+i)/n, n > 1, m.spread); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOptions, err)
		}
	}
	return m, nil
}

// moment is a time since base, and the one before it after which a live session
// was used. It does not go back, whatever the wall clock does.
type moment struct{ at, alive int64 }

func (m *Memory) now() moment {
	at := int64(time.Since(m.base))
	return moment{at, at - m.ttl.Load()}
}

// mix is what sets the keys of one scope apart from the same keys in others.
// Which scope it is, is compared besides.
func (m *Memory) mix(s *Scope) uint64 {
	h := maphash.String(m.seed, s.Tenant)
	h = bits.RotateLeft64(h*0x9fb21c651e98df25, 29) ^ maphash.String(m.seed, s.Pool)
	return bits.RotateLeft64(h*0x9fb21c651e98df25, 29) ^ maphash.String(m.seed, s.Model)
}

// in is a caller's key inside the scope of a mix; zero stays zero.
func in(mix uint64, k Key) Key {
	if k == (Key{}) {
		return k
	}
	binary.LittleEndian.PutUint64(k[:8], binary.LittleEndian.Uint64(k[:8])^mix)
	binary.LittleEndian.PutUint64(k[8:], binary.LittleEndian.Uint64(k[8:])^bits.RotateLeft64(mix, 32))
	return k
}

// at is the shard of a key.
func (m *Memory) at(k Key) int {
	if m.shift == 64 {
		return 0
	}
	return int(hash(k, m.spread) >> m.shift)
}

// hash spreads keys over the shards and in them. Clients choose keys, but do
// not know the secret: they cannot fill one shard.
func hash(k Key, secret uint64) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(k[:8])^secret, binary.LittleEndian.Uint64(k[8:])^bits.RotateLeft64(secret, 17))
	return (hi ^ lo) * secret
}

// name is the stable name of the session that was born as the n-th.
func (m *Memory) name(n uint64) (k Key) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	h := maphash.Bytes(m.seed, b[:])
	binary.LittleEndian.PutUint64(k[:8], h)
	binary.LittleEndian.PutUint64(k[8:], hash(k, m.spread)^n) // equal halves would have one n
	return k
}

// binding is what callers see of a record.
func (m *Memory) binding(r *record, now moment) Binding {
	return Binding{
		Session: m.name(r.born()), Auth: m.auths.name(r.auth), Gen: r.gen,
		Served: r.served.Load() != 0, SinceServed: r.sinceServed(now), home: r.home,
	}
}

// Get implements [Store]. Cost: one look-up per key until the first hit; a
// session of one explicit id is found under a read lock of its shard, without
// an allocation.
func (m *Memory) Get(_ context.Context, scope Scope, keys Keys) (Binding, bool, error) {
	if b, ok, done, err := m.quick(&scope, &keys, true); done {
		return b, ok, err
	}
	t := op{m: m, scope: scope, keys: keys}
	t.begin()
	return t.getOrBind("")
}

// Peek implements [Store].
func (m *Memory) Peek(_ context.Context, scope Scope, keys Keys) (Binding, bool, error) {
	if b, ok, done, err := m.quick(&scope, &keys, false); done {
		return b, ok, err
	}
	t := op{m: m, scope: scope, keys: keys}
	t.begin()
	_, r := t.acquire()
	defer t.unlock()
	if r != nil {
		return m.binding(r, t.now), true, nil
	}
	return Binding{}, false, nil
}

// Bind implements [Store].
func (m *Memory) Bind(_ context.Context, scope Scope, keys Keys, auth string) (Binding, bool, error) {
	if m.closed.Load() {
		return Binding{}, false, ErrClosed
	}
	if auth == "" || keys.IsZero() {
		return Binding{}, false, nil
	}
	t := op{m: m, scope: scope, keys: keys}
	t.begin()
	return t.getOrBind(auth)
}

// quick answers for a session with one explicit id or cache key and nothing
// else, the usual case, under a read lock; done is false if that is not the case.
func (m *Memory) quick(scope *Scope, keys *Keys, touch bool) (b Binding, ok, done bool, err error) {
	if m.closed.Load() {
		return b, false, true, ErrClosed
	}
	if keys.IsZero() {
		return b, false, true, nil
	}
	k := keys.Names[0]
	switch {
	case keys.End != (Key{}) || keys.Names[1] != (Key{}):
		return b, false, false, nil
	case k == (Key{}):
		k = keys.Weak
	case keys.Weak != (Key{}):
		return b, false, false, nil
	}
	k = in(m.mix(scope), k)
	now := m.now()
	s := &m.shards[m.at(k)]
	s.mu.RLock()
	r := s.home(k)
	if r == nil || !r.live(now) || s.scopes.at(r.scope).name != *scope {
		_, aliased := s.aliases[k]
		s.mu.RUnlock()
		return b, false, !aliased, nil
	}
	b = m.binding(r, now)
	stale := false
	if touch {
		r.used.Store(now.at)
		stale = s.stale(r)
	}
	s.mu.RUnlock()
	if stale {
		m.promote(b)
	}
	return b, true, true, nil
}

// promote makes a session the most recently used one of its shard.
func (m *Memory) promote(b Binding) {
	s := &m.shards[m.at(b.home)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.home(b.home); r != nil {
		s.promote(r)
	}
}

// Swap implements [Store].
func (m *Memory) Swap(_ context.Context, b Binding, auth string) (now Binding, swapped bool, err error) {
	err = m.on(b, func(s *shard, i uint32, r *record, at moment) {
		if r.gen == b.Gen && auth != "" {
			to := m.auths.use(auth) // before the old one is let go: it may be the same
			s.unlinkAuth(m, r)
			r.gen++
			r.served.Store(0)
			s.linkAuth(i, to)
			swapped = true
		}
		now = m.binding(r, at)
	})
	return now, swapped, err
}

// Confirm implements [Store].
func (m *Memory) Confirm(_ context.Context, b Binding) (bool, error) { return m.touch(b, true) }

// Touch implements [Store].
func (m *Memory) Touch(_ context.Context, b Binding) (bool, error) { return m.touch(b, false) }

func (m *Memory) touch(b Binding, served bool) (current bool, err error) {
	if m.closed.Load() {
		return false, ErrClosed
	}
	now := m.now()
	s := &m.shards[m.at(b.home)]
	s.mu.RLock()
	r := s.home(b.home)
	if r == nil || r.gen != b.Gen || !r.live(now) {
		s.mu.RUnlock()
		return false, nil
	}
	r.used.Store(now.at)
	if served {
		r.serve(now)
	}
	stale := s.stale(r)
	s.mu.RUnlock()
	if stale {
		m.promote(b)
	}
	return true, nil
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, b Binding) (deleted bool, err error) {
	return m.removeIf(b, Deleted, func(*record) bool { return true })
}

// Release implements [Store].
func (m *Memory) Release(_ context.Context, b Binding) (released bool, err error) {
	return m.removeIf(b, Released, func(r *record) bool { return r.served.Load() == 0 })
}

func (m *Memory) removeIf(b Binding, why Cause, is func(*record) bool) (removed bool, err error) {
	var gone leavings
	err = m.on(b, func(s *shard, i uint32, r *record, _ moment) {
		if r.gen == b.Gen && is(r) {
			s.remove(m, i, why, &gone)
			removed = true
		}
	})
	m.clean(&gone)
	return removed, err
}

// on runs do for the live session of a binding, whatever its generation, under
// its shard's lock.
func (m *Memory) on(b Binding, do func(*shard, uint32, *record, moment)) error {
	if m.closed.Load() {
		return ErrClosed
	}
	s := &m.shards[m.at(b.home)]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now()
	if i, r := s.number(b.home); r != nil && r.born() == b.Gen>>genBits && r.live(now) {
		do(s, i, r, now)
	}
	return nil
}

// InvalidateSession implements [Store].
func (m *Memory) InvalidateSession(_ context.Context, scope Scope, keys Keys) (removed bool, err error) {
	if m.closed.Load() {
		return false, ErrClosed
	}
	if keys.IsZero() {
		return false, nil
	}
	t := op{m: m, scope: scope, keys: keys}
	t.begin()
	t.write = true
	s, r := t.acquire()
	if r != nil {
		i, _ := s.number(r.home)
		s.remove(m, i, Invalidated, &t.gone)
		removed = true
	}
	t.unlock()
	m.clean(&t.gone)
	return removed, nil
}

// InvalidateAuth implements [Store]. Cost: what it removes, and a look at each
// shard.
func (m *Memory) InvalidateAuth(_ context.Context, auth string) (removed int, err error) {
	a, ok := m.auths.find(auth)
	if ok {
		defer m.auths.drop(a)
	}
	return m.removeAll(func(s *shard, remove func(uint32, *record)) {
		if ok && int(a) < len(s.auths) {
			s.slab.each(&s.auths[a], byAuth, remove)
		}
	})
}

// InvalidateTenant implements [Store]. Cost: the sessions of the tenant.
func (m *Memory) InvalidateTenant(_ context.Context, tenant, auth string) (removed int, err error) {
	return m.removeAll(func(s *shard, remove func(uint32, *record)) {
		t, ok := s.tenants.find(tenant)
		if !ok {
			return
		}
		s.slab.each(&s.tenants.at(t).list, byUse, func(i uint32, r *record) {
			if auth == "" || m.auths.name(r.auth) == auth {
				remove(i, r)
			}
		})
	})
}

// removeAll removes the sessions that each names of a shard.
func (m *Memory) removeAll(each func(s *shard, remove func(uint32, *record))) (removed int, err error) {
	if m.closed.Load() {
		return 0, ErrClosed
	}
	for i := range m.shards {
		s := &m.shards[i]
		var gone leavings
		s.mu.Lock()
		now := m.now()
		each(s, func(i uint32, r *record) {
			if r.live(now) {
				s.remove(m, i, AuthInvalidated, &gone)
				removed++
			} else {
				s.remove(m, i, Expired, &gone)
			}
		})
		s.mu.Unlock()
		m.clean(&gone)
	}
	return removed, nil
}

// Close implements [Store]. It returns nil.
func (m *Memory) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		s.clear()
		s.mu.Unlock()
	}
	return nil
}
