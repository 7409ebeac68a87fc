package sessionid

import (
	"encoding/binary"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
)

// Key is a 128-bit digest of one name of a session. Two Keys are equal if two requests
// have the same value in places of the same family, or if their conversations are
// equal word for word. The zero Key names nothing.
//
// Key is an alias, so that stores can take keys without importing this package.
type Key = [16]byte

// space keeps the ids of one family apart from all other ids. It is a seed,
// because an id could contain any separator.
type space struct{ lo, hi uint64 }

func newSpace(name string) *space {
	return &space{lo: xxhash.Sum64String(name), hi: xxhash.Sum64String(name + "/hi")}
}

// key digests an id of the space.
func (s *space) key(id string) (k Key) {
	s.digest(&k, id)
	return k
}

// digest makes the key where it is wanted: one half by xxhash, the other by a chain of
// multiplications over the id's words.
func (s *space) digest(k *Key, id string) {
	hi := s.hi ^ uint64(len(id))
	for left := id; len(left) >= 8; left = left[8:] {
		hi = content.Fold(hi, word(left))
	}
	binary.LittleEndian.PutUint64(k[:8], content.Fold(s.lo, xxhash.Sum64String(id)))
	binary.LittleEndian.PutUint64(k[8:], content.Fold(hi, rest(id)))
}

// word returns the first eight bytes of v.
func word(v string) uint64 {
	return uint64(v[0]) | uint64(v[1])<<8 | uint64(v[2])<<16 | uint64(v[3])<<24 |
		uint64(v[4])<<32 | uint64(v[5])<<40 | uint64(v[6])<<48 | uint64(v[7])<<56
}

// rest returns the bytes of v behind its last whole word, as a word.
func rest(v string) (w uint64) {
	n := len(v) % 8
	if n > 0 && len(v) >= 8 {
		return word(v[len(v)-8:]) >> (64 - 8*n)
	}
	for i := range n {
		w |= uint64(v[i]) << (8 * i)
	}
	return w
}

// spaceLane is the family of all subagents' ids.
var spaceLane = newSpace("lane")

// laneKey is the key of a subagent inside its session. The session is part of it,
// because a client that numbers its agents uses the same ids in every session.
func laneKey(session Key, agent string) Key { return content.Join(session, spaceLane.key(agent)) }

// bytesOf is the memory of a string. It must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
