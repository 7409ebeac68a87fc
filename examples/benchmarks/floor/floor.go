// Package floor is a prototype of a bound pick that does only what each pick must do, so that it
// shows the least that a pick can cost. An auth is what a gateway chooses among. The benchmarks
// compare the library with it, with the same requests in the same run.
//
// A pick reads the client's own session header. It hashes it together with the tenant, the pool and
// the model to 128 bits, and looks that up in a flat table with entries of 32 bytes. It reads the
// clock, starts the entry's TTL again, and finds the candidate with the entry's name. A report
// looks the session up again, reads the clock, and notes that the auth has served.
//
// Compared with a store of bindings, it has no locks, so only one goroutine can use it. It does not
// compare scopes, which are only in the hash. It has no removal, no eviction and no order of use,
// no generations, so that a late report counts, and its table cannot grow. Compared with a pick, it
// knows no other places of an id and no other keys, no states of auths, no statistics and no hooks.
package floor

import (
	"encoding/binary"
	"errors"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Scope is where an id is valid.
type Scope struct{ Tenant, Pool, Model string }

// Ref names the session of a pick to Report.
type Ref struct{ hi, lo uint64 }

// slot is an entry of the table. A free slot has the zero Ref.
type slot struct {
	ref     Ref
	expires time.Duration // counted from when the table was made
	auth    uint32        // the index of the auth in names
	served  bool
}

// Table binds sessions to auths of type T. One goroutine may use it.
type Table[T any] struct {
	header string
	name   func(T) string
	ttl    time.Duration
	began  time.Time
	slots  []slot // their number is a power of two
	free   int
	names  []string
}

// New makes a table for a number of sessions, with at least twice as many slots. header is the
// canonical name of the client's own session header.
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
	r.hi = xxhash.Sum64(append(b, 1)) | 1 // never the zero Ref
	return r, true
}

// find returns the slot of a session, or the free slot where it would be.
func (t *Table[T]) find(r Ref) *slot {
	mask := uint64(len(t.slots) - 1)
	for i := r.lo & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.ref == r || s.ref == (Ref{}) {
			return s
		}
	}
}

// ErrFull means that the table has as many sessions as it was made for.
var ErrFull = errors.New("floor: the table is full")

// Bind binds the session of a request to an auth, even if it is bound already.
func (t *Table[T]) Bind(s *Scope, h http.Header, auth string) error {
	r, ok := t.ref(s, h)
	if !ok {
		return errors.New("floor: the request has no session")
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

// Pick returns the candidate that the request's session is bound to. ok is false if the session is
// not bound, or if its auth is not a candidate.
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

// Report reports that the auth of a pick has served.
func (t *Table[T]) Report(r Ref) bool {
	e := t.find(r)
	now := time.Since(t.began)
	if e.ref == (Ref{}) || e.expires <= now {
		return false
	}
	e.served, e.expires = true, now+t.ttl
	return true
}
