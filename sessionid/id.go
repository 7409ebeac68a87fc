package sessionid

import (
	"encoding/hex"
	"log/slog"
)

// Key is a 128-bit digest of one name of a session. Keys are comparable, and
// equal where the same signal family carries the same value (or where two
// conversations are equal word for word). The zero Key names nothing.
//
// It is an alias, so that stores can take keys without importing this
// package.
type Key = [16]byte

// maxNames bounds the explicit names that one request can carry.
const maxNames = 4

// ID says which session a request belongs to. The zero ID means: no session.
// An ID is immutable, holds no memory of the request that it came from, and
// may be copied and used by any number of goroutines.
type ID struct {
	source  *source
	n       uint8         // of names
	names   [maxNames]Key // explicit ids, strongest first
	weak    Key           // prompt_cache_key beside a stronger name
	lane    Key
	parent  Key
	owners  []Owner
	history history // content
}

// IsZero reports whether nothing in the request names a session. (Owners may
// be there all the same.)
func (id *ID) IsZero() bool { return id.source == nil }

// Primary is the strongest name of the session, the zero Key for the zero ID.
// For an explicit signal it is the same in every request of the session. For
// content it is the end of this request and therefore new with every turn;
// the session is found by Fallbacks.
func (id *ID) Primary() Key {
	switch {
	case id.n > 0:
		return id.names[0]
	case id.weak != Key{}:
		return id.weak
	}
	return id.End()
}

// Names are the explicit ids that the request carries, strongest first: all
// of them name the session, and all are to be bound to it. Empty when the
// session is known by [ID.Weak] or by content only. The slice is the ID's
// own: read it, do not write.
func (id *ID) Names() []Key { return id.names[:id.n:id.n] }

// Weak is the key of prompt_cache_key, or the zero Key. Applications also use
// that member as a bucket for many conversations, so it finds a session only
// when there are no Names, and never pulls two sessions together that their
// Names tell apart.
func (id *ID) Weak() Key { return id.weak }

// End is the boundary after the last message, to be bound; the zero Key when
// the ID does not come from content.
func (id *ID) End() Key {
	if id.history.boundaries == 0 {
		return Key{}
	}
	return id.history.keys[0]
}

// Fallbacks are the boundaries before End, longest first, at most
// MaxBoundaries-1: the most recent ones and the first few. They are to be
// looked up and never to be bound. The slice is shared: read it, do not write.
func (id *ID) Fallbacks() []Key {
	if id.history.boundaries == 0 {
		return nil
	}
	return id.history.keys[1:id.history.boundaries:id.history.boundaries]
}

// Tail is the hash of the last few messages, independent of what stood before
// them: to be bound, like End. It finds the session again when its history has
// lost its head, to a compaction or a rolling window. The zero Key when the ID
// does not come from content, or when those messages say too little to be
// unlike others.
func (id *ID) Tail() Key {
	if !id.history.ownTail {
		return Key{}
	}
	return id.history.keys[id.history.boundaries]
}

// Tails are the tails at the boundaries before End, latest first, at most 24:
// to be looked up when none of Fallbacks is bound, and never to be bound. The
// slice is shared: read it, do not write.
func (id *ID) Tails() []Key {
	tails := id.history.keys[id.history.boundaries:]
	if id.history.ownTail {
		tails = tails[1:]
	}
	return tails
}

// Lane is the key of the subagent that sent the request, inside its session:
// the same in all requests of that subagent. It is the zero Key for the main
// line, and for clients that do not tell. With [LanesApart] it is the session's
// only name.
func (id *ID) Lane() Key { return id.lane }

// Parent is what a subagent came from: the Lane of another subagent, or the
// Primary of a session. It is the zero Key when there is none, or none is
// told. It never names the session of this request.
func (id *ID) Parent() Key { return id.parent }

// Owners is the state that the request names and that only the auth has which
// made it. What is found depends on [Config.Owners]; at most 3. The slice is
// shared: read it, do not write.
func (id *ID) Owners() []Owner { return id.owners }

// Signal tells which place in the request gave the primary key. The zero
// Signal belongs to the zero ID.
func (id *ID) Signal() Signal {
	if id.source == nil {
		return Signal{}
	}
	return id.source.public()
}

// String is the signal's name and a digest, safe to log: it never contains
// any part of the id that the client sent.
func (id ID) String() string {
	if id.IsZero() {
		return "none"
	}
	p := id.Primary()
	return id.source.name + ":" + hex.EncodeToString(p[:8])
}

// LogValue makes an ID log as its String.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// Signal is a place in a request that names a session.
type Signal struct {
	Name   string // the header's name or the body's path, or "content"
	Kind   Kind   // what sort of place it is
	Client string // who is known to send it, for humans
}

// Kind sorts signals by their place and strength.
type Kind uint8

const (
	KindNone          Kind = iota // no session
	KindOwn                       // an operator's own, see Config
	KindNativeHeader              // a header that one client sends for its own sessions
	KindNativeBody                // the same in the body: Claude Code's metadata.user_id
	KindGenericHeader             // a header that many clients and proxies use
	KindBody                      // a body member that names the conversation
	KindCacheKey                  // prompt_cache_key
	KindGuarded                   // what only some clients use for a conversation, where it is surely theirs
	KindContent                   // the conversation itself
	KindPattern                   // any other header x-*-session-id; not in DefaultOrder
	KindUser                      // metadata.user_id that names a user; not in DefaultOrder
	KindLane                      // a subagent: no session's name, see ID.Lane
	KindParent                    // what a subagent came from: no session's name, see ID.Parent
	KindOwner                     // state behind one auth, in the body: no session's name, see ID.Owners
	KindOwnerHeader               // the same in a header
)

var kindNames = [...]string{
	"none", "own", "native-header", "native-body", "generic-header", "body", "cache-key", "guarded", "content",
	"pattern", "user", "lane", "parent", "owner", "owner-header",
}

// String is the kind's name in lower case with dashes, fit for a metric label.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}
