package main

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// chaos drives conversations over eight auths of which six fail at random.
func chaos(t *testing.T, o demoOptions, faults bool) *run {
	sim, pool, stopSim, err := simulatedPool(o.auths)
	require.NoError(t, err)
	defer stopSim()
	// As many attempts as auths: an error must be one that no auth prevents.
	g, err := NewGateway(GatewayOptions{Pool: pool, Affinity: true, DecisionHeader: true, Attempts: o.auths})
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
	total := o.conversations * o.turns
	d.served = func(n int) {
		if !faults || n%20 != 0 {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		f := []simulator.Fault{
			{Status: http.StatusTooManyRequests, RetryAfter: time.Second, Times: 1 + rng.IntN(3)},
			{Status: http.StatusServiceUnavailable, Times: 1 + rng.IntN(5)},
			{Status: 529, Times: 1},
			{Delay: 20 * time.Millisecond, Times: 5},
			{HangUp: true, Times: 1 + rng.IntN(3)},
		}[rng.IntN(5)]
		if n == total/2 {
			f = simulator.Fault{Status: http.StatusUnauthorized}
		}
		sim.SetFault(pool.auths[rng.IntN(o.auths-2)].Key, f)
	}
	require.NoError(t, d.drive(t.Context(), o))
	for _, s := range sim.Stats() {
		r.prompt += uint64(s.PromptTokens)
		r.cached += uint64(s.CachedTokens)
	}
	return r
}

// With faults at random no client sees one, and what is lost of the prompt
// caches is what the switches must cost: a prompt that is not cached each.
func TestRandomFaults(t *testing.T) {
	o := demoOptions{auths: 8, conversations: 200, turns: 20}
	if testing.Short() || raceEnabled {
		o.conversations, o.turns = 40, 10
	}
	calm, wild := chaos(t, o, false), chaos(t, o, true)
	for _, r := range []*run{calm, wild} {
		require.Equal(t, o.conversations*o.turns, r.requests)
		require.Zero(t, r.failed)
	}
	require.Equal(t, calm.prompt, wild.prompt, "the same conversations")
	switches := 0
	for reason, n := range wild.switches {
		t.Logf("switches: %d, %s", n, reason)
		switches += n
	}
	share := func(r *run) float64 { return 100 * float64(r.cached) / float64(r.prompt) }
	// A switch costs one prompt of a mean length, as part of all prompts.
	must := 100 * float64(switches) / float64(wild.requests)
	t.Logf("cached share %.1f %% without faults, %.1f %% with them; %d switches of %d requests cost at most %.1f points", share(calm), share(wild), switches, wild.requests, must)
	require.GreaterOrEqual(t, share(wild)+must+3, share(calm))
	require.NotZero(t, switches)
}
