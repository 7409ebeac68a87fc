package affinityhttp

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// How long an auth rests that has not said for how long.
const (
	// restRefused is after it has refused its credential, or a model.
	restRefused = 10 * time.Minute
	// restFirst is after failuresInARow. It doubles with each further failure.
	restFirst      = 2 * time.Second
	restMost       = 30 * time.Second
	failuresInARow = 3
)

// maxRests bounds what is known, because clients choose the names of models. Beyond it
// what was reported least recently is forgotten.
const maxRests = 4096

// restKey is an auth that serves a model, or the auth for all models with "".
type restKey struct{ auth, model string }

type rest struct {
	until    time.Time
	asked    bool // the auth has said so
	failures int  // in a row, which have not said for how long
}

// rests are the auths that all requests leave alone for a while. A single failure that
// says nothing is only the session's matter: for all others it would be a cold prompt.
type rests struct {
	known atomic.Int64 // so that nobody takes the lock while all are well
	mu    sync.Mutex
	lru   *simplelru.LRU[restKey, rest]
}

// until tells until when an auth rests. It is the zero time if the auth does not.
func (s *rests) until(auth, model string) (until time.Time, asked bool) {
	if s.known.Load() == 0 {
		return until, false
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range [...]restKey{{auth, model}, {auth, ""}} {
		v, ok := s.lru.Peek(k)
		if ok && now.Before(v.until) && (asked == v.asked && v.until.After(until) || v.asked && !asked) {
			until, asked = v.until, v.asked
		}
	}
	return until, asked
}

// note takes what an attempt has shown of an auth. status is 0 without an answer.
func (s *rests) note(auth, model string, r affinity.Result, away time.Duration, status int) {
	k := restKey{auth, model}
	switch r {
	case affinity.Served:
		if s.known.Load() != 0 {
			s.change(k, func(v *rest, now time.Time) {
				if !now.Before(v.until) || !v.asked {
					*v = rest{}
				}
			})
			s.change(restKey{auth, ""}, func(v *rest, now time.Time) {
				if !v.asked {
					*v = rest{}
				}
			})
		}
	case affinity.Terminal:
		switch status {
		case 404: // the model is not there, and others may be
			return
		case 403: // perhaps only this model's: a client must not be able to stop an auth
		default:
			k.model = ""
		}
		s.change(k, func(v *rest, now time.Time) {
			*v = rest{until: now.Add(max(away, restRefused)), asked: away > 0}
		})
	case affinity.Transient:
		s.change(k, func(v *rest, now time.Time) {
			if away > 0 {
				if until := now.Add(away); until.After(v.until) || !v.asked {
					v.until, v.asked = until, true
				}
				return
			}
			if v.failures++; v.failures >= failuresInARow && !(v.asked && now.Before(v.until)) {
				v.until = now.Add(min(restFirst<<min(v.failures-failuresInARow, 10), restMost))
				v.asked = false
			}
		})
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

// forget forgets all of an auth.
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
