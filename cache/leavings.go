package cache

// leavings are what an operation has left in shards that it had not locked, and
// whom it has to tell.
type leavings struct {
	removals []removal
	aliases  []leaving
	dropped  [3]drop // of one End and two Also
	n        int
}

// removal is a binding that has ended.
type removal struct {
	scope Scope
	was   Binding
	why   Cause
}

// leaving are the keys of a session that was removed.
type leaving struct {
	keys *extras
	born uint64
}

// drop is a key that a live session has let go.
type drop struct {
	key Key
	of  alias
}

// alias says whose key it is.
type alias struct {
	home Key
	born uint64
}

func (l *leavings) drop(d drop) {
	l.dropped[l.n] = d
	l.n++
}
