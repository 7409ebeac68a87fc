package cache

import (
	"fmt"
	"math"
	"time"
)

// Options of a Memory. The zero value works.
type Options struct {
	// TTL is how long a session lives after its last use. 0 means DefaultTTL.
	// It must not be negative.
	TTL time.Duration
	// MaxSessions is how many sessions the store holds, those without an auth included. It
	// holds as many notes besides. 0 means DefaultMaxSessions. It must not be negative. A store
	// holds no more than 2^31 - 1, whatever it is.
	//
	// A store that holds more evicts. If the tenant that has just bound a session has more
	// than its share, it loses its own least recently used session. Otherwise the tenant that
	// has the most loses its least recently used session. A share is MaxSessions divided by
	// the number of tenants that have sessions. So no tenant loses a session that is within
	// its share. Each operation under way may exceed the bound by one session until it
	// returns.
	//
	// Up to 511 sessions the order of use is exact. A larger store has up to 64 parts, by the
	// session's key, each with an order of its own. It evicts one of the tenant's oldest
	// sessions, not always the very oldest.
	MaxSessions int
	// MaxPerTenant is how many sessions one tenant may have, and how many notes. A tenant with
	// more loses its least recently used session. 0 means the default: no bound but the share,
	// because MaxSessions bounds all tenants together. A negative number means the same, as in
	// every store that has this option.
	MaxPerTenant int
	// OnRemove is called for each binding that ends: its session lost the auth, or was removed
	// while it was bound. The Binding is what it was before. OnRemove is not called for a
	// move, for a session without an auth, for a note, or by Close. It runs on the goroutine
	// whose operation ended the binding, before the operation returns, and with no lock held.
	// It may use the store. nil means no call.
	OnRemove func(Scope, Binding, Cause)
}

// withDefaults checks the options, and fills in the defaults.
func (o *Options) withDefaults() (Options, error) {
	var all Options
	if o != nil {
		all = *o
	}
	switch {
	case all.TTL < 0:
		return all, fmt.Errorf("cache: Options.TTL is %v, want at least 0", all.TTL)
	case all.MaxSessions < 0:
		return all, fmt.Errorf("cache: Options.MaxSessions is %d, want at least 0", all.MaxSessions)
	}
	if all.TTL == 0 {
		all.TTL = DefaultTTL
	}
	if all.MaxSessions == 0 {
		all.MaxSessions = DefaultMaxSessions
	}
	all.MaxSessions = min(all.MaxSessions, math.MaxInt32) // the numbers of records have so much room
	return all, nil
}
