// Package cache answers: which auth is this session bound to? It holds
// bindings, session → auth, under a sliding TTL and a bound, in both
// directions. It knows nothing of HTTP or JSON: a session arrives as [Keys],
// digests that somebody else made.
//
//	c, err := cache.New(cache.Options{})           // one hour, 100,000 sessions
//	b, existed := c.Bind(scope, keys, "account-3") // first wins
//	...
//	c.Confirm(b)                                   // it was served there
//
// A session has several keys that live and die together: explicit ids, and
// the ends of its requests where only content names it. All of them lead to
// one binding with one expiry.
//
// A binding has a generation, new with every bind and every move. Confirm,
// Swap, Delete and Release act on the generation they were given and do
// nothing on any other, so what comes late about an older choice changes
// nothing, and what was invalidated is not brought back.
//
// There is no goroutine: expired bindings are never returned, and are freed
// as others are written.
package cache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// DefaultTTL is how long a session may be idle. On real traffic 0.32 % of
	// the pauses inside a session are above an hour.
	DefaultTTL = time.Hour
	// DefaultMaxSessions bounds the store.
	DefaultMaxSessions = 100_000
)

// Options of a Cache. The zero value works.
type Options struct {
	// TTL is how long a binding lives after its last use. 0 is DefaultTTL,
	// a negative one an error.
	TTL time.Duration
	// MaxSessions is how many sessions are held; beyond it the least recently
	// used one goes. 0 is DefaultMaxSessions, a negative one an error.
	MaxSessions int
}

// ErrOptions is wrapped by the errors of New.
var ErrOptions = errors.New("cache: bad options")

// Key is a 128-bit digest that names a session inside a scope. The zero Key
// names nothing.
type Key = [16]byte

// Scope separates what must never meet: the same key in two scopes is two
// sessions. It is compared, not only hashed.
type Scope struct {
	Tenant string // who is calling
	Pool   string // which set of auths, such as the provider
	Model  string // model or model family; prompt caches are per model
}

// Keys are what names one session in one request.
type Keys struct {
	// Names are explicit ids, strongest first. All of them are bound.
	Names []Key
	// Weak finds a session only when there are no Names; it is bound where it
	// is free, and never taken from another session.
	Weak Key
	// End is the end of this request, from content. It finds its session only
	// as long as it is that session's latest end (a retry); after that,
	// whoever comes with the same words is somebody else, and takes it over.
	End Key
	// Earlier are the ends that requests before this one may have had, longest
	// first. Looked up after End, never bound.
	Earlier []Key
	// Tail is the hash of the last few messages of this request: what the next
	// one has in common with it when the history has lost its head. It is bound
	// and never looked up in the request that ends with it.
	Tail Key
	// EarlierTails are the tails that requests before this one may have had,
	// latest first. Looked up when none of Earlier is bound, never bound.
	EarlierTails []Key
}

// IsZero reports whether nothing here names a session.
func (k *Keys) IsZero() bool {
	return len(k.Names) == 0 && k.Weak == Key{} && k.End == Key{}
}

// Binding is a session's auth as it was at one moment. The zero Binding is
// bound to nothing: every operation on it does nothing.
type Binding struct {
	// Session is the session's stable name: random, made with the binding,
	// kept through all moves.
	Session Key
	// Auth is where the session is bound.
	Auth string
	// Gen is the generation: new with each bind and each move.
	Gen uint64
	// Served is whether that auth has served a request of the session. Until
	// then the binding is provisional.
	Served bool
}

// Limits of keys per session; the others' keys are safe from an endless one.
const (
	maxNames    = 8
	firstEnds   = 2 // kept for histories that fall back to their beginning
	recentEnds  = 6
	recentTails = 4
	maxTailWork = 4 // expired sessions freed by one write
)

// session is one binding with all its keys.
type session struct {
	scope   Scope
	b       Binding
	expires time.Time
	names   []Key
	weak    Key
	ends    []Key // oldest first; the last one is the latest
	tails   []Key // oldest first
}

// scoped is a key as it is compared.
type scoped struct {
	scope Scope
	key   Key
}

// Cache is the in-memory store. It is safe for concurrent use; operations are
// atomic, and none of them calls back into the caller's code.
type Cache struct {
	mu       sync.Mutex
	ttl      time.Duration
	sessions *simplelru.LRU[Key, *session] // by stable name, in order of use
	keys     map[scoped]*session
	byAuth   map[string]map[*session]struct{}
	gen      uint64
	closed   bool
}

