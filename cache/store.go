// Package cache remembers which auth each session is bound to. An auth is what a gateway
// chooses among: a credential, an account, a replica. A store holds bindings, session → auth.
// A binding expires when its session is idle for the TTL, and the number of sessions is
// bounded. The package knows nothing of HTTP or JSON: callers name a session by [Keys], which
// are digests.
//
//	m, err := cache.New(nil)                                 // one hour, 100,000 sessions
//	b, existed, err := m.Bind(ctx, scope, keys, "account-3") // the first Bind wins
//	...
//	m.Confirm(ctx, b)                                        // account-3 has served the session
//
// A session has several keys: explicit ids, and the ends of its requests if only the content
// names it. Each of them finds the session. They expire together and are removed together.
//
// A binding has a generation. Each Bind, each Move and each loss of the auth makes a new one.
// Confirm, Touch, Move, Amend, Unbind and Release do nothing if the generation of the binding
// that they are given is not the current one. So a late result changes nothing, and a request
// in flight does not bring an invalidated session back.
//
// [Store] is the interface that package affinity needs, and [Memory] is the store in this
// process. [Memory.Save] writes a snapshot of it and [Load] reads one, so that sessions keep
// their auths over a restart. Package rediscache is a store that several processes share.
// Package fallback answers while such a store cannot be reached. Package cachetest checks any
// store against this contract.
package cache

import (
	"context"
	"errors"
	"time"
)

// Key is a 128-bit digest that names a session inside a scope. The zero Key names nothing.
type Key = [16]byte

// Scope separates sessions that must never meet: the same key in two scopes names two
// sessions. A store compares the scopes themselves, not only their hashes. It copies the names
// that it keeps, and bounds their length: see [Scope.Short].
type Scope struct {
	Tenant string // who is calling
	Pool   string // which set of auths, such as the provider
	Model  string // the model or model family; a prompt cache belongs to one
}

// Keys name one session in one request. A store reads them and does not keep the slice of
// Fallbacks.
//
// A store looks the session up by Names, in their order. Without Names it tries End, and then
// Fallbacks, in their order. The first key that finds a session decides.
type Keys struct {
	// Names are explicit ids, the strongest first; zero Keys follow the last one. All of them
	// are bound to the session, except those that another session has.
	Names [MaxNames]Key
	// End stands for the end of this request's conversation. It finds a session only if it is
	// the latest End of that session, and no answer to it is known (see BindAnswer). The
	// request is then a retry. Otherwise another conversation has come to the same words,
	// unless one of the Fallbacks finds the session. End is bound to the session of this
	// request. It is taken from any other session, unless that session has it as one of its
	// Names.
	//
	// Two conversations that begin with the same words share a session until one of them
	// continues. A third conversation may then take their common End. For a few minutes more,
	// that End still finds the shared session for the conversation that has not continued.
	End Key
	// Fallbacks are keys that earlier requests of this session, or the answers to them, may
	// have bound. They find the session and are not bound. They are ignored if there are Names.
	Fallbacks []Key
	// Also are bound to the session of this request. They are taken from any other session,
	// unless that session has them as Names. They do not find the session of this request.
	// Zero Keys are ignored.
	Also [MaxAlso]Key
	// Marks are ids inside the conversation that no other session should have, such as those
	// of tool calls. They are bound to the session of this request and do not find it. If a
	// second session comes with a mark, the mark finds neither session from then on, for as
	// long as the first one has it. Zero Keys are ignored.
	Marks [MaxMarks]Key
	// MarksFrom says which Marks are new in this request. Marks[i] is bound only if the one of
	// the Fallbacks that found the session has the index MarksFrom[i] or a higher one.
	// Otherwise the mark may belong to an opening that many conversations share.
	MarksFrom [MaxMarks]uint16
	// Ongoing says that this request does not open a conversation. All Marks are then bound,
	// to a new session, too.
	Ongoing bool
}

// IsZero reports whether nothing can be bound by these keys: they have no Names and no End.
func (k *Keys) IsZero() bool { return k.Names[0] == Key{} && k.End == Key{} }

