package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityadmin"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/examples/record"
)

// GatewayOptions of a Gateway. Pool is required.
type GatewayOptions struct {
	Pool *Pool
	// Affinity says whether there is affinity. Without it the plain balancer chooses, for
	// comparison.
	Affinity bool
	// DecisionHeader adds the header X-Llmaffinity to answers. It has the decision, the opaque
	// name of the auth, and the session's stable name.
	DecisionHeader bool
	// MaxBody and Attempts are those of affinityhttp.
	MaxBody  int64
	Attempts int
	// Slow says when an auth is slow, by the time to the first token of its streams.
	Slow affinity.SlowPolicy
	// Balance says whether the load is evened out, by what each auth was sent.
	Balance affinity.Balance
	// Patience is how long a request may wait for the auth where its prompt cache is warm.
	Patience time.Duration
	// Prices say what the answers cost, and what they would cost without affinity.
	Prices Prices
	// Store keeps the bindings, and its owner closes it. nil is the embedded store.
	Store cache.Store
	// TenantKey is the key that the names of callers are made with, see affinityhttp. It must
	// last as long as the bindings.
	TenantKey []byte
	// Base sends the requests; nil is affinityhttp's own.
	Base http.RoundTripper
	// Record, if not nil, records the requests, see package record.
	Record *record.Recorder
	Log    *slog.Logger
}

// defaultPatience is the default of the command.
const defaultPatience = 3 * time.Second

// decisionHeader is the header of GatewayOptions.DecisionHeader.
const decisionHeader = "X-Llmaffinity"

// Gateway is a reverse proxy. Its transport chooses the auth. httputil.ReverseProxy does
// everything else that a proxy must do.
type Gateway struct {
	opts      GatewayOptions
	transport *affinityhttp.Transport[*Auth]
	proxy     httputil.ReverseProxy
	savings   *savings.Meter
	log       *affinityadmin.Log
	recording *recording // nil: nothing is recorded

	applied applied // the result of Apply
}

