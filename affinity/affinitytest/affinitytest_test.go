package affinitytest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
	"github.com/llmaffinity/llmaffinity/selector"
)

// host wraps a round robin as the README says.
type host struct {
	auths  []string
	sticky *affinity.Selector[string]
	down   sync.Map
	n      atomic.Uint64
}

func newHost(auths []string) (*host, error) {
	h := &host{auths: auths}
	var err error
	h.sticky, err = affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{
		State: func(auth string, _ affinity.Request) (s affinity.State) {
			if _, down := h.down.Load(auth); down {
				s.Fitness = affinity.Away
			}
			return s
		},
	})
	return h, err
}

func (h *host) Pick(ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
	p, err := h.sticky.Pick(ctx, r, h.auths)
	return p.Auth, p.Report, err
}

func (h *host) Down(auth string, down bool) {
	if down {
		h.down.Store(auth, true)
	} else {
		h.down.Delete(auth)
	}
}

func TestAWrappedBalancerPasses(t *testing.T) {
	affinitytest.Test(t, func(auths []string) (affinitytest.Host, error) { return newHost(auths) })
}

// leavesOut picks among the auths that are up.
func leavesOut(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
	var up []string
	for _, a := range h.auths {
		if _, down := h.down.Load(a); !down {
			up = append(up, a)
		}
	}
	p, err := h.sticky.Pick(ctx, r, up)
	return p.Auth, p.Report, err
}

// A host that leaves the auths that rest out of its list hears what is wrong with that.
func TestAHostWhoseListLacksWhatRestsIsTold(t *testing.T) {
	failed := failures(leavesOut)
	require.Len(t, failed, 1)
	require.ErrorContains(t, failed["a-session-comes-back"], "must have the auths that only rest")
	require.ErrorContains(t, failed["a-session-comes-back"], "affinity.Away")
}

// No check panics or passes when a host returns what it must not. The checks of bursts call Pick
// from goroutines of their own.
func TestWhatNoHostMayReturnFailsEveryCheck(t *testing.T) {
	nothing := func(affinity.Result) {}
	for want, pick := range map[string]pickFunc{
		"Pick returned \"alien\", which is not one of the auths": func(*host, context.Context, affinity.Request) (string, func(affinity.Result), error) {
			return "alien", nothing, nil
		},
		"Pick returned nil as the function that reports the result": func(h *host, _ context.Context, _ affinity.Request) (string, func(affinity.Result), error) {
			return h.auths[0], nil, nil
		},
		"Pick failed: broken": func(*host, context.Context, affinity.Request) (string, func(affinity.Result), error) {
			return "", nil, errors.New("broken")
		},
	} {
		failed := failures(pick)
		for _, check := range affinitytest.Checks() {
			require.ErrorContains(t, failed[check.Name], want, check.Name)
		}
	}
}

type pickFunc func(*host, context.Context, affinity.Request) (string, func(affinity.Result), error)

type wrong struct {
	*host
	pick pickFunc
}

func (w wrong) Pick(ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
	return w.pick(w.host, ctx, r)
}

// failures runs all checks on a host that picks in its own way, and returns their errors.
func failures(pick pickFunc) map[string]error {
	failed := map[string]error{}
	for _, check := range affinitytest.Checks() {
		if err := check.Run(func(auths []string) (affinitytest.Host, error) {
			h, err := newHost(auths)
			return wrong{h, pick}, err
		}); err != nil {
			failed[check.Name] = err
		}
	}
	return failed
}