// New makes a Cache.
func New(o Options) (*Cache, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	if o.TTL < 0 {
		return nil, fmt.Errorf("%w: TTL is %v", ErrOptions, o.TTL)
	}
	if o.MaxSessions < 0 {
		return nil, fmt.Errorf("%w: MaxSessions is %d", ErrOptions, o.MaxSessions)
	}
	c := &Cache{ttl: o.TTL, keys: map[scoped]*session{}, byAuth: map[string]map[*session]struct{}{}}
	lru, err := simplelru.NewLRU(o.MaxSessions, func(_ Key, s *session) { c.unlink(s) })
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	c.sessions = lru
	return c, nil
}

// Get finds the session that keys name. It counts as a use: the TTL starts
// again for all of the session's keys, and those of keys that it did not have
// are bound to it. Cost: one look-up per key until the first hit.
func (c *Cache) Get(scope Scope, keys *Keys) (Binding, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.find(scope, keys)
	if s == nil {
		return Binding{}, false
	}
	c.use(s, keys)
	return s.b, true
}

// Peek finds the session that keys name, and changes nothing.
func (c *Cache) Peek(scope Scope, keys *Keys) (Binding, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.find(scope, keys)
	if s == nil {
		return Binding{}, false
	}
	return s.b, true
}

// Bind binds the session that keys name to auth, unless it is bound already:
// the first wins, existed is true, and the binding is the winner's. A new
// binding is provisional. With zero keys, an empty auth, or after Close
// nothing is bound and the zero Binding returned.
func (c *Cache) Bind(scope Scope, keys *Keys, auth string) (b Binding, existed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || auth == "" || keys.IsZero() {
		return Binding{}, false
	}
	if s := c.find(scope, keys); s != nil {
		c.use(s, keys)
		return s.b, true
	}
	c.freeExpired()
	s := &session{scope: scope, b: Binding{Session: newName(), Auth: auth, Gen: c.nextGen()}}
	c.link(s)
	c.use(s, keys)
	return s.b, false
}

// Swap moves the session from the binding b to auth, if b is still its
// binding. Otherwise swapped is false, and now is the current binding: the
// zero one if the session is gone. The new binding is provisional.
func (c *Cache) Swap(b Binding, auth string) (now Binding, swapped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.live(b.Session)
	if s == nil || auth == "" {
		return Binding{}, false
	}
	if s.b.Gen != b.Gen {
		return s.b, false
	}
	c.unlinkAuth(s)
	s.b.Auth, s.b.Gen, s.b.Served = auth, c.nextGen(), false
	c.linkAuth(s)
	return s.b, true
}

// Confirm says that the binding's auth has served: the binding is no longer
// provisional, and its TTL starts again. It returns false and does nothing if
// the binding is not the current one.
func (c *Cache) Confirm(b Binding) bool {
	return c.ifCurrent(b, func(s *session) {
		s.b.Served = true
		c.renew(s)
	})
}

// Delete removes the session with all its keys, if b is still its binding.
func (c *Cache) Delete(b Binding) bool {
	return c.ifCurrent(b, func(s *session) { c.sessions.Remove(s.b.Session) })
}

// Release removes the session if b is still its binding and provisional: what
// has never served leaves nothing behind. It returns whether it did.
func (c *Cache) Release(b Binding) (released bool) {
	c.ifCurrent(b, func(s *session) {
		if !s.b.Served {
			released = c.sessions.Remove(s.b.Session)
		}
	})
	return released
}

// InvalidateSession removes the session that keys name, with all its keys,
// whatever its generation. Cost: its keys.
func (c *Cache) InvalidateSession(scope Scope, keys *Keys) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.find(scope, keys)
	if s == nil {
		return false
	}
	return c.sessions.Remove(s.b.Session)
}

// InvalidateAuth removes every session that is bound to auth, in all scopes,
// and returns how many. Cost: what it removes.
func (c *Cache) InvalidateAuth(auth string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.byAuth[auth])
	for s := range c.byAuth[auth] {
		c.sessions.Remove(s.b.Session)
	}
	return n
}

// Len is how many sessions are held; expired ones that were not freed yet
// count.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions.Len()
}

// Close frees everything. After it nothing is found and nothing is bound. It
// may be called any number of times, at once too, and returns nil.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.sessions.Purge()
	return nil
}

// newName is unpredictable, so that nobody who sees one can name another's.
func newName() (k Key) {
	for i := 0; i < len(k); i += 8 {
		v := rand.Uint64()
		for j := range 8 {
			k[i+j] = byte(v >> (8 * j))
		}
	}
	return k
}
