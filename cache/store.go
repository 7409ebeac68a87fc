// Package cache answers one question: which auth is this session bound to? An
// auth is whatever a gateway chooses among: a credential, an account, a
// replica. The package holds bindings, session → auth, with a sliding TTL and a
// bound. It knows nothing of HTTP or JSON: a session arrives as [Keys], digests
// that the caller made.
//
//	m, err := cache.New(nil)                                 // one hour, 100,000 sessions
//	b, existed, err := m.Bind(ctx, scope, keys, "account-3") // the first Bind wins
//	...
//	m.Confirm(ctx, b)                                        // account-3 has served the session
//
// A session has several keys: explicit ids, and the ends of its requests where
// only the content names it. All of them lead to one binding. They expire
// together and they are removed together.
//
// A binding has a generation. Each Bind, each Move and each loss of the auth
// makes a new one. Confirm, Touch, Move, Amend, Unbind and Release do nothing if
// the binding they are given is not of the current generation. So a late result
// changes nothing, and a request in flight does not bring an invalidated session
// back.
//
// [Store] is the interface that package affinity needs. [Memory] is the store in
// this process. [Memory.Save] writes it down and [Load] makes it anew, so that a restart
// costs no session its auth. Package cachetest checks any other store against this
// contract. Package fallback is for a store that can be away.
package cache

import (
	"context"
	"errors"
	"time"
)

// Key is a 128-bit digest that names a session inside a scope. The zero Key
// names nothing.
type Key = [16]byte

// Scope separates sessions that must never meet: the same key in two scopes is
// two sessions. A store compares scopes, it does not only hash them. It copies
// the names that it keeps, and bounds their length: see [Scope.Short].
type Scope struct {
	Tenant string // who is calling
	Pool   string // which set of auths, such as the provider
	Model  string // the model or model family; a prompt cache belongs to one
}

// Keys name one session in one request. A store reads them and does not keep
// the slice.
//
// A store finds the session by the first of these that leads to one: Names, in
// their order. If there are no Names: End, then Past, in their order.
type Keys struct {
	// Names are explicit ids, the strongest first, zero Keys behind the last.
	// All of them are bound to the session, except those that another session
	// has.
	Names [MaxNames]Key
	// End is the end of this request's conversation. It finds a session only if
	// it is the latest End of that session, and no answer to it is known (Extend):
	// then the request is a retry. Otherwise another conversation has come to the
	// same words, unless Past leads to the session. End is bound to the session of
	// this request, and taken from any other session unless that has it as one of
	// its Names.
	//
	// Two conversations that begin with the same words share a session until one of
	// them goes on. If a third one takes their common End, the one that has not gone
	// on is still led to their session by it, for a few minutes.
	End Key
	// Past are keys that earlier requests of this session, or the answers to them,
	// may have bound. They find the session and are not bound. With Names they are
	// not looked at.
	Past []Key
	// Also are bound to the session of this request, and taken from any other
	// session unless that has them as Names. They do not find the session of this
	// request. Zero Keys are none.
	Also [MaxAlso]Key
	// Marks are ids inside the conversation that no other session should have, such
	// as those of tool calls. They are bound to the session of this request and do not
	// find it. A mark that two sessions come with is no mark: from then on it leads to
	// neither, for as long as the first of them has it. Zero Keys are none.
	Marks [MaxMarks]Key
	// MarksFrom says which Marks are new in this request. Marks[i] is bound only if the
	// key of Past that has found the session stands at the index MarksFrom[i] or behind
	// it. Otherwise the mark may be a part of an opening that many conversations share.
	MarksFrom [MaxMarks]uint16
	// Ongoing says that this request is no opening of a conversation: then all Marks are
	// bound, to a new session, too.
	Ongoing bool
}

// IsZero reports whether nothing here names a session: without Names and End
// nothing can be bound.
func (k *Keys) IsZero() bool { return k.Names[0] == Key{} && k.End == Key{} }

