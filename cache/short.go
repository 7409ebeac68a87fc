package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// maxName is how long a name may be that is kept as it is, in bytes.
	maxName = 128
	// marker is the prefix of a name's short form.
	marker = "sha256:"
)

// Short returns the scope as a store keeps it. A name of at most 128 bytes stays as it is. A
// longer name becomes "sha256:" and its SHA-256 in hex. So does a short name that begins with
// "sha256:", so that two names never become one. Short allocates nothing if all names stay.
//
// Short is for other stores, and for callers that keep a table by scope. A Store shortens the
// names that it is given. So give it the names themselves: a name that is shortened twice is a
// third name.
func (s Scope) Short() Scope {
	if s.fits() {
		return s
	}
	return Scope{Tenant: short(s.Tenant), Pool: short(s.Pool), Model: short(s.Model)}
}

// fits reports whether all names stay as they are.
func (s *Scope) fits() bool { return fits(s.Tenant) && fits(s.Pool) && fits(s.Model) }

func fits(name string) bool { return len(name) <= maxName && !strings.HasPrefix(name, marker) }

// clone copies the names, which may be small parts of large strings.
func (s Scope) clone() Scope {
	return Scope{Tenant: strings.Clone(s.Tenant), Pool: strings.Clone(s.Pool), Model: strings.Clone(s.Model)}
}

// short returns a name as a store keeps it.
func short(name string) string {
	if fits(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return marker + hex.EncodeToString(sum[:])
}
