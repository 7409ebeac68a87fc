package cache

import "time"

// Two conversations that begin with the same words share a session until one of them
// continues. A third conversation may then begin with these words, and its session takes the
// common end. When the second conversation continues, that end finds the third one's session,
// but the second was served by the auth of the first one's. So the third one's session
// remembers from which session it has taken the end (its elder), and the shared session
// remembers how many conversations have not continued. How often an end was served tells how
// many conversations share it: a request that failed and was sent again is served once.
//
// If answers are known, the session of the second conversation takes the end at once, and the
// answers find the sessions. A client may write its answer in other words. Then the end finds
// the session that has waited for longest.

// twin is what a session remembers only if it was shared, or if its end or that of another
// session was taken.
type twin struct {
	awaited uint32 // requests that came with key, and whose conversations have not continued
	own     bool   // one of them belongs to the session itself
	key     digest
	since   int64 // when the first of them continued

	taken digest // the end that this session has taken from elder
	elder alias
}

// twinTime is how long a session waits for conversations that have not continued. A request
// that was only sent twice must not attract others for ever.
const twinTime = 5 * time.Minute

// twin returns the session's twin, nil for nearly all sessions.
func (h held) twin() *twin {
	if e := h.extras(); e == nil || e[0]&hasTwin == 0 {
		return nil
	}
	return h.s.twins[h.i]
}

// needTwin returns the session's twin. It makes one if there is none.
func (h held) needTwin() *twin {
	t := h.twin()
	if t == nil {
		t = &twin{}
		e := h.extras()
		if e == nil {
			e = h.s.needExtras(h.r)
		}
		e[0] |= hasTwin
		h.s.twins[h.i] = t
	}
	return t
}

// goOn notes that a conversation continues, and that the session is about to get a new latest
// end. by is the key that found the session.
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

// robbed notes that another session is about to take the latest end.
func (h held) robbed(d digest, now moment) {
	t, e := h.needTwin(), h.extras()
	t.awaited, t.own, t.key, t.since = max(1, e.served()), true, d, now.at
	e.set(e.answered(), e.asked(), 0)
}

// adopt notes that the session has taken d from elder.
func (h held) adopt(elder alias, d digest) {
	if elder.born != 0 {
		t := h.needTwin()
		t.elder, t.taken = elder, d
	}
}

// elder returns the session from which h has taken d, zero if there is none.
func (h held) elder(d digest) (a alias) {
	if t := h.twin(); t != nil && t.taken == d {
		a = t.elder
	}
	return a
}

// awaits reports whether there are requests that came with d and whose conversations have not
// continued.
func (h held) awaits(d digest, now moment) bool {
	t := h.twin()
	return t != nil && t.awaited > 0 && t.key == d && now.at-t.since < int64(twinTime)
}

// elder returns the session that has the end d, which is about to be taken. It returns zero if
// that session does not wait for any conversation there.
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

// maxElders bounds how many elders are asked for one end.
const maxElders = 8

// eldest follows the elders from whom an end was taken one after another, and returns the one
// that has waited for longest, or zero if none waits. from is the elder of the session that
// has the end now.
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
