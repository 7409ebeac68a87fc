package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// chaos runs conversations with eight auths. With faults, six of them fail at random, or are
// removed and added again.
func chaos(t *testing.T, o demoOptions, faults bool) *run {
	sim, pool, stopSim, err := simulatedPool(o.auths, simulator.Options{}, nil)
	require.NoError(t, err)
	defer stopSim()
	// As many attempts as auths, so that a client gets an error only if no auth can serve.
	g, err := NewGateway(GatewayOptions{Pool: pool, Affinity: true, DecisionHeader: true, Attempts: o.auths,
		Slow: affinity.SlowPolicy{Above: slowAbove, Samples: 2, Probe: 500 * time.Millisecond}})
	require.NoError(t, err)
	defer g.Close()
	url, stop, err := serve(g, "127.0.0.1:0")
	require.NoError(t, err)
	defer stop()
	r := &run{name: "chaos", affinity: true, faults: faults}
	d := &driver{run: r, pool: pool, url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	defer d.client.CloseIdleConnections()
	rng := rand.New(rand.NewPCG(1, 1))
	var mu sync.Mutex
	var removed *Auth
	total := o.conversations * o.turns
	d.served = func(n int) {
		if !faults || n%20 != 0 {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all := pool.All()
		if len(all) < o.auths { // adds the removed auth again, without its history
			g.Reload(append(slices.Clone(all), removed))
			return
		}
		if rng.IntN(6) == 0 {
			whole := []string{fmt.Sprint("sim-key-", o.auths-1), fmt.Sprint("sim-key-", o.auths)}
			i := slices.IndexFunc(all, func(a *Auth) bool { return !slices.Contains(whole, a.Key) && rng.IntN(3) == 0 })
			if i < 0 {
				return
			}
			removed = &Auth{Name: all[i].Name, API: all[i].API, URL: all[i].URL, Key: all[i].Key}
			g.Reload(slices.Delete(slices.Clone(all), i, i+1))
			return
		}
		f := []simulator.Fault{
			{Status: http.StatusTooManyRequests, RetryAfter: time.Second, Times: 1 + rng.IntN(3)},
			{Status: http.StatusServiceUnavailable, Times: 1 + rng.IntN(5)},
			{Status: 529, Times: 1},
			{Delay: 2 * slowAbove, Times: 30}, // many times, because the gateway judges each of five models separately
			{HangUp: true, Times: 1 + rng.IntN(3)},
		}[rng.IntN(5)]
		if n == total/2 {
			f = simulator.Fault{Status: http.StatusUnauthorized}
		}
		// The last two keys never fail. One of them is slow at times: the others rest too often
		// for the gateway to notice that they are slow.
		key := 1 + rng.IntN(o.auths-2)
		if f.Delay > 0 {
			key = o.auths
		}
		sim.SetFault(fmt.Sprint("sim-key-", key), f)
	}
	require.NoError(t, d.drive(t.Context(), o))
	for _, s := range sim.Stats() {
		r.prompt += uint64(s.PromptTokens)
		r.cached += uint64(s.CachedTokens)
	}
	return r
}

// slowAbove is much longer than the simulator takes, also on a busy machine.
const slowAbove = 100 * time.Millisecond

// With random faults no client gets an error. The cached share is lower only by the cost of the
// switches: each switch costs one prompt that is not cached.
func TestRandomFaults(t *testing.T) {
	o := demoOptions{auths: 8, conversations: 200, turns: 20}
	if testing.Short() || thorough > 1 {
		o.conversations, o.turns = 40, 10
	}
	calm, wild := chaos(t, o, false), chaos(t, o, true)
	for _, r := range []*run{calm, wild} {
		require.Equal(t, o.conversations*o.turns, r.requests)
		require.Zero(t, r.failed)
	}
	require.Equal(t, calm.prompt, wild.prompt, "both runs must have the same conversations, so the same prompt tokens")
	switches := 0
	for reason, n := range wild.switches {
		t.Logf("switches: %d, %s", n, reason)
		switches += n
	}
	share := func(r *run) float64 { return 100 * float64(r.cached) / float64(r.prompt) }
	// A switch costs one prompt of the mean length.
	must := 100 * float64(switches) / float64(wild.requests)
	t.Logf("cached share %.1f %% without faults, %.1f %% with them; %d switches of %d requests cost at most %.1f points", share(calm), share(wild), switches, wild.requests, must)
	require.GreaterOrEqual(t, share(wild)+must+3, share(calm))
	require.NotZero(t, switches)
	for _, kind := range []string{"removed", "slow", "answered 429", "answered 503", "answered 529"} {
		n := 0
		for reason, of := range wild.switches {
			if strings.Contains(reason, kind) {
				n += of
			}
		}
		require.NotZero(t, n, "no switch has the reason %q: the test does not cover it", kind)
	}
}
