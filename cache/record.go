package cache

import (
	"sync/atomic"
	"time"
)

// A session has a home: the digest under which its record is found for as long as the
// session lives. The home is that of the session's first explicit id, which no other
// session can take. A session that only content names has one of its birth. All other
// keys are aliases: entries in the indexes of those keys' shards, which lead to the
// record. The record says which keys it has. So an alias that was left behind leads
// nowhere.

// record is one session. It has 64 bytes, lies in a slab, and is linked by numbers. Who
// changes it has its shard locked, but used, state and stamp are changed under a read
// lock, too, and used without any. Who reads without a lock looks at the version, before
// and after it.
type record struct {
	home    atomic.Uint64 // a digest; 0 if the record is free
	born    atomic.Uint64 // the stable name is made of it
	gen     atomic.Uint64 // generation
	used    atomic.Int64  // last
	version atomic.Uint32 // odd while the record changes
	state   atomic.Uint32
	scope   atomic.Uint32
	auth    atomic.Uint32 // the last one, if the session has lost it
	more    atomic.Uint32 // where the extras are; 0 for a session of one key without a memo
	stamp   atomic.Uint32 // the place in the order of use, see usedSince
	byUse   links         // of its tenant, most recently used first
}

// change runs around a change of what is read without a lock.
func (r *record) change(do func()) {
	r.version.Add(1)
	do()
	r.version.Add(1)
}

// moment is a time in nanoseconds since the store was made, and the one before it
// after which a live session was used. It does not go back, whatever the wall
// clock does.
type moment struct{ at, alive int64 }

// live reports whether a session was used within the TTL.
func (r *record) live(now moment) bool { return r.used.Load() > now.alive }

// idle is the time since the last use.
func (r *record) idle(now moment) time.Duration {
	return time.Duration(max(now.at-r.used.Load(), 0))
}

// state is what the session's auth has done for it, in one word:
//
//	0 …        the tick at which the auth served the session last
//	1 0 …      never served: the number of open uses
//	1 1 …      the auth is lost: the Cause
type state uint32

const (
	provisional state = 1 << 31
	lost        state = provisional | 1<<30
	maxUses     state = 1<<30 - 1
)

func (s state) served() bool      { return s < provisional }
func (s state) provisional() bool { return s&lost == provisional }
func (s state) uses() state       { return s & maxUses }

// cause is why the auth is lost, 0 if it is not.
func (s state) cause() Cause {
	if s&lost == lost {
		return Cause(s & 0xff)
	}
	return 0
}

// tickBits make ticks of 134 ms, of which 31 bits are nine years. A tick begins
// after the moment that it stands for, so that no service seems to be older than
// it is.
const tickBits = 27

func tick(now moment) state { return state(min(now.at>>tickBits+2, int64(provisional-1))) }

// since is how long ago the auth has served, 0 for never.
func (s state) since(now moment) time.Duration {
	if !s.served() {
		return 0
	}
	return time.Duration(max(now.at-int64(s-1)<<tickBits, 0))
}

func (r *record) load() state { return state(r.state.Load()) }

// serve says that the auth serves now, unless it is known to have served later.
func (r *record) serve(now moment) {
	to := tick(now)
	for {
		s := r.load()
		if s.served() && s >= to || r.state.CompareAndSwap(uint32(s), uint32(to)) {
			return
		}
	}
}

// open opens a use of a provisional binding, and returns the state after it. A
// count that has reached its maximum stays there: nobody knows any more how many
// uses it stands for.
func (r *record) open() state {
	for {
		s := r.load()
		if !s.provisional() || s.uses() == maxUses {
			return s
		}
		if r.state.CompareAndSwap(uint32(s), uint32(s+1)) {
			return s + 1
		}
	}
}

// close ends a use of a provisional binding. It leaves the last one open if that
// has failed, and returns true: then the session is to lose its auth.
func (r *record) close(failed bool) (lose bool) {
	for {
		s := r.load()
		if !s.provisional() || s.uses() == 0 || s.uses() == maxUses {
			return false
		}
		if failed && s.uses() == 1 {
			return true
		}
		if r.state.CompareAndSwap(uint32(s), uint32(s-1)) {
			return false
		}
	}
}
