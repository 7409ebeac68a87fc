package cache

// leavings are what an operation has left in shards that it had not locked, and
// whom it has to tell.
type leavings struct {
	removals []removal
	aliases  []entryOf                     // of sessions that were removed
	dropped  [MaxAnswer + MaxMarks]entryOf // keys of a live session; an answer has most of them
	n        int
}

// removal is a binding that has ended.
type removal struct {
	scope Scope
	was   Binding
	why   Cause
}

// entryOf is the entry of a key in an index, and what it leads to. It is to go. If the
// record has the key again, there is another such entry.
type entryOf struct {
	key digest
	to  uint32
}

func (l *leavings) drop(key digest, to uint32) {
	l.dropped[l.n] = entryOf{key, to}
	l.n++
}
