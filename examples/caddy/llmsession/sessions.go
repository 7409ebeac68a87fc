package llmsession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// named holds the sessions of each name. At a reload Caddy provisions the new configuration
// before it cleans up the old one, so sessions that both use are not freed.
var named = caddy.NewUsagePool()

// sessions are the sessions of one name.
type sessions struct {
	// transport reads requests, and holds the bindings. Caddy sends the requests, not this
	// transport.
	transport *affinityhttp.Transport[*reverseproxy.Upstream]

	mu    sync.Mutex
	users []user
}

// user is a policy that uses the sessions.
type user struct {
	policy        *Policy
	configuration <-chan struct{} // closed when it ends; all modules of a configuration have the same one
	upstreams     string
}

// Destruct frees the sessions.
func (s *sessions) Destruct() error { return s.transport.Close() }

var errSendsNothing = errors.New("llmsession: this transport sends no requests, because Caddy does")

// nobody is the transport's own balancer, which is never called: each pick brings that of its
// policy.
var nobody = selector.Func[*reverseproxy.Upstream](func(context.Context, []*reverseproxy.Upstream) (*reverseproxy.Upstream, error) {
	return nil, errSendsNothing
})

func newSessions() (caddy.Destructor, error) {
	auths := func(*http.Request, affinity.Request) []*reverseproxy.Upstream { return nil }
	prepare := func(*http.Request, *reverseproxy.Upstream) error { return errSendsNothing }
	transport, err := affinityhttp.New(nobody, nameOf, auths, prepare, (&Policy{}).options())
	if err != nil {
		return nil, err
	}
	return &sessions{transport: transport}, nil
}

// options returns the policy's options for the library.
func (p *Policy) options() *affinityhttp.Options[*reverseproxy.Upstream] {
	return &affinityhttp.Options[*reverseproxy.Upstream]{
		Affinity: affinity.Options[*reverseproxy.Upstream]{
			Memory: cache.Options{TTL: time.Duration(p.TTL), MaxSessions: p.MaxSessions},
			Warm:   time.Duration(p.Warm),
			Away:   time.Duration(p.Away),
			State:  stateOf,
		},
		MaxBody: p.MaxBody,
	}
}

// join makes the policy a user of the sessions of its name. Its options apply from now on.
func (p *Policy) join(ctx caddy.Context) error {
	value, _, err := named.LoadOrNew(p.Name, newSessions)
	if err != nil {
		return err
	}
	p.sessions = value.(*sessions)
	u := user{policy: p, configuration: ctx.Done(), upstreams: upstreamsOf(ctx)}
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	for _, other := range p.sessions.users {
		if other.configuration == u.configuration && other.upstreams != u.upstreams {
			return fmt.Errorf("two policies llm_session have the name %q, but different upstreams: give each a name of its own", p.Name)
		}
	}
	p.sessions.users = append(p.sessions.users, u)
	return p.sessions.reconfigure()
}

// leave ends what join has begun. If a new configuration could not be started, the options of
// the old one apply again.
func (p *Policy) leave() error {
	if p.sessions == nil {
		return nil
	}
	s := p.sessions
	p.sessions.mu.Lock()
	s.users = slices.DeleteFunc(s.users, func(u user) bool { return u.policy == p })
	err := s.reconfigure()
	s.mu.Unlock()
	_, err2 := named.Delete(p.Name)
	return errors.Join(err, err2)
}

// reconfigure applies the options of the latest user.
func (s *sessions) reconfigure() error {
	if len(s.users) == 0 {
		return nil
	}
	latest := s.users[len(s.users)-1].policy
	return s.transport.Reconfigure(nobody, latest.options())
}

// upstreamsOf returns the upstreams of the reverse_proxy that the policy is a part of.
func upstreamsOf(ctx caddy.Context) string {
	modules := ctx.Modules()
	for _, m := range slices.Backward(modules) {
		if h, ok := m.(*reverseproxy.Handler); ok {
			var names []string
			for _, u := range h.Upstreams {
				names = append(names, u.Dial)
			}
			slices.Sort(names)
			dynamic, _ := json.Marshal(h.DynamicUpstreamsRaw)
			return strings.Join(names, " ") + string(dynamic)
		}
	}
	return ""
}
