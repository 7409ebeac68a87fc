package cache

// leavings are what an operation has left in shards that it had not locked, and
// whom it has to tell.
type leavings struct {
	removals []removal
	aliases  []leaving
	dropped  [MaxAnswer + MaxMarks]drop // of an answer; a request has fewer
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

// dead is a bit in the birth of an alias. It makes a mark that two sessions came
// with lead nowhere.
const dead = 1 << 63

// of reports whether the alias is of the session with this birth, dead or not.
func (a alias) of(born uint64) bool { return a.born&^dead == born }

func (l *leavings) drop(d drop) {
	l.dropped[l.n] = d
	l.n++
}
