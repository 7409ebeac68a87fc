package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// GatewayOptions of a Gateway. Pool is required.
type GatewayOptions struct {
	Pool *Pool
	// Affinity off: the plain balancer alone, as the control.
	Affinity bool
	// DecisionHeader: answer with X-Llmaffinity, which names the decision and
	// the opaque name of the auth.
	DecisionHeader bool
	// MaxBody is how much of a request is held in memory. A larger request is
	// passed on as it streams: known by its headers alone, and tried once.
	MaxBody int64
	// Attempts is how many auths one request may try.
	Attempts int
	// Slow is when an auth is slow, by the time to the first byte of its answers.
	Slow affinity.SlowPolicy
	Log  *slog.Logger
}

// Defaults of GatewayOptions.
const (
	defaultMaxBody  = 64 << 20
	defaultAttempts = 4
)

// decisionHeader is where DecisionHeader puts it.
const decisionHeader = "X-Llmaffinity"

// Gateway is the reverse proxy. Its transport chooses the auth; everything
// that a proxy must do besides is httputil.ReverseProxy's.
type Gateway struct {
	opts   GatewayOptions
	sticky *affinity.Selector[*Auth] // nil: affinity is off
	plain  selector.Selector[*Auth]
	proxy  httputil.ReverseProxy
	send   http.RoundTripper
	flying affinity.InFlight

	applied applied // what Apply has made of the settings
}

// NewGateway makes a Gateway.
func NewGateway(o GatewayOptions) (*Gateway, error) {
	if o.Pool == nil || len(o.Pool.All()) == 0 {
		return nil, errors.New("gateway: no auths")
	}
	if o.MaxBody == 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.Attempts == 0 {
		o.Attempts = defaultAttempts
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{opts: o, plain: selector.RoundRobin[*Auth]()}
	// The one line that this library is for.
	wrapped, err := affinity.Wrap(g.plain, (*Auth).name, g.options(0))
	if err != nil {
		return nil, err
	}
	g.sticky = wrapped
	g.applied.on.Store(o.Affinity)
	// Bytes go through as they come: what is compressed stays so.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 64
	g.send = transport
	g.proxy = httputil.ReverseProxy{
		Rewrite:       g.rewrite,
		Transport:     roundTripper(g.roundTrip),
		FlushInterval: -1,
		ErrorHandler:  g.fail,
		ErrorLog:      slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	return g, nil
}

// state is what affinity asks of an auth.
func (g *Gateway) state(a *Auth, _ affinity.Request) affinity.State {
	s := affinity.State{Tier: a.Tier, Load: g.flying.Load(a.Name)}
	if until := a.RestsUntil(); time.Now().Before(until) {
		s.Fitness, s.Until = affinity.Away, until
	}
	return s
}

// Close frees what the gateway holds; requests under way are not waited for.
func (g *Gateway) Close() {
	if g.sticky != nil {
		g.sticky.Close()
	}
	g.send.(*http.Transport).CloseIdleConnections()
}

// Stats are the decisions so far; zero with affinity off.
func (g *Gateway) Stats() affinity.Stats {
	if g.sticky == nil {
		return affinity.Stats{}
	}
	return g.sticky.Stats()
}

// job is what the gateway knows of one request on its way.
type job struct {
	api     API
	request affinity.Request
	body    []byte    // the whole body …
	rest    io.Reader // … or its beginning, when there is more
}

type jobKey struct{}

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	api, model, ok := route(r.URL.Path)
	if !ok {
		http.Error(w, `{"error":{"type":"not_found","message":"this gateway does not serve that path"}}`, http.StatusNotFound)
		return
	}
	j := &job{api: api}
	var err error
	if j.body, err = io.ReadAll(io.LimitReader(r.Body, g.opts.MaxBody+1)); err != nil {
		http.Error(w, `{"error":{"type":"bad_request","message":"the request's body broke off"}}`, http.StatusBadRequest)
		return
	}
	j.request = affinity.Request{
		Tenant: tenant(r), Pool: string(api), Model: model, Header: r.Header, Path: r.URL.Path,
		Side: strings.HasSuffix(r.URL.Path, "/count_tokens"),
	}
	if int64(len(j.body)) > g.opts.MaxBody {
		j.rest = r.Body
	} else {
		j.request.Body = j.body
		if model == "" {
			j.request.Model = modelOf(j.body)
		}
	}
	g.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), jobKey{}, j)))
}

// tenant is who is calling. This gateway has no accounts of its own: callers
// with different credentials are different tenants. A digest, because a
// credential has no business in a store.
func tenant(r *http.Request) string {
	sum := sha256.Sum256([]byte(credentialOf(r)))
	return hex.EncodeToString(sum[:8])
}

