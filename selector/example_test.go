package selector_test

import (
	"context"
	"fmt"

	"github.com/llmaffinity/llmaffinity/selector"
)

type account struct {
	name     string
	weight   float64
	tier     int
	requests float64
	slow     bool
}

func (a *account) Name() string { return a.name }

func ExampleRoundRobin() {
	next := selector.RoundRobin[string]()
	for range 4 {
		auth, _ := next.Select(context.Background(), []string{"key-1", "key-2", "key-3"})
		fmt.Println(auth)
	}
	// The list has another order now. The turn goes on behind key-1.
	auth, _ := next.Select(context.Background(), []string{"key-2", "key-1", "key-3"})
	fmt.Println(auth)
	// Output:
	// key-1
	// key-2
	// key-3
	// key-1
	// key-3
}

func ExampleWeightedRoundRobin() {
	next := selector.WeightedRoundRobin((*account).Name, func(a *account) float64 { return a.weight })
	for range 8 {
		// As after a reload: other values, the same names.
		auth, _ := next.Select(context.Background(), []*account{{name: "small", weight: 1}, {name: "large", weight: 3}})
		fmt.Print(auth.name, " ")
	}
	// Output: large large small large large large small large
}

func ExampleWeightedRoundRobin_alike() {
	// Without weights: whoever has waited longest, whatever the order of the list.
	next := selector.WeightedRoundRobin((*account).Name, nil)
	for _, names := range [][]string{{"a", "b", "c"}, {"c", "a", "b"}, {"b", "c", "a"}, {"c", "b", "a"}} {
		var list []*account
		for _, name := range names {
			list = append(list, &account{name: name})
		}
		auth, _ := next.Select(context.Background(), list)
		fmt.Print(auth.name, " ")
	}
	// Output: a b c a
}

func ExampleFillFirst() {
	next := selector.FillFirst[string]()
	for _, list := range [][]string{{"subscription", "paid"}, {"subscription", "paid"}, {"paid"}} {
		auth, _ := next.Select(context.Background(), list)
		fmt.Println(auth)
	}
	// Output:
	// subscription
	// subscription
	// paid
}

func ExampleRandom() {
	next := selector.Random[string]()
	seen := map[string]bool{}
	for range 1000 {
		auth, _ := next.Select(context.Background(), []string{"key-1", "key-2"})
		seen[auth] = true
	}
	fmt.Println(len(seen))
	// Output: 2
}

func ExampleTwoChoices() {
	next := selector.TwoChoices(func(a *account) float64 { return a.requests })
	auth, _ := next.Select(context.Background(), []*account{{name: "busy", requests: 9}, {name: "idle"}})
	fmt.Println(auth.name)
	// Output: idle
}

func ExampleLeastLoad() {
	next := selector.LeastLoad(func(a *account) float64 { return a.requests })
	auth, _ := next.Select(context.Background(), []*account{
		{name: "a", requests: 9}, {name: "b", requests: 4}, {name: "c", requests: 7},
	})
	fmt.Println(auth.name)
	// Output: b
}

func ExampleLeastRecentTokens() {
	var loads selector.Loads
	next := selector.LeastRecentTokens(func(name string) string { return name }, &loads)
	for _, tokens := range []float64{90_000, 2_000, 3_000, 4_000} {
		auth, _ := next.Select(selector.WithKey(context.Background(), 7), []string{"key-1", "key-2"})
		loads.Begin(auth, tokens, 0) // package affinity does this, given Options.Loads
		fmt.Println(auth, tokens)
		loads.End(auth)
	}
	// Output:
	// key-2 90000
	// key-1 2000
	// key-1 3000
	// key-1 4000
}

func ExampleTiers() {
	next := selector.Tiers(func(a *account) int { return a.tier }, selector.RoundRobin[*account]())
	reserve := &account{name: "reserve", tier: 1}
	first, second := &account{name: "first", tier: 2}, &account{name: "second", tier: 2}
	for _, list := range [][]*account{{reserve, first, second}, {reserve, first, second}, {reserve}} {
		auth, _ := next.Select(context.Background(), list)
		fmt.Println(auth.name)
	}
	// Output:
	// first
	// second
	// reserve
}

func ExampleFilter() {
	// Long prompts do not go to slow accounts, and if there are only slow ones, to none.
	next := selector.Filter(func(ctx context.Context, a *account) bool {
		return !a.slow || selector.HintOf(ctx).Tokens < 50_000
	}, selector.FillFirst[*account]())
	list := []*account{{name: "slow", slow: true}}
	for _, tokens := range []float64{1_000, 80_000} {
		_, err := next.Select(selector.WithHint(context.Background(), selector.Hint{Tokens: tokens}), list)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// selector: no candidates
}

func ExamplePrefer() {
	next := selector.Prefer(func(_ context.Context, a *account) bool { return !a.slow }, selector.FillFirst[*account]())
	slow, fast := &account{name: "slow", slow: true}, &account{name: "fast"}
	for _, list := range [][]*account{{slow, fast}, {slow}} {
		auth, _ := next.Select(context.Background(), list)
		fmt.Println(auth.name)
	}
	// Output:
	// fast
	// slow
}
