package llmsession

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// trailVar is the variable of a request that has its trail.
const trailVar = "llm_session.trail"

// trail is what policies have selected for one request of a client, for the handler that
// stands before them. Caddy uses it on one goroutine at a time.
type trail struct {
	watched bool      // the handler is there
	last    *exchange // the latest one
}

// trailOf returns the trail of a request, and makes it if there is none.
func trailOf(r *http.Request) *trail {
	if t, ok := caddyhttp.GetVar(r.Context(), trailVar).(*trail); ok {
		return t
	}
	t := &trail{}
	caddyhttp.SetVar(r.Context(), trailVar, t)
	return t
}

// exchange is a request before one reverse_proxy.
type exchange struct {
	policy *Policy
	// from is the request as reverse_proxy hands it to its policy. It hands over the same
	// one when it tries again.
	from *http.Request
	// request is what the first try has shown. Before the next one reverse_proxy has
	// changed the header for the upstream, also the credential.
	request affinity.Request
	body    *body
	tried   []string // the upstreams that have failed it
	watched bool     // by the handler

	// mu is for the end of a request that nobody watches: another goroutine hears of it.
	mu      sync.Mutex
	current affinity.Pick[*reverseproxy.Upstream]
	open    bool // current was not reported
}

// begin looks at a request.
func (p *Policy) begin(r *http.Request, watched bool) *exchange {
	x := &exchange{policy: p, from: r, watched: watched, body: hold(r, p.MaxBody)}
	seen := *r
	seen.Body, seen.ContentLength = x.body.seen()
	request, _, err := p.sessions.transport.RequestOf(&seen)
	if err != nil { // no body that is held fails
		request = affinity.Request{Off: true}
	}
	if p.Tenant != "" {
		request.Tenant = replacerOf(r).ReplaceAll(p.Tenant, "")
	}
	x.request = request
	return x
}

func replacerOf(r *http.Request) *caddy.Replacer {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		return repl
	}
	return caddy.NewReplacer()
}

// statusPlaceholder is where reverse_proxy tells what the upstream has answered.
const statusPlaceholder = "http.reverse_proxy.status_code"

// selected notes a pick, and readies the request for it.
func (x *exchange) selected(pick affinity.Pick[*reverseproxy.Upstream]) {
	x.current, x.open = pick, true
	x.body.rewind(x.from)
	repl, d := replacerOf(x.from), pick.Decision
	repl.Delete(statusPlaceholder) // it is of an earlier try
	repl.Set("http.llm_session.outcome", d.Outcome.String())
	repl.Set("http.llm_session.reason", d.Reason.String())
	repl.Set("http.llm_session.signal", d.Signal.Name)
	repl.Set("http.llm_session.session", d.SessionName(false))
	if !x.watched {
		context.AfterFunc(x.from.Context(), func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.settle()
		})
	}
}

// failed reports that the upstream has failed: Caddy wants another one.
func (x *exchange) failed() {
	if x.open {
		x.tried = append(x.tried, x.current.Decision.Auth)
		x.settle()
	}
}

// settle reports what Caddy has told of the request, without its answer.
func (x *exchange) settle() {
	if !x.open {
		return
	}
	_, failed := replacerOf(x.from).Get("http.error")
	switch resp := x.answer(); {
	case resp != nil:
		x.report(x.current.Classify(resp, nil))
	case failed:
		x.report(affinity.Transient, 0)
	case x.from.Context().Err() != nil:
		x.report(affinity.Cancelled, 0)
	default:
		x.report(affinity.Transient, 0)
	}
}

// answer is the status and header of what the upstream has answered, nil if it has not.
func (x *exchange) answer() *http.Response {
	repl := replacerOf(x.from)
	value, _ := repl.Get(statusPlaceholder)
	status, ok := value.(int)
	if !ok {
		return nil
	}
	h := http.Header{}
	for _, name := range [...]string{"Retry-After", "Retry-After-Ms", "Cf-Mitigated"} {
		if v, ok := repl.GetString("http.reverse_proxy.header." + name); ok {
			h.Set(name, v)
		}
	}
	return &http.Response{StatusCode: status, Header: h, Body: http.NoBody}
}

// report says how the current pick went, once.
func (x *exchange) report(r affinity.Result, away time.Duration) {
	if x.open {
		x.open = false
		x.current.ReportAway(r, away)
	}
}

// afterwards is a context for what is to be done when the client may have left.
func (x *exchange) afterwards() context.Context { return context.WithoutCancel(x.from.Context()) }
