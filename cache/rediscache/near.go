package rediscache

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/redis/rueidis"
)

// near holds sessions that this process has seen lately: those that an explicit id
// names, and that their auth has served. The server says when one of them has
// changed. What this process changes itself is dropped before the operation returns.
//
// An answer of before a change may arrive here after it. So each change has a
// number, and an answer is kept only if its session has not changed since it was
// asked for.
//
// All methods work on nil, which holds nothing.
type near struct {
	prefix string
	lag    time.Duration

	hits, told, lost atomic.Uint64

	mu        sync.Mutex
	lru       *simplelru.LRU[nearKey, *nearEntry]
	bySession map[cache.Key]*nearEntry
	byAlias   map[alias]*nearEntry
	count     uint64        // changes
	floor     uint64        // the latest change that was about all sessions
	sessions  [parts]uint64 // the latest change, by the session's first bytes
	aliases   [parts]uint64 // and by the first bytes of the id
}

const parts = 4096

// nearKey is what a request must have to be answered: all that its keys would bind
// is bound.
type nearKey struct {
	scope cache.Scope
	names [cache.MaxNames]cache.Key
	also  [cache.MaxAlso]cache.Key
}

type nearEntry struct {
	key     nearKey
	alias   alias // of the first id, which the server tracks
	b       cache.Binding
	asked   time.Time // when the server said so
	used    time.Time // as far as this process knows
	served  time.Time
	written time.Time // when the server was told last that the auth has served
}

func newNear(o *Options) *near {
	n := &near{prefix: o.Prefix, lag: o.Lag, bySession: map[cache.Key]*nearEntry{}, byAlias: map[alias]*nearEntry{}}
	n.lru, _ = simplelru.NewLRU(max(o.Near, 1), func(_ nearKey, e *nearEntry) { // the size is positive: no error
		if n.bySession[e.b.Session] == e {
			delete(n.bySession, e.b.Session)
		}
		if n.byAlias[e.alias] == e {
			delete(n.byAlias, e.alias)
		}
	})
	return n
}

func ofSession(k cache.Key) int { return (int(k[0])<<8 | int(k[1])) % parts }
func ofAlias(a alias) int {
	return (int(a[0]^a[len(cache.Key{})])<<8 | int(a[1]^a[len(cache.Key{})+1])) % parts
}

// plain reports whether a request has explicit ids, and nothing that is new each time.
func plain(k *cache.Keys) bool {
	return k.Names[0] != cache.Key{} && k.End == cache.Key{} && k.Marks == [cache.MaxMarks]cache.Key{}
}

// get answers a request, if it can.
func (n *near) get(b *cache.Binding, scope *cache.Scope, k *cache.Keys, use bool) bool {
	if n == nil || !plain(k) {
		return false
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.lru.Get(nearKey{*scope, k.Names, k.Also})
	if !ok {
		return false
	}
	if now.Sub(e.asked) >= n.lag {
		n.lru.Remove(e.key)
		return false
	}
	*b = e.b
	b.Idle, b.SinceServed = now.Sub(e.used), now.Sub(e.served)
	if use {
		e.used = now
	}
	n.hits.Add(1)
	return true
}

// moment is the number of changes until now.
func (n *near) moment() uint64 {
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count
}

// saw says what the server has answered. Nobody here is answered anything older
// after that.
func (n *near) saw(b *cache.Binding) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.bySession[b.Session]; e != nil && (e.b.Gen != b.Gen || e.b.Memo != b.Memo || e.b.Auth != b.Auth) {
		n.lru.Remove(e.key)
	}
}

// keep takes an answer that was asked for when there were so many changes.
func (n *near) keep(before uint64, scope *cache.Scope, k *cache.Keys, a alias, b *cache.Binding) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !plain(k) || !b.Bound() || !b.Served {
		return
	}
	if max(n.floor, n.sessions[ofSession(b.Session)], n.aliases[ofAlias(a)]) > before {
		return
	}
	e := &nearEntry{key: nearKey{*scope, k.Names, k.Also}, alias: a, b: *b, asked: now, used: now, served: now.Add(-b.SinceServed)}
	e.written = e.served
	e.key.scope = cache.Scope{Tenant: strings.Clone(scope.Tenant), Pool: strings.Clone(scope.Pool), Model: strings.Clone(scope.Model)}
	e.b.Idle, e.b.SinceServed = 0, 0
	for _, old := range [...]*nearEntry{n.bySession[b.Session], n.byAlias[a]} { // under other ids
		if old != nil {
			n.lru.Remove(old.key)
		}
	}
	n.lru.Remove(e.key)
	n.lru.Add(e.key, e)
	n.bySession[b.Session], n.byAlias[a] = e, e
}

// touch answers a Confirm or a Touch of a session whose last one the server knows.
func (n *near) touch(b *cache.Binding, served bool) (memo string, ok bool) {
	if n == nil {
		return "", false
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.bySession[b.Session]
	if e == nil || e.b.Gen != b.Gen || now.Sub(e.asked) >= n.lag || served && now.Sub(e.written) >= n.lag {
		return "", false
	}
	e.used = now
	if served {
		e.served = now
	}
	n.hits.Add(1)
	return e.b.Memo, true
}

// touched says that the server knows of a use.
func (n *near) touched(b *cache.Binding, served bool) {
	if n == nil {
		return
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.bySession[b.Session]; e != nil && e.b.Gen == b.Gen {
		e.used = now
		if served {
			e.served, e.written = now, now
		}
	}
}

// drop says that a session has changed.
func (n *near) drop(session cache.Key) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	n.sessions[ofSession(session)] = n.count
	if e := n.bySession[session]; e != nil {
		n.lru.Remove(e.key)
	}
}

// changed says that the server has written the key of an explicit id.
func (n *near) changed(a alias) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	n.aliases[ofAlias(a)] = n.count
	if e := n.byAlias[a]; e != nil {
		n.lru.Remove(e.key)
	}
}

// dropAll says that any session may have changed.
func (n *near) dropAll() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	n.floor = n.count
	n.lru.Purge()
}

// invalidations is told by the server which keys have changed; nil are all, after a
// connection was lost.
func (n *near) invalidations(all []rueidis.RedisMessage) {
	if all == nil {
		n.lost.Add(1)
		n.dropAll()
		return
	}
	for i := range all {
		key, err := all[i].ToString()
		if err != nil {
			continue
		}
		if a, ok := aliasIn(key, n.prefix); ok {
			n.told.Add(1)
			n.changed(a)
		}
	}
}
