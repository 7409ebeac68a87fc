// Package affinitytest tests a gateway: whether its balancer, as the gateway has wrapped it,
// keeps every session on its auth. An auth is what the gateway chooses among: a credential, an
// account, a replica.
//
//	func TestAffinity(t *testing.T) {
//		affinitytest.Test(t, func(auths []string) (affinitytest.Host, error) {
//			return newTestGateway(auths), nil // your gateway, these auths
//		})
//	}
//
// The name of a check says what a gateway must do. Its error says what the gateway did
// instead.
package affinitytest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Host is the part of a gateway that chooses auths.
type Host interface {
	// Pick chooses the auth for a request with the code that serves every request of the
	// gateway. It returns the auth's name and a function that reports the result. It is called
	// from many goroutines at once.
	Pick(ctx context.Context, r affinity.Request) (auth string, report func(affinity.Result), err error)
	// Down takes an auth out of service for a moment, as a cooldown does, or puts it back into
	// service. The sessions of an auth that is back must come back, too.
	Down(auth string, down bool)
}

// Check is one property of a host.
type Check struct {
	Name string // such as "a-burst-ends-on-one-auth"
	run  func(*run)
}

// Checks returns all checks. A host for which one of them cannot hold runs the others with Run.
func Checks() []Check {
	return []Check{
		{"a-session-stays", stays},
		{"a-burst-ends-on-one-auth", burst},
		{"a-cancelled-request-splits-no-burst", cancelled},
		{"sessions-spread", spread},
		{"no-session-is-bound-to-nothing", none},
		{"content-is-a-session", content},
		{"tenants-do-not-meet", tenants},
		{"an-auth-that-is-down-gets-nothing", down},
		{"when-all-are-down-nobody-is-chosen", allDown},
		{"failover-is-sticky", failover},
		{"a-session-comes-back", back},
		{"a-terminal-result-unbinds", terminal},
		{"a-late-result-changes-nothing", late},
	}
}

// Test runs all checks as subtests. It calls make once for each, with four auths.
func Test(t *testing.T, make func(auths []string) (Host, error)) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(make); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Run runs one check. The error says what the host did instead.
func (c Check) Run(make func(auths []string) (Host, error)) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s: %s", c.Name, string(v))
		default:
			panic(v)
		}
	}()
	h, err := make(slices.Clone(auths))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	c.run(&run{h})
	return nil
}

var auths = []string{"auth-1", "auth-2", "auth-3", "auth-4"}

type run struct{ Host }

type failure string

func (r *run) check(ok bool, format string, args ...any) {
	if !ok {
		panic(failure(fmt.Sprintf(format, args...)))
	}
}

// session returns a request of a session, which a header names.
func session(name string) affinity.Request {
	return affinity.Request{Tenant: "tenant", Pool: "pool", Model: "model", Header: http.Header{"X-Session-Id": {"affinitytest-" + name}}}
}

// serve picks, reports success, and returns the auth.
func (r *run) serve(q affinity.Request) string {
	auth, report := r.pick(q)
	report(affinity.Served)
	return auth
}

func (r *run) pick(q affinity.Request) (string, func(affinity.Result)) {
	auth, report, err := r.try(q)
	r.check(err == nil, "%v", err)
	return auth, report
}

// try is pick for goroutines other than the check's, in which no check may fail.
func (r *run) try(q affinity.Request) (auth string, report func(affinity.Result), err error) {
	auth, report, err = r.Pick(context.Background(), q)
	switch {
	case err != nil:
		err = fmt.Errorf("Pick failed: %w", err)
	case !slices.Contains(auths, auth):
		err = fmt.Errorf("Pick returned %q, which is not one of the auths", auth)
	case report == nil:
		err = errors.New("Pick returned nil as the function that reports the result")
	}
	return auth, report, err
}

func stays(r *run) {
	for i := range 20 {
		q := session(fmt.Sprint("s", i))
		first := r.serve(q)
		for range 20 {
			r.serve(session(fmt.Sprint("other", i)))
			auth := r.serve(q)
			r.check(auth == first, "a session that is bound to %s was sent to %s", first, auth)
		}
	}
}

func burst(r *run) {
	for i := range 50 {
		q := session(fmt.Sprint("s", i))
		got := make([]string, 32)
		errs := make([]error, len(got))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for j := range got {
			wg.Go(func() {
				<-start
				var report func(affinity.Result)
				if got[j], report, errs[j] = r.try(q); errs[j] == nil {
					report(affinity.Served)
				}
			})
		}
		close(start)
		wg.Wait()
		for j := range got {
			r.check(errs[j] == nil, "%v", errs[j])
			r.check(got[j] == got[0], "32 concurrent first requests of one session went to different auths: %s and %s", got[0], got[j])
		}
	}
}

func cancelled(r *run) {
	for i := range 20 {
		q := session(fmt.Sprint("s", i))
		var reports []func(affinity.Result)
		first := ""
		for j := range 8 {
			auth, report := r.pick(q)
			if j == 0 {
				first = auth
			}
			r.check(auth == first, "8 open requests of one session went to different auths: %s and %s", first, auth)
			reports = append(reports, report)
		}
		for j, report := range reports {
			if j != i%len(reports) {
				continue
			}
			report(affinity.Cancelled)
			r.serve(session(fmt.Sprint("other", i))) // the balancer's turn moves on
			auth, report := r.pick(q)
			report(affinity.Served)
			r.check(auth == first, "one of 8 requests of a session on %s was cancelled, and its next request went to %s", first, auth)
		}
	}
}

