package cache

// leavings are what an operation leaves to do until its locks are released: index entries to
// delete in other shards, and calls of OnRemove.
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

// entryOf is an index entry that is to be deleted: a key, and the record that it maps to. If
// the record has the key again, there is another such entry.
type entryOf struct {
	key digest
	to  uint32
}

func (l *leavings) drop(key digest, to uint32) {
	l.dropped[l.n] = entryOf{key, to}
	l.n++
}