// Hosts with one fault each, and the check that finds the fault.
func TestWrongHostsAreNamed(t *testing.T) {
	nothing := func(affinity.Result) {}
	for name, c := range map[string]struct {
		by   string
		pick pickFunc
	}{
		"no affinity at all": {"a-session-stays", func(h *host, _ context.Context, _ affinity.Request) (string, func(affinity.Result), error) {
			return h.auths[h.n.Add(1)%4], nothing, nil
		}},
		"asks the balancer each time, and binds": {"a-burst-ends-on-one-auth", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			auth, ok, err := h.sticky.Look(ctx, r)
			if ok || err != nil {
				return auth, nothing, err
			}
			p, err := h.sticky.Pick(ctx, r, h.auths)
			return h.auths[h.n.Add(1)%4], p.Report, err
		}},
		"a request that is cancelled takes its session along": {"a-cancelled-request-splits-no-burst", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			auth, report, err := h.Pick(ctx, r)
			return auth, func(res affinity.Result) {
				if report(res); res == affinity.Cancelled {
					if _, err := h.sticky.InvalidateSession(ctx, r); err != nil {
						panic(err)
					}
				}
			}, err
		}},
		"one that is down is better than none": {"when-all-are-down-nobody-is-chosen", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			auth, report, err := h.Pick(ctx, r)
			if err != nil {
				return h.auths[0], nothing, nil
			}
			return auth, report, nil
		}},
		"everything on the first": {"sessions-spread", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			p, err := h.sticky.Affinity.Pick(ctx, r, h.auths, selector.FillFirst[string]().Select)
			return p.Auth, p.Report, err
		}},
		"one key for all without a session": {"no-session-is-bound-to-nothing", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			if r.Header == nil {
				r.Header = map[string][]string{"X-Session-Id": {"the-default"}}
			}
			return h.Pick(ctx, r)
		}},
		"the body is lost": {"content-is-a-session", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			r.Body = nil
			return h.Pick(ctx, r)
		}},
		"the tenant is lost": {"tenants-do-not-meet", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			r.Tenant = ""
			return h.Pick(ctx, r)
		}},
		"cooldowns are not told": {"an-auth-that-is-down-gets-nothing", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			h.down.Clear()
			return h.Pick(ctx, r)
		}},
		"another one each time while it is down": {"failover-is-sticky", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			auth, ok, err := h.sticky.Look(ctx, r)
			if _, down := h.down.Load(auth); ok && down && err == nil {
				r.Off = true
			}
			return h.Pick(ctx, r)
		}},
		"results are not reported": {"a-terminal-result-unbinds", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			auth, _, err := h.Pick(ctx, r)
			return auth, nothing, err
		}},
		"a failure is about whatever is bound now": {"a-late-result-changes-nothing", func(h *host, ctx context.Context, r affinity.Request) (string, func(affinity.Result), error) {
			auth, report, err := h.Pick(ctx, r)
			return auth, func(res affinity.Result) {
				if res == affinity.Terminal {
					if _, err := h.sticky.InvalidateSession(ctx, r); err != nil {
						panic(err)
					}
					return
				}
				report(res)
			}, err
		}},
	} {
		failed := failures(c.pick)
		require.Contains(t, failed, c.by, "%s: named by %v only", name, failed)
	}
}

func ExampleTest() {
	failed := 0
	for _, check := range affinitytest.Checks() { // in a test: affinitytest.Test(t, …)
		if err := check.Run(func(auths []string) (affinitytest.Host, error) { return newHost(auths) }); err != nil {
			failed++
			fmt.Println(err)
		}
	}
	fmt.Println(failed, "failed")
	// Output: 0 failed
}

func TestAGatewayThatIsNotDescribedIsAnError(t *testing.T) {
	whole := affinitytest.Gateway{URL: "http://127.0.0.1:1", AuthOf: func(*http.Request) string { return "" }, Back: func(string) {}}
	for field, edit := range map[string]func(*affinitytest.Gateway){
		"URL":    func(g *affinitytest.Gateway) { g.URL = "" },
		"AuthOf": func(g *affinitytest.Gateway) { g.AuthOf = nil },
		"Back":   func(g *affinitytest.Gateway) { g.Back = nil },
	} {
		g := whole
		edit(&g)
		_, err := affinitytest.HTTP(t, func(string, []string) (affinitytest.Gateway, error) { return g, nil })([]string{"a"})
		require.ErrorContains(t, err, "no "+field)
	}
	_, err := affinitytest.HTTP(t, func(string, []string) (affinitytest.Gateway, error) { return whole, nil })([]string{"a"})
	require.NoError(t, err)
}
