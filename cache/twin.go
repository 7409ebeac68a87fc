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
	key     digest
	since   int64 // when the first of them went on

	taken digest // the end that was taken from elder
	elder alias
}

// twinTime is for how long those are awaited that have not gone on: a request that
// was only sent twice must not attract others for ever.
const twinTime = 5 * time.Minute

// twin is the session's, nil for nearly all sessions.
func (h held) twin() *twin {
	if e := h.extras(); e == nil || e[0]&hasTwin == 0 {
		return nil
	}
	return h.s.twins[h.i]
}

// needTwin is the session's, made if there is none.
func (h held) needTwin() *twin {
	t := h.twin()
	if t == nil {
		t = &twin{}
		h.s.needExtras(h.r)[0] |= hasTwin
		h.s.twins[h.i] = t
	}
	return t
}

// goOn says that a request has followed on an end, and that the session is about to
// get a new latest end.
func (h held) goOn(by digest, now moment) {
	e := h.extras()
	if e == nil {
		return
	}
	served, t := e.served(), h.twin()
	switch {
	case served > 1:
		t = h.needTwin()
		t.awaited, t.own, t.key, t.since = served-1, false, e.latest(), now.at
	case t != nil && t.awaited > 0 && (by == t.key || t.own):
		t.awaited--
		t.own = false
	}
}

// robbed says that the latest end is about to be taken.
func (h held) robbed(d digest, now moment) {
	t, e := h.needTwin(), h.extras()
	t.awaited, t.own, t.key, t.since = max(1, e.served()), true, d, now.at
	e.set(e.answered(), e.asked(), 0)
}

// adopt remembers whom an end was taken from.
func (h held) adopt(elder alias, d digest) {
	if elder.born != 0 {
		t := h.needTwin()
		t.elder, t.taken = elder, d
	}
}

// elder is whom an end was taken from, zero for nobody.
func (h held) elder(d digest) (a alias) {
	if t := h.twin(); t != nil && t.taken == d {
		a = t.elder
	}
	return a
}

// awaits reports whether requests have ended in d of which nothing has followed.
func (h held) awaits(d digest, now moment) bool {
	t := h.twin()
	return t != nil && t.awaited > 0 && t.key == d && now.at-t.since < int64(twinTime)
}

// elder is the session that has an end which is about to be taken, if it awaits
// somebody there.
func (o *op) elder(d digest) (a alias) {
	h := o.owner(d)
	if !h.ok() {
		return a
	}
	if h.extras().latest() == d {
		h.robbed(d, o.now)
	}
	if h.awaits(d, o.now) {
		a = h.alias()
	}
	return a
}

// maxElders bounds how many sessions are asked for one end.
const maxElders = 8

// eldest is who has waited for longest among those from whom an end was taken one
// after another, zero if nobody waits. from is whom the latest has taken it from.
func (o *op) eldest(from alias, d digest) (a alias) {
	for range maxElders {
		if from.born == 0 {
			break
		}
		s := o.t.shard(from.home)
		s.mu.RLock()
		h, next := s.home(from.home), alias{}
		if o.valid(h, from.born) {
			if h.awaits(d, o.now) {
				a = from
			}
			next = h.elder(d)
		}
		s.mu.RUnlock()
		from = next
	}
	return a
}
