package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
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
		pick.ReportResponse(&http.Response{StatusCode: http.StatusOK}, nil) // the answer, as soon as it is there
	}
	// Output:
	// one account-1 new
	// two account-2 new
	// one account-1 hit
	// one account-1 hit
}

// A host whose balancer has another form passes a function.
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

// A request that fails is tried elsewhere: Tried says where it has been, and the
// session comes back to its auth when that is well again.
func ExamplePick_ReportResponse() {
	aff, err := affinity.New(func(name string) string { return name }, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer aff.Close()
	down := map[string]bool{}
	send := func(key string) *http.Response {
		if down[key] {
			return &http.Response{StatusCode: http.StatusServiceUnavailable}
		}
		return &http.Response{StatusCode: http.StatusOK}
	}
	handle := func() {
		r := affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}}
		for {
			pick, err := aff.Pick(context.Background(), r, []string{"key-1", "key-2"}, selector.FillFirst[string]().Select)
			if err != nil {
				fmt.Println(err) // nobody is left
				return
			}
			result := pick.ReportResponse(send(pick.Auth), nil)
			fmt.Println(pick.Auth, pick.Decision.Outcome, result)
			if result != affinity.Transient && result != affinity.Terminal {
				return
			}
			r.Tried = append(r.Tried, pick.Auth)
		}
	}
	handle()
	down["key-1"] = true
	handle()
	down["key-1"] = false
	handle() // within Options.Away: the detour, where its prompt cache is now
	// Output:
	// key-1 new served
	// key-1 hit transient
	// key-2 detour served
	// key-2 detour served
}

// Two users begin with the same words. Their answers tell the conversations apart.
func ExamplePick_Answered() {
	ctx := context.Background()
	accounts := []string{"account-1", "account-2"}
	sticky, err := affinity.Wrap(selector.RoundRobin[string](), func(name string) string { return name }, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()

	ask := func(who, body, answer string) {
		pick, err := sticky.Pick(ctx, affinity.Request{Tenant: "acme", Body: []byte(body)}, accounts)
		if err != nil {
			fmt.Println(err)
			return
		}
		pick.Report(affinity.Served)
		// A gateway writes to the AnswerWriter what it passes on to the client.
		var passing sessionid.AnswerWriter
		fmt.Fprintf(&passing, "data: {\"choices\":[{\"delta\":{\"content\":%q},\"finish_reason\":\"stop\"}]}\n\n", answer)
		if err := pick.Answered(ctx, passing.Answer()); err != nil {
			fmt.Println(err)
		}
		fmt.Println(who, pick.Auth, pick.Decision.Outcome)
	}
	ask("Ann", `{"messages":[{"role":"user","content":"hi"}]}`, "Hello!")
	ask("Ben", `{"messages":[{"role":"user","content":"hi"}]}`, "Good morning.")
	ask("Ann", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello!"},{"role":"user","content":"why?"}]}`, "Because.")
	ask("Ben", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Good morning."},{"role":"user","content":"how?"}]}`, "Like this.")
	// Output:
	// Ann account-1 new
	// Ben account-2 new
	// Ann account-1 hit
	// Ben account-2 hit
}

// The gateway counts its load itself: new sessions avoid an auth that has far more load than
// the others.
func ExampleInFlight() {
	var flying affinity.InFlight
	sticky, err := affinity.Wrap(selector.FillFirst[string](), func(name string) string { return name },
		&affinity.Options[string]{State: func(name string, _ affinity.Request) affinity.State {
			return affinity.State{Load: flying.Load(name)}
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	for _, session := range []string{"one", "two", "three", "one"} {
		pick, err := sticky.Pick(context.Background(), affinity.Request{Header: http.Header{"X-Session-Id": {session}}}, []string{"key-1", "key-2"})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer flying.Begin(pick.Decision.Auth)() // all of them are long
		fmt.Println(session, pick.Auth)
	}
	// Output:
	// one key-1
	// two key-2
	// three key-1
	// one key-1
}

// The host says what it knows of its accounts. Candidates are all of them, also those
// that rest: then a session comes back when its own account does.
func ExampleOptions_state() {
	resting := map[string]bool{}
	sticky, err := affinity.Wrap(selector.RoundRobin[string](), func(name string) string { return name },
		&affinity.Options[string]{State: func(name string, _ affinity.Request) (s affinity.State) {
			if resting[name] {
				s.Fitness = affinity.Away
			}
			return s
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	turn := func() {
		pick, err := sticky.Pick(context.Background(), affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}}, []string{"key-1", "key-2"})
		if err != nil {
			fmt.Println(err)
			return
		}
		pick.Report(affinity.Served)
		fmt.Printf("%s %s %q\n", pick.Auth, pick.Decision.Outcome, pick.Decision.Reason)
	}
	turn()
	resting["key-1"] = true
	turn()
	resting["key-2"] = true
	turn()
	clear(resting)
	turn()
	// Output:
	// key-1 new ""
	// key-2 detour "away"
	// affinity: no auth can serve this request: all candidates are away
	// key-1 hit ""
}

// A gateway writes its state when it ends, after its last request, and every so often,
// and reads it when it starts.
func ExampleAffinity_SaveFile() {
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	state := filepath.Join(dir, "gateway.state")
	request := affinity.Request{Tenant: "caller", Pool: "anthropic", Model: "claude-opus-4-8", Header: http.Header{"X-Session-Id": {"x"}}}

	start := func() *affinity.Selector[string] {
		sticky, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, nil)
		if err != nil {
			panic(err)
		}
		switch err := sticky.LoadFile(state); {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Println("a new beginning")
		case err != nil: // sticky works all the same, and has no sessions
			fmt.Println(err, os.Rename(state, state+".damaged"))
		}
		return sticky
	}
	for range 3 {
		sticky := start()
		pick, err := sticky.Pick(context.Background(), request, []string{"A", "B", "C"})
		if err != nil {
			panic(err)
		}
		pick.Report(affinity.Served)
		fmt.Println(pick.Auth, pick.Decision.Outcome)
		if err := sticky.SaveFile(state); err != nil {
			panic(err)
		}
		sticky.Close()
	}
	// Output:
	// a new beginning
	// A new
	// A hit
	// A hit
}

// The library levels the load by what it measures itself: the host needs no metric.
func ExampleBalance() {
	sticky, err := affinity.Wrap(selector.RoundRobin[string](), func(name string) string { return name },
		&affinity.Options[string]{Balance: affinity.BalanceMoving})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	sent := map[string]int{}
	for i := range 100 {
		tokens := 1000 * (1 + i%7)
		pick, err := sticky.Pick(context.Background(), affinity.Request{
			Header: http.Header{"X-Session-Id": {fmt.Sprint("session ", i)}}, Tokens: tokens, // or Body, and its length counts
		}, []string{"key-1", "key-2"})
		if err != nil {
			fmt.Println(err)
			return
		}
		sent[pick.Auth] += tokens
		pick.Report(affinity.Served)
	}
	fmt.Println(sent["key-1"]+sent["key-2"], max(sent["key-1"], sent["key-2"]) <= 201_000)
	// Output: 395000 true
}
