package cache

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The stable names are SipHash-2-4 with 128 bits: its authors' test vector for the
// eight bytes 0 to 7 under the key 0 to 15.
func TestNamesAreSipHash(t *testing.T) {
	var seed [secretSize]byte
	for i := range seed {
		seed[i] = byte(i)
	}
	s := secretOf(seed)
	var k Key
	s.name(&k, 0x0706050403020100)
	require.Equal(t, "3b62a9ba6258f5610f83e264f31497b4", hex.EncodeToString(k[:]))
}

// Scopes whose names are nearly equal, or equal when they are joined, have different mixes.
// With another secret the mixes are different, too.
func TestMixesOfScopesDiffer(t *testing.T) {
	one, two := newSecret(), newSecret()
	var scopes []Scope
	for n := range 40 {
		for _, c := range []string{"a", "\x00"} {
			x := strings.Repeat(c, n)
			if n == 0 && c != "a" {
				continue
			}
			scopes = append(scopes, Scope{Tenant: x}, Scope{Tenant: x + "b"}, Scope{Tenant: "b" + x}, Scope{Tenant: x, Model: "b"})
			if n > 0 {
				scopes = append(scopes, Scope{Pool: x}, Scope{Model: x}, Scope{Pool: x, Model: "b"})
			}
		}
	}
	seen := map[uint64]Scope{}
	distinct := map[Scope]bool{}
	for _, s := range scopes {
		if distinct[s] {
			continue
		}
		distinct[s] = true
		for _, m := range []uint64{one.mix(&s), two.mix(&s)} {
			other, ok := seen[m]
			require.False(t, ok, fmt.Sprintf("%q and %q", s, other))
			seen[m] = s
		}
	}
}
