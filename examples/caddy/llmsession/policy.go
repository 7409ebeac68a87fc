package llmsession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/llmaffinity/llmaffinity/affinity"
)

func init() { caddy.RegisterModule(Policy{}) }

// Policy is the selection policy llm_session.
type Policy struct {
	// Name names the set of sessions. When the configuration is reloaded, the sessions stay
	// with the name. Policies with the same name share their sessions, and must have the same
	// upstreams. It may be empty if there is one reverse_proxy.
	Name string `json:"name,omitempty"`
	// FallbackRaw is the policy that selects for a new session, for a session that has to
	// leave its upstream, and for requests without a session. The default is Caddy's: random.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`
	// TTL is how long a session may be idle before it is forgotten. The default is an hour.
	TTL caddy.Duration `json:"ttl,omitempty"`
	// Warm is how long a prompt cache lives at the upstreams after its last use. If an
	// upstream is away for longer, its sessions stay where they are by then. The default is 5
	// minutes.
	Warm caddy.Duration `json:"warm,omitempty"`
	// Away is how long a session avoids an upstream that has failed it and has not said for
	// how long (Retry-After). The default is 5 seconds.
	Away caddy.Duration `json:"away,omitempty"`
	// MaxSessions is how many sessions are held. The default is 100,000.
	MaxSessions int `json:"max_sessions,omitempty"`
	// MaxBody is how many bytes of a request's body are held in memory. A larger body is
	// streamed, and only its header names a session. The default is 32 MiB.
	MaxBody int64 `json:"max_body,omitempty"`
	// Tenant says who is calling, with placeholders such as {http.auth.user.id}. Sessions
	// of two tenants never meet. The default is a digest of the caller's credential.
	Tenant string `json:"tenant,omitempty"`

	fallback reverseproxy.Selector
	sessions *sessions
	warn     *sync.Once
	logger   *zap.Logger
}

// CaddyModule tells Caddy of the module.
func (Policy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.llm_session",
		New: func() caddy.Module { return new(Policy) },
	}
}

