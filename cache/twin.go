package cache

import "time"

// Two conversations that begin with the same words share a session until one of
// them goes on. If a third one begins with these words then, it takes their common
// end. Whoever has not gone on is led to the third by that end, but has been served
// where the first is. So the third remembers whom it has taken the end from, and the
// first how many have not gone on. How many conversations share an end is how often
// it was served: a request that failed and was sent again is served once.
//
// Where answers are known, the second conversation takes the end at once, and each is
// found by its answer. A client may write its answer in other words. Then the end leads
// to whoever has waited for longest.

// twin is what only sessions remember that were shared, or whose end was taken.
type twin struct {
	awaited uint32 // requests that ended in key, and of which nothing has followed
	own     bool   // one of them is the session's own
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
	served, t := e.served.Swap(0), e.twin
	switch {
	case served > 1:
		t = e.shared()
		t.awaited, t.own, t.key, t.since = served-1, false, e.latest(), now.at
	case t != nil && t.awaited > 0 && (by == t.key || t.own):
		t.awaited--
		t.own = false
	}
}

// robbed says that the latest end is about to be taken.
func (e *extras) robbed(k Key, now moment) {
	t := e.shared()
	t.awaited, t.own, t.key, t.since = max(1, e.served.Swap(0)), true, k, now.at
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

// elder is the session that has an end which is about to be taken, if it awaits
// somebody there.
func (o *op) elder(k Key) (a alias) {
	_, r := o.owner(k)
	if r != nil && r.more.latest() == k {
		r.more.robbed(k, o.now)
	}
	if r != nil && r.more.awaits(k, o.now) {
		a = alias{r.home, r.born}
	}
	return a
}

// maxElders bounds how many sessions are asked for one end.
const maxElders = 8

// eldest is who has waited for longest among those from whom an end was taken one
// after another, zero if nobody waits. from is whom the latest has taken it from.
func (o *op) eldest(from alias, k Key) (a alias) {
	for range maxElders {
		if from.born == 0 {
			break
		}
		s := o.t.shard(from.home)
		s.mu.RLock()
		r, next := s.home(from.home), alias{}
		if o.valid(s, r, from.born) {
			if r.more.awaits(k, o.now) {
				a = from
			}
			next = r.more.elder(k)
		}
		s.mu.RUnlock()
		from = next
	}
	return a
}