// Binding is a session and its auth as they were at one moment. The zero Binding
// is no session's: every operation on it does nothing.
type Binding struct {
	// Session is the session's stable name. It cannot be guessed, it is made with
	// the session, and it stays the same for as long as the session lives.
	Session Key
	// Auth is the auth that the session is bound to. If Lost is set, the session
	// is bound to none, and Auth is the last one it had.
	Auth string
	// Lost is why the session has no auth: Unbound, Released or AuthInvalidated.
	// It is 0 while the session is bound.
	Lost Cause
	// Served reports whether Auth has served the session. Until then the binding
	// is provisional.
	Served bool
	// Gen is the generation: never 0, and never used twice by one store. A store makes
	// them below 1<<63. Those above are for a store in front of another one.
	Gen uint64
	// Age is the time since this binding was made, or the auth was lost. It does not start
	// again when the session is used, or the auth renamed. It is too short if the wall
	// clock was set back meanwhile.
	Age time.Duration
	// SinceServed is the time since Auth served the session last, as far as
	// Confirm was told. It is 0 if Auth never has. It may be a second too short.
	SinceServed time.Duration
	// Idle is the time since the session was used, before this use.
	Idle time.Duration
	// Memo is what Amend has put there: what the caller remembers of the session
	// besides its auth. The store does not look into it. It stays when the
	// session moves or loses its auth.
	Memo string
	// Ref is for the store that made the Binding. It helps that store to find the
	// session again.
	Ref Key
	// Opening says that Past leads to nothing: the session is new, or is known by
	// the End of this request alone. So another conversation may have begun with
	// the same words. It is set by Get, Peek and Bind, and only without Names.
	Opening bool
	// Away says that a shared store could not be asked: this is what this process alone
	// knows. It is set, too, when no session was found. Replicas cannot agree by the store
	// then: whoever binds a new session should choose as each of them would.
	Away bool
	// Asked is how many requests have ended in the End of this one since that became
	// the session's latest End, this one included. It is set by Get and Bind, and 0
	// for a request without an End.
	Asked int
	// Shared are those of the request's Marks that were another session's and are
	// nobody's now: bit i for Marks[i]. It is set by Get and Bind.
	Shared uint8
}

// Bound reports whether the session has an auth.
func (b *Binding) Bound() bool { return b.Gen != 0 && b.Lost == 0 }

// ErrClosed is returned by the operations of a store that was closed.
var ErrClosed = errors.New("cache: the store is closed")

const (
	// DefaultTTL is how long a session may be idle. On real traffic of coding
	// agents 0.32 % of the pauses inside a session are longer.
	DefaultTTL = time.Hour
	// DefaultMaxSessions is how many sessions a Memory holds.
	DefaultMaxSessions = 100_000
	// MaxNames is how many explicit ids one request can carry.
	MaxNames = 4
	// MaxAlso and MaxMarks are how many keys of these kinds one request can carry,
	// and MaxAnswer is how many keys one answer can have.
	MaxAlso   = 4
	MaxMarks  = 4
	MaxAnswer = 8
)

