package llmsession

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
)

// openings are the first words of a test's conversations: four for each API, and two of them begin
// with the same words.
var openings = []string{"Hello.", "Write a poem about the sea.", "Hello.", "What does go vet do?"}

// begin begins conversations with all APIs, streamed and not, and returns the upstream of each.
func begin(t *testing.T, f *front) (all []*conversation, at []string) {
	t.Helper()
	for _, a := range apis {
		for _, stream := range []bool{false, true} {
			for _, words := range openings {
				c := &conversation{api: a, stream: stream, caller: "somebody"}
				all = append(all, c)
				at = append(at, c.say(t, f, words))
			}
		}
	}
	return all, at
}

func TestEveryConversationStaysOnOneUpstreamAndTheyAreSpread(t *testing.T) {
	ups, to := upstreams(t, 3, nil)
	f := start(t, `llm_session
		reverse_proxy {
			to `+to+`
			lb_policy llm_session {
				fallback round_robin
			}
		}`)
	all, at := begin(t, f)
	for turn := range 4 {
		for i, c := range all {
			require.Equal(t, at[i], c.say(t, f, fmt.Sprint("And then? ", turn)), "%s, stream: %t", c.api.name, c.stream)
		}
	}
	spread := map[string]int{}
	for _, u := range at {
		spread[u]++
	}
	for _, u := range ups {
		require.InDelta(t, len(all)/3, spread[u.name], 5, "%v", spread)
	}
}

// While an upstream fails its health checks, its sessions use another one. Then they come back.
func TestSessionsDetourWhileTheirUpstreamIsUnhealthyAndComeBack(t *testing.T) {
	ups, to := upstreams(t, 3, nil)
	f := start(t, `llm_session
		reverse_proxy {
			to `+to+`
			lb_policy llm_session {
				fallback round_robin
			}
			health_uri /health
			health_interval 20ms
		}`)
	var chats []*conversation
	var at []string
	for i := range 6 {
		c := &conversation{api: apis[i%3], stream: i%2 == 0, caller: "somebody"}
		chats, at = append(chats, c), append(at, c.say(t, f, fmt.Sprint("Hello, I am number ", i)))
	}
	ill := byName(ups, at[0])
	ill.ill.Store(true)
	detour := ""
	require.Eventually(t, func() bool {
		detour = chats[0].say(t, f, "And then?")
		return detour != at[0]
	}, time.Minute, time.Millisecond)
	for turn := range 3 {
		for i, c := range chats {
			u := c.say(t, f, fmt.Sprint("Go on ", turn))
			require.NotEqual(t, ill.name, u)
			if i == 0 {
				require.Equal(t, detour, u, "meanwhile all requests of the session must go to the same other upstream")
			}
			if at[i] != ill.name {
				require.Equal(t, at[i], u)
			}
		}
	}
	ill.ill.Store(false)
	require.Eventually(t, func() bool { return chats[0].say(t, f, "And then?") == at[0] }, time.Minute, time.Millisecond)
	for i, c := range chats {
		require.Equal(t, at[i], c.say(t, f, "The end?"))
	}
}

// The policy passes the checks of affinitytest. For each auth there is an upstream, which is a
// proxy in front of the provider.
func TestItKeepsSessionsAsAnyGatewayMust(t *testing.T) {
	starts := 0
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, auths []string) (affinitytest.Gateway, error) {
		starts++
		base, err := url.Parse(provider)
		require.NoError(t, err)
		to, address := "", map[string]string{}
		for _, auth := range auths {
			server := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(base)
				r.Out.Header.Set("X-Auth", auth)
			}, ErrorLog: log.New(io.Discard, "", 0)})
			t.Cleanup(server.Close)
			address[auth] = strings.TrimPrefix(server.URL, "http://")
			to += " " + address[auth]
		}
		name := fmt.Sprint("check-", starts)
		f := start(t, `llm_session
			reverse_proxy {
				to `+to+`
				lb_policy llm_session {
					name `+name+`
				}
				lb_retries 3
				lb_try_interval 0
				lb_retry_match {
					expression {rp.status_code} in [401, 429, 503]
				}
			}`, "grace_period 1ms") // some requests of the checks never end, and Caddy would wait for them
		return affinitytest.Gateway{
			URL:    f.url,
			AuthOf: func(r *http.Request) string { return r.Header.Get("X-Auth") },
			Back: func(auth string) {
				require.NoError(t, sessionsOf(t, name).transport.Back(t.Context(), address[auth]))
			},
		}, nil
	}))
}
