package main

import (
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Auth is one credential of one upstream.
type Auth struct {
	Name string // opaque: safe in logs and headers
	API  API
	URL  *url.URL
	Key  string

	mu     sync.Mutex
	until  time.Time // resting until then
	reason string    // why it rested last
}

// How long an auth rests after a failure, where the upstream does not say.
const (
	restTransient = 2 * time.Second
	restTerminal  = 10 * time.Minute
	restMost      = time.Hour // a Retry-After beyond that is not believed
	restLeast     = 50 * time.Millisecond
)

// Ready reports whether the auth may serve a request now.
func (a *Auth) Ready(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !now.Before(a.until)
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
type Pool struct{ auths []*Auth }

// Named finds an auth.
func (p *Pool) Named(name string) *Auth {
	for _, a := range p.auths {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Candidates are the auths that may serve a request of the API now, without
// those that this request has tried. When all of the untried ones rest, they
// are candidates all the same: an error of the upstream says more to the
// client than one of ours.
func (p *Pool) Candidates(api API, tried map[*Auth]bool) []*Auth {
	now := time.Now()
	var ready, resting []*Auth
	for _, a := range p.auths {
		switch {
		case a.API != api && a.API != APIAny || tried[a]:
		case a.Ready(now):
			ready = append(ready, a)
		default:
			resting = append(resting, a)
		}
	}
	if len(ready) == 0 && len(tried) == 0 {
		return resting
	}
	return ready
}

// Serving are all auths of the API, resting or not: what affinity chooses from,
// since a session whose auth rests comes back to it. One that this request has
// tried is among them only while it rests.
func (p *Pool) Serving(api API, tried map[*Auth]bool) (serving []*Auth) {
	now := time.Now()
	for _, a := range p.auths {
		if (a.API == api || a.API == APIAny) && !(tried[a] && a.Ready(now)) {
			serving = append(serving, a)
		}
	}
	return serving
}

// Fitness is what affinity asks of an auth.
func (p *Pool) Fitness(name string, _ affinity.Request) affinity.Fitness {
	if a := p.Named(name); a == nil {
		return affinity.Unfit
	} else if !a.Ready(time.Now()) {
		return affinity.Away
	}
	return affinity.Fit
}

// rest is how long an auth should rest after a failed request.
func rest(result affinity.Result, header http.Header) time.Duration {
	if result == affinity.Terminal {
		return restTerminal
	}
	d := restTransient
	if header.Get("Retry-After") != "" || header.Get("Retry-After-Ms") != "" {
		d = affinity.RetryAfter(header)
	}
	return min(max(d, restLeast), restMost)
}
