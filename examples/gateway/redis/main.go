// Command redis is examples/gateway with a shared store: replicas of it that use one
// Redis or Valkey send a conversation to the same auth, whichever of them it comes to.
//
//	go -C examples/gateway/redis run . -store redis://127.0.0.1:6379 -serve
//	go -C examples/gateway/redis run . -store 'redis://node-1:6379?addr=node-2:6379' -config file
//
// The URL is that of rediscache.Open: of one server, of the nodes of a Cluster, or of
// sentinels. Package rediscache says what happens when the server is away.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/examples/gateway/internal/gateway"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait
	os.Exit(gateway.Main(ctx, os.Args[1:], os.Stdout, os.Stderr, stores))
}

var stores = gateway.Stores{"redis": open, "rediss": open, "valkey": open, "valkeys": open}

// open does not wait for the server, which may be away when the gateway starts.
func open(_ context.Context, url string) (cache.Store, func() error, error) {
	s, err := rediscache.Open(url, nil)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}
