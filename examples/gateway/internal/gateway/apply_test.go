package gateway

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// say sends a request of a session and returns the decision.
func (gw *testGateway) say(t *testing.T, session string) map[string]string {
	t.Helper()
	resp, text := gw.post(t, "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, http.Header{"X-Session-Id": {session}})
	require.Equal(t, http.StatusOK, resp.StatusCode, text)
	return decisionOf(resp)
}

// homes begins n sessions, and returns the auth of each.
func (gw *testGateway) homes(t *testing.T, n int) map[string]string {
	where := map[string]string{}
	for i := range n {
		id := fmt.Sprint("s", i)
		where[id] = gw.say(t, id)["auth"]
	}
	return where
}

func (gw *testGateway) requireHits(t *testing.T, where map[string]string) {
	t.Helper()
	for id, auth := range where {
		d := gw.say(t, id)
		require.Equal(t, auth, d["auth"], id)
		require.Equal(t, "hit", d["outcome"], id)
	}
}

func TestApplyKeepsBindings(t *testing.T) {
	gw := startGateway(t, 4, GatewayOptions{Affinity: true, DecisionHeader: true})
	where := gw.homes(t, 12)
	all := gw.pool.All()

	t.Run("another strategy and TTL", func(t *testing.T) {
		require.NoError(t, gw.g.Apply(Settings{Auths: all, Strategy: "fill-first", TTL: 2 * time.Hour, Affinity: true}))
		gw.requireHits(t, where)
		for i := range 3 {
			require.Equal(t, all[0].Name, gw.say(t, fmt.Sprint("fill", i))["auth"], "a new session must be placed by the new strategy")
		}
		require.NoError(t, gw.g.Apply(Settings{Auths: all, Strategy: "rendezvous", Affinity: true}))
		gw.requireHits(t, where)
	})
	t.Run("affinity off and on", func(t *testing.T) {
		s := Settings{Auths: all, Affinity: true}
		for range 2 {
			s.Affinity = false
			require.NoError(t, gw.g.Apply(s))
			spread := map[string]bool{}
			for range len(all) {
				d := gw.say(t, "s0")
				require.Equal(t, "none", d["outcome"])
				spread[d["auth"]] = true
			}
			require.Len(t, spread, len(all), "without affinity the balancer must use all auths in turn")
			s.Affinity = true
			require.NoError(t, gw.g.Apply(s))
			gw.requireHits(t, where)
		}
	})
	t.Run("a higher tier takes the new sessions only", func(t *testing.T) {
		var next []*Auth
		for i, a := range all {
			next = append(next, &Auth{Name: a.Name, API: a.API, URL: a.URL, Key: a.Key, Tier: i})
		}
		require.NoError(t, gw.g.Apply(Settings{Auths: next, Affinity: true}))
		gw.requireHits(t, where)
		require.Equal(t, all[3].Name, gw.say(t, "tier")["auth"])
	})
	t.Run("an auth that is gone", func(t *testing.T) {
		require.NoError(t, gw.g.Apply(Settings{Auths: all[1:], Affinity: true}))
		for id, auth := range where {
			d := gw.say(t, id)
			if auth != all[0].Name {
				require.Equal(t, auth, d["auth"])
				continue
			}
			require.Equal(t, "moved", d["outcome"])
		}
	})
}

// If the strategy stays the same, its balancer continues its turns: a reload must not send the next
// sessions to the first auth.
func TestApplyOfTheSameStrategyGoesOn(t *testing.T) {
	gw := startGateway(t, 4, GatewayOptions{Affinity: true, DecisionHeader: true})
	perAuth := map[string]int{}
	for i := range 8 {
		require.NoError(t, gw.g.Apply(Settings{Auths: gw.pool.All(), Strategy: map[bool]string{true: roundRobin}[i%2 == 0], Affinity: true}))
		perAuth[gw.say(t, fmt.Sprint("s", i))["auth"]]++
	}
	require.Equal(t, map[string]int{"sim-1": 2, "sim-2": 2, "sim-3": 2, "sim-4": 2}, perAuth)
}

func TestApplyOfWhatIsWrongChangesNothing(t *testing.T) {
	gw := startGateway(t, 3, GatewayOptions{Affinity: true, DecisionHeader: true})
	where := gw.homes(t, 6)
	all := gw.pool.All()
	one := all[:1]
	for name, s := range map[string]Settings{
		"no auths":                 {Affinity: true},
		"unknown strategy":         {Auths: one, Strategy: "best"},
		"a negative TTL":           {Auths: one, TTL: -1},
		"two auths are called sim": {Auths: []*Auth{all[0], all[0]}},
	} {
		require.Error(t, gw.g.Apply(s), name)
		require.Equal(t, all, gw.pool.All(), name)
		gw.requireHits(t, where)
	}
}

func TestEveryStrategyHasABalancer(t *testing.T) {
	auths := []*Auth{{Name: "a"}, {Name: "b"}}
	for _, strategy := range []string{"", "round-robin", "fill-first", "random", "rendezvous"} {
		b, err := balancer(strategy)
		require.NoError(t, err, strategy)
		a, err := b.Select(t.Context(), auths)
		require.NoError(t, err, strategy)
		require.Contains(t, auths, a, strategy)
	}
	_, err := balancer("best")
	require.ErrorContains(t, err, "unknown strategy best, want one of fill-first, random, rendezvous, round-robin")
}
