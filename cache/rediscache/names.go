package rediscache

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/llmaffinity/llmaffinity/cache"
)

// buckets is how many parts the sessions have. All sessions of a tenant are in one of them,
// and a bucket is in one hash slot of a Cluster.
const buckets = 256

// place says where the sessions of a scope are.
type place struct {
	scope  cache.Key // digest of all names
	tenant cache.Key // digest of the tenant
	bucket byte
}

func placeOf(s cache.Scope) place {
	var buf [3 * (binary.MaxVarintLen64 + 128)]byte
	b := buf[:0]
	for _, name := range [...]string{s.Tenant, s.Pool, s.Model} {
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	}
	tenant := tenantOf(s.Tenant)
	sum := sha256.Sum256(b)
	return place{scope: cache.Key(sum[:16]), tenant: tenant, bucket: tenant[0]}
}

func tenantOf(name string) cache.Key {
	sum := sha256.Sum256([]byte(name))
	return cache.Key(sum[:16])
}

// epochKeys returns the names of the keys that hold the buckets' epochs. They also route a
// script to its bucket.
func epochKeys(prefix string) (all [buckets]string) {
	for i := range all {
		all[i] = "{" + prefix + ":" + strconv.Itoa(i) + "}:E"
	}
	return all
}

// alias is an explicit id inside its scope.
type alias [2 * len(cache.Key{})]byte

func aliasOf(scope, name cache.Key) (a alias) {
	copy(a[:], scope[:])
	copy(a[len(scope):], name[:])
	return a
}

// aliasKey returns the key whose value is the session that an explicit id names.
func aliasKey(epoch string, scope, name cache.Key) string {
	return epoch[:len(epoch)-1] + "k" + string(scope[:]) + string(name[:])
}

// aliasIn returns the explicit id that an aliasKey is made of; ok is false for other keys.
func aliasIn(key, prefix string) (a alias, ok bool) {
	rest, ok := strings.CutPrefix(key, "{"+prefix+":")
	if !ok {
		return a, false
	}
	_, rest, ok = strings.Cut(rest, "}:")
	if !ok || len(rest) != 1+len(a) || rest[0] != 'k' {
		return a, false
	}
	copy(a[:], rest[1:])
	return a, true
}

// indexOf returns the name of an auth as the names of indexes contain it.
func indexOf(auth string) string {
	if len(auth) > 64 || strings.HasPrefix(auth, "#") {
		sum := sha1.Sum([]byte(auth)) // Redis can compute it, too; it need not be secure
		return "#" + hex.EncodeToString(sum[:])
	}
	return auth
}

// anyKey returns a random key, which cannot be guessed.
func anyKey() (k cache.Key) {
	_, _ = rand.Read(k[:]) // never fails
	return k
}

// anyGen returns a random generation below 1<<63.
func anyGen() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	b[0] &= 0x7f
	b[7] |= 1
	return string(b[:])
}

func genOf(s string) uint64 {
	if len(s) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(s)) &^ (1 << 63)
}

func genText(g uint64) string { return string(binary.BigEndian.AppendUint64(nil, g)) }
