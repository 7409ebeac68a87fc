package savings_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/selector"
)

func Example() {
	m, err := savings.New(nil)
	if err != nil {
		panic(err)
	}
	accounts := []string{"one", "two", "three", "four"}
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{OnEvent: m.Observe})
	if err != nil {
		panic(err)
	}
	defer lb.Close()
	request := affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}}
	for _, usage := range []affinity.Usage{{Prompt: 10_000}, {Prompt: 12_000, Cached: 10_000}, {Prompt: 14_000, Cached: 12_000}} {
		pick, err := lb.Pick(context.Background(), request, accounts)
		if err != nil {
			panic(err)
		}
		// ... send the request to pick.Auth, and read what the answer says ...
		pick.Done(affinity.Report{Result: affinity.Served, Usage: usage})
	}
	fmt.Println(m.Snapshot())
	// Output: prompt cache: 61.1 % of 36000 prompt tokens, about 20.5 % without affinity
}

// With the prices of a million tokens the Meter says what was saved in money.
func ExamplePrices() {
	m, err := savings.New(&savings.Options{Prices: func(auth, model string) savings.Prices {
		if strings.HasPrefix(model, "claude-") {
			return savings.Prices{Prompt: 3, Cached: 0.3, CacheWritten: 3.75, Output: 15}
		}
		return savings.Prices{Prompt: 2, Cached: 0.5, Output: 8}
	}})
	if err != nil {
		panic(err)
	}
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{OnEvent: m.Observe})
	if err != nil {
		panic(err)
	}
	defer lb.Close()
	request := affinity.Request{Model: "claude-sonnet", Header: http.Header{"X-Session-Id": {"a conversation"}}}
	for _, usage := range []affinity.Usage{
		{Prompt: 1_000_000, CacheWritten: 1_000_000, Output: 10_000},
		{Prompt: 1_040_000, Cached: 1_000_000, CacheWritten: 40_000, Output: 10_000},
	} {
		pick, err := lb.Pick(context.Background(), request, []string{"one", "two", "three", "four"})
		if err != nil {
			panic(err)
		}
		pick.Done(affinity.Report{Result: affinity.Served, Usage: usage})
	}
	s := m.Snapshot()
	fmt.Printf("%.2f instead of about %.2f\n", s.Cost, s.CostWithout)
	// Output: 4.50 instead of about 7.09
}
