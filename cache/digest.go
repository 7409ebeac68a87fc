package cache

import (
	"encoding/binary"
	"math/bits"
)

// digest is a key in its scope, as the store keeps it; 0 means no key. Clients choose keys,
// but do not know the secret: they can neither fill one shard nor give two keys one digest. By
// chance, some two of n keys have one digest in one of 2^65 / n^2 stores: with ten million
// keys that is one store in 370,000.
type digest uint64

// digest returns the digest of k in the scope whose mix is given.
func (c *secret) digest(mix uint64, k *Key) digest {
	a, b := binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])
	if a|b == 0 {
		return 0
	}
	h := fold(a^mix, b^bits.RotateLeft64(mix, 32)^c.spread)
	return max(digest(fold(h^c.scopes[1], c.spread)), 1)
}

// own returns the home of a session that no explicit id names. It is made of the session's
// birth number.
func (c *secret) own(born uint64) digest {
	return max(digest(fold(born^c.scopes[0], c.spread)), 1)
}

// bits returns the part of the digest for an index, which keeps as many of its upper bits as it
// needs. The upper bits of the digest select the shard.
func (d digest) bits() uint32 { return uint32(d) }