// UnmarshalCaddyfile reads the policy from a Caddyfile:
//
//	lb_policy llm_session {
//		name         <name>
//		fallback     <policy> [<arguments of that policy>…]
//		ttl          <duration>
//		warm         <duration>
//		away         <duration>
//		max_sessions <number>
//		max_body     <size>
//		tenant       <text with placeholders>
//	}
func (p *Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the policy's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := map[string]bool{}
	for d.NextBlock(0) {
		option := d.Val()
		if seen[option] {
			return d.Errf("the option %s is given twice", option)
		}
		seen[option] = true
		if !d.NextArg() {
			return d.ArgErr()
		}
		if option == "fallback" {
			if err := p.unmarshalFallback(d); err != nil {
				return err
			}
			continue
		}
		value, err := d.Val(), error(nil)
		switch option {
		case "name":
			p.Name = value
		case "ttl":
			p.TTL, err = parseDuration(value)
		case "warm":
			p.Warm, err = parseDuration(value)
		case "away":
			p.Away, err = parseDuration(value)
		case "max_sessions":
			p.MaxSessions, err = strconv.Atoi(value)
		case "max_body":
			var size uint64
			size, err = humanize.ParseBytes(value)
			p.MaxBody = int64(size)
		case "tenant":
			p.Tenant = value
		default:
			return d.Errf("llm_session has no option %s", option)
		}
		if err != nil {
			return d.Errf("%s: %v", option, err)
		}
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	return nil
}

func parseDuration(s string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(s)
	return caddy.Duration(d), err
}

func (p *Policy) unmarshalFallback(d *caddyfile.Dispenser) error {
	name := d.Val()
	id := "http.reverse_proxy.selection_policies." + name
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	policy, ok := module.(reverseproxy.Selector)
	if !ok {
		return d.Errf("%s (%T) is not a selection policy", id, module)
	}
	p.FallbackRaw = caddyconfig.JSONModuleObject(policy, "policy", name, nil)
	return nil
}

// Provision prepares the policy, with the sessions of its name.
func (p *Policy) Provision(ctx caddy.Context) error {
	p.logger, p.warn = ctx.Logger(), new(sync.Once)
	if p.TTL < 0 || p.Warm < 0 || p.Away < 0 || p.MaxSessions < 0 || p.MaxBody < 0 {
		return errors.New("ttl, warm, away, max_sessions and max_body must not be negative")
	}
	if p.MaxBody == 0 {
		p.MaxBody = 32 << 20
	}
	if p.FallbackRaw == nil {
		p.FallbackRaw = caddyconfig.JSONModuleObject(reverseproxy.RandomSelection{}, "policy", "random", nil)
	}
	module, err := ctx.LoadModule(p, "FallbackRaw")
	if err != nil {
		return fmt.Errorf("loading the fallback: %w", err)
	}
	p.fallback = module.(reverseproxy.Selector)
	if _, ok := module.(*Policy); ok {
		return errors.New("llm_session cannot be its own fallback")
	}
	return p.join(ctx)
}

// Cleanup frees the sessions if no other policy uses them.
func (p *Policy) Cleanup() error { return p.leave() }

// Select selects the upstream of the request's session. If that upstream fails and Caddy tries
// again, reverse_proxy calls it again with the same request.
func (p *Policy) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	t := trailOf(r)
	if !t.watched {
		p.warn.Do(func() {
			p.logger.Warn("there is no handler llm_session before this reverse_proxy, so answers are not read")
		})
	}
	x := t.last
	if x == nil || x.from != r {
		if x != nil {
			x.mu.Lock()
			x.settle() // another reverse_proxy has the request now
			x.mu.Unlock()
		}
		x = p.begin(r, t.watched)
		t.last = x
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed()
	return x.pick(pool, w)
}

// pick selects among the upstreams and remembers what was selected.
func (x *exchange) pick(pool reverseproxy.UpstreamPool, w http.ResponseWriter) *reverseproxy.Upstream {
	candidates := distinct(pool)
	next := func(_ context.Context, fit []*reverseproxy.Upstream) (*reverseproxy.Upstream, error) {
		return x.policy.selectNew(pool, fit, x.from, w)
	}
	for {
		x.request.Tried = x.tried
		pick, err := x.policy.sessions.transport.Affinity.Pick(x.from.Context(), x.request, candidates, next)
		if err == nil {
			x.selected(pick)
			return pick.Auth
		}
		if len(x.tried) == 0 {
			x.policy.logger.Debug("no upstream", zap.Error(err))
			return nil
		}
		x.tried = nil // all have failed this request once, and Caddy tries again
	}
}

// distinct returns the upstreams without duplicates. An upstream is identified by its address.
func distinct(pool reverseproxy.UpstreamPool) []*reverseproxy.Upstream {
	candidates := make([]*reverseproxy.Upstream, 0, len(pool))
	for _, u := range pool {
		if !slices.ContainsFunc(candidates, func(c *reverseproxy.Upstream) bool { return nameOf(c) == nameOf(u) }) {
			candidates = append(candidates, u)
		}
	}
	return candidates
}

// asks is how often the fallback is called with the whole pool.
const asks = 16

var errNobody = errors.New("the fallback has selected no upstream")

// selectNew calls the fallback. A policy may depend on positions in the pool, as
// weighted_round_robin does. So it gets the whole pool first. It does not know which upstreams
// this request or this session avoids. If it keeps selecting one of these, it gets only the
// others.
func (p *Policy) selectNew(pool, fit reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) (*reverseproxy.Upstream, error) {
	var cookies []string
	if w != nil {
		cookies = slices.Clone(w.Header()["Set-Cookie"])
	}
	for range asks {
		u := p.fallback.Select(pool, r, w)
		if u == nil {
			break
		}
		if i := slices.IndexFunc(fit, func(f *reverseproxy.Upstream) bool { return nameOf(f) == nameOf(u) }); i >= 0 {
			return fit[i], nil
		}
		if w != nil && len(w.Header()["Set-Cookie"]) != len(cookies) {
			w.Header()["Set-Cookie"] = slices.Clone(cookies) // the policy cookie would name an upstream that does not serve
		}
	}
	if u := p.fallback.Select(fit, r, w); u != nil {
		return u, nil
	}
	return nil, errNobody
}

func nameOf(u *reverseproxy.Upstream) string { return u.String() }

// stateOf returns what Caddy knows of an upstream: from its health checks, its circuit
// breaker, and how many requests it may have.
func stateOf(u *reverseproxy.Upstream, _ affinity.Request) affinity.State {
	switch {
	case !u.Healthy():
		return affinity.State{Fitness: affinity.Away}
	case u.Full():
		return affinity.State{Fitness: affinity.Full}
	}
	return affinity.State{}
}

var (
	_ caddy.Provisioner     = (*Policy)(nil)
	_ caddy.CleanerUpper    = (*Policy)(nil)
	_ caddyfile.Unmarshaler = (*Policy)(nil)
	_ reverseproxy.Selector = (*Policy)(nil)
)
