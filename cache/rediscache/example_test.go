package rediscache_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// A gateway whose replicas share their sessions. In this example the server cannot be reached. So
// the balancer chooses, no session is bound, and no request fails.
func ExampleOpen() {
	store, err := rediscache.Open("redis://127.0.0.1:1", nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	name := func(account string) string { return account }
	lb, err := affinity.Wrap(selector.RoundRobin[string](), name, &affinity.Options[string]{Store: store})
	if err != nil {
		panic(err)
	}
	defer lb.Close()
	request := affinity.Request{Tenant: "caller", Header: http.Header{"X-Session-Id": {"conversation-1"}}}
	pick, err := lb.Pick(context.Background(), request, []string{"account-1", "account-2"})
	if err != nil {
		panic(err)
	}
	fmt.Println(pick.Auth, pick.Decision.Outcome, lb.Stats().StoreFailed)
	// Output: account-1 none 1
}
