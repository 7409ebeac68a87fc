package llmsession

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

func proxyWith(policy string) string {
	return "http://127.0.0.1:8080 {\n\tllm_session\n\treverse_proxy {\n\t\tto 127.0.0.1:1 127.0.0.1:2\n\t\t" + policy + "\n\t}\n}\n"
}

func TestTheCaddyfile(t *testing.T) {
	config, err := adapt(t, "", proxyWith(`lb_policy llm_session {
		name         ours
		fallback     header X-Which {
			fallback weighted_round_robin 3 1
		}
		ttl          2d
		warm         90s
		away         30s
		max_sessions 500
		max_body     4MiB
		tenant       {http.auth.user.id}
	}`))
	require.NoError(t, err)
	handlers := gjson.GetBytes(config, "apps.http.servers.srv0.routes.0.handle.0.routes.0.handle").Array()
	require.Len(t, handlers, 2)
	require.JSONEq(t, `{"handler":"llm_session"}`, handlers[0].Raw, "the handler must stand before reverse_proxy, although the operator has set no order")
	require.JSONEq(t, `{
		"policy": "llm_session", "name": "ours", "ttl": 172800000000000, "warm": 90000000000, "away": 30000000000,
		"max_sessions": 500, "max_body": 4194304, "tenant": "{http.auth.user.id}",
		"fallback": {"policy": "header", "field": "X-Which", "fallback": {"policy": "weighted_round_robin", "weights": [3, 1]}}
	}`, handlers[1].Get("load_balancing.selection_policy").Raw)
}

func TestTheCaddyfileSaysWhatIsWrong(t *testing.T) {
	for policy, want := range map[string]string{
		"lb_policy llm_session random":                            "wrong argument count",
		"lb_policy llm_session {\n ttl\n }":                       "wrong argument count",
		"lb_policy llm_session {\n ttl 1h 2h\n }":                 "wrong argument count",
		"lb_policy llm_session {\n ttl soon\n }":                  "ttl: time: invalid duration",
		"lb_policy llm_session {\n ttl 1h\n ttl 2h\n }":           "the option ttl is given twice",
		"lb_policy llm_session {\n max_sessions many\n }":         "max_sessions: strconv.Atoi",
		"lb_policy llm_session {\n max_body big\n }":              "max_body: strconv.ParseFloat",
		"lb_policy llm_session {\n colour blue\n }":               "llm_session has no option colour",
		"lb_policy llm_session {\n fallback nobody\n }":           "module not registered: http.reverse_proxy.selection_policies.nobody",
		"lb_policy llm_session {\n fallback random 1\n }":         "wrong argument count",
		"lb_policy llm_session {\n fallback random_choose one\n}": "invalid choice value 'one'",
	} {
		_, err := adapt(t, "", proxyWith(policy))
		require.ErrorContains(t, err, want, policy)
	}
	for handler, want := range map[string]string{
		"llm_session now":              "wrong argument count",
		"llm_session {\n\t\tttl 1h\n}": "the directive llm_session has no option ttl",
	} {
		_, err := adapt(t, "", "http://127.0.0.1:8080 {\n\t"+handler+"\n}\n")
		require.ErrorContains(t, err, want, handler)
	}
}

// loadJSON loads a configuration in JSON with one policy, and stops it again.
func loadJSON(policy string) error {
	proxy := `{"handler":"reverse_proxy","upstreams":[{"dial":"127.0.0.1:1"}],"load_balancing":{"selection_policy":` + policy + `}}`
	err := caddy.Load([]byte(`{"admin":{"disabled":true,"config":{"persist":false}},"logging":{"logs":{"default":{"writer":{"output":"discard"}}}},
		"apps":{"http":{"servers":{"one":{"listen":["127.0.0.1:0"],"automatic_https":{"disable":true},"routes":[{"handle":[`+proxy+`]}]}}}}}`), true)
	if err != nil {
		return err
	}
	return caddy.Stop()
}

func TestTheJSON(t *testing.T) {
	require.NoError(t, loadJSON(`{"policy":"llm_session"}`))
	require.NoError(t, loadJSON(`{"policy":"llm_session","name":"ours","ttl":"1h","fallback":{"policy":"random_choose","choose":2}}`))
	for policy, want := range map[string]string{
		`{"policy":"llm_session","ttl":-1}`:                                         "must not be negative",
		`{"policy":"llm_session","max_body":-1}`:                                    "must not be negative",
		`{"policy":"llm_session","fallback":{"policy":"random_choose","choose":1}}`: "at least 2",
		`{"policy":"llm_session","fallback":{"policy":"nobody"}}`:                   "unknown module",
		`{"policy":"llm_session","fallback":{"policy":"llm_session"}}`:              "cannot be its own fallback",
		`{"policy":"llm_session","fallback":{"policy":"random","size":1}}`:          "unknown field",
		`{"policy":"llm_session","colour":"blue"}`:                                  "unknown field",
	} {
		require.ErrorContains(t, loadJSON(policy), want, policy)
	}
	_, used := named.References("")
	require.False(t, used, "the sessions must be freed when their configuration ends, or could not be loaded")
}

// Policies with the same name must have the same upstreams: otherwise each would move the other's
// sessions.
func TestPoliciesOfOneNameHaveTheSameUpstreams(t *testing.T) {
	proxies := func(first, second string) string {
		return `handle /one/* {
				reverse_proxy 127.0.0.1:1 127.0.0.1:2 {
					lb_policy llm_session ` + first + `
				}
			}
			handle {
				reverse_proxy ` + second + `
			}`
	}
	f := start(t, proxies("", "127.0.0.1:2 127.0.0.1:1 {\n lb_policy llm_session\n }"))
	refs, _ := named.References("")
	require.Equal(t, 2, refs)
	err := f.load(t, f.site(proxies("", "127.0.0.1:1 127.0.0.1:3 {\n lb_policy llm_session\n }")))
	require.ErrorContains(t, err, "give each a name of its own")
	refs, _ = named.References("")
	require.Equal(t, 2, refs, "want only the users in the configuration that still runs")
	require.NoError(t, f.load(t, f.site(proxies("{\n name one\n }", "127.0.0.1:1 127.0.0.1:3 {\n lb_policy llm_session\n }"))))
	refs, _ = named.References("one")
	require.Equal(t, 1, refs)
}

func TestOptionsHoldFromWhenTheyAreLoaded(t *testing.T) {
	_, to := upstreams(t, 2, echo)
	site := func(options string) string {
		return "llm_session\nreverse_proxy {\n to " + to + "\n lb_policy llm_session {\n" + options + "\n}\n}"
	}
	f := start(t, site("max_sessions 2"))
	count := func() (n int) {
		for _, name := range []string{"a", "b", "c", "d"} {
			f.ask(t, name)
		}
		bound, err := sessionsOf(t, "").transport.Sessions(t.Context())
		require.NoError(t, err)
		for _, sessions := range bound {
			n += sessions
		}
		return n
	}
	require.Equal(t, 2, count())
	broken := f.site(site("max_sessions 3")) + "http://127.0.0.2:" + f.port + " {\n bind 192.0.2.1\n}\n"
	require.Error(t, f.load(t, broken), "Caddy cannot bind to an address that the machine does not have")
	require.Equal(t, 2, count(), "after a configuration that failed, the old options must apply again")
	require.NoError(t, f.load(t, f.site(site("max_sessions 3"))))
	require.Equal(t, 3, count())
}
