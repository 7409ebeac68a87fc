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

// trailVar is the variable that holds the trail of a request.
const trailVar = "llm_session.trail"

// trail is what policies have selected for one request of a client. The handler before them
// reads it. Caddy uses it on one goroutine at a time.
type trail struct {
	watched bool      // there is a handler
	last    *exchange // the latest exchange
}

// trailOf returns the trail of a request. It makes one if there is none.
func trailOf(r *http.Request) *trail {
	if t, ok := caddyhttp.GetVar(r.Context(), trailVar).(*trail); ok {
		return t
	}
	t := &trail{}
	caddyhttp.SetVar(r.Context(), trailVar, t)
	return t
}

// exchange is a request at one reverse_proxy.
type exchange struct {
	policy *Policy
	// from is the request as reverse_proxy gives it to its policy. It gives the same one when
	// it tries again.
	from *http.Request
	// request is what the first try has read. Before the next one reverse_proxy has changed
	// the header for the upstream, the credential included.
	request affinity.Request
	body    *body
	tried   []string // the upstreams that have failed this request
	watched bool     // there is a handler that reports it

	// mu guards the end of a request without a handler: another goroutine learns of it.
	mu      sync.Mutex
	current affinity.Pick[*reverseproxy.Upstream]
	open    bool // current was not reported
}

// begin reads what a request says of its session.
func (p *Policy) begin(r *http.Request, watched bool) *exchange {
	x := &exchange{policy: p, from: r, watched: watched, body: hold(r, p.MaxBody)}
	seen := *r
	seen.Body, seen.ContentLength = x.body.seen()
	request, _, err := p.sessions.transport.RequestOf(&seen)
	if err != nil { // reading a held body does not fail
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

// statusPlaceholder is where reverse_proxy says what the upstream has answered.
const statusPlaceholder = "http.reverse_proxy.status_code"

// selected notes a pick, and prepares the request for it.
func (x *exchange) selected(pick affinity.Pick[*reverseproxy.Upstream]) {
	x.current, x.open = pick, true
	x.body.rewind(x.from)
	repl, d := replacerOf(x.from), pick.Decision
	repl.Delete(statusPlaceholder) // it belongs to an earlier try
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

// settle reports what Caddy says of the request, without its answer.
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

// answer returns the status and header of the upstream's answer, nil if there is none.
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

// report reports the current pick, once.
func (x *exchange) report(r affinity.Result, away time.Duration) {
	if x.open {
		x.open = false
		x.current.ReportAway(r, away)
	}
}
