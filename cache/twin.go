package cache

import "time"

// Two conversations that begin with the same words share a session until one of
// them goes on. If a third one begins with these words then, it takes their common
// end. Whoever has not gone on is led to the third by that end, but has been served
// where the first is. So the third remembers whom it has taken the end from, and the
// first how many have not gone on. How many conversations share an end is how often
// it was served: a request that failed and was sent again is served once.

// twin is what only sessions remember that were shared.
type twin struct {
	awaited uint32 // requests that ended in key, and of which nothing has followed
	key     Key
	since   int64 // when the first of them went on

	taken Key // the end that was taken from elder
	elder alias
}

// twinTime is for how long those are awaited that have not gone on: a request that
// was only sent twice must not attract others for ever.
const twinTime = 5 * time.Minute

func (e *extras) shared() *twin {
	if e.twin == nil {
		e.twin = &twin{}
	}
	return e.twin
}

// goOn says that a request has followed on an end, and that the session is about to
// get a new latest end.
func (e *extras) goOn(by Key, now moment) {
	if served := e.served.Swap(0); served > 1 {
		t := e.shared()
		t.key, t.awaited, t.since = e.latest(), served-1, now.at
	} else if t := e.twin; t != nil && t.awaited > 0 && by == t.key {
		t.awaited--
	}
}

// adopt remembers whom an end was taken from.
func (e *extras) adopt(elder alias, k Key) {
	if elder.born != 0 {
		t := e.shared()
		t.elder, t.taken = elder, k
	}
}

// elder is whom an end was taken from, zero for nobody.
func (e *extras) elder(k Key) (a alias) {
	if e != nil && e.twin != nil && e.twin.taken == k {
		a = e.twin.elder
	}
	return a
}

// awaits reports whether requests have ended in k of which nothing has followed.
func (e *extras) awaits(k Key, now moment) bool {
	return e != nil && e.twin != nil && e.twin.awaited > 0 && e.twin.key == k && now.at-e.twin.since < int64(twinTime)
}

// awaits is awaits for the session of an alias.
func (o *op) awaits(a alias, k Key) bool {
	s := o.t.shard(a.home)
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.home(a.home)
	return o.valid(s, r, a.born) && r.more.awaits(k, o.now)
}

// elder is the session that has an end which is about to be taken, if it awaits
// somebody there.
func (o *op) elder(k Key) (a alias) {
	if _, r := o.owner(k); r != nil && r.more.awaits(k, o.now) {
		a = alias{r.home, r.born}
	}
	return a
}
