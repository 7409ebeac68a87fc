// Package deciders has ways to choose the auth for a request of an LLM client, so that a session
// stays on its auth: this library, and what people use instead. An auth is what a gateway chooses
// among.
package deciders

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/cespare/xxhash/v2"
	"github.com/dgryski/go-rendezvous"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/identity"
	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Decider chooses auths.
type Decider interface {
	// Decide returns the auth for a request. It may set a cookie for the client in w.
	Decide(w http.ResponseWriter, r *http.Request, body []byte) (auth string, err error)
	// Grow adds an auth. Decide must not be called meanwhile.
	Grow(auth string)
	Close()
}

// Way is a kind of Decider.
type Way struct {
	Name string
	// Make makes a Decider. If it remembers sessions, it has room for so many.
	Make func(auths []string, sessions int, ttl time.Duration) (Decider, error)
}

// All has all ways, the library first.
var All = []Way{
	{"llmaffinity", newLibrary},
	{"caddy-header", newCaddyHeader},
	{"caddy-cookie", newCaddyCookie},
	{"rendezvous", newRendezvous},
	{"ttlcache", newTTLCache},
	{"otter", newOtter},
}

// The tenant, pool and model of all requests.
const (
	Tenant = "tenant"
	Pool   = "anthropic"
	Model  = "claude-opus"
)

// library chooses with this library.
type library struct {
	aff   *affinity.Affinity[string]
	auths []string
	next  selector.Func[string]
}

func newLibrary(auths []string, sessions int, ttl time.Duration) (Decider, error) {
	aff, err := affinity.New(func(a string) string { return a }, &affinity.Options[string]{Memory: cache.Options{TTL: ttl, MaxSessions: sessions}})
	return &library{aff, auths, selector.RoundRobin[string]().Select}, err
}

func (l *library) Decide(_ http.ResponseWriter, r *http.Request, body []byte) (string, error) {
	p, err := l.aff.Pick(r.Context(), affinity.Request{Tenant: Tenant, Pool: Pool, Model: Model, Header: r.Header, Body: body}, l.auths, l.next)
	if err != nil {
		return "", err
	}
	p.Report(affinity.Served)
	return p.Auth, nil
}

func (l *library) Grow(auth string) { l.auths = append(l.auths[:len(l.auths):len(l.auths)], auth) }
func (l *library) Close()           { l.aff.Close() }

// caddyPolicy is a selection policy of Caddy's reverse proxy. It falls back to a random
// choice, which is Caddy's default.
type caddyPolicy struct {
	policy reverseproxy.Selector
	pool   reverseproxy.UpstreamPool
	cancel context.CancelFunc
}

func newCaddy(auths []string, policy interface {
	reverseproxy.Selector
	caddy.Provisioner
}) (Decider, error) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	c := &caddyPolicy{policy: policy, cancel: cancel}
	for _, a := range auths {
		c.Grow(a)
	}
	return c, policy.Provision(ctx)
}

// newCaddyHeader makes the policy header. It can have only one header, here that of Claude Code.
func newCaddyHeader(auths []string, _ int, _ time.Duration) (Decider, error) {
	return newCaddy(auths, &reverseproxy.HeaderHashSelection{Field: requests.OwnHeader})
}

func newCaddyCookie(auths []string, _ int, _ time.Duration) (Decider, error) {
	return newCaddy(auths, &reverseproxy.CookieHashSelection{Secret: "secret"})
}

func (c *caddyPolicy) Decide(w http.ResponseWriter, r *http.Request, _ []byte) (string, error) {
	return c.policy.Select(c.pool, r, w).Dial, nil
}

func (c *caddyPolicy) Grow(auth string) {
	c.pool = append(c.pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: auth})
}

func (c *caddyPolicy) Close() { c.cancel() }

// idOf returns the session of a request as a gateway without the library would find it: in the
// headers of three clients, and then in the body, path by path. It returns "" if there is none.
func idOf(h http.Header, body []byte) string {
	for _, name := range [...]string{requests.OwnHeader, "Session-Id", requests.GenericHeader} {
		if v := h[name]; len(v) > 0 && v[0] != "" {
			return v[0]
		}
	}
	return identity.GJSON(body)
}

// turns chooses for requests without a session.
type turns struct {
	auths []string
	n     atomic.Uint64
}

func (t *turns) next() string { return t.auths[t.n.Add(1)%uint64(len(t.auths))] }

func (t *turns) Grow(auth string) { t.auths = append(t.auths[:len(t.auths):len(t.auths)], auth) }

// hash places a session by rendezvous hashing.
type hash struct {
	turns
	r *rendezvous.Rendezvous
}

func newRendezvous(auths []string, _ int, _ time.Duration) (Decider, error) {
	return &hash{turns{auths: auths}, rendezvous.New(auths, xxhash.Sum64String)}, nil
}

func (d *hash) Decide(_ http.ResponseWriter, r *http.Request, body []byte) (string, error) {
	id := idOf(r.Header, body)
	if id == "" {
		return d.next(), nil
	}
	return d.r.Lookup(id), nil
}

func (d *hash) Grow(auth string) {
	d.turns.Grow(auth)
	d.r.Add(auth)
}

func (d *hash) Close() {}

// key is a session in its scope.
type key struct{ tenant, pool, model, id string }

// remembered keeps the auths of sessions in a cache.
type remembered struct {
	turns
	get   func(key) (string, bool)
	set   func(key, string) string // returns the auth of the first call for a key
	close func()
}

func (d *remembered) Decide(_ http.ResponseWriter, r *http.Request, body []byte) (string, error) {
	id := idOf(r.Header, body)
	if id == "" {
		return d.next(), nil
	}
	k := key{Tenant, Pool, Model, id}
	if auth, ok := d.get(k); ok {
		return auth, nil
	}
	return d.set(k, d.next()), nil
}

func (d *remembered) Close() { d.close() }

func newTTLCache(auths []string, sessions int, ttl time.Duration) (Decider, error) {
	c := ttlcache.New(ttlcache.WithTTL[key, string](ttl), ttlcache.WithCapacity[key, string](uint64(sessions)))
	get := func(k key) (string, bool) {
		item := c.Get(k)
		if item == nil {
			return "", false
		}
		return item.Value(), true
	}
	set := func(k key, auth string) string {
		item, _ := c.GetOrSet(k, auth)
		return item.Value()
	}
	return &remembered{turns: turns{auths: auths}, get: get, set: set, close: c.DeleteAll}, nil
}

func newOtter(auths []string, sessions int, ttl time.Duration) (Decider, error) {
	c, err := otter.New(&otter.Options[key, string]{MaximumSize: sessions, ExpiryCalculator: otter.ExpiryAccessing[key, string](ttl)})
	if err != nil {
		return nil, err
	}
	set := func(k key, auth string) string {
		auth, _ = c.SetIfAbsent(k, auth) // returns the auth that is there, if there is one
		return auth
	}
	return &remembered{turns: turns{auths: auths}, get: c.GetIfPresent, set: set, close: func() { c.StopAllGoroutines() }}, nil
}
