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
	signal *signal
	names  [maxNames]Key // explicit ids, strongest first
	n      uint8
	weak   Key   // prompt_cache_key beside a stronger name
	chain  []Key // content: own end first, then earlier boundaries, longest first
}

// IsZero reports whether nothing in the request names a session.
func (id *ID) IsZero() bool { return id.signal == nil }

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
	case len(id.chain) > 0:
		return id.chain[0]
	}
	return Key{}
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
	if len(id.chain) == 0 {
		return Key{}
	}
	return id.chain[0]
}

// Fallbacks are the boundaries before End, longest first, at most
// MaxBoundaries-1: the most recent ones and the first few. They are to be
// looked up and never to be bound. The slice is shared: read it, do not write.
func (id *ID) Fallbacks() []Key {
	if len(id.chain) == 0 {
		return nil
	}
	return id.chain[1:]
}

// Signal tells which place in the request gave the primary key. The zero
// Signal belongs to the zero ID.
func (id *ID) Signal() Signal {
	if id.signal == nil {
		return Signal{}
	}
	return Signal{Name: id.signal.name, Kind: id.signal.kind, Client: id.signal.client}
}

// String is the signal's name and a digest, safe to log: it never contains
// any part of the id that the client sent.
func (id ID) String() string {
	if id.IsZero() {
		return "none"
	}
	p := id.Primary()
	return id.signal.name + ":" + hex.EncodeToString(p[:8])
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
	KindNativeHeader              // a header that one client sends for its own sessions
	KindNativeBody                // the same in the body: Claude Code's metadata.user_id
	KindGenericHeader             // a header that many clients and proxies use
	KindBody                      // a body member that names the conversation
	KindCacheKey                  // prompt_cache_key
	KindContent                   // the conversation itself
	KindUser                      // metadata.user_id that names a user, last resort
)

var kindNames = [...]string{"none", "native-header", "native-body", "generic-header", "body", "cache-key", "content", "user"}

// String is the kind's name in lower case with dashes, fit for a metric label.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}
