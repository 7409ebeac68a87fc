package gateway

import (
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
)

// Auth is one credential of one upstream. It is what the gateway chooses among.
type Auth struct {
	Name string // lasting and opaque: safe in logs and headers
	API  API
	URL  *url.URL
	Key  string
	Tier int // the highest is preferred

	failed atomic.Int64 // the status of its last failure, 1 for a broken connection
}

func (a *Auth) name() string { return a.Name }

// fail notes a failure. status is 0 if no answer came.
func (a *Auth) fail(status int) { a.failed.Store(max(int64(status), 1)) }

// Reason returns what the auth answered when it failed last, "" if it never did.
func (a *Auth) Reason() string {
	switch status := a.failed.Load(); {
	case status == 0:
		return ""
	case status < 300:
		return "with a broken connection"
	default:
		return fmt.Sprint(status)
	}
}

// Pool holds all auths of the gateway.
type Pool struct {
	mu    sync.RWMutex
	auths []*Auth // replaced, never changed
}

// All returns the present auths.
func (p *Pool) All() []*Auth {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.auths
}

// Replace makes auths the pool's. It returns those that are gone, and those that have another
// key. An auth is identified by its name: with another key it is still the account that has
// its prompt caches. At another address it is another auth.
func (p *Pool) Replace(auths []*Auth) (gone, renewed []*Auth) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := slices.Clone(auths)
	for _, old := range p.auths {
		i := slices.IndexFunc(next, func(a *Auth) bool { return a.Name == old.Name })
		switch {
		case i < 0 || next[i].URL.String() != old.URL.String():
			gone = append(gone, old)
		case next[i].Key != old.Key:
			renewed = append(renewed, next[i])
		default:
			next[i].failed.Store(old.failed.Load())
		}
	}
	p.auths = next
	return gone, renewed
}

// Named returns the auth with a name.
func (p *Pool) Named(name string) *Auth {
	for _, a := range p.All() {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Serving returns all auths of the API, resting or not: a session whose auth rests comes back
// to it.
func (p *Pool) Serving(api API) (serving []*Auth) {
	for _, a := range p.All() {
		if a.API == api || a.API == APIAny {
			serving = append(serving, a)
		}
	}
	return serving
}
