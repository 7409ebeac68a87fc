// Command full is examples/gateway with what needs other modules: a store that replicas share,
// metrics for Prometheus, and the Responses API over WebSockets, which Codex uses.
//
//	go -C examples/gateway/full run . -store redis://127.0.0.1:6379 -serve -admin 127.0.0.1:8081
//	go -C examples/gateway/full run . -store 'redis://node-1:6379?addr=node-2:6379' -config file
//
// Replicas with the same Redis or Valkey send a conversation to the same auth, whichever
// replica it comes to. An auth is what the gateway chooses among: here a key of a provider.
// The URL is that of rediscache.Open: of one server, of the nodes of a Cluster, or of
// sentinels. It can also say how long a request may wait for the server: budget=20ms. While
// the server is away, each replica uses what it knows, see package fallback.
//
// With -admin there is /metrics beside the page.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/affinityprom"
	"github.com/llmaffinity/llmaffinity/affinity/affinityws"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/examples/gateway/internal/gateway"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(gateway.Main(ctx, os.Args[1:], os.Stdout, os.Stderr, gateway.With{
		Stores: stores, Metrics: metrics, WebSockets: sockets, Provider: simulatedSockets,
	}))
}

// sockets serves the Responses API over WebSockets, too.
func sockets(t *affinityhttp.Transport[*gateway.Auth], next http.Handler) (gateway.Sockets, error) {
	return affinityws.New(t, next, nil)
}

var stores = gateway.Stores{"redis": open, "rediss": open, "valkey": open, "valkeys": open}

// metrics serves the numbers of a gateway to Prometheus.
func metrics(from gateway.Numbers, saved *savings.Meter) (http.Handler, error) {
	c, err := affinityprom.NewCollector(from, &affinityprom.Options{Savings: saved})
	if err != nil {
		return nil, err
	}
	reg := prometheus.NewRegistry()
	if err := reg.Register(c); err != nil {
		return nil, err
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), nil
}

// connecting is how long a gateway waits for its store when it starts. A store that is away
// then may be connected later.
const connecting = time.Second

// open opens the store at a URL. Besides what rediscache.Open knows, the URL can have a
// budget: budget=20ms is how long a request waits for the server.
func open(ctx context.Context, address string) (cache.Store, func() error, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, nil, errors.New("the URL of the store cannot be parsed") // the URL may have a password
	}
	query := u.Query()
	var o fallback.Options
	if budget := query.Get("budget"); budget != "" {
		if o.Budget, err = time.ParseDuration(budget); err != nil {
			return nil, nil, fmt.Errorf("the budget of the store: %w", err)
		}
		query.Del("budget")
		u.RawQuery = query.Encode()
	}
	s, err := rediscache.Open(u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	_, _, _ = s.Peek(ctx, cache.Scope{}, cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}}) // only to wait
	// With this no request fails or waits because the server is away.
	f, err := fallback.New(s, &o)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return f, f.Close, nil
}
