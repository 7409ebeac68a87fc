package cache

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// core is what all shards of a table share.
type core struct {
	ttl      atomic.Int64 // nanoseconds; all times here count from base
	base     time.Time
	epoch    int64 // base in nanoseconds of the wall clock
	onRemove func(Scope, Binding, Cause)
	secret
	auths   registry
	tenants ledger
	low     uint          // how many bits of what a key maps to are the shard's number; the others are the record's
	count   atomic.Uint64 // the latest birth or generation
	bound   atomic.Int64  // the latest time for which a birth or generation was given
	closed  atomic.Bool
}

// origin is what a table starts with: new values, or those of the table that a snapshot holds.
type origin struct {
	secret secret
	base   time.Time
}

func newOrigin() origin { return origin{newSecret(), time.Now()} }

func (c *core) init(o *Options, from origin) {
	c.secret, c.base, c.epoch = from.secret, from.base, from.base.UnixNano()
	c.ttl.Store(int64(o.TTL))
	c.onRemove = o.OnRemove
	c.auths.init()
	c.tenants.init()
}

// shut is the error of an operation that has found no session. Close may have removed it
// meanwhile.
func (c *core) shut() error {
	if c.closed.Load() {
		return ErrClosed
	}
	return nil
}

func (c *core) now() moment {
	at := int64(time.Since(c.base))
	return moment{at, at - c.ttl.Load()}
}

// maxCount bounds births and generations.
const maxCount = 1 << 62

// next returns a number for a birth or a generation that was never given before. It is now in
// nanoseconds of the wall clock, or one more than the last number if that is greater.
func (c *core) next(now moment) uint64 {
	for last := c.bound.Load(); last < now.at && !c.bound.CompareAndSwap(last, now.at); last = c.bound.Load() {
	}
	wall := min(uint64(max(c.epoch+now.at, 0)), maxCount/2)
	for {
		last := c.count.Load()
		if n := max(last+1, wall); c.count.CompareAndSwap(last, n) {
			return n
		}
	}
}

// boundSince reports whether a session was bound since a time, or has lost its auth.
func (c *core) boundSince(at int64) bool { return c.bound.Load() > at }

// join makes a number for an index of a shard's number and a record's number in that shard. It
// is not greater than need be, because an index keeps small numbers in fewer bits.
func (c *core) join(shard int, i uint32) uint32 { return i<<c.low | uint32(shard) }

func (c *core) split(to uint32) (shard int, i uint32) {
	return int(to & (1<<c.low - 1)), to >> c.low
}

// binding returns what callers see of a record whose state is st.
func (h held) binding(st state, now moment) (b Binding) {
	h.s.core.fill(&b, h.r, h.i, st, now)
	b.Memo = h.s.memo(h.i, h.r)
	return b
}

// fill is binding without the memo. It copies nothing.
func (c *core) fill(b *Binding, r *record, i uint32, st state, now moment) {
	c.name(&b.Session, r.born.Load())
	b.Auth, b.Gen = c.auths.name(r.auth.Load()), r.gen.Load()
	binary.LittleEndian.PutUint64(b.Ref[:8], r.home.Load())
	binary.LittleEndian.PutUint32(b.Ref[8:], i)
	b.Served, b.SinceServed, b.Lost = st.served(), st.since(now), st.cause()
	b.Idle = r.idle(now)
	b.Age = time.Duration(max(c.epoch+now.at-int64(b.Gen), 0))
}

// named reports whether a session has a stable name.
func (c *core) named(r *record, session *Key) bool {
	var name Key
	c.name(&name, r.born.Load())
	return name == *session
}

// referred reads the Ref of a binding: the home of its session, and the number of the record.
// If the session is gone or was loaded since, that number belongs to another record or to
// none.
func referred(b *Binding) (home digest, i uint32) {
	return digest(binary.LittleEndian.Uint64(b.Ref[:8])), binary.LittleEndian.Uint32(b.Ref[8:])
}