func spread(r *run) {
	const n = 200
	perAuth := map[string]int{}
	for i := range n {
		perAuth[r.serve(session(fmt.Sprint("s", i)))]++
	}
	for _, a := range auths {
		r.check(perAuth[a] <= 2*n/len(auths), "%d of %d new sessions went to %s: the balancer does not spread them", perAuth[a], n, a)
		r.check(perAuth[a] > 0, "none of %d new sessions went to %s: the balancer does not spread them", n, a)
	}
}

func none(r *run) {
	seen := map[string]bool{}
	for range 100 {
		seen[r.serve(affinity.Request{Tenant: "tenant", Pool: "pool", Model: "model", Body: []byte(`{"messages":[]}`)})] = true
	}
	r.check(len(seen) > 1, "100 requests without a session all went to one auth")
}

func content(r *run) {
	for i := range 20 {
		messages := fmt.Sprintf(`{"role":"user","content":"question %d"}`, i)
		var first string
		for turn := range 5 {
			auth := r.serve(affinity.Request{Tenant: "tenant", Pool: "pool", Model: "model", Body: []byte(`{"messages":[` + messages + `]}`)})
			if turn == 0 {
				first = auth
			}
			r.check(auth == first, "turn %d of a conversation without an id went to %s, and turn 0 to %s: does the host pass the body on?", turn, auth, first)
			messages += fmt.Sprintf(`,{"role":"assistant","content":"answer %d to %d"},{"role":"user","content":"and %d?"}`, turn, i, turn)
		}
	}
}

func tenants(r *run) {
	differ := 0
	for i := range 40 {
		mine, theirs := session(fmt.Sprint("s", i)), session(fmt.Sprint("s", i))
		theirs.Tenant = "another tenant"
		first := r.serve(mine)
		auth, report := r.pick(theirs)
		if auth != first {
			differ++
		}
		report(affinity.Terminal)
		again := r.serve(mine)
		r.check(again == first, "another tenant's failure has moved a session from %s to %s", first, again)
	}
	r.check(differ > 0, "all of 40 sessions of another tenant with the same ids went to the auths of the first tenant's sessions")
}

func down(r *run) {
	for i := range 40 {
		r.serve(session(fmt.Sprint("before", i)))
	}
	r.Down(auths[1], true)
	for i := range 80 {
		auth := r.serve(session(fmt.Sprint("new", i)))
		r.check(auth != auths[1], "a new session went to an auth that is down")
		auth = r.serve(session(fmt.Sprint("before", i%40)))
		r.check(auth != auths[1], "a bound session went to its auth, although that is down")
	}
}

func allDown(r *run) {
	q := session("s")
	first := r.serve(q)
	for _, a := range auths {
		r.Down(a, true)
	}
	for _, q := range []affinity.Request{q, session("new"), {Tenant: "tenant", Pool: "pool", Model: "model"}} {
		auth, _, err := r.Pick(context.Background(), q)
		r.check(err != nil, "all auths are down, but Pick returned %s and no error", auth)
	}
	r.Down(first, false)
	auth := r.serve(q)
	r.check(auth == first, "only %s is back, but its session was sent to %s", first, auth)
}

func failover(r *run) {
	for i := range 20 {
		q := session(fmt.Sprint("s", i))
		first := r.serve(q)
		auth, report := r.pick(q)
		r.check(auth == first, "a session that is bound to %s was sent to %s", first, auth)
		r.Down(first, true)
		report(affinity.Transient)
		second := r.serve(q)
		r.check(second != first, "a session was sent back to the auth that is down")
		for range 8 {
			r.serve(session(fmt.Sprint("other", i)))
			auth = r.serve(q)
			r.check(auth == second, "while its auth is down, a session was sent to different auths: %s and %s", second, auth)
		}
		r.Down(first, false)
		home := r.serve(q)
		r.check(home == first || home == second, "after its auth is back, a session was sent to %s, which is neither its auth nor the auth of its detour", home)
	}
}

func back(r *run) {
	const n = 12
	var home [n]string
	for i := range n {
		home[i] = r.serve(session(fmt.Sprint("s", i)))
	}
	away := home[0]
	r.Down(away, true)
	for range 2 {
		for i := range n {
			auth := r.serve(session(fmt.Sprint("s", i)))
			r.check(auth != away, "a session that is bound to %s was sent there, although that is down", away)
		}
	}
	r.Down(away, false)
	for i := range n {
		auth := r.serve(session(fmt.Sprint("s", i)))
		r.check(auth == home[i], "%s was down for a moment and is back, but a session that is bound to %s was sent to %s. "+
			"The list that is given to Pick must have the auths that only rest, too: leave them in, and let Options.State return "+
			"affinity.Away for them", away, home[i], auth)
	}
}

func terminal(r *run) {
	q := session("s")
	first := r.serve(q)
	_, report := r.pick(q)
	r.Down(first, true)
	report(affinity.Terminal)
	second := r.serve(q)
	r.check(second != first, "the session was sent to the auth that has refused it")
	r.Down(first, false)
	for range 8 {
		auth := r.serve(q)
		r.check(auth == second, "after a terminal failure of %s the session was sent to %s, want %s", first, auth, second)
	}
}

func late(r *run) {
	for i := range 12 {
		q := session(fmt.Sprint("s", i))
		first := r.serve(q)
		_, old := r.pick(q)
		_, report := r.pick(q)
		r.Down(first, true)
		report(affinity.Terminal)
		second := r.serve(q)
		old(affinity.Terminal)
		r.Down(first, false)
		for j := range i { // the balancer's turn moves on, so that no host passes by chance
			r.serve(session(fmt.Sprint("other", i, j)))
		}
		for range 4 {
			auth := r.serve(q)
			r.check(auth == second, "a late failure of %s has moved the session from %s to %s", first, second, auth)
		}
	}
}
