package savings_test

import (
	"context"
	"fmt"
	"net/http"

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
