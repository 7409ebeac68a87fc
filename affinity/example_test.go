package affinity_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

type account struct{ id string }

// The one line: the balancer that a gateway has, wrapped.
func ExampleWrap() {
	accounts := []*account{{"account-1"}, {"account-2"}, {"account-3"}}
	balancer := selector.RoundRobin[*account]()

	sticky, err := affinity.Wrap(balancer, func(a *account) string { return a.id }, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()

	for _, session := range []string{"one", "two", "one", "one"} {
		pick, err := sticky.Pick(context.Background(), affinity.Request{
			Tenant: "acme", Pool: "anthropic", Model: "claude",
			Header: http.Header{"X-Session-Id": {session}},
		}, accounts)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(session, pick.Auth.id, pick.Decision.Outcome)
		pick.Report(affinity.Classify(http.StatusOK, nil)) // as soon as it is known
	}
	// Output:
	// one account-1 new
	// two account-2 new
	// one account-1 hit
	// one account-1 hit
}

// A host whose balancer has a form of its own hands in a closure.
func ExampleAffinity_Pick() {
	aff, err := affinity.New(func(name string) string { return name }, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer aff.Close()
	body := []byte(`{"messages":[{"role":"user","content":"no id at all: the conversation is the identity"}]}`)
	pick, err := aff.Pick(context.Background(), affinity.Request{Body: body}, []string{"key-1", "key-2"},
		func(_ context.Context, candidates []string) (string, error) {
			return candidates[len(candidates)-1], nil
		})
	fmt.Println(pick.Auth, pick.Decision.Outcome, pick.Decision.Signal.Name, err)
	// Output: key-2 new content <nil>
}
