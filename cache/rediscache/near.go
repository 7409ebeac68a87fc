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

// near is the near-cache. It holds sessions that this process has seen lately, if an explicit
// id names them and their auth has served them. The server says when one of them has changed.
//
// Within this process, once an operation has seen a session in its new state, none sees it in
// an older one. So while this process changes a session, all operations on it ask the server,
// and then the session is dropped. An answer of the server drops the entries that contradict
// it.
//
// An answer from before a change may arrive after the change. So each change has a number, and
// an answer is kept only if its session has not changed since the request for it was sent.
//
// A nil near holds nothing. A Store may call all its methods.
type near struct {
	prefix string
	lag    time.Duration

	hits, told, lost atomic.Uint64

	mu        sync.Mutex
	lru       *simplelru.LRU[nearKey, *nearEntry]
	bySession map[cache.Key]*nearEntry
	byAlias   map[alias]*nearEntry // by each of the session's keys
	busy      map[cache.Key]int    // how many operations are changing a session
	busyAll   int                  // operations that may be changing any session
	count     uint64               // number of changes
	floor     uint64               // the latest change of all sessions
	sessions  [parts]uint64        // the latest change of a session, by its first bytes
	aliases   [parts]uint64        // the latest change of a key, by its first bytes
	gens      [parts]uint64        // the generation that was seen last, as in sessions
	owners    [parts]cache.Key
}

const parts = 4096

// nobody is the owner of a key that no session has. Sessions are random, so none has this
// name.
var nobody = cache.Key{0xff}

// nearKey is what a request must have so that near can answer it: all keys that it would bind
// are bound to the session.
type nearKey struct {
	scope cache.Scope
	names [cache.MaxNames]cache.Key
	also  [cache.MaxAlso]cache.Key
}

type nearEntry struct {
	key     nearKey
	aliases []alias // the session's own among these keys; the server tracks the first
	b       cache.Binding
	asked   time.Time // when the server was asked
	made    time.Time // when the binding was made
	used    time.Time // as far as this process knows
	served  time.Time
	written time.Time // when the server was last told that the auth has served
}

