package affinityhttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// gate is a Transport whose requests stay in flight.
type gate struct {
	*affinityhttp.Transport[string]
	t *testing.T
}

func newGate(t *testing.T, next selector.Selector[string], o affinity.Options[string]) *gate {
	t.Helper()
	tr, err := affinityhttp.New(next, itself, func(*http.Request, affinity.Request) []string { return names },
		func(out *http.Request, auth string) error {
			out.Header.Set("X-Auth", auth)
			return nil
		},
		&affinityhttp.Options[string]{Affinity: o, DecisionHeader: "X-Decision", Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			h := http.Header{"Content-Type": {"application/json"}, "X-Auth": r.Header["X-Auth"]}
			return &http.Response{StatusCode: 200, Header: h, Body: io.NopCloser(strings.NewReader(`{"id":"1"}`))}, nil
		})})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	return &gate{tr, t}
}

// begin sends a request of a session, reads nothing of its answer, and returns the auth.
func (g *gate) begin(session string) string {
	g.t.Helper()
	in := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[]}`))
	in.Header.Set("X-Session-Id", session)
	resp, err := g.RoundTrip(in)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { resp.Body.Close() })
	return resp.Header.Get("X-Auth")
}

// sessions begins n new sessions, and returns how many each auth got.
func (g *gate) sessions(n int) map[string]int {
	g.t.Helper()
	got := map[string]int{}
	for i := range n {
		got[g.begin(fmt.Sprint("session ", i))]++
	}
	return got
}

// weights are those of a weighted balancer.
var weights = map[string]float64{"a": 1, "b": 2, "c": 3, "d": 4}

func weight(auth string) float64 { return weights[auth] }

func shares(auth string, _ affinity.Request) affinity.State {
	return affinity.State{Share: weights[auth]}
}

// New sessions go where the host's balancer sends them, however many requests are in flight
// there.
func TestTheBalancersDistributionIsKept(t *testing.T) {
	weighted := func() selector.Selector[string] { return selector.WeightedRoundRobin(itself, weight) }
	byWeight := map[string]int{"a": 20, "b": 40, "c": 60, "d": 80}
	for name, c := range map[string]struct {
		next selector.Selector[string]
		o    affinity.Options[string]
		want map[string]int
	}{
		"round robin":                       {selector.RoundRobin[string](), affinity.Options[string]{}, map[string]int{"a": 50, "b": 50, "c": 50, "d": 50}},
		"weighted":                          {weighted(), affinity.Options[string]{}, byWeight},
		"weighted, with shares":             {weighted(), affinity.Options[string]{State: shares}, byWeight},
		"weighted, with shares and a bound": {weighted(), affinity.Options[string]{State: shares, Load: affinity.LoadPolicy{Least: 8}}, byWeight},
		"fill first":                        {selector.FillFirst[string](), affinity.Options[string]{}, map[string]int{"a": 200}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, c.next, c.o)
			require.Equal(t, c.want, g.sessions(200))
			for auth, n := range c.want {
				require.Equal(t, n, g.InFlight(auth))
			}
		})
	}
}

// A host that asks for it keeps new sessions away from an auth with many requests in flight.
func TestRequestsInFlightAreALoadForWhoAsks(t *testing.T) {
	bound := affinity.LoadPolicy{Least: 8}
	for name, c := range map[string]struct {
		o    affinity.Options[string]
		want map[string]int
	}{
		"nobody asks": {affinity.Options[string]{}, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1}},
		"a bound":     {affinity.Options[string]{Load: bound}, map[string]int{"b": 2, "c": 1, "d": 1}},
		"a bound, and shares": {affinity.Options[string]{Load: bound, State: func(auth string, _ affinity.Request) affinity.State {
			return affinity.State{Share: map[string]float64{"a": 40}[auth]}
		}}, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, selector.RoundRobin[string](), c.o)
			for range 12 {
				require.Equal(t, "a", g.begin("hot"))
			}
			g.begin("second")
			g.begin("third")
			g.begin("fourth") // round robin is at a again
			require.Equal(t, c.want, g.sessions(4))
		})
	}
}

// What the host says of loads is not mixed with requests in flight: they are of another unit.
func TestTheHostsLoadsAreItsOwn(t *testing.T) {
	load := map[string]float64{"a": 0.5, "b": 0.5, "c": 0.5} // d has none
	state := func(auth string, _ affinity.Request) affinity.State { return affinity.State{Load: load[auth]} }
	for name, o := range map[string]affinity.Options[string]{
		"a bound":        {State: state, Load: affinity.LoadPolicy{Bound: 1.25}},
		"nobody asks":    {State: state},
		"and with spill": {State: state, Load: affinity.LoadPolicy{Spill: 1.25}},
	} {
		t.Run(name, func(t *testing.T) {
			last := selector.Func[string](func(_ context.Context, from []string) (string, error) { return from[len(from)-1], nil })
			g := newGate(t, last, o)
			require.Equal(t, map[string]int{"d": 20}, g.sessions(20))
			load["d"] = 5
			require.NoError(t, g.Reconfigure(last, &affinityhttp.Options[string]{Affinity: o}))
			require.Equal(t, "c", g.begin("another"), "the host's loads have a bound, whoever asks")
			load["d"] = 0
		})
	}
}

// A renamed auth keeps what is in flight there, so that new sessions go elsewhere.
func TestRequestsInFlightOfARenamedAuth(t *testing.T) {
	release := make(chan struct{})
	p := start(t, func(_ string, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, event("message_start", `{"type":"message_start","message":{"id":"msg_1"}}`))
		w.(http.Flusher).Flush()
		<-release
	}, nil)
	resp, err := p.client.Post(p.url+"/v1/messages", "application/json", strings.NewReader(`{"messages":[]}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	auth := ""
	for _, name := range names {
		if p.InFlight(name) == 1 {
			auth = name
		}
	}
	require.NotEmpty(t, auth)
	_, err = p.RenameAuth(t.Context(), auth, "renamed")
	require.NoError(t, err)
	require.Zero(t, p.InFlight(auth))
	require.Equal(t, 1, p.InFlight("renamed"))
	close(release)
	_, _ = io.Copy(io.Discard, resp.Body)
	require.Eventually(t, func() bool { return p.InFlight("renamed") == 0 }, 10*time.Second, time.Millisecond)
}
