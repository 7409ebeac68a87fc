package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// The gateway has read its configuration again. Sessions stay where they are, and new ones go
// where the new balancer sends them.
func ExampleSelector_Reconfigure() {
	sticky, err := affinity.Wrap(selector.FillFirst[string](), func(key string) string { return key }, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	keys := []string{"key-1", "key-2"}
	turn := func(session string) {
		pick, err := sticky.Pick(context.Background(), affinity.Request{Header: http.Header{"X-Session-Id": {session}}}, keys)
		if err != nil {
			fmt.Println(err)
			return
		}
		pick.Report(affinity.Served)
		fmt.Println(session, pick.Auth, pick.Decision.Outcome)
	}
	turn("one")

	// An error says what is wrong, and the old configuration stays.
	fmt.Println(sticky.Reconfigure(selector.FillFirst[string](), &affinity.Options[string]{Warm: -time.Minute}))

	keys = []string{"key-0", "key-1", "key-2"} // one more: it needs no call
	err = sticky.Reconfigure(selector.FillFirst[string](), &affinity.Options[string]{
		Memory: cache.Options{TTL: 2 * time.Hour}, Warm: time.Hour,
	})
	if err != nil {
		fmt.Println(err)
	}
	turn("one")
	turn("two")
	// Output:
	// one key-1 new
	// affinity: Options.Warm is -1m0s, want at least 0
	// one key-1 hit
	// two key-0 new
}

// An operator asks why a conversation is not on its key. Nothing changes by the question.
func ExampleAffinity_Explain() {
	state := map[string]affinity.State{}
	sticky, err := affinity.Wrap(selector.FillFirst[string](), func(key string) string { return key },
		&affinity.Options[string]{State: func(key string, _ affinity.Request) affinity.State { return state[key] }})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	ctx, keys := context.Background(), []string{"key-1", "key-2", "key-3"}
	request := affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}}
	pick, err := sticky.Pick(ctx, request, keys)
	if err != nil {
		fmt.Println(err)
		return
	}
	pick.Report(affinity.Served)
	state["key-1"] = affinity.State{Fitness: affinity.Away}
	state["key-2"] = affinity.State{Fitness: affinity.Unfit}

	x := sticky.Explain(ctx, request, keys)
	fmt.Println("bound to", x.Bound, "now:", x.Decision.Outcome, "because:", x.Decision.Reason)
	for _, c := range x.Candidates {
		fmt.Println(c.Name, c.State.Fitness, "may serve:", c.MayServe)
	}
	// Output:
	// bound to key-1 now: detour because: away
	// key-1 away may serve: false
	// key-2 unfit may serve: false
	// key-3 fit may serve: true
}

// A key is to go, without haste. Its sessions end there, and new ones go elsewhere.
func ExampleAffinity_Drain() {
	sticky, err := affinity.Wrap(selector.FillFirst[string](), func(key string) string { return key }, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	ctx, keys := context.Background(), []string{"key-1", "key-2"}
	of := func(session string) affinity.Request {
		return affinity.Request{Header: http.Header{"X-Session-Id": {session}}}
	}
	turn := func(session string) {
		pick, err := sticky.Pick(ctx, of(session), keys)
		if err != nil {
			fmt.Println(err)
			return
		}
		pick.Report(affinity.Served)
		fmt.Println(session, pick.Auth, pick.Decision.Outcome)
	}
	turn("one")
	turn("two")

	sticky.Drain("key-1", true)
	turn("one")
	turn("three")
	if _, err := sticky.InvalidateSession(ctx, of("one")); err != nil { // the user has closed it
		fmt.Println(err)
	}
	n, err := sticky.Bound(ctx, "key-1")
	fmt.Println("still there:", n, err)

	// The gateway waits no longer: first the list, then the sessions.
	keys = []string{"key-2"}
	n, err = sticky.InvalidateAuth(ctx, "key-1")
	fmt.Println("to move:", n, err)
	turn("two")
	// Output:
	// one key-1 new
	// two key-1 new
	// one key-1 hit
	// three key-2 new
	// still there: 1 <nil>
	// to move: 1 <nil>
	// two key-2 moved
}

// A key has become slow. The gateway says how long each first token took, and after three slow
// ones the session is served elsewhere for a while. The first answer does not count, because
// its prompt was not cached yet.
func ExamplePick_FirstToken() {
	sticky, err := affinity.Wrap(selector.FillFirst[string](), func(key string) string { return key },
		&affinity.Options[string]{Slow: affinity.SlowPolicy{Above: 4 * time.Second}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	answers := map[string]time.Duration{"key-1": 9 * time.Second, "key-2": time.Second}
	for range 6 {
		pick, err := sticky.Pick(context.Background(), affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}}, []string{"key-1", "key-2"})
		if err != nil {
			fmt.Println(err)
			return
		}
		pick.FirstToken(answers[pick.Auth]) // as soon as it is there; affinityhttp does so
		pick.Report(affinity.Served)
		fmt.Println(pick.Auth, pick.Decision.Outcome)
	}
	// Output:
	// key-1 new
	// key-1 hit
	// key-1 hit
	// key-1 hit
	// key-2 spill
	// key-2 spill
}

// The key with the warm prompt cache is back in a moment. It is cheaper to wait than to send the
// long prompt to another key.
func ExampleNoAuthError_Waits() {
	sticky, err := affinity.Wrap(selector.FillFirst[string](), func(key string) string { return key }, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	ctx, keys := context.Background(), []string{"key-1", "key-2"}
	request := affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}, Patience: 2 * time.Second}
	pick, err := sticky.Pick(ctx, request, keys)
	if err != nil {
		fmt.Println(err)
		return
	}
	pick.Report(affinity.Served)                              // the prompt cache is warm
	pick.ReportAway(affinity.Transient, 500*time.Millisecond) // a limit, and a short Retry-After

	pick, err = sticky.Pick(ctx, request, keys)
	var none *affinity.NoAuthError
	if errors.As(err, &none) && none.Waits() {
		fmt.Println("waiting for", none.Auth)
		time.Sleep(time.Until(none.Until)) // and for ctx
		pick, err = sticky.Pick(ctx, request, keys)
	}
	fmt.Println(pick.Auth, pick.Decision.Outcome, err)
	// Output:
	// waiting for key-1
	// key-1 hit <nil>
}
