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

// pool starts a simulated provider with some auths, whose keys are their names. It returns a
// gateway's configuration for them, and the environment with the keys.
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

// lived has the results of live: the turns of conversations go to random gateways, and the sick
// auth fails from the third turn to the sixth.
type lived struct {
	share  float64          // the cached share of the prompt tokens, in percent
	failed int              // requests that the sick auth has failed
	ways   map[string][]int // ways[kind][n]: conversations that began at an auth of the kind, "sick" or "well", and have had n auths
}

func live(t *testing.T, gateways int) lived {
	const conversations, turns, clients, auths = 500, 10, 8, 16
	sim, config, env := pool(t, auths)
	store := redisServer(t) + "?budget=10s" // a long budget, because the machine may be busy
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

// history returns the body of a conversation's request in a turn.
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

// While an auth fails, each of its conversations uses one other auth, whichever replica gets its
// turns. All other conversations stay on their auths. With three replicas the cached share of the
// prompt is as high as with one.
func TestReplicasTakeOneDetour(t *testing.T) {
	one, three := live(t, 1), live(t, 3)
	for what, l := range map[string]lived{"one gateway": one, "three": three} {
		t.Logf("%-11s cached share %.2f %%, %d requests failed by the auth, conversations by auths %v", what, l.share, l.failed, l.ways)
		require.Positive(t, l.failed)
		require.Zero(t, l.ways["sick"][1], "each conversation of the sick auth must have left it")
		require.Positive(t, l.ways["sick"][2])
		for n := range l.ways["sick"] {
			require.True(t, n <= 2 || l.ways["sick"][n] == 0, "a conversation of the sick auth must have only one other auth")
			require.True(t, n <= 1 || l.ways["well"][n] == 0, "a conversation of another auth must stay")
		}
	}
	// How many conversations have come back at the end depends on the speed of the machine. That
	// makes half a percentage point.
	require.InDelta(t, one.share, three.share, 1)
}
