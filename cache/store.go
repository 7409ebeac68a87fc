// Package cache answers: which auth is this session bound to? It holds
// bindings, session → auth, under a sliding TTL and a bound, in both
// directions. It knows nothing of HTTP or JSON: a session arrives as [Keys],
// digests that somebody else made.
//
//	m, err := cache.New(cache.Options{})                    // one hour, 100,000 sessions
//	b, existed, err := m.Bind(ctx, scope, keys, "account-3") // first wins
//	...
//	m.Confirm(ctx, b)                                       // it was served there
//
// A session has several keys that live and die together: explicit ids, and
// the ends of its requests where only content names it. All of them lead to
// one binding with one expiry.
//
// A binding has a generation, new with every bind and every move. Confirm,
// Touch, Swap, Delete and Release act on the generation they were given and
// do nothing on any other, so what comes late about an older choice changes
// nothing, and what was invalidated is not brought back.
//
// [Store] is what package affinity needs; [Memory] is the one in this process.
// For another one, over a shared database say, package cachetest tells whether
// it keeps the contract.
package cache

import (
	"context"
	"errors"
	"time"
)

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

// MaxNames is how many explicit ids one request can carry.
const MaxNames = 4

// Keys are what names one session in one request. They are only read.
type Keys struct {
	// Names are explicit ids, strongest first, zero Keys behind the last. All
	// of them are bound.
	Names [MaxNames]Key
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
	return k.Names[0] == Key{} && k.Weak == Key{} && k.End == Key{}
}

// Binding is a session's auth as it was at one moment. The zero Binding is
// bound to nothing: every operation on it does nothing.
type Binding struct {
	// Session is the session's stable name: not to be guessed, made with the
	// binding, kept through all moves.
	Session Key
	// Auth is where the session is bound.
	Auth string
	// Gen is the generation: new with each bind and each move, never 0, and
	// not used again in the same store.
	Gen uint64
	// Served is whether that auth has served a request of the session. Until
	// then the binding is provisional.
	Served bool
	// SinceServed is for how long that auth has not served the session, as far
	// as Confirm was told; 0 if it never has. It may be up to a second too
	// short.
	SinceServed time.Duration

	home Key // where Memory holds it
}

// ErrClosed is returned by the operations of a store that was closed.
var ErrClosed = errors.New("cache: the store is closed")

// Store holds bindings. All methods may be called at once by any number of
// goroutines; each is atomic for the session it is about. An error says that
// the store could not answer (it is away, or ctx is done): then nothing is
// known and the other results are zero. Nothing that is not there is an
// error.
//
// The keys of one session form a group: one binding, one expiry, one
// invalidation. A store bounds how many it keeps of each session: at least 4
// names, the first 2 ends and the 6 latest, the 4 latest tails.
type Store interface {
	// Get finds the session that keys name, by Names, in their order; without
	// Names by Weak, End, Earlier, EarlierTails. It counts as a use: the TTL
	// starts again for all of the session's keys, and those of keys that are
	// to be bound and that nobody has are bound to it.
	Get(ctx context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error)

	// Peek finds the session that keys name, and changes nothing.
	Peek(ctx context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error)

	// Bind binds the session that keys name to auth, unless it is bound
	// already: the first wins, existed is true, and the binding is the
	// winner's, used as by Get. A new binding is provisional, and is there for
	// whoever asks next. With zero keys or an empty auth nothing is bound, and
	// the zero Binding returned.
	Bind(ctx context.Context, scope Scope, keys Keys, auth string) (b Binding, existed bool, err error)

	// Swap moves the session from the binding b to auth, if b is still its
	// binding; the new one is provisional. Otherwise swapped is false, and now
	// is the current binding: the zero one if the session is gone.
	Swap(ctx context.Context, b Binding, auth string) (now Binding, swapped bool, err error)

	// Confirm says that the binding's auth has served just now: the binding is
	// no longer provisional, and its TTL starts again. False, and nothing done, if b is
	// not the current one.
	Confirm(ctx context.Context, b Binding) (current bool, err error)

	// Touch starts the TTL again, if b is the current binding.
	Touch(ctx context.Context, b Binding) (current bool, err error)

	// Delete removes the session with all its keys, if b is its binding.
	Delete(ctx context.Context, b Binding) (deleted bool, err error)

	// Release removes the session if b is its binding and provisional: what has
	// never served leaves nothing behind.
	Release(ctx context.Context, b Binding) (released bool, err error)

	// InvalidateSession removes the session that keys name, with all its keys,
	// whatever its generation.
	InvalidateSession(ctx context.Context, scope Scope, keys Keys) (removed bool, err error)

	// InvalidateAuth removes every session that is bound to auth, of all
	// tenants, and returns how many.
	InvalidateAuth(ctx context.Context, auth string) (removed int, err error)

	// InvalidateTenant removes every session of the tenant that is bound to
	// auth, or all of the tenant's with an empty auth, and returns how many.
	InvalidateTenant(ctx context.Context, tenant, auth string) (removed int, err error)

	// Close frees everything. After it every operation returns ErrClosed. It
	// may be called any number of times, at once too.
	Close() error
}