// Binding is a session and its auth at one moment. The zero Binding belongs to no session, and
// operations on it do nothing.
type Binding struct {
	// Session is the stable name of the session. It cannot be guessed. The store makes it
	// together with the session, and it stays the same for as long as the session lives.
	Session Key
	// Auth is the auth that the session is bound to. If Lost is set, the session is bound to
	// none, and Auth is the last one that it had.
	Auth string
	// Lost is why the session has no auth: Unbound, Released or AuthInvalidated.
	// It is 0 while the session is bound.
	Lost Cause
	// Served reports whether Auth has served the session. Until then the binding
	// is provisional.
	Served bool
	// Gen is the generation of the binding. It is never 0, and no store uses one twice. A
	// store makes generations below 1<<63. Higher ones are for a store in front of another
	// one.
	Gen uint64
	// Age is the time since the binding was made, or since the auth was lost. It does not
	// start again when the session is used or the auth is renamed. It is too short if the wall
	// clock was set back meanwhile.
	Age time.Duration
	// SinceServed is the time since Confirm last said that Auth has served the session. It is
	// 0 if Auth never has. It may be too short by up to a second.
	SinceServed time.Duration
	// Idle is the time since the session was last used. The use that has returned this Binding
	// does not count.
	Idle time.Duration
	// Memo is what the caller remembers of the session besides its auth. Amend sets it, and
	// the store does not look into it. It stays when the session moves or loses its auth.
	Memo string
	// Ref helps the store that made the Binding to find the session again. Callers do not use
	// it.
	Ref Key
	// Opening says that no Fallbacks found the session: it is new, or only the End of this
	// request found it. So the request may belong to another conversation that began with the
	// same words. Get, Peek and Bind set it, and only without Names.
	Opening bool
	// Local says that a shared store could not be reached, so this is what this process alone
	// knows. It is set, too, if no session was found. Replicas then cannot agree through the
	// store, so a caller that binds a new session should choose an auth in a way that gives
	// each replica the same one.
	Local bool
	// Asked is how many requests have come with the End of this one since that became the
	// session's latest End, this one included. Get and Bind set it. It is 0 for a request
	// without an End.
	Asked int
	// Shared are those of the request's Marks that another session had and that now find none:
	// bit i stands for Marks[i]. Get and Bind set it.
	Shared uint8
}

// Bound reports whether the session has an auth.
func (b *Binding) Bound() bool { return b.Gen != 0 && b.Lost == 0 }

// Answer is what an answer adds to the session of its request. A store reads it and does not
// keep the slices.
type Answer struct {
	// End is the End of the request that was answered.
	End Key
	// Keys are those that the next request will have as Fallbacks because of the answer. At
	// most MaxAnswer of them are used, and zero Keys are ignored.
	Keys []Key
	// Marks are ids that the answer contains. They are bound as Keys.Marks are, at most
	// MaxMarks of them.
	Marks []Key
}

// Answered is what a store has done with an Answer. The zero Answered says that nothing was
// bound.
type Answered struct {
	// Accepted says that the answer belongs to the session.
	Accepted bool
	// Shared says which Marks of the answer another session had, as Binding.Shared does.
	Shared uint8
}

// ErrClosed is returned by the operations of a store that was closed.
var ErrClosed = errors.New("cache: the store is closed")

