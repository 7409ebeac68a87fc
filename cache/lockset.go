package cache

import "slices"

// lockset is the set of shards that an operation locks, in ascending order. Behind them are
// the shards that it has found to need as well.
type lockset struct {
	n, more int
	full    bool // there was no room for a shard that is needed
	at      [maxLocked]uint8
}

// maxLocked is room for the shards of all keys of a request (four names, nine others, four
// marks), of all homes that these can map to at one moment, and of some homes that they have
// mapped to before.
const maxLocked = 40

func (l *lockset) has(i int) bool { return slices.Contains(l.at[:l.n], uint8(i)) }

// add adds a shard before the locks are taken.
func (l *lockset) add(i int) {
	l.later(i)
	l.settle()
}

// later notes a shard while the locks are held.
func (l *lockset) later(i int) {
	switch {
	case slices.Contains(l.at[:l.n+l.more], uint8(i)):
	case l.n+l.more == len(l.at):
		l.full = true
	default:
		l.at[l.n+l.more] = uint8(i)
		l.more++
	}
}

// settle adds the shards that later has noted to the set, before it is locked again.
func (l *lockset) settle() {
	l.n += l.more
	l.more = 0
	slices.Sort(l.at[:l.n])
}
