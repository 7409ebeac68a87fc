package affinityhttp

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// How long an auth rests if it has not said for how long.
const (
	// restRefused applies after it has refused its credential twice in a row, restForbidden
	// after it has refused a model twice in a row.
	restRefused   = 10 * time.Minute
	restForbidden = 30 * time.Second
	// restFirst applies after its second failure. It doubles with each further one.
	restFirst = 2 * time.Second
	restMost  = 30 * time.Second
)

const (
	// halfLife is the time after which a failure counts half.
	halfLife = 30 * time.Second
	// failuresLeast is how many failures make an auth rest. A single one without Retry-After
	// matters only to its session: a rest would cost all other sessions a cold prompt.
	failuresLeast = 1.5
	// shakyLeast is how many failures, faded, keep new sessions away from an auth if others
	// are fit.
	shakyLeast = 0.4
	// failureShare is the share of requests that must have failed for a rest.
	failureShare = 0.05
)

// maxRests bounds the rests that are kept, because clients choose the names of models. Beyond
// it the one that was reported least recently is forgotten.
const maxRests = 4096

// restKey is an auth that serves a model, or the auth for all models with "".
type restKey struct{ auth, model string }

type rest struct {
	until   time.Time
	asked   bool      // the auth has asked for it
	failed  time.Time // when it failed last
	refused int       // in a row

	// The results of requests lately, since the first failure.
	failures, all float64
	at            time.Time // when the counts were last changed
	blamed        blamed    // what has failed lately
}

// blamed holds digests of the sessions that have failed at an auth lately, and of requests
// without a session, the latest first. A request that fails wherever it is sent, and that its
// client repeats, says nothing about the auth. So failures of one session count once.
type blamed [8]uint64

// isNew reports whether a digest is not known, and notes it.
func (b *blamed) isNew(d uint64) bool {
	at := slices.Index(b[:], d)
	last := at
	if at < 0 {
		last = len(b) - 1
	}
	copy(b[1:last+1], b[:last])
	b[0] = d
	return at < 0
}

// count counts a request's result.
func (r *rest) count(failed float64, now time.Time) {
	faded := r.faded(now)
	r.failures, r.all, r.at = r.failures*faded+failed, r.all*faded+1, now
}

// faded returns the factor by which the counts have faded.
func (r *rest) faded(now time.Time) float64 {
	return math.Exp2(-float64(now.Sub(r.at)) / float64(halfLife))
}

// shaky reports whether the auth has failed so often lately that it should get no new
// sessions.
func (r *rest) shaky(now time.Time) bool {
	return r.failures >= failureShare*r.all && r.failures*r.faded(now) >= shakyLeast
}

// served records an answer to a request that was sent at the given time.
func (r *rest) served(sent, now time.Time) {
	if *r == (rest{}) {
		return
	}
	r.count(0, now)
	if sent.After(r.failed) {
		if r.refused = 0; !r.asked {
			r.until = time.Time{} // a guess that was wrong
		}
	}
	if r.failures < shakyLeast/4 && !now.Before(r.until) {
		*r = rest{}
	}
}

// rests holds the auths that all requests avoid for a while.
type rests struct {
	known atomic.Int64 // so that no request takes the lock while no auth has failed
	mu    sync.Mutex
	lru   *simplelru.LRU[restKey, rest]
}

// of returns what is known of an auth for a model: until when it rests, the zero time if it
// does not, and whether it has asked for that itself. shaky says that it has failed lately.
func (s *rests) of(auth, model string) (until time.Time, asked, shaky bool) {
	if s.known.Load() == 0 {
		return until, false, false
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range [...]restKey{{auth, model}, {auth, ""}} {
		v, ok := s.lru.Peek(k)
		if ok && now.Before(v.until) && (asked == v.asked && v.until.After(until) || v.asked && !asked) {
			until, asked = v.until, v.asked
		}
		shaky = shaky || ok && v.shaky(now)
	}
	return until, asked, shaky
}

// note records the result of an attempt at an auth that began at sent. status is 0 without an
// answer. culprit returns a digest of the session.
func (s *rests) note(auth, model string, sent time.Time, r affinity.Result, away time.Duration, status int, culprit func() uint64) {
	one, all := restKey{auth, model}, restKey{auth, ""}
	switch r {
	case affinity.Served:
		if s.known.Load() == 0 {
			return
		}
		for _, k := range [...]restKey{one, all} {
			s.change(k, func(v *rest, now time.Time) { v.served(sent, now) })
		}
	case affinity.Terminal:
		k, d := all, restRefused
		switch status {
		case 404: // the auth does not have this model, but may have others
			return
		case 403: // perhaps only for this model: a client must not be able to stop an auth
			k, d = one, restForbidden
		}
		s.change(k, func(v *rest, now time.Time) {
			v.count(1, now)
			v.failed = now
			if v.refused++; away > 0 {
				v.until, v.asked = now.Add(away), true
			} else if v.refused >= 2 {
				v.until, v.asked = now.Add(d), false
			}
		})
	case affinity.Transient:
		again := false
		s.change(one, func(v *rest, now time.Time) {
			if now.Sub(v.failed) > halfLife {
				v.blamed = blamed{}
			}
			v.failed = now
			if away > 0 {
				if until := now.Add(away); until.After(v.until) || !v.asked {
					v.until, v.asked = until, true
				}
				return
			}
			if again = !v.blamed.isNew(culprit()); again {
				return
			}
			v.count(1, now)
			if v.failures >= failuresLeast && v.shaky(now) && !(v.asked && now.Before(v.until)) {
				v.until = now.Add(min(restFirst<<int(min(v.failures-failuresLeast, 10)), restMost))
				v.asked = false
			}
		})
		if model != "" && !again {
			s.change(all, func(v *rest, now time.Time) { v.count(1, now) })
		}
	}
}

func (s *rests) change(k restKey, do func(v *rest, now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru == nil {
		s.lru, _ = simplelru.NewLRU[restKey, rest](maxRests, nil) // the size is positive: no error
	}
	v, known := s.lru.Peek(k)
	do(&v, time.Now())
	switch {
	case v == rest{}:
		s.lru.Remove(k)
	case known:
		s.lru.Add(k, v)
	default:
		k.model = strings.Clone(k.model) // it may be a small part of a large body
		s.lru.Add(k, v)
	}
	s.known.Store(int64(s.lru.Len()))
}

// rename moves what is known of an auth to another name. What is known of that stays.
func (s *rests) rename(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru == nil || from == to {
		return
	}
	for _, k := range s.lru.Keys() {
		if k.auth != from {
			continue
		}
		v, _ := s.lru.Peek(k)
		s.lru.Remove(k)
		if k.auth = to; !s.lru.Contains(k) {
			s.lru.Add(k, v)
		}
	}
	s.known.Store(int64(s.lru.Len()))
}

// forget removes everything about an auth.
func (s *rests) forget(auth string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru == nil {
		return
	}
	for _, k := range s.lru.Keys() {
		if k.auth == auth {
			s.lru.Remove(k)
		}
	}
	s.known.Store(int64(s.lru.Len()))
}