// NewGateway makes a Gateway.
func NewGateway(o GatewayOptions) (*Gateway, error) {
	if o.Pool == nil || len(o.Pool.All()) == 0 {
		return nil, errors.New("gateway: there are no auths")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{opts: o, log: affinityadmin.NewLog(0)}
	var err error
	var priced savings.Options
	if len(o.Prices) > 0 {
		priced.Prices = func(_, model string) savings.Prices { return o.Prices.Of(model) }
	}
	if g.savings, err = savings.New(&priced); err != nil {
		return nil, err
	}
	if o.Record != nil {
		g.recording = newRecording(o.Record, o.MaxBody, func(err error) { o.Log.Error("the recording has stopped", "error", err) })
	}
	g.applied.on.Store(o.Affinity)
	first, err := balancer("")
	if err != nil {
		return nil, err
	}
	// The one line that this library is for.
	g.transport, err = affinityhttp.New(first, (*Auth).name, g.auths, g.prepare, g.options(0))
	if err != nil {
		return nil, err
	}
	g.proxy = httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     g.transport,
		FlushInterval: -1,
		ErrorHandler:  g.fail,
		ErrorLog:      slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	return g, nil
}

// options returns the options of the transport, with a TTL. Sessions whose prompt cache is
// cold even out the load.
func (g *Gateway) options(ttl time.Duration) *affinityhttp.Options[*Auth] {
	o := &affinityhttp.Options[*Auth]{
		Affinity: affinity.Options[*Auth]{
			Store:    g.opts.Store,
			State:    func(a *Auth, _ affinity.Request) affinity.State { return affinity.State{Tier: a.Tier} },
			Failback: affinity.FailbackCold, ColdAnew: true, Slow: g.opts.Slow, Balance: g.opts.Balance,
			OnEvent: g.observe,
		},
		TenantKey: g.opts.TenantKey, ReuseBodies: true,
		Describe:  func(_ *http.Request, r *affinity.Request) { r.Off = r.Off || !g.applied.on.Load() },
		MaxBody:   g.opts.MaxBody,
		Attempts:  g.opts.Attempts,
		Patience:  g.opts.Patience,
		Base:      g.opts.Base,
		OnAttempt: g.note,
	}
	if g.opts.Store == nil { // a shared store has a TTL of its own
		o.Affinity.Memory.TTL = ttl
	}
	if g.opts.DecisionHeader {
		o.DecisionHeader = decisionHeader
	}
	return o
}

// observe is called with each pick and each report.
func (g *Gateway) observe(ctx context.Context, e affinity.Event) {
	g.savings.Observe(ctx, e)
	g.log.Observe(ctx, e)
	if g.recording != nil {
		g.recording.observe(e)
	}
}

// auths returns the auths that serve the API of a request. If there are none and all APIs have
// the call, it returns all auths.
func (g *Gateway) auths(in *http.Request, _ affinity.Request) []*Auth {
	api, anyone, _ := served(in)
	auths := g.opts.Pool.Serving(api)
	if len(auths) == 0 && anyone {
		return g.opts.Pool.All()
	}
	return auths
}

// prepare makes a request one for an auth.
func (g *Gateway) prepare(out *http.Request, a *Auth) error {
	api := a.API
	if api == APIAny {
		api, _, _ = served(out)
	}
	affinityhttp.SetURL(out, a.URL)
	setCredential(out, api, a.Key)
	return nil
}

// note logs how a request to one auth ended.
func (g *Gateway) note(ctx context.Context, t affinityhttp.Attempt) {
	switch t.Result {
	case affinity.Transient, affinity.Terminal:
		if a := g.opts.Pool.Named(t.Decision.Auth); a != nil {
			a.fail(t.Status)
		}
		g.opts.Log.WarnContext(ctx, "an auth has failed", "auth", t.Decision.Auth, "result", t.Result, "status", t.Status, "away", t.Away, "error", t.Err)
	default:
		g.opts.Log.DebugContext(ctx, t.Result.String(), "decision", t.Decision, "session", t.Decision.SessionName(false), "status", t.Status,
			"prompt", t.Usage.Prompt, "cached", t.Usage.Cached, "output", t.Usage.Output, "first_token", t.FirstToken)
	}
}

// fail answers a request that no auth has answered.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	var none *affinity.NoAuthError
	if errors.As(err, &none) && none.Reason == affinity.ReasonGone {
		affinityhttp.WriteStatus(w, r, http.StatusNotFound, "no upstream of this gateway serves that API")
		return
	}
	if r.Context().Err() == nil {
		g.opts.Log.Error("no auth has answered a request", "error", err)
	}
	affinityhttp.WriteError(w, r, err)
}

// Close frees what the gateway holds. It does not wait for requests under way.
func (g *Gateway) Close() { g.transport.Close() }

// Savings returns what affinity has saved so far.
func (g *Gateway) Savings() savings.Snapshot { return g.savings.Snapshot() }

// Stats returns the decisions so far.
func (g *Gateway) Stats() affinity.Stats { return g.transport.Stats() }

// ServeHTTP serves only the paths that a client needs: an auth may be allowed to do more than
// the gateway's callers.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := served(r); !ok {
		affinityhttp.WriteStatus(w, r, http.StatusNotFound, "this gateway does not serve that path")
		return
	}
	if g.recording != nil && r.Method == http.MethodPost {
		g.recording.serve(w, r, &g.proxy)
		return
	}
	g.proxy.ServeHTTP(w, r)
}

// rewrite leaves the request as the client made it; ReverseProxy would drop
// the forwarding headers.
func rewrite(p *httputil.ProxyRequest) {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := p.In.Header[h]; ok {
			p.Out.Header[h] = v
		}
	}
	p.Out.URL.RawQuery = p.In.URL.RawQuery
}

// Reload makes auths the gateway's. Sessions stay where they are; those of a removed auth are
// placed anew. An auth with a new key no longer rests.
func (g *Gateway) Reload(auths []*Auth) {
	gone, renewed := g.opts.Pool.Replace(auths)
	for _, a := range renewed {
		if err := g.transport.Back(context.Background(), a.Name); err != nil {
			g.opts.Log.Error("an auth has a new key, but is still away", "auth", a.Name, "error", err)
		}
	}
	for _, a := range gone {
		if _, err := g.transport.InvalidateAuth(context.Background(), a.Name); err != nil {
			g.opts.Log.Error("an auth was removed, but its sessions are still bound", "auth", a.Name, "error", err)
		}
	}
}
