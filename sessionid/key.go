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
	b := bytesOf(id)
	for ; len(b) >= 8; b = b[8:] {
		hi = content.Fold(hi, binary.LittleEndian.Uint64(b))
	}
	binary.LittleEndian.PutUint64(k[:8], content.Fold(s.lo, xxhash.Sum64String(id)))
	binary.LittleEndian.PutUint64(k[8:], content.Fold(hi, rest(bytesOf(id))))
}

// rest returns the bytes of b behind its last whole word, as a word.
func rest(b []byte) (w uint64) {
	n := len(b) % 8
	if n > 0 && len(b) >= 8 {
		return binary.LittleEndian.Uint64(b[len(b)-8:]) >> (64 - 8*n)
	}
	for i := range n {
		w |= uint64(b[i]) << (8 * i)
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
