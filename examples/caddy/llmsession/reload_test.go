package llmsession

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// A reload of the configuration keeps all sessions. They are freed when no configuration uses them.
func TestAReloadLosesNoSession(t *testing.T) {
	ups, _ := upstreams(t, 4, nil)
	config := func(version, n int) string {
		to := ""
		for _, u := range ups[:n] {
			to += " " + u.name
		}
		return fmt.Sprintf(`llm_session
			header X-Version %d
			reverse_proxy {
				to %s
				lb_policy llm_session {
					name     ours
					fallback round_robin
					ttl      %dh
				}
			}`, version, to, version)
	}
	f := start(t, config(1, 3))
	all, at := begin(t, f)
	for version := 2; version < 5; version++ {
		require.NoError(t, f.load(t, f.site(config(version, 3+version%2))))
		for i, c := range all {
			require.Equal(t, at[i], c.say(t, f, fmt.Sprint("And then? ", version)), "%s, stream: %t", c.api.name, c.stream)
		}
	}
	require.Error(t, f.load(t, f.site("reverse_proxy {\n to "+ups[0].name+"\n lb_policy llm_session {\n name ours\n ttl -1s\n }\n}")))
	for i, c := range all {
		require.Equal(t, at[i], c.say(t, f, "Still there?"))
	}
	require.NoError(t, f.load(t, f.site("respond ok")))
	_, used := named.References("ours")
	require.False(t, used)
}

// A request that is under way during a reload binds its session in the new configuration, too.
func TestARequestUnderWayOverAReload(t *testing.T) {
	held, first := make(chan struct{}), make(chan struct{})
	_, to := upstreams(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Hold") != "" {
			first <- struct{}{}
			<-held
		}
	}))
	config := "llm_session\nheader X-Version %d\nreverse_proxy {\n to " + to + "\n lb_policy llm_session {\n fallback round_robin\n }\n}"
	f := start(t, fmt.Sprintf(config, 1))
	done := make(chan string)
	go func() { done <- f.ask(t, "a", "X-Hold", "1") }()
	<-first
	require.NoError(t, f.load(t, f.site(fmt.Sprintf(config, 2))))
	during := f.ask(t, "a")
	close(held)
	require.Equal(t, during, <-done)
	for range 3 {
		require.Equal(t, during, f.ask(t, "a"))
	}
}
