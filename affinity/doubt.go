package affinity

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// doubts holds the scopes in which ids inside conversations are ignored, because several
// conversations have the same ones, as in a data set that is replayed. If such ids were used,
// different conversations would become one session.
type doubts struct {
	n  atomic.Int64
	mu sync.Mutex
	of map[cache.Scope]doubt
}

type doubt struct {
	seen  int
	since time.Time
}

const (
	// doubtAfter is the number of shared marks from which on all are ignored. A single one may
	// be of a conversation that the client has copied.
	doubtAfter = 2
	// doubtTime is how long a scope is doubted. A data set that is replayed for longer is
	// noticed again.
	doubtTime = time.Hour
	// maxDoubts bounds the scopes. Beyond it the oldest are forgotten.
	maxDoubts = 1024
)

// doubt records that the store has found marks of a request in two sessions. Only marks that
// are ids count: equal words are no sign of equal ids.
func (k *core) doubt(scope *cache.Scope, id *sessionid.ID, shared uint8) {
	if shared&(1<<id.IDMarks()-1) != 0 {
		k.doubts.shared(*scope)
	}
}

// shared records that a mark of a scope was found in two sessions.
func (d *doubts) shared(scope cache.Scope) {
	scope = short(scope)
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[cache.Scope]doubt{}
	}
	it, ok := d.of[scope]
	if !ok && len(d.of) == maxDoubts {
		d.forget(now)
	}
	if ok && now.Sub(it.since) > doubtTime {
		it = doubt{}
	}
	if it.seen++; it.seen <= doubtAfter {
		it.since = now
	}
	d.of[scope] = it
	d.n.Store(int64(len(d.of)))
}

// forget removes the doubts that are over, or else the oldest half.
func (d *doubts) forget(now time.Time) {
	for age := doubtTime; len(d.of) > maxDoubts/2 && age > time.Second; age /= 2 {
		for s, it := range d.of {
			if now.Sub(it.since) >= age {
				delete(d.of, s)
			}
		}
	}
	if len(d.of) == maxDoubts {
		clear(d.of) // all of one moment
	}
}

// drop forgets the scopes of a tenant.
func (d *doubts) drop(tenant string) {
	digest := cache.Scope{Tenant: tenant}.Short().Tenant // of a long name, see short
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.of {
		if s.Tenant == tenant || s.Tenant == digest {
			delete(d.of, s)
		}
	}
	d.n.Store(int64(len(d.of)))
}

// has reports whether ids are ignored in a scope.
func (d *doubts) has(scope cache.Scope) bool {
	if d.n.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	it := d.of[short(scope)]
	return it.seen >= doubtAfter && time.Since(it.since) <= doubtTime
}

// short returns the scope with names that are short enough to be kept.
func short(s cache.Scope) cache.Scope {
	if len(s.Tenant) > longModel || len(s.Pool) > longModel || len(s.Model) > longModel {
		return s.Short()
	}
	return s
}