func newNear(o *Options) *near {
	n := &near{prefix: o.Prefix, lag: o.Lag, bySession: map[cache.Key]*nearEntry{}, byAlias: map[alias]*nearEntry{}, busy: map[cache.Key]int{}}
	n.lru, _ = simplelru.NewLRU(max(o.Near, 1), func(_ nearKey, e *nearEntry) { // the size is positive: no error
		if n.bySession[e.b.Session] == e {
			delete(n.bySession, e.b.Session)
		}
		for _, a := range e.aliases {
			if n.byAlias[a] == e {
				delete(n.byAlias, a)
			}
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

// get answers a request if it can.
func (n *near) get(b *cache.Binding, scope *cache.Scope, k *cache.Keys, use bool) bool {
	if n == nil || !plain(k) {
		return false
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.lru.Get(nearKey{*scope, k.Names, k.Also})
	if !ok || n.isBusy(e) {
		return false
	}
	if now.Sub(e.asked) >= n.lag {
		n.lru.Remove(e.key)
		return false
	}
	*b = e.b
	b.Age, b.Idle, b.SinceServed = now.Sub(e.made), now.Sub(e.used), now.Sub(e.served)
	if use {
		e.used = now
	}
	n.hits.Add(1)
	return true
}

// moment returns the number of changes so far.
func (n *near) moment() uint64 {
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count
}

func (n *near) isBusy(e *nearEntry) bool {
	return n.busyAll > 0 || len(n.busy) > 0 && n.busy[e.b.Session] > 0
}

// answered notes what the server has answered to a request. b is zero if there is no such
// session. before is the moment when the request was sent. After answered, no operation of
// this process gets an older answer. mine are those keys of the request that belong to the
// session, the first id before the others. Without the first id the answer is not held.
func (n *near) answered(before uint64, scope *cache.Scope, place cache.Key, k *cache.Keys, b *cache.Binding, mine []alias) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	fresh := max(n.floor, n.sessions[ofSession(b.Session)]) <= before
	for _, a := range mine {
		fresh = fresh && n.aliases[ofAlias(a)] <= before
	}
	n.saw(place, k, b)
	if fresh && len(mine) > 0 && plain(k) && b.Bound() && b.Served {
		n.keep(scope, k, b, mine)
	}
}

// saw drops the entries that contradict an answer. If the answer differs from what was seen
// last, older answers that are still under way do not count.
func (n *near) saw(place cache.Key, k *cache.Keys, b *cache.Binding) {
	if e := n.bySession[b.Session]; e != nil && (e.b.Gen != b.Gen || e.b.Memo != b.Memo || e.b.Auth != b.Auth) {
		n.lru.Remove(e.key)
	}
	n.count++
	if part := ofSession(b.Session); n.gens[part] != b.Gen {
		n.gens[part], n.sessions[part] = b.Gen, n.count
	}
	owner := b.Session
	if b.Gen == 0 {
		owner = nobody
	}
	for _, all := range [...][]cache.Key{k.Names[:], k.Also[:], {k.End}} {
		for _, one := range all {
			if one == (cache.Key{}) {
				continue
			}
			a := aliasOf(place, one)
			if e := n.byAlias[a]; e != nil && e.b.Session != b.Session {
				n.lru.Remove(e.key)
			}
			if part := ofAlias(a); n.owners[part] != owner {
				n.owners[part], n.aliases[part] = owner, n.count
			}
		}
	}
}

func (n *near) keep(scope *cache.Scope, k *cache.Keys, b *cache.Binding, mine []alias) {
	now := time.Now()
	e := &nearEntry{key: nearKey{*scope, k.Names, k.Also}, aliases: mine, b: *b, asked: now, made: now.Add(-b.Age), used: now, served: now.Add(-b.SinceServed)}
	e.written = e.served
	e.key.scope = cache.Scope{Tenant: strings.Clone(scope.Tenant), Pool: strings.Clone(scope.Pool), Model: strings.Clone(scope.Model)}
	e.b.Age, e.b.Idle, e.b.SinceServed = 0, 0, 0
	if old := n.bySession[b.Session]; old != nil { // it was held under other ids
		n.lru.Remove(old.key)
	}
	n.lru.Add(e.key, e)
	n.bySession[b.Session] = e
	for _, a := range mine {
		n.byAlias[a] = e
	}
}

// taken notes that an answer has taken keys from other sessions of its scope. If the scope is
// not known, it drops all sessions.
func (n *near) taken(scope string, keys []cache.Key) {
	if n == nil || len(keys) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(scope) != len(cache.Key{}) {
		n.dropAll()
		return
	}
	for _, k := range keys {
		n.drops(aliasOf(cache.Key([]byte(scope)), k))
	}
}

// touch answers a Confirm or a Touch if the server already knows of a recent one.
func (n *near) touch(b *cache.Binding, served bool) (memo string, ok bool) {
	if n == nil {
		return "", false
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.bySession[b.Session]
	if e == nil || n.isBusy(e) || e.b.Gen != b.Gen || now.Sub(e.asked) >= n.lag || served && now.Sub(e.written) >= n.lag {
		return "", false
	}
	e.used = now
	if served {
		e.served = now
	}
	n.hits.Add(1)
	return e.b.Memo, true
}

// touched notes that the server knows of a use.
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

// begin notes that an operation that may change a session is under way.
func (n *near) begin(session cache.Key) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy[session]++
}

// end notes that it has returned.
func (n *near) end(session cache.Key) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[session]--; n.busy[session] == 0 {
		delete(n.busy, session)
	}
	n.drop(session)
}

// beginAll and endAll are begin and end for all sessions.
func (n *near) beginAll() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busyAll++
}

func (n *near) endAll() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busyAll--
	n.dropAll()
}

// isNot notes that a caller's binding of the session is not current.
func (n *near) isNot(session cache.Key) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop(session)
}

func (n *near) drop(session cache.Key) {
	n.count++
	n.sessions[ofSession(session)] = n.count
	if e := n.bySession[session]; e != nil {
		n.lru.Remove(e.key)
	}
}

// changed notes that the server has written the key of an explicit id.
func (n *near) changed(a alias) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drops(a)
}

// drops notes that a key may belong to another session now.
func (n *near) drops(a alias) {
	n.count++
	n.aliases[ofAlias(a)] = n.count
	if e := n.byAlias[a]; e != nil {
		n.lru.Remove(e.key)
	}
}

func (n *near) dropAll() {
	n.count++
	n.floor = n.count
	n.lru.Purge()
}

// invalidations is called with the keys that the server says have changed. nil means all keys,
// after a connection was lost.
func (n *near) invalidations(all []rueidis.RedisMessage) {
	if all == nil {
		n.lost.Add(1)
		n.mu.Lock()
		defer n.mu.Unlock()
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