// rewrite leaves the request as the client made it; ReverseProxy would drop
// the forwarding headers.
func (g *Gateway) rewrite(p *httputil.ProxyRequest) {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := p.In.Header[h]; ok {
			p.Out.Header[h] = v
		}
	}
	p.Out.URL.RawQuery = p.In.URL.RawQuery
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// roundTrip sends the request to the auth that affinity picks, and to another
// one as long as nothing of an answer was passed on and the failure is one
// that another auth may not have.
func (g *Gateway) roundTrip(out *http.Request) (*http.Response, error) {
	ctx := out.Context()
	j := ctx.Value(jobKey{}).(*job)
	var tried []string
	for attempt := 1; ; attempt++ {
		pick, err := g.pick(ctx, j, tried)
		if err != nil {
			return nil, err
		}
		auth := pick.Auth
		tried = append(tried, auth.Name)
		others, _ := g.opts.Pool.Candidates(j.api, tried)
		last := attempt == g.opts.Attempts || j.rest != nil || len(others) == 0
		sent := time.Now()
		resp, err := g.try(out, j, auth)
		if err == nil {
			pick.FirstToken(time.Since(sent))
		} else if ctx.Err() != nil {
			err = ctx.Err() // the client went away: not the auth's fault
		}
		result, away := affinity.Classify(resp, err)
		pick.ReportAway(result, away)
		if result == affinity.Transient || result == affinity.Terminal && (err != nil || resp.StatusCode != http.StatusNotFound) {
			g.rest(auth, result, away, resp, err)
			if !last {
				if resp != nil {
					resp.Body.Close()
				}
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		g.sign(resp, pick)
		return resp, nil
	}
}

// pick asks affinity, or without it the plain balancer.
func (g *Gateway) pick(ctx context.Context, j *job, tried []string) (affinity.Pick[*Auth], error) {
	if g.sticky != nil {
		r := j.request
		r.Tried, r.Off = tried, !g.applied.on.Load()
		return g.sticky.Pick(ctx, r, g.opts.Pool.Serving(j.api))
	}
	candidates, until := g.opts.Pool.Candidates(j.api, tried)
	if len(candidates) == 0 {
		return affinity.Pick[*Auth]{}, &affinity.NoAuthError{Reason: affinity.ReasonAway, Until: until}
	}
	auth, err := g.plain.Select(ctx, candidates)
	if err != nil {
		return affinity.Pick[*Auth]{}, err
	}
	return affinity.Pick[*Auth]{Auth: auth, Decision: affinity.Decision{Auth: auth.Name}}, nil
}

// Reload makes auths the gateway's. Sessions stay where they are; those of an
// auth that is gone are placed anew.
func (g *Gateway) Reload(auths []*Auth) {
	for _, a := range g.opts.Pool.Replace(auths) {
		g.forget(a)
	}
}

// forget frees the sessions of an auth that is gone or refused.
func (g *Gateway) forget(auth *Auth) {
	if g.sticky == nil {
		return
	}
	if _, err := g.sticky.InvalidateAuth(context.Background(), auth.Name); err != nil {
		g.opts.Log.Error("the sessions of an auth stay bound", "auth", auth.Name, "error", err)
	}
}

// try sends the request to one auth. An answer that breaks before its first
// byte is an error, so that another auth can be asked.
func (g *Gateway) try(out *http.Request, j *job, auth *Auth) (*http.Response, error) {
	req := out.Clone(out.Context())
	req.URL.Scheme, req.URL.Host = auth.URL.Scheme, auth.URL.Host
	req.URL.Path = auth.URL.Path + req.URL.Path
	req.Host = ""
	setCredential(req, j.api, auth.Key)
	req.Body = io.NopCloser(bytes.NewReader(j.body))
	req.ContentLength = out.ContentLength
	if j.rest != nil {
		req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(j.body), j.rest))
	} else {
		req.ContentLength = int64(len(j.body))
		if req.ContentLength == 0 {
			req.Body = http.NoBody
		}
	}
	landed := g.flying.Begin(auth.Name)
	resp, err := g.send.RoundTrip(req)
	if err != nil {
		landed()
		return nil, err
	}
	var first [1]byte
	n, err := io.ReadFull(resp.Body, first[:])
	if err != nil && err != io.EOF {
		resp.Body.Close()
		landed()
		return nil, err
	}
	resp.Body = &rejoined{io.MultiReader(bytes.NewReader(first[:n]), resp.Body), resp.Body, landed}
	return resp, nil
}

// rejoined is a body whose first byte was read already, and whose end is told.
type rejoined struct {
	io.Reader
	io.Closer
	landed func()
}

func (r *rejoined) Close() error {
	r.landed()
	return r.Closer.Close()
}

// rest takes the auth out for a while; one that is refused loses its sessions.
func (g *Gateway) rest(auth *Auth, result affinity.Result, away time.Duration, resp *http.Response, err error) {
	reason := "broken connection"
	if resp != nil {
		reason = fmt.Sprint(resp.StatusCode)
	}
	auth.Rest(rest(result, away), reason)
	if result == affinity.Terminal {
		g.forget(auth)
	}
	g.opts.Log.Warn("auth rests", "auth", auth.Name, "reason", reason, "error", err)
}

// sign tells the client what was decided, if that was asked for.
func (g *Gateway) sign(resp *http.Response, pick affinity.Pick[*Auth]) {
	d := pick.Decision
	outcome := d.Outcome.String()
	if !g.applied.on.Load() {
		outcome = "off"
	}
	g.opts.Log.Debug("served", "auth", d.Auth, "outcome", outcome, "signal", d.Signal.Name, "status", resp.StatusCode)
	resp.Header.Del(decisionHeader)
	if g.opts.DecisionHeader {
		resp.Header.Set(decisionHeader, fmt.Sprintf("auth=%s; outcome=%s; reason=%s; signal=%s", d.Auth, outcome, d.Reason, d.Signal.Kind))
	}
}

// fail answers for an upstream that could not be reached.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody is listening
	}
	status := http.StatusBadGateway
	var none *affinity.NoAuthError
	if errors.As(err, &none) {
		status = http.StatusServiceUnavailable
		if wait := time.Until(none.Until); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		}
	}
	g.opts.Log.Error("no answer", "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"type":"upstream","message":%q}}`, http.StatusText(status))
}