const (
	// DefaultTTL is how long a session may be idle. Pauses of coding agents are seldom longer.
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

// Store holds bindings. Any number of goroutines may call its methods at once. Each method is
// atomic for its session. An error means that the store could not answer, because it cannot be
// reached or ctx is done. The other results are then zero and tell nothing. It is no error if
// a session does not exist.
//
// A provisional binding has open uses. Get, Bind and Move open one if the binding that they
// return is provisional, and Release ends one. Confirm ends all of them, because the binding
// is no longer provisional.
//
// A store bounds the keys of each session. It keeps at least: 4 Names, the first 2 and the
// latest 6 Ends, the latest 4 Also, the latest 8 Marks, and the latest 8 keys of answers. If
// an Also, a Mark or a key of an answer comes again, it becomes the latest. A store copies the
// names of auths, however long they are.
//
// Store gets no more methods, so a store that implements it goes on to compile. New operations
// get interfaces of their own, as [Admin] is, and callers do without where a store lacks them.
// Scope, Keys, Binding and Answer, and what a method returns in a struct, may get fields. A
// store that does not know a field still keeps this contract: the zero value of a new field
// means what is so today. So write these structs with the names of their fields.
type Store interface {
	// Get finds the session that keys name and uses it: the session's TTL starts again, and
	// keys are bound to it as Keys says. ok is true for a session that has lost its auth, too.
	Get(ctx context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error)

	// Peek finds the session that keys name and changes nothing.
	Peek(ctx context.Context, scope Scope, keys Keys) (b Binding, ok bool, err error)

	// Bind binds the session that keys name to auth, unless the session is bound: the first
	// Bind wins. If it was bound, existed is true, and b is the existing binding, used as by
	// Get. A new binding is provisional. A session that has lost its auth is bound again and
	// keeps its stable name. With zero keys or an empty auth nothing is bound and b is zero.
	Bind(ctx context.Context, scope Scope, keys Keys, auth string) (b Binding, existed bool, err error)

	// Move binds the session of b to another auth, or to the same one anew, if b is current.
	// The new binding is provisional. If b is not current, moved is false, and now is the
	// current binding; a use of it is opened if it is provisional. now is zero if the session
	// is gone. The TTL does not start again. With an empty auth nothing happens, and now is
	// zero.
	Move(ctx context.Context, b Binding, auth string) (now Binding, moved bool, err error)

	// Confirm says that the auth of b has just served the session. The binding is no longer
	// provisional, and the TTL starts again. If b is not current or has lost its auth, nothing
	// happens and current is false. memo is the session's memo.
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

	// Release ends one use of b, if b is current, is provisional and has an open use. If that
	// was the last one, and failed is true, the session loses its auth: Lost is then Released.
	// If failed is false, the binding stays, without an open use. So a binding that has never
	// served leaves no auth behind. And one failure does not take the auth from other requests
	// that still wait for their answer.
	Release(ctx context.Context, b Binding, failed bool) (unbound bool, err error)

	// BindAnswer says that a request was answered: the one that got b. The keys of the answer
	// are bound to the session of b, whatever its generation. They are taken from any other
	// session, unless that session has them as Names.
	//
	// If b is Opening, the answer may belong to another conversation that began with the same
	// words. So it is not accepted, and nothing is bound, if a.End was answered before or is
	// no longer the session's latest End. No answer is accepted if the session is gone.
	// Without Keys and Marks nothing is bound, but the request counts as answered.
	BindAnswer(ctx context.Context, b Binding, a Answer) (Answered, error)

	// Remember notes an auth under a key: for example, which auth holds an earlier response.
	// Notes live as long as sessions, have a bound of their own, and are never sessions. The
	// last Remember wins. With a zero key or an empty auth nothing is noted.
	Remember(ctx context.Context, scope Scope, key Key, auth string) error

	// Recall returns the auth that was noted under a key, and starts the TTL of the note
	// again.
	Recall(ctx context.Context, scope Scope, key Key) (auth string, ok bool, err error)
}

// Admin has operations for those who run the gateway. A Store may have them or not. Errors and
// concurrency are as for Store, but an operation on many sessions is atomic only for each of
// them.
type Admin interface {
	// InvalidateSession removes the session that keys name, with all its keys.
	InvalidateSession(ctx context.Context, scope Scope, keys Keys) (removed bool, err error)

	// InvalidateAuth takes auth from all sessions that are bound to it: Lost is then
	// AuthInvalidated. It removes all notes of auth. It returns how many sessions were bound.
	InvalidateAuth(ctx context.Context, auth string) (unbound int, err error)

	// InvalidateTenant removes all sessions and notes of a tenant. With an auth, it does what
	// InvalidateAuth does, but only to this tenant's sessions and notes. It returns how many
	// sessions were removed or lost their auth.
	InvalidateTenant(ctx context.Context, tenant, auth string) (n int, err error)

	// RenameAuth renames an auth in bindings and notes. Generations and TTLs stay. It returns
	// how many sessions were bound to from. A binding that is made under the old name
	// meanwhile keeps the old name. If to is empty or equals from, nothing happens.
	RenameAuth(ctx context.Context, from, to string) (renamed int, err error)

	// CountAuth returns how many sessions are bound to auth. Expired sessions that were not
	// freed yet may be counted.
	CountAuth(ctx context.Context, auth string) (bound int, err error)

	// CountAuths returns how many sessions are bound to each auth that has any. It is CountAuth
	// for all auths at once, and may count expired sessions in the same way. It costs a look at
	// the auths, not at the sessions. A store that can only walk over its sessions does so in
	// steps, and others can use it between them.
	CountAuths(ctx context.Context) (bound map[string]int, err error)

	// EditMemos calls edit with each session that has a memo, and replaces the memo by what
	// edit returns. It calls edit again for a session that has changed meanwhile. No lock is
	// held while edit runs.
	EditMemos(ctx context.Context, edit func(b Binding) (memo string)) error
}
