package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// sick is the auth that fails for a while.
const sick = "auth-2"

// pool is a simulated provider with some auths, whose keys are their names, and a
// gateway's configuration for them.
func pool(t *testing.T, auths int) (sim *simulator.Server, config string, env []string) {
	t.Helper()
	type key struct {
		Env  string `json:"env"`
		Name string `json:"name"`
	}
	var keys []key
	var names []string
	for i := range auths {
		name := fmt.Sprint("auth-", i)
		names = append(names, name)
		keys = append(keys, key{fmt.Sprint("AUTH_", i), name})
		env = append(env, fmt.Sprintf("AUTH_%d=%s", i, name))
	}
	sim, err := simulator.New(simulator.Options{Credentials: names})
	require.NoError(t, err)
	up := httptest.NewServer(sim)
	t.Cleanup(up.Close)
	text, err := json.Marshal(map[string]any{"upstreams": []any{map[string]any{"name": "p", "api": "openai", "url": up.URL, "keys": keys}}})
	require.NoError(t, err)
	config = filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(config, text, 0o600))
	return sim, config, env
}

// lived is what conversations have met whose turns come to any of some gateways, while
// an auth fails from the third turn to the sixth.
type lived struct {
	share  float64          // of the prompt that was cached, in percent
	failed int              // requests that the sick auth has failed
	ways   map[string][]int // how many conversations have been at so many auths, by "sick" or "well", of where they began
}

func live(t *testing.T, gateways int) lived {
	const conversations, turns, clients, auths = 500, 10, 8, 16
	sim, config, env := pool(t, auths)
	store := redisServer(t) + "?budget=10s" // this machine may be busy
	var urls []string
	for range gateways {
		urls = append(urls, started(t, env, "-store", store, "-config", config))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	first := make([]string, conversations)
	been := make([]map[string]bool, conversations)
	for turn := range turns {
		var fault simulator.Fault
		if turn >= 2 && turn < 6 {
			fault.Status = http.StatusServiceUnavailable
		}
		sim.SetFault(sick, fault)
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for i := c; i < conversations; i += clients {
					id := fmt.Sprint("conversation-", i)
					auth, err := askFor(client, urls[rand.IntN(len(urls))], id, history(id, turn))
					if err != nil {
						t.Error(err)
						return
					}
					if turn == 0 {
						first[i], been[i] = auth, map[string]bool{}
					}
					been[i][auth] = true
				}
			})
		}
		wg.Wait()
		require.False(t, t.Failed())
	}
	l := lived{ways: map[string][]int{"sick": make([]int, auths+1), "well": make([]int, auths+1)}}
	var prompt, cached int
	for auth, s := range sim.Stats() {
		prompt += s.PromptTokens
		cached += s.CachedTokens
		if auth == sick {
			l.failed = s.Requests - s.Served
		}
	}
	l.share = 100 * float64(cached) / float64(prompt)
	for i := range conversations {
		kind := "well"
		if first[i] == sick {
			kind = "sick"
		}
		l.ways[kind][len(been[i])]++
	}
	return l
}

// history is a conversation's request in one of its turns.
func history(id string, turn int) string {
	said := func(role, what string, length int) string {
		return fmt.Sprintf(`{"role":%q,"content":"%s %s"}`, role, what, strings.Repeat("x", length))
	}
	all := []string{said("user", id, 6000)}
	for n := range turn {
		all = append(all, said("assistant", fmt.Sprint("answer ", n), 1000), said("user", fmt.Sprint("more ", n), 1000))
	}
	return `{"model":"m","messages":[` + strings.Join(all, ",") + `]}`
}

// While an auth fails each of its conversations takes one detour, whichever replica its
// turns come to, and the others stay where they are. That costs no more of the prompt
// cache than with one gateway.
func TestReplicasTakeOneDetour(t *testing.T) {
	one, three := live(t, 1), live(t, 3)
	for what, l := range map[string]lived{"one gateway": one, "three": three} {
		t.Logf("%-11s cached share %.2f %%, %d requests failed by the auth, conversations by auths %v", what, l.share, l.failed, l.ways)
		require.Positive(t, l.failed)
		require.Zero(t, l.ways["sick"][1], "each conversation of the sick auth had to leave")
		require.Positive(t, l.ways["sick"][2])
		for n := range l.ways["sick"] {
			require.True(t, n <= 2 || l.ways["sick"][n] == 0, "one detour each")
			require.True(t, n <= 1 || l.ways["well"][n] == 0, "the others stay")
		}
	}
	// Whether they have come back at the end depends on how fast this machine is. That
	// is half a point.
	require.InDelta(t, one.share, three.share, 1)
}
