package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// provider has auths, a prompt cache behind each of them, and one auth that fails
// for a while.
type provider struct {
	mu             sync.Mutex
	failing        bool
	failed         int
	seen           map[string]int // tokens, by auth and conversation
	prompt, cached int
}

// sick is the key of the auth that fails.
const sick = "key-2"

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	var body struct {
		Turn int `json:"turn"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if p.failing && key == sick {
		p.failed++
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"error":{"message":"overloaded"}}`)
		return
	}
	at := key + " " + r.Header.Get("X-Session-Id")
	tokens := 1000 + 500*body.Turn
	p.prompt += tokens
	p.cached += p.seen[at]
	p.seen[at] = tokens
	fmt.Fprint(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"well"},"finish_reason":"stop"}]}`)
}

// lived is what conversations have met whose turns come to any of some gateways, while
// an auth fails from the third turn to the sixth.
type lived struct {
	share  float64          // of the prompt that was cached, in percent
	failed int              // requests that the sick auth has failed
	ways   map[string][]int // how many conversations have been at so many auths, by "sick" or "well", of where they began
}

func live(t *testing.T, gateways int) lived {
	const conversations, turns, clients, accounts = 500, 10, 8, 16
	p := &provider{seen: map[string]int{}}
	up := httptest.NewServer(p)
	defer up.Close()
	store := redisServer(t) + "?budget=10s" // this machine may be busy
	var env, keys []string
	for i := range accounts {
		env = append(env, fmt.Sprintf("AUTH_%d=key-%d", i, i))
		keys = append(keys, fmt.Sprintf("AUTH_%d", i))
	}
	var urls []string
	for range gateways {
		urls = append(urls, started(t, env, "-store", store, "-upstream", "p,openai,"+up.URL+","+strings.Join(keys, ",")))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	first := make([]string, conversations)
	auths := make([]map[string]bool, conversations)
	ill := ""
	for turn := range turns {
		p.mu.Lock()
		p.failing = turn >= 2 && turn < 6
		p.mu.Unlock()
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for i := c; i < conversations; i += clients {
					id := fmt.Sprint("conversation-", i)
					auth, err := askFor(client, urls[rand.IntN(len(urls))], id, fmt.Sprintf(`{"model":"m","turn":%d,"messages":[{"role":"user","content":"hi"}]}`, turn))
					if err != nil {
						t.Error(err)
						return
					}
					if turn == 0 {
						first[i], auths[i] = auth, map[string]bool{}
					}
					auths[i][auth] = true
				}
			})
		}
		wg.Wait()
		require.False(t, t.Failed())
		if turn == 0 {
			p.mu.Lock()
			for i, auth := range first {
				if p.seen[sick+" "+fmt.Sprint("conversation-", i)] > 0 {
					ill = auth
				}
			}
			p.mu.Unlock()
		}
	}
	l := lived{share: 100 * float64(p.cached) / float64(p.prompt), failed: p.failed, ways: map[string][]int{"sick": make([]int, accounts+1), "well": make([]int, accounts+1)}}
	for i := range conversations {
		kind := "well"
		if first[i] == ill {
			kind = "sick"
		}
		l.ways[kind][len(auths[i])]++
	}
	return l
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
