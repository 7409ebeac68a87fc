package main

import (
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Auth is one credential of one upstream.
type Auth struct {
	Name string // lasting and opaque: safe in logs and headers
	API  API
	URL  *url.URL
	Key  string
	Tier int // the highest is preferred

	mu     sync.Mutex
	until  time.Time // resting until then
	reason string    // why it rested last
}

func (a *Auth) name() string { return a.Name }

// How long an auth rests after a failure, where the upstream does not say.
const (
	restTransient = 2 * time.Second
	restTerminal  = 10 * time.Minute
	restMost      = time.Hour // a Retry-After beyond that is not believed
	restLeast     = 50 * time.Millisecond
)

// RestsUntil is until when the auth rests; in the past if it may serve.
func (a *Auth) RestsUntil() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.until
}

// Rest takes the auth out for d.
func (a *Auth) Rest(d time.Duration, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if until := time.Now().Add(d); until.After(a.until) {
		a.until = until
	}
	a.reason = reason
}

// Reason is why the auth rested last, "" if it never did.
func (a *Auth) Reason() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reason
}

// Pool is all auths of the gateway.
type Pool struct {
	mu    sync.RWMutex
	auths []*Auth // replaced, never changed
}

// All are the auths that there are now.
func (p *Pool) All() []*Auth {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.auths
}

// Replace makes auths the pool's, and returns those that are gone. One that was
// there by the same name, with the same key and address, stays what it is, also
// resting.
func (p *Pool) Replace(auths []*Auth) (gone []*Auth) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := slices.Clone(auths)
	for _, old := range p.auths {
		i := slices.IndexFunc(next, func(a *Auth) bool { return a.Name == old.Name })
		if i < 0 || next[i].Key != old.Key || next[i].URL.String() != old.URL.String() {
			gone = append(gone, old)
		} else if next[i].API == old.API && next[i].Tier == old.Tier {
			next[i] = old
		}
	}
	p.auths = next
	return gone
}

// Named finds an auth.
func (p *Pool) Named(name string) *Auth {
	for _, a := range p.All() {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Serving are all auths of the API, resting or not: what affinity chooses from,
// since a session whose auth rests comes back to it.
func (p *Pool) Serving(api API) (serving []*Auth) {
	for _, a := range p.All() {
		if a.API == api || a.API == APIAny {
			serving = append(serving, a)
		}
	}
	return serving
}

// Candidates are the auths that may serve a request of the API now, without those
// that this request has tried. until is when the first resting one comes back.
func (p *Pool) Candidates(api API, tried []string) (ready []*Auth, until time.Time) {
	now := time.Now()
	for _, a := range p.Serving(api) {
		if slices.Contains(tried, a.Name) {
			continue
		}
		rests := a.RestsUntil()
		switch {
		case !now.Before(rests):
			ready = append(ready, a)
		case until.IsZero() || rests.Before(until):
			until = rests
		}
	}
	return ready, until
}

// rest is how long an auth should rest after a failed request; away is what the
// upstream has said, 0 for nothing.
func rest(result affinity.Result, away time.Duration) time.Duration {
	if result == affinity.Terminal {
		return restTerminal
	}
	if away == 0 {
		return restTransient
	}
	return min(max(away, restLeast), restMost)
}