// Store holds bindings. Any number of goroutines may call its methods at once.
// Each method is atomic for the session it is about. An error means that the
// store could not answer, because it is away or ctx is done; the other results
// are then zero and nothing is known. A session that is not there is no error.
//
// A provisional binding has open uses. Get, Bind and Move open one if the binding
// that they return is provisional, and Release ends one. Confirm ends all of them,
// because the binding is not provisional any more.
//
// A store bounds the keys of each session. It keeps at least: 4 Names, the
// first 2 and the latest 6 Ends, the latest 4 Also, the latest 8 Marks, and the
// latest 8 keys of answers. An Also, a Mark or a key of an answer that comes again
// is the latest again. The names of auths are copied, however long.
type Store interface {
	// Get finds the session that keys name and uses it: the session's TTL starts
	// again, and the keys that are to be bound are bound to it. ok is true for a
	// session that has lost its auth, too.
	Get(ctx context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error)

	// Peek finds the session that keys name and changes nothing.
	Peek(ctx context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error)

	// Bind binds the session that keys name to auth, unless it is bound: the
	// first Bind wins. existed is true if it was bound, and b is then the
	// existing binding, used as by Get. A new binding is provisional. A session
	// that has lost its auth is bound again under its name. With zero keys or an
	// empty auth nothing is bound and b is zero.
	Bind(ctx context.Context, scope Scope, keys Keys, auth string) (b Binding, existed bool, err error)

	// Move binds the session of b to another auth, or to the same one anew, if b
	// is current. The new binding is provisional. If b is not current, moved is
	// false and now is the current binding, with a use opened if that is
	// provisional. now is zero if the session is gone. The TTL does not start
	// again. With an empty auth nothing happens, and now is zero.
	Move(ctx context.Context, b Binding, auth string) (now Binding, moved bool, err error)

	// Confirm says that the auth of b has just served the session: the binding is
	// no longer provisional, and the TTL starts again. current is false, and
	// nothing happens, if b is not current or has lost its auth. memo is the
	// session's memo.
	Confirm(ctx context.Context, b Binding) (memo string, current bool, err error)

	// Touch starts the TTL of the session again, if b is current. The session may
	// have lost its auth.
	Touch(ctx context.Context, b Binding) (current bool, err error)

	// Amend replaces the session's memo, if b is current and the memo is still
	// b.Memo. Otherwise amended is false. now is the current binding, zero if the
	// session is gone. No use is opened and the TTL does not start again.
	Amend(ctx context.Context, b Binding, memo string) (now Binding, amended bool, err error)

	// Unbind takes the auth from the session, if b is current and bound: Lost is
	// then Unbound. The TTL does not start again.
	Unbind(ctx context.Context, b Binding) (unbound bool, err error)

	// Release ends one use of b, if b is current and provisional and has an open
	// use. If that was the last one, and failed is true, the session loses its
	// auth: Lost is then Released. If failed is false, the binding stays, without
	// an open use. So a binding that has never served leaves no auth behind, and one
	// failure does not take the auth from others that are still waiting for their
	// answer.
	Release(ctx context.Context, b Binding, failed bool) (unbound bool, err error)

	// Extend says that a request was answered: the one that got b, and that ended in
	// end. The keys are what the next request will show of that answer as Past, at
	// most MaxAnswer; more are not looked at, and zero Keys are none. They are bound
	// to the session of b, whatever its generation, and taken from any other session
	// unless that has them as Names.
	//
	// marks are ids that the answer has given. They are bound as Marks are, at most
	// MaxMarks of them, and shared says which were another session's.
	//
	// If b is Opening, the answer may be another conversation's that began with the
	// same words. So extended is false, and nothing is bound, if end was answered
	// before or is not the session's latest End any more. extended is false, too, if
	// the session is gone. Without keys and marks nothing is bound, and the request counts
	// as answered all the same.
	Extend(ctx context.Context, b Binding, end Key, keys, marks []Key) (extended bool, shared uint8, err error)

	// Remember notes an auth under a key: which auth holds an earlier response,
	// for example. Notes live as long as sessions, have a bound of their own, and
	// are never sessions. The last Remember wins. With a zero key or an empty auth
	// nothing is noted.
	Remember(ctx context.Context, scope Scope, key Key, auth string) error

	// Recall returns the auth that was noted under a key and starts its TTL
	// again.
	Recall(ctx context.Context, scope Scope, key Key) (auth string, ok bool, err error)
}

// Admin is what a Store can offer besides, for whoever runs the gateway. Errors
// and concurrency are as for Store, but an operation on many sessions is atomic
// for each of them only.
type Admin interface {
	// InvalidateSession removes the session that keys name, with all its keys.
	InvalidateSession(ctx context.Context, scope Scope, keys Keys) (removed bool, err error)

	// InvalidateAuth takes auth from all sessions that are bound to it: Lost is
	// then AuthInvalidated. It forgets all notes of auth. It returns how many
	// sessions were bound.
	InvalidateAuth(ctx context.Context, auth string) (unbound int, err error)

	// InvalidateTenant removes all sessions and notes of a tenant. With an auth it
	// does to the tenant's sessions and notes of that auth what InvalidateAuth
	// does, and to no others. It returns how many sessions were removed or lost
	// their auth.
	InvalidateTenant(ctx context.Context, tenant, auth string) (n int, err error)

	// RenameAuth gives an auth another name, in bindings and notes. Generations
	// and TTLs stay. It returns how many sessions were bound to from. A binding that
	// is made under the old name meanwhile keeps the old name. If to is empty, or is
	// from, nothing happens.
	RenameAuth(ctx context.Context, from, to string) (renamed int, err error)

	// CountAuth returns how many sessions are bound to auth. Sessions that have
	// expired and were not freed yet may count.
	CountAuth(ctx context.Context, auth string) (bound int, err error)

	// EditMemos calls edit with each session that has a memo, and replaces the memo
	// by what edit returns. edit may be called again for a session that has changed
	// meanwhile. It is called with no lock held.
	EditMemos(ctx context.Context, edit func(b Binding) (memo string)) error
}
