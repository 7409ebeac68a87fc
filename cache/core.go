package cache

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"time"
)

// core is what all shards of a table share.
type core struct {
	ttl      atomic.Int64 // nanoseconds, as all times here, which count from base
	base     time.Time
	epoch    int64 // base in nanoseconds of the wall clock
	onRemove func(Scope, Binding, Cause)
	secret
	auths   registry
	tenants ledger
	count   atomic.Uint64 // the latest birth or generation
	closed  atomic.Bool
}

// origin is where a table begins: new, or where another one has ended.
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

func (c *core) now() moment {
	at := int64(time.Since(c.base))
	return moment{at, at - c.ttl.Load()}
}

// maxCount bounds births and generations.
const maxCount = 1 << 62

// next is a number that was never given before, a birth or a generation: the moment of
// now in nanoseconds of the wall clock, or one more than the last number, if that is more.
func (c *core) next() uint64 {
	now := min(uint64(max(c.base.Add(time.Since(c.base)).UnixNano(), 0)), maxCount/2)
	for {
		last := c.count.Load()
		if n := max(last+1, now); c.count.CompareAndSwap(last, n) {
			return n
		}
	}
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

// hash spreads keys over the shards and in them. Clients choose keys, but do
// not know the secret: they cannot fill one shard.
func hash(k Key, secret uint64) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(k[:8])^secret, binary.LittleEndian.Uint64(k[8:])^bits.RotateLeft64(secret, 17))
	return (hi ^ lo) * secret
}

// binding is what callers see of a record whose state is st.
func (c *core) binding(r *record, st state, now moment) (b Binding) {
	c.fill(&b, r, st, now)
	return b
}

// fill is binding without copying, for hits.
func (c *core) fill(b *Binding, r *record, st state, now moment) {
	b.Session, b.Auth, b.Gen, b.Ref = c.name(r.born), c.auths.name(r.auth), r.gen, r.home
	b.Served, b.SinceServed, b.Lost = st.served(), st.since(now), st.cause()
	b.Idle, b.Memo = r.idle(now), r.memo()
	b.Age = time.Duration(max(c.epoch+now.at-int64(r.gen), 0))
}
