package affinity

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// trouble is what is known of a session whose auth is away or fails. It lives
// in this process: another replica finds out by itself, and may choose another
// detour.
type trouble struct {
	gen    uint64    // of the binding that it is about
	since  time.Time // when it began
	until  time.Time // away until then, as was reported
	detour string    // where all requests of the session go meanwhile
	served time.Time // by the detour, last
	away   bool      // the auth was away, and not only full or slow
	failed int       // results in a row that nobody has listed
	avoid  [3]avoided
}

// avoided is an auth that has failed the session besides the one that it is
// bound to.
type avoided struct {
	auth  string
	until time.Time
}

// avoiding reports whether an auth is to be left alone.
func (t *trouble) avoiding(auth string, now time.Time) bool {
	for _, a := range t.avoid {
		if a.auth == auth && now.Before(a.until) {
			return true
		}
	}
	return false
}

// shun makes an auth one to be avoided, in the place of the one whose time is
// over first.
func (t *trouble) shun(auth string, until time.Time) {
	at := 0
	for i, a := range t.avoid {
		if a.auth == auth {
			at = i
			break
		}
		if a.until.Before(t.avoid[at].until) {
			at = i
		}
	}
	if t.avoid[at].auth != auth || t.avoid[at].until.Before(until) {
		t.avoid[at] = avoided{auth, until}
	}
}

// settled is what is left of it when all is well: nothing, or auths that are
// still to be avoided.
func (t *trouble) settled(now time.Time) (left trouble, keep bool) {
	left = trouble{gen: t.gen, since: t.since, until: t.until, avoid: t.avoid}
	if !now.Before(left.until) {
		left.until = time.Time{}
	}
	for _, a := range t.avoid {
		keep = keep || now.Before(a.until)
	}
	return left, keep
}

// troubles are those of all sessions. Most of the time there are none, and
// nobody waits for a lock.
type troubles struct {
	n       atomic.Int64
	stripes [16]struct {
		mu sync.Mutex
		of map[cache.Key]trouble
	}
}

// maxTroubles bounds a stripe; beyond it, some session forgets its detour.
const maxTroubles = 1024

// forgotten is when the trouble of a session that does not come again is
// forgotten: later than any session comes back to it.
const forgotten = 24 * time.Hour

// get is the trouble of a binding. Each look frees one that nobody asks for any
// more, if it meets one, so that the usual case comes back by itself.
func (t *troubles) get(b cache.Binding) (trouble, bool) {
	if t.n.Load() == 0 {
		return trouble{}, false
	}
	s := &t.stripes[b.Session[0]%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, old := range s.of { // one of them, by chance
		if time.Since(old.since) > forgotten && time.Since(old.until) > 0 {
			delete(s.of, other)
			t.n.Add(-1)
		}
		break
	}
	tr, ok := s.of[b.Session]
	if !ok || tr.gen != b.Gen {
		return trouble{}, false // none, or that of an auth which it has left
	}
	return tr, true
}

// change lets do change the trouble of a binding; if it returns false there is
// none any more.
func (t *troubles) change(b cache.Binding, do func(*trouble) bool) trouble {
	s := &t.stripes[b.Session[0]%16]
	s.mu.Lock()
	defer s.mu.Unlock()
	tr, had := s.of[b.Session]
	if had && tr.gen > b.Gen {
		return trouble{} // late: the session has moved on
	}
	if !had || tr.gen < b.Gen {
		tr = trouble{gen: b.Gen, since: time.Now()}
	}
	keep := do(&tr)
	switch {
	case keep:
		if s.of == nil {
			s.of = map[cache.Key]trouble{}
		}
		if !had && len(s.of) >= maxTroubles {
			for other := range s.of {
				delete(s.of, other)
				t.n.Add(-1)
				break
			}
		}
		s.of[b.Session] = tr
	case had:
		delete(s.of, b.Session)
	}
	if keep && !had {
		t.n.Add(1)
	}
	if !keep && had {
		t.n.Add(-1)
	}
	return tr
}

// take makes name the detour of a binding, in the place of old; if another
// request was faster, its choice stays.
func (t *troubles) take(b cache.Binding, old, name string, away bool) trouble {
	return t.change(b, func(tr *trouble) bool {
		tr.away = tr.away || away
		if tr.detour == old {
			tr.detour = name
		}
		return true
	})
}

// rename gives the auth of detours another name.
func (t *troubles) rename(from, to string) {
	for i := range t.stripes {
		s := &t.stripes[i]
		s.mu.Lock()
		for k, tr := range s.of {
			if tr.detour == from {
				tr.detour = to
			}
			for i, a := range tr.avoid {
				if a.auth == from {
					tr.avoid[i] = avoided{}
					tr.shun(to, a.until)
				}
			}
			s.of[k] = tr
		}
		s.mu.Unlock()
	}
}

// over forgets the trouble of a binding.
func (t *troubles) over(b cache.Binding) {
	if t.n.Load() > 0 {
		t.change(b, func(*trouble) bool { return false })
	}
}
