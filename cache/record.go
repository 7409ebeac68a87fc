package cache

import (
	"sync/atomic"
	"time"
)

// A session has a home: a digest under which its record is found for as long as the session
// lives. If its first request had explicit ids, its home is the first of these, which no other
// session can take. Otherwise its home is made of its birth number. Its other keys are
// aliases: entries in the indexes of those keys' shards that map to the record. The record
// says which keys it has, so an alias that was left behind finds nothing.

// record is one session. It has 64 bytes, lies in a slab, and is linked by numbers. A
// goroutine that changes it has locked its shard. There are exceptions: used, state and stamp
// also change under a read lock, or without any. A goroutine that reads it without a lock
// compares the version before and after. That covers home, born, gen, scope, auth, and whether
// there is a memo.
type record struct {
	home    atomic.Uint64 // a digest; 0 if the record is free
	born    atomic.Uint64 // birth number; the stable name is made of it
	gen     atomic.Uint64 // generation
	used    atomic.Int64  // time of the last use
	version atomic.Uint32 // odd while the record changes
	state   atomic.Uint32
	scope   atomic.Uint32
	auth    atomic.Uint32 // the auth; if the session has lost it, the last one
	more    atomic.Uint32 // where the extras are; 0 for a session without extras and memo
	stamp   atomic.Uint32 // the place in the order of use, see usedSince
	byUse   links         // among the records of its tenant, most recently used first
}

// change runs do, which changes what is read without a lock.
func (r *record) change(do func()) {
	r.version.Add(1)
	do()
	r.version.Add(1)
}

// moment is a time in nanoseconds since the table's base. A session is live if it was used
// after alive. A moment does not go back, whatever the wall clock does.
type moment struct{ at, alive int64 }

// live reports whether a session was used within the TTL.
func (r *record) live(now moment) bool { return r.used.Load() > now.alive }

// use notes a use, unless a later one is noted.
func (r *record) use(now moment) {
	for {
		last := r.used.Load()
		if last >= now.at || r.used.CompareAndSwap(last, now.at) {
			return
		}
	}
}

// idle returns the time since the last use.
func (r *record) idle(now moment) time.Duration {
	return time.Duration(max(now.at-r.used.Load(), 0))
}

// state says in one word what the session's auth has done for it:
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

// cause returns why the auth is lost, or 0 if it is not.
func (s state) cause() Cause {
	if s&lost == lost {
		return Cause(s & 0xff)
	}
	return 0
}

// tickBits make ticks of 134 ms; 31 bits of them are nine years. A tick begins after the
// moment that it stands for, so that SinceServed is never too long.
const tickBits = 27

func tick(now moment) state { return state(min(now.at>>tickBits+2, int64(provisional-1))) }

// since returns how long ago the auth has served, or 0 if it never has.
func (s state) since(now moment) time.Duration {
	if !s.served() {
		return 0
	}
	return time.Duration(max(now.at-int64(s-1)<<tickBits, 0))
}

func (r *record) load() state { return state(r.state.Load()) }

// serve notes that the auth serves now, unless a later time is noted.
func (r *record) serve(now moment) {
	to := tick(now)
	for {
		s := r.load()
		if s.served() && s >= to || r.state.CompareAndSwap(uint32(s), uint32(to)) {
			return
		}
	}
}

// open opens a use of a provisional binding, and returns the state after it. A count that has
// reached its maximum stays there, because it is not known how many uses it stands for.
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

// close ends a use of a provisional binding. If the last use has failed, close leaves it open
// and returns true: the session is then to lose its auth.
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
