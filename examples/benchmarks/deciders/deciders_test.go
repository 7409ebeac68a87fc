package deciders

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
)

func auths(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint("auth-", i))
	}
	return all
}

func made(t *testing.T, w Way) Decider {
	d, err := w.Make(auths(8), 1000, time.Hour)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// TestWhoStays has 40 conversations of each client with each way to choose. It requires what the
// README says about them.
func TestWhoStays(t *testing.T) {
	const conversations, turns = 40, 8
	byHand := []string{"claude-code", "claude-code-proxied", "codex", "opencode", "kimi", "sdk-bucket", "sdk-placeholder"}
	found := map[string][]string{ // by way, the clients whose sessions it finds
		"caddy-header": {"claude-code"}, "caddy-cookie": {},
		"rendezvous": byHand, "ttlcache": byHand, "otter": byHand,
	}
	for _, w := range All {
		for i := range requests.Clients {
			c := &requests.Clients[i]
			for _, grow := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/grow=%t", w.Name, c.Name, grow), func(t *testing.T) {
					s, err := Hold(made(t, w), c, conversations, turns, grow)
					require.NoError(t, err)
					require.Equal(t, conversations*turns, s.Requests)
					known := w.Name == "llmaffinity" || slices.Contains(found[w.Name], c.Name)
					lumped := w.Name != "llmaffinity" && known && (c.Name == "sdk-bucket" || c.Name == "sdk-placeholder")
					switch hashes := w.Name == "rendezvous" || w.Name == "caddy-header"; {
					case !known:
						require.Less(t, s.Stayed, conversations/4, "without a session, chance must keep only few conversations on one auth")
					case lumped: // all conversations are one session: all stay, or none does
						require.Contains(t, []int{0, conversations}, s.Stayed)
						require.GreaterOrEqual(t, s.Busiest, s.Requests/2)
					case hashes && grow:
						require.Less(t, s.Stayed, conversations)
						require.Greater(t, s.Stayed, conversations/2)
					default:
						require.Equal(t, conversations, s.Stayed)
						require.Less(t, s.Busiest, s.Requests*2/5)
					}
				})
			}
		}
	}
}

// With Caddy's policy cookie, a client that keeps cookies stays.
func TestCaddysCookie(t *testing.T) {
	d := made(t, All[2])
	seen := map[string]bool{}
	for range 50 {
		w := httptest.NewRecorder()
		first, err := d.Decide(w, httptest.NewRequest("POST", "/", nil), nil)
		require.NoError(t, err)
		seen[first] = true
		r := httptest.NewRequest("POST", "/", nil)
		r.AddCookie(w.Result().Cookies()[0])
		again := httptest.NewRecorder()
		second, err := d.Decide(again, r, nil)
		require.NoError(t, err)
		require.Equal(t, first, second)
		require.Empty(t, again.Result().Cookies())
	}
	require.Greater(t, len(seen), 3)
}

// The caches by hand forget idle sessions, and keep those that are used. A round in which the
// machine was too slow proves nothing and is repeated.
func TestByHandTheTTLStartsAgain(t *testing.T) {
	const ttl = 500 * time.Millisecond
	for _, w := range All {
		if w.Name != "ttlcache" && w.Name != "otter" {
			continue
		}
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			d, err := w.Make(auths(8), 100, ttl)
			require.NoError(t, err)
			defer d.Close()
			for round := range 50 {
				used, idle := key{Tenant, Pool, Model, fmt.Sprint("used-", round)}, key{Tenant, Pool, Model, fmt.Sprint("idle-", round)}
				c := d.(*remembered)
				began := time.Now()
				require.Equal(t, "a", c.set(used, "a"))
				require.Equal(t, "a", c.set(used, "b"), "a session that is bound must keep its auth")
				require.Equal(t, "a", c.set(idle, "a"))
				kept, late, last := true, false, began
				for time.Since(began) < 2*ttl {
					time.Sleep(ttl / 2)
					auth, ok := c.get(used)
					kept = kept && ok && auth == "a"
					late = late || time.Since(last) > ttl*9/10
					last = time.Now()
				}
				if late {
					continue
				}
				require.True(t, kept)
				_, ok := c.get(idle)
				require.False(t, ok)
				return
			}
			t.Fatal("the machine is too slow to see a TTL of ", ttl)
		})
	}
}
