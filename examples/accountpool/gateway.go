package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

const (
	maxBody  = 64 << 20
	maxError = 1 << 20 // of an error, which is held while other accounts are tried
	maxTries = 4
	everyAPI = "*" // the provider of an account that speaks all APIs
)

// gateway sends each request to an account that the picker chooses, and to another one if
// that account cannot serve it.
type gateway struct {
	picker Picker
	hooks  []Hook
	client http.Client
	auths  atomic.Pointer[[]*Auth]
}

// newGateway makes the gateway. With a plain picker in place of sticky it is the gateway as it
// was before.
func newGateway(auths []*Auth) (*gateway, sticky, error) {
	tiers := &Tiers{}
	sticky, err := newSticky(tiers)
	g := &gateway{picker: sticky, hooks: []Hook{tiers, sticky}}
	// Content codings pass through unchanged.
	g.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true}
	// The client follows redirects. Here the redirect's target would get the account's key.
	g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	g.setAuths(auths)
	return g, sticky, err
}

// setAuths replaces the accounts. An account that stays must be the same *Auth, so that what
// is known of it stays.
func (g *gateway) setAuths(auths []*Auth) { g.auths.Store(&auths) }

// of returns the accounts of a provider.
func (g *gateway) of(provider string) (of []*Auth) {
	for _, a := range *g.auths.Load() {
		if a.Provider == provider || a.Provider == everyAPI {
			of = append(of, a)
		}
	}
	return of
}

// failure is the answer of an account that cannot serve. It is held while others are tried.
type failure struct {
	status int
	header http.Header
	body   []byte
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the request's body cannot be read", http.StatusBadRequest)
		return
	}
	// Pick and MarkResult get the same context, which carries the pick from one to the other.
	ctx := affinity.WithPick(r.Context())
	provider, model := destination(r, body)
	opts := Options{Caller: caller(r), Header: r.Header, Body: body}
	var last *failure
	for range maxTries {
		auth, err := g.picker.Pick(ctx, provider, model, opts, g.of(provider))
		if err != nil {
			if last == nil {
				refuse(w, err)
				return
			}
			break
		}
		if last = g.try(ctx, w, r, body, auth, model); last == nil {
			return
		}
		opts.Tried = append(opts.Tried, auth.Name)
	}
	pass(w.Header(), last.header)
	w.WriteHeader(last.status)
	_, _ = w.Write(last.body)
}

// try sends a request to an account. It returns nil when the client has its answer.
func (g *gateway) try(ctx context.Context, w http.ResponseWriter, r *http.Request, body []byte, auth *Auth, model string) *failure {
	result := Result{Auth: auth, Model: model}
	defer func() {
		for _, h := range g.hooks {
			h.MarkResult(ctx, result)
		}
	}()
	out := r.Clone(ctx)
	prepare(out, auth, body)
	resp, err := g.client.Do(out)
	if err != nil {
		result.Err = err
		return &failure{status: http.StatusBadGateway, header: http.Header{}, body: []byte("the account cannot be reached\n")}
	}
	defer resp.Body.Close()
	result.Status, result.Header, result.RetryFor = resp.StatusCode, resp.Header, retryFor(resp.Header)
	switch s := resp.StatusCode; {
	case s == 401, s == 402, s == 403, s == 429, s >= 500:
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
		result.Err = err
		return &failure{s, resp.Header, text}
	}
	pass(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	result.Err = stream(w, resp.Body)
	if result.Err != nil {
		if r.Context().Err() != nil {
			result.Err = context.Canceled
		}
		panic(http.ErrAbortHandler) // otherwise the client would take what it has for the whole answer
	}
	return nil
}

// stream passes an answer on as it arrives.
func stream(w http.ResponseWriter, body io.Reader) error {
	out := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			if _, gone := w.Write(buffer[:n]); gone != nil {
				return context.Canceled
			}
			if gone := out.Flush(); gone != nil {
				return context.Canceled
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var credentials = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"}

// caller returns who is calling: a digest of the client's credential.
func caller(r *http.Request) string {
	for _, h := range credentials {
		if v := r.Header.Get(h); v != "" {
			return fmt.Sprintf("%x", sha256.Sum256([]byte(v)))
		}
	}
	return ""
}

// destination returns the provider, by the path, and the model, by the body or the path.
func destination(r *http.Request, body []byte) (provider, model string) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v1beta/models/"); ok {
		model, _, _ = strings.Cut(rest, ":")
		return "gemini", model
	}
	var named struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(body, &named) // if the body is wrong, the provider says so
	if strings.HasPrefix(r.URL.Path, "/v1/messages") {
		return "anthropic", named.Model
	}
	return "openai", named.Model
}

// prepare makes a client's request one for an account.
func prepare(out *http.Request, auth *Auth, body []byte) {
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host, out.Host = auth.URL.Scheme, auth.URL.Host, auth.URL.Host
	out.URL.Path = strings.TrimSuffix(auth.URL.Path, "/") + out.URL.Path
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	hop(out.Header)
	for _, h := range credentials {
		out.Header.Del(h)
	}
	switch {
	case out.Header.Get("Anthropic-Version") != "":
		out.Header.Set("X-Api-Key", auth.Key)
	case strings.HasPrefix(out.URL.Path, "/v1beta/"):
		out.Header.Set("X-Goog-Api-Key", auth.Key)
	default:
		out.Header.Set("Authorization", "Bearer "+auth.Key)
	}
}

// hop removes the headers that belong to one connection.
func hop(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization"} {
		h.Del(name)
	}
}

// pass copies an answer's header into the client's answer.
func pass(to, from http.Header) {
	from = from.Clone()
	hop(from)
	for k, v := range from {
		to[k] = v
	}
}

// refuse answers if no account may serve.
func refuse(w http.ResponseWriter, err error) {
	var until time.Time
	var resting *RestingError
	var nobody *affinity.NoAuthError
	switch {
	case errors.As(err, &resting):
		until = resting.Until
	case errors.As(err, &nobody):
		until = nobody.Until
	}
	if wait := time.Until(until); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	}
	http.Error(w, "no account can serve this request now", http.StatusServiceUnavailable)
}

// retryFor returns what Retry-After says, in seconds.
func retryFor(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 || n > 24*3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}
