package cache

import (
	"encoding/binary"
	"math/bits"
)

// digest is a key inside a scope, as the store keeps it; 0 stands for none. Clients
// choose keys, but do not know the secret: they can neither fill one shard nor make two
// keys one digest. By chance, two of n keys have one digest once in 2^65 / n^2 stores:
// with ten million keys that is once in 370,000.
type digest uint64

// digest is that of a key in the scope of a mix.
func (c *secret) digest(mix uint64, k *Key) digest {
	a, b := binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])
	if a|b == 0 {
		return 0
	}
	h := fold(a^mix, b^bits.RotateLeft64(mix, 32)^c.spread)
	return max(digest(fold(h^c.scopes[1], c.spread)), 1)
}

// own is the digest of a session that no key names, by its birth.
func (c *secret) own(born uint64) digest {
	return max(digest(fold(born^c.scopes[0], c.spread)), 1)
}

// bits are those that an index knows of a key. The upper ones say which shard it is in.
func (d digest) bits() uint32 { return uint32(d) }
