// Package rivals has caches in which a gateway without the library could bind sessions to auths,
// and cache.Memory, all with the same interface. An auth is what a gateway chooses among.
package rivals

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Key is a session in its scope. It is comparable, so a cache tells scopes apart by their
// names and not by a hash alone, as cache.Memory does.
type Key struct {
	Tenant, Pool, Model string
	ID                  [16]byte
}

// Cache binds sessions to auths.
type Cache interface {
	// Add binds a session that is not bound.
	Add(k Key, auth string)
	// Hit returns the auth of a session, and starts the session's TTL again.
	Hit(k Key) (auth string, ok bool)
	// Drop takes an auth from all its sessions, and returns their number.
	Drop(auth string) int
	Close()
}

// Rival is a kind of Cache.
type Rival struct {
	Name string
	TTL  bool // golang-lru has none: a session stays until others need the room
	// Make makes a Cache with room for so many sessions.
	Make func(sessions int, ttl time.Duration) (Cache, error)
}

// All are the rivals, the library first.
var All = []Rival{
	{"llmaffinity", true, newMemory},
	{"otter", true, newOtter},
	{"ttlcache", true, newTTLCache},
	{"golang-lru", false, newLRU},
	{"expirable", true, newExpirable}, // its goroutine never ends, so its map is never freed
}

// memory is cache.Memory.
type memory struct{ m *cache.Memory }

func newMemory(sessions int, ttl time.Duration) (Cache, error) {
	m, err := cache.New(&cache.Options{TTL: ttl, MaxSessions: sessions})
	return memory{m}, err
}

// Add also confirms that the auth has served the session, as after its first request.
func (c memory) Add(k Key, auth string) {
	keys := cache.Keys{Names: [cache.MaxNames]cache.Key{k.ID}}
	b, existed, err := c.m.Bind(context.Background(), cache.Scope{Tenant: k.Tenant, Pool: k.Pool, Model: k.Model}, keys, auth)
	if existed || err != nil {
		panic("the benchmark binds a session that is bound already, or uses a closed store")
	}
	if _, current, err := c.m.Confirm(context.Background(), b); !current || err != nil {
		panic("the benchmark confirms a session that the store does not have")
	}
}

func (c memory) Hit(k Key) (string, bool) {
	b, ok, err := c.m.Get(context.Background(), cache.Scope{Tenant: k.Tenant, Pool: k.Pool, Model: k.Model}, cache.Keys{Names: [cache.MaxNames]cache.Key{k.ID}})
	return b.Auth, ok && b.Bound() && err == nil
}

func (c memory) Drop(auth string) int {
	n, err := c.m.InvalidateAuth(context.Background(), auth)
	if err != nil {
		panic("the benchmark uses a closed store")
	}
	return n
}

func (c memory) Close() { c.m.Close() }

type otterCache struct{ c *otter.Cache[Key, string] }

func newOtter(sessions int, ttl time.Duration) (Cache, error) {
	c, err := otter.New(&otter.Options[Key, string]{MaximumSize: sessions, ExpiryCalculator: otter.ExpiryAccessing[Key, string](ttl)})
	return otterCache{c}, err
}

func (c otterCache) Add(k Key, auth string)   { c.c.Set(k, auth) }
func (c otterCache) Hit(k Key) (string, bool) { return c.c.GetIfPresent(k) }
func (c otterCache) Close()                   { c.c.StopAllGoroutines() }

func (c otterCache) Drop(auth string) (n int) {
	for k, v := range c.c.All() {
		if v == auth {
			c.c.Invalidate(k)
			n++
		}
	}
	return n
}

type ttlCache struct{ c *ttlcache.Cache[Key, string] }

func newTTLCache(sessions int, ttl time.Duration) (Cache, error) {
	return ttlCache{ttlcache.New(ttlcache.WithTTL[Key, string](ttl), ttlcache.WithCapacity[Key, string](uint64(sessions)))}, nil
}

func (c ttlCache) Add(k Key, auth string) { c.c.Set(k, auth, ttlcache.DefaultTTL) }
func (c ttlCache) Close()                 { c.c.DeleteAll() }

func (c ttlCache) Hit(k Key) (string, bool) {
	item := c.c.Get(k)
	if item == nil {
		return "", false
	}
	return item.Value(), true
}

func (c ttlCache) Drop(auth string) int {
	n := 0
	for k, item := range c.c.Items() { // Range can miss sessions while others are used
		if item.Value() == auth {
			c.c.Delete(k)
			n++
		}
	}
	return n
}

type expirableLRU struct{ c *expirable.LRU[Key, string] }

func newExpirable(sessions int, ttl time.Duration) (Cache, error) {
	return expirableLRU{expirable.NewLRU[Key, string](sessions, nil, ttl)}, nil
}

func (c expirableLRU) Add(k Key, auth string) { c.c.Add(k, auth) }
func (c expirableLRU) Close()                 { c.c.Purge() }

func (c expirableLRU) Hit(k Key) (string, bool) {
	v, ok := c.c.Get(k)
	if ok {
		c.c.Add(k, v) // the only way to start its TTL again
	}
	return v, ok
}

func (c expirableLRU) Drop(auth string) int { return drop(c.c, auth) }

type plainLRU struct{ c *lru.Cache[Key, string] }

func newLRU(sessions int, _ time.Duration) (Cache, error) {
	c, err := lru.New[Key, string](sessions)
	return plainLRU{c}, err
}

func (c plainLRU) Add(k Key, auth string)   { c.c.Add(k, auth) }
func (c plainLRU) Hit(k Key) (string, bool) { return c.c.Get(k) }
func (c plainLRU) Drop(auth string) int     { return drop(c.c, auth) }
func (c plainLRU) Close()                   { c.c.Purge() }

// drop walks over all keys, because these caches have no index of their values.
func drop(c interface {
	Keys() []Key
	Peek(Key) (string, bool)
	Remove(Key) bool
}, auth string) (n int) {
	for _, k := range c.Keys() {
		if v, ok := c.Peek(k); ok && v == auth && c.Remove(k) {
			n++
		}
	}
	return n
}
