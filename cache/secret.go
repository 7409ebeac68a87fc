package cache

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// secret is what a table mixes into everything that clients choose or see. It is made of
// random bytes, and not of a maphash.Seed, because a snapshot has to hold it: keys and stable
// names depend on it.
type secret struct {
	seed   [secretSize]byte
	names  [2]uint64 // key of the stable names
	scopes [2]uint64 // key of the mixes of scopes
	spread uint64    // odd; spreads keys over the shards
}

const secretSize = 40

func newSecret() secret {
	var seed [secretSize]byte
	_, _ = rand.Read(seed[:]) // it never fails
	return secretOf(seed)
}

func secretOf(seed [secretSize]byte) secret {
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(seed[8*i:]) }
	return secret{seed, [2]uint64{n(0), n(1)}, [2]uint64{n(2), n(3)}, n(4) | 1}
}

// mix returns a number that makes the digests of one scope differ from those of others. The
// scope itself is compared as well. A client that does not know the secret cannot choose names
// whose mixes are related.
func (c *secret) mix(s *Scope) uint64 {
	h := c.scopes[1]
	h = c.blend(h, s.Tenant)
	h = c.blend(h, s.Pool)
	return c.blend(h, s.Model)
}

// blend mixes a string into a hash, 16 bytes at a time.
func (c *secret) blend(h uint64, s string) uint64 {
	n := uint64(len(s))
	for ; len(s) > 16; s = s[16:] {
		h = fold(eight(s)^c.scopes[0], eight(s[8:])^h)
	}
	var a, b uint64
	switch {
	case len(s) >= 8: // the two parts may overlap: the length says how
		a, b = eight(s), eight(s[len(s)-8:])
	default:
		for i := range len(s) {
			a = a<<8 | uint64(s[i])
		}
	}
	return fold(a^c.scopes[0], b^h) ^ fold(n^c.scopes[1], h^c.spread)
}

func eight(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// name makes the stable name of the session with the birth number n: SipHash-2-4 of n, with
// 128 bits. A client that sees some names cannot tell others from them.
func (c *secret) name(k *Key, n uint64) {
	const length = 8 << 56 // the last block of SipHash says how many bytes there were
	v0, v1 := c.names[0]^0x736f6d6570736575, c.names[1]^0x646f72616e646f6d^0xee
	v2, v3 := c.names[0]^0x6c7967656e657261, c.names[1]^0x7465646279746573
	round := func() {
		v0 += v1
		v2 += v3
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 = bits.RotateLeft64(v0, 32) + v3
		v2 += v1
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	v3 ^= n
	round()
	round()
	v0 ^= n
	v3 ^= length
	round()
	round()
	v0 ^= length
	v2 ^= 0xee
	for range 4 {
		round()
	}
	binary.LittleEndian.PutUint64(k[:8], v0^v1^v2^v3)
	v1 ^= 0xdd
	for range 4 {
		round()
	}
	binary.LittleEndian.PutUint64(k[8:], v0^v1^v2^v3)
}
