// Package floor is the least that a bound pick can cost: a prototype that does what no pick
// can do without, and nothing else. It is measured beside the library, on the same requests
// in the same run.
//
// A pick reads the client's own session header, hashes it together with the tenant, the
// pool and the model to 128 bits, looks that up in a flat table of entries of 32 bytes, reads
// the clock and starts the entry's TTL again, and finds the candidate with the entry's name.
// A report looks up again, reads the clock, and marks that the auth has served.
//
// It leaves out what makes a store of bindings: locks, so one goroutine only; the comparison
// of scopes, which are in the hash alone; removal, eviction and an order of use; generations,
// so a late report counts; the growth of the table. And of a pick: other places of an id, other
// keys, everything that could say that the session's auth cannot serve, statistics, and hooks.
package floor

import (
	"encoding/binary"
	"errors"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Scope is what an id is valid in.
type Scope struct{ Tenant, Pool, Model string }

// Ref names the session of a pick to Report.
type Ref struct{ hi, lo uint64 }

// slot is one entry. The zero Ref is that of a free slot.
type slot struct {
	ref     Ref
	expires time.Duration // since the table was made
	auth    uint32        // its place in names
	served  bool
}

// Table binds sessions to auths of type T. One goroutine may use it.
type Table[T any] struct {
	header string
	name   func(T) string
	ttl    time.Duration
	began  time.Time
	slots  []slot // a power of two
	free   int
	names  []string
}

// New makes a table for so many sessions, of which a half or more of the slots stay free.
// header is the name of the client's own session header in its canonical form.
func New[T any](header string, name func(T) string, sessions int, ttl time.Duration) *Table[T] {
	size := 8
	for size < 2*sessions {
		size *= 2
	}
	return &Table[T]{header: header, name: name, ttl: ttl, began: time.Now(), slots: make([]slot, size), free: sessions}
}

// ref reads the id of a request and hashes it with its scope. ok is false without an id.
func (t *Table[T]) ref(s *Scope, h http.Header) (r Ref, ok bool) {
	v := h[t.header]
	if len(v) == 0 || v[0] == "" {
		return r, false
	}
	var buf [256]byte
	b := buf[:0]
	for _, part := range [...]string{s.Tenant, s.Pool, s.Model, v[0]} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	r.lo = xxhash.Sum64(b)
	r.hi = xxhash.Sum64(append(b, 1)) | 1 // not the zero Ref
	return r, true
}

// find is the slot of a session, or the free one where it would be.
func (t *Table[T]) find(r Ref) *slot {
	mask := uint64(len(t.slots) - 1)
	for i := r.lo & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.ref == r || s.ref == (Ref{}) {
			return s
		}
	}
}

// ErrFull is that the table has as many sessions as it was made for.
var ErrFull = errors.New("floor: the table is full")

// Bind binds the session of a request to an auth, also if it is bound.
func (t *Table[T]) Bind(s *Scope, h http.Header, auth string) error {
	r, ok := t.ref(s, h)
	if !ok {
		return errors.New("floor: no session")
	}
	e := t.find(r)
	if e.ref == (Ref{}) {
		if t.free == 0 {
			return ErrFull
		}
		t.free--
	}
	number := -1
	for i, name := range t.names {
		if name == auth {
			number = i
		}
	}
	if number < 0 {
		number = len(t.names)
		t.names = append(t.names, auth)
	}
	*e = slot{ref: r, expires: time.Since(t.began) + t.ttl, auth: uint32(number)}
	return nil
}

// Pick is the candidate that the request's session is bound to. ok is false if the session
// is not bound, or its auth is no candidate.
func (t *Table[T]) Pick(s *Scope, h http.Header, candidates []T) (auth T, r Ref, ok bool) {
	if r, ok = t.ref(s, h); !ok {
		return auth, r, false
	}
	e := t.find(r)
	now := time.Since(t.began)
	if e.ref == (Ref{}) || e.expires <= now {
		return auth, r, false
	}
	e.expires = now + t.ttl
	name := t.names[e.auth]
	for _, c := range candidates {
		if t.name(c) == name {
			return c, r, true
		}
	}
	return auth, r, false
}

// Report says that the auth of a pick has served.
func (t *Table[T]) Report(r Ref) bool {
	e := t.find(r)
	now := time.Since(t.began)
	if e.ref == (Ref{}) || e.expires <= now {
		return false
	}
	e.served, e.expires = true, now+t.ttl
	return true
}
