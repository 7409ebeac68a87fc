// Command echo is an LLM proxy made of Echo's own parts: its Proxy middleware over several
// keys of one provider. File sticky.go wraps the proxy's balancer, so that every conversation
// stays on the key where its prompt cache is.
//
//	UPSTREAM=https://api.anthropic.com KEYS=sk-ant-…,sk-ant-… go run .
//	ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/llmaffinity/llmaffinity/affinity"
)

const (
	retries  = 3
	maxBody  = 64 << 20
	maxError = 1 << 20
	lastKey  = "last failure"
)

// newProxy makes the proxy with a balancer.
func newProxy(balancer *Sticky, base http.RoundTripper) *echo.Echo {
	e := echo.New()
	e.Use(middleware.BodyLimit(maxBody))
	e.Use(middleware.ProxyWithConfig(middleware.ProxyConfig{
		Balancer:     balancer,
		Transport:    &transport{balancer, base},
		RetryCount:   retries,
		RetryFilter:  another,
		ErrorHandler: fail,
	}))
	return e
}

// target is one key of the provider.
func target(upstream *url.URL, name, key string) *middleware.ProxyTarget {
	return &middleware.ProxyTarget{Name: name, URL: upstream, Meta: map[string]any{"key": key}}
}

// nameOf returns the lasting name of a key: the same after a restart, and safe to log.
func nameOf(key string) string { return fmt.Sprintf("account-%.4x", sha256.Sum256([]byte(key))) }

// transport sends a request with the key of its target, and reports how it went.
type transport struct {
	balancer *Sticky
	base     http.RoundTripper
}

// refusal is an answer that says that the target cannot serve. It is an error, because after
// an answer Echo tries no other target.
type refusal struct {
	status int
	header http.Header
	body   []byte
}

func (r *refusal) Error() string { return "the target answers " + strconv.Itoa(r.status) }

func (t *transport) RoundTrip(in *http.Request) (*http.Response, error) {
	out := in.Clone(in.Context())
	out.Host = out.URL.Host
	pick, _ := affinity.PickFrom[*middleware.ProxyTarget](out.Context())
	key, _ := pick.Auth.Meta["key"].(string)
	for _, h := range credentials {
		out.Header.Del(h)
	}
	switch {
	case out.Header.Get("Anthropic-Version") != "":
		out.Header.Set("X-Api-Key", key)
	case strings.Contains(out.URL.Path, "/v1beta/"):
		out.Header.Set("X-Goog-Api-Key", key)
	default:
		out.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := t.base.RoundTrip(out)
	result := t.balancer.Report(out, resp, err)
	if err != nil || result != affinity.Transient && result != affinity.Terminal {
		return resp, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // as much of the error as there is
	resp.Header.Del("Content-Length")
	return nil, &refusal{resp.StatusCode, resp.Header, text}
}

// another returns the error that makes Echo try another target. The client gets the failure if
// there is no other.
func another(c *echo.Context, err error) bool {
	c.Set(lastKey, err)
	var failure *echo.HTTPError
	return errors.As(err, &failure) && failure.Code == http.StatusBadGateway
}

// fail answers if no target has served.
func fail(c *echo.Context, err error) error {
	var nobody *affinity.NoAuthError
	if errors.As(err, &nobody) {
		if last, ok := c.Get(lastKey).(error); ok {
			err = last
		} else {
			if wait := time.Until(nobody.Until); wait > 0 {
				c.Response().Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			}
			err = echo.NewHTTPError(http.StatusServiceUnavailable, "no account can serve this request now")
		}
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		return err
	}
	for _, h := range []string{"Retry-After", "Content-Encoding"} {
		if v := refused.header.Get(h); v != "" {
			c.Response().Header().Set(h, v)
		}
	}
	return c.Blob(refused.status, refused.header.Get("Content-Type"), refused.body)
}

var credentials = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"}

// describe returns what a request is: who is calling, and for which model.
func describe(r *http.Request, body []byte) *affinity.Request {
	q := &affinity.Request{Header: r.Header.Clone(), Body: body, Path: r.URL.Path}
	for _, h := range credentials {
		if v := r.Header.Get(h); v != "" {
			q.Tenant = fmt.Sprintf("%x", sha256.Sum256([]byte(v)))
		}
	}
	var named struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(body, &named) // if the body is wrong, the provider says so
	q.Model = named.Model
	if _, rest, ok := strings.Cut(r.URL.Path, "/v1beta/models/"); ok {
		q.Model, _, _ = strings.Cut(rest, ":")
	}
	return q
}

// serve serves until ctx is done, and then until the answers under way have ended.
func serve(ctx context.Context, l net.Listener, upstream *url.URL, keys []string) error {
	var targets []*middleware.ProxyTarget
	for _, key := range keys {
		targets = append(targets, target(upstream, nameOf(key), key))
	}
	balancer, err := Wrap(middleware.NewRoundRobinBalancer(nil), targets...)
	if err != nil {
		return err
	}
	defer balancer.sessions.Close()
	base := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true}
	defer base.CloseIdleConnections()
	var undrained error
	config := echo.StartConfig{Listener: l, HideBanner: true, HidePort: true, GracefulTimeout: time.Hour, OnShutdownError: func(err error) { undrained = err }}
	config.BeforeServeFunc = func(s *http.Server) error {
		s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout = 10*time.Second, 0, 0 // answers may take long
		return nil
	}
	err = config.Start(ctx, newProxy(balancer, base)) // returns after undrained is set
	return errors.Join(err, undrained)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	upstream, err := url.Parse(os.Getenv("UPSTREAM"))
	keys := strings.FieldsFunc(os.Getenv("KEYS"), func(c rune) bool { return c == ',' || c <= ' ' })
	if err != nil || upstream.Host == "" || len(keys) == 0 {
		log.Fatal("set UPSTREAM to the provider's address, and KEYS to its keys, separated by commas")
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		err = serve(ctx, l, upstream, keys)
	}
	if err != nil {
		log.Fatal(err)
	}
}
