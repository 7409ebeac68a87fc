// Package requests makes the requests that are measured: headers, bodies, and the order of
// sessions. All are generated from fixed seeds. Bodies and headers have the form of captured ones.
package requests

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// idLen is the length of an id of SessionID.
const idLen = 36

// SessionID returns the id that a client sends for session i, a UUID.
func SessionID(i int) string {
	a, b := mixed(uint64(i)), mixed(^uint64(i))
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

// Digest returns a key of 128 bits for session i, as a caller makes one from an id. It is never
// zero.
func Digest(i int) (k [16]byte) {
	a, b := mixed(uint64(i)), mixed(^uint64(i))
	binary.LittleEndian.PutUint64(k[:8], a|1)
	binary.LittleEndian.PutUint64(k[8:], b)
	return k
}

// mixed is the finalizer of SplitMix64.
func mixed(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Order returns the order of sessions, as session numbers below n. They are drawn in advance, so
// that drawing them is not measured. The length is a power of two.
func Order(n int, zipf bool) []int32 {
	order := make([]int32, 1<<20)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	z := rand.NewZipf(rng, 1.1, 1, uint64(n-1))
	for i := range order {
		if zipf {
			order[i] = int32(z.Uint64())
		} else {
			order[i] = int32(rng.IntN(n))
		}
	}
	return order
}

// IDs has the ids of an Order, one behind the other in memory. So the next id is in the CPU's
// cache, like the id of a request that a gateway has just read. Ids in the order of their sessions
// would not be there.
type IDs struct {
	text string
	mask int
}

// NewIDs makes the ids of an order.
func NewIDs(order []int32) IDs {
	var b strings.Builder
	b.Grow(len(order) * idLen)
	for _, i := range order {
		b.WriteString(SessionID(int(i)))
	}
	return IDs{b.String(), len(order) - 1}
}

// At returns the id of request i, for any i: after the last id the first one follows.
func (d IDs) At(i int) string {
	at := (i & d.mask) * idLen
	return d.text[at : at+idLen]
}
