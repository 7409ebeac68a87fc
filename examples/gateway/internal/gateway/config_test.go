package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// secret is a key in the form of a provider's keys. No error may show it.
const secret = "sk-ant-api03-Zm9vYmFyYmF6cXV4"

var testEnv = map[string]string{"K_1": "first-" + secret, "K_2": "second-" + secret, "K_3": " " + secret + "\n", "K_BAD": secret + " \x01"}

func testGetenv(name string) string { return testEnv[name] }

// configured reads a configuration file with a key file "keys" beside it.
func configured(t *testing.T, text, keys string) (Settings, []string, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gateway.json"), []byte(text), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys"), []byte(keys), 0o600))
	s := source{config: filepath.Join(dir, "gateway.json"), getenv: testGetenv}
	return s.settings(seen{}.read)
}

func namesOf(auths []*Auth) (names []string) {
	for _, a := range auths {
		names = append(names, a.Name)
	}
	return names
}

func TestNamesOfAuthsAreLasting(t *testing.T) {
	require.Equal(t, "up-4658a4e6", nameOf("up", "foobar-1"), "the name of a key must never change")
	u := Upstream{Name: "up", API: APIAny, URL: "https://x", Keys: []Key{{Env: "K_1"}, {Env: "K_2"}, {Env: "K_3", Name: "work"}}}
	before, err := poolOf([]Upstream{u}, testGetenv)
	require.NoError(t, err)
	u.Keys = []Key{u.Keys[2], u.Keys[1]}
	after, err := poolOf([]Upstream{u}, testGetenv)
	require.NoError(t, err)
	require.Equal(t, []string{"work", namesOf(before.All())[1]}, namesOf(after.All()), "the name of a key must not depend on its position")
	require.Equal(t, nameOf("up", testEnv["K_2"]), after.All()[1].Name)
	require.Equal(t, secret, after.All()[0].Key, "blanks around a key must be removed")
}

// One of six keys is removed, in the middle. The sessions of the other five keys stay.
func TestAReloadWithoutOneOfSixKeysMovesOnlyItsSessions(t *testing.T) {
	pool := upstream(t, 1, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	file := filepath.Join(t.TempDir(), "keys")
	auths := func(keys ...string) []*Auth {
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(keys, "\n")), 0o600))
		made, err := poolOf([]Upstream{{Name: "up", API: APIAny, URL: pool.All()[0].URL.String(), KeyFile: file}}, testGetenv)
		require.NoError(t, err)
		return made.All()
	}
	six := auths("k1", "k2", "k3", "k4", "k5", "k6")
	gw := startGatewayOn(t, GatewayOptions{Pool: &Pool{auths: six}, Affinity: true, DecisionHeader: true})
	where := gw.homes(t, 24)
	gw.g.Reload(auths("k1", "k2", "k4", "k5", "k6"))
	moved := 0
	for id, auth := range where {
		d := gw.say(t, id)
		if auth == six[2].Name {
			moved++
			require.Equal(t, "moved", d["outcome"])
			require.NotEqual(t, auth, d["auth"])
			continue
		}
		require.Equal(t, "hit", d["outcome"])
		require.Equal(t, auth, d["auth"])
	}
	require.Equal(t, 4, moved)
	for _, a := range gw.pool.All() {
		require.Contains(t, six, a)
	}
}

func TestReplaceKeepsWhatItsNameAndKeySay(t *testing.T) {
	made := func(keys ...string) (auths []*Auth) {
		p := upstream(t, 1, nil)
		for _, k := range keys {
			auths = append(auths, &Auth{Name: nameOf("up", k), API: APIAny, URL: p.All()[0].URL, Key: k})
		}
		return auths
	}
	six := made("k1", "k2", "k3", "k4", "k5", "k6")
	p := &Pool{auths: six}
	next := append(append([]*Auth{}, six[:2]...), six[3:]...)
	for i, a := range next {
		next[i] = &Auth{Name: a.Name, API: a.API, URL: a.URL, Key: a.Key}
	}
	next[0].Key = "rotated"
	gone, renewed := p.Replace(next)
	require.Equal(t, six[2:3], gone, "want the auth that is missing in the new list")
	require.Equal(t, next[:1], renewed, "want the auth with the same name and another key")
	require.Equal(t, next, p.All())
}

func TestTheConfigurationFile(t *testing.T) {
	s, warnings, err := configured(t, `{"upstreams": [{"name": "a", "api": "anthropic", "url": "https://a/", "keys": ["K_1"]}]}`, "")
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, []any{"round-robin", time.Hour, true}, []any{s.Strategy, s.TTL, s.Affinity}, "the defaults")

	s, warnings, err = configured(t, `{
		"routing": {"strategy": "rendezvous", "session-affinity": false, "session-affinity-ttl": "90m"},
		"upstreams": [
			{"name": "a", "api": "anthropic", "url": "https://a/", "keys": ["K_1", {"env": "K_2", "name": "work"}]},
			{"name": "b", "api": "gemini", "url": "http://b/v2", "key_file": "keys", "tier": 3}
		]}`, "\n# mine\r\n  home = k-home==  \r\nk-2\n\n")
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, []any{"rendezvous", 90 * time.Minute, false}, []any{s.Strategy, s.TTL, s.Affinity})
	require.Equal(t, []string{nameOf("a", testEnv["K_1"]), "work", "home", nameOf("b", "k-2")}, namesOf(s.Auths))
	require.Equal(t, "https://a", s.Auths[0].URL.String())
	require.Equal(t, []any{APIGemini, 3, "k-home=="}, []any{s.Auths[2].API, s.Auths[2].Tier, s.Auths[2].Key})
}

func TestTheOldNameOfSessionAffinityWorksWithAWarning(t *testing.T) {
	const upstreams = `"upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": ["K_1"]}]}`
	for text, want := range map[string]bool{
		`"claude-code-session-affinity": false`:                            false,
		`"claude-code-session-affinity": true`:                             true,
		`"claude-code-session-affinity": false, "session-affinity": false`: false,
	} {
		s, warnings, err := configured(t, `{"routing": {`+text+`}, `+upstreams, "")
		require.NoError(t, err, text)
		require.Equal(t, want, s.Affinity, text)
		require.Len(t, warnings, 1, text)
		require.Contains(t, warnings[0], "gateway.json: routing.claude-code-session-affinity is deprecated")
	}
	_, _, err := configured(t, `{"routing": {"claude-code-session-affinity": false, "session-affinity": true}, `+upstreams, "")
	require.ErrorContains(t, err, "gateway.json:1:46: routing.claude-code-session-affinity: session-affinity has another value")
}

func TestWhatIsWrongWithAConfigurationIsSaidWithItsPlace(t *testing.T) {
	up := func(members string) string {
		return `{"upstreams": [{"name": "a", "api": "any", "url": "https://a", ` + members + "}]}"
	}
	routing := func(members string) string {
		return `{"routing": {` + members + `}, "upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": ["K_1"]}]}`
	}
	for _, c := range []struct{ text, want string }{
		// The syntax.
		{"", "gateway.json:1:1: unexpected end"},
		{"{\n", "gateway.json:2:1: unexpected end"},
		{"{\n  \"é\": x}", "gateway.json:2:8: invalid character looking for"},
		{`{"upstreams": []} {}`, "gateway.json:1:19: invalid character after top-level value"},
		{`{"upstreams": [],}`, "gateway.json:1:18: invalid character looking for"},
		{`{"a": '`, "gateway.json:1:7: invalid character looking for"},
		{`{"a": '' }`, "gateway.json:1:7: invalid character looking for"},
		{`[]`, "gateway.json:1:1: want an object with routing, upstreams"},
		{`null`, "gateway.json:1:1: want an object"},
		// Unknown members, and those that are given twice.
		{"{\n\"upstream\": []}", "gateway.json:2:1: unknown member upstream, want routing, upstreams"},
		{`{"Upstreams": []}`, "gateway.json:1:2: unknown member"},
		{routing(`"ttl": "1h"`), "gateway.json:1:14: routing: unknown member ttl"},
		{up(`"keys": ["K_1"], "weight": 1`), ": upstreams[0]: unknown member weight"},
		{up(`"keys": [{"env": "K_1", "names": "x"}]`), "gateway.json:1:88: upstreams[0].keys[0]: unknown member names, want env, name"},
		{`{"upstreams": [], "upstreams": []}`, "gateway.json:1:19: member upstreams is given twice"},
		{routing(`"strategy": "random", "strategy": "random"`), "gateway.json:1:36: routing: member strategy is given twice"},
		{up(`"keys": ["K_1"], "name": "b"`), ": upstreams[0]: member name is given twice"},
		{up(`"keys": [{"env": "K_1", "env": "K_1"}]`), ": upstreams[0].keys[0]: member env is given twice"},
		// Types.
		{`{"routing": null}`, "gateway.json:1:13: routing: want an object"},
		{`{"upstreams": {}}`, "gateway.json:1:15: upstreams: want a list"},
		{`{"upstreams": [[]]}`, "gateway.json:1:16: upstreams[0]: want an object"},
		{routing(`"strategy": 1`), "routing.strategy: want a string"},
		{routing(`"session-affinity": "true"`), "routing.session-affinity: want true or false"},
		{routing(`"session-affinity-ttl": 3600`), "routing.session-affinity-ttl: want a string"},
		{up(`"keys": "K_1"`), "upstreams[0].keys: want a list"},
		{up(`"keys": ["K_1", 2]`), "upstreams[0].keys[1]: want an object with env, name"},
		{up(`"keys": [""]`), "upstreams[0].keys[0]: want a string that is not empty"},
		{up(`"keys": [{"name": "x"}]`), "upstreams[0].keys[0]: want the name of an environment variable"},
		{up(`"keys": [{"env": "K_1", "name": ""}]`), "upstreams[0].keys[0].name: want a string that is not empty"},
		{up(`"keys": ["K_1"], "tier": 1.5`), "upstreams[0].tier: want a whole number"},
		{up(`"keys": ["K_1"], "tier": "1"`), "upstreams[0].tier: want a whole number"},
		{up(`"keys": ["K_1"], "tier": 99999999999999999999`), "upstreams[0].tier: want a whole number"},
		{up(`"key_file": true`), "upstreams[0].key_file: want a string"},
		// Values.
		{routing(`"strategy": "best"`), "routing.strategy: unknown strategy best"},
		{routing(`"session-affinity-ttl": "0s"`), "routing.session-affinity-ttl: want a duration above 0"},
		{routing(`"session-affinity-ttl": "-1h"`), "routing.session-affinity-ttl: want a duration above 0"},
		{routing(`"session-affinity-ttl": "an hour"`), "routing.session-affinity-ttl: want a duration above 0"},
		{`{}`, "gateway.json: no upstreams"},
		{`{"upstreams": []}`, "gateway.json: no upstreams"},
		{`{"upstreams": [{"api": "any", "url": "https://a", "keys": ["K_1"]}]}`, "gateway.json: upstreams[0].name: want a name"},
		{`{"upstreams": [{"name": "a;b", "api": "any", "url": "https://a", "keys": ["K_1"]}]}`, "gateway.json: upstreams[0].name: want a name"},
		{`{"upstreams": [{"name": "a", "api": "none", "url": "https://a", "keys": ["K_1"]}]}`, "upstreams[0].api: unknown api none"},
		{`{"upstreams": [{"name": "a", "api": "any", "url": "ftp://a", "keys": ["K_1"]}]}`, "upstreams[0].url: want an http or https address"},
		{`{"upstreams": [{"name": "a", "api": "any", "url": "://", "keys": ["K_1"]}]}`, "upstreams[0].url: want an http or https address"},
		{`{"upstreams": [{"name": "a", "api": "any", "url": "https://a?key=b", "keys": ["K_1"]}]}`, "upstreams[0].url: leave out the user"},
		{up(`"tier": 1`), "gateway.json: upstreams[0]: no keys"},
		{up(`"keys": []`), "gateway.json: upstreams[0]: no keys"},
		{strings.Replace(up(`"keys": ["K_1"]`), "https://a", "https://a/v1/", 1), "gateway.json: upstreams[0].url: leave out /v1: the client's path has it"},
		{up(`"keys": ["K_1", "K_4"]`), "gateway.json: upstreams[0].keys[1]: the environment variable K_4 is not set"},
		{up(`"keys": ["K_BAD"]`), "gateway.json: upstreams[0].keys[0]: the key has blanks"},
		{up(`"key_file": "nowhere"`), "gateway.json: upstreams[0].key_file: no such file"},
		{up(`"key_file": "."`), "gateway.json: upstreams[0].key_file: not a regular file"},
		{up(`"keys": [{"env": "K_1", "name": "a b"}]`), "gateway.json: upstreams[0].keys[0]: want a name"},
	} {
		_, _, err := configured(t, c.text, "")
		require.ErrorContains(t, err, c.want, c.text)
		require.ErrorContains(t, err, "gateway.json", c.text)
		require.NotContains(t, err.Error(), "api03", c.text)
	}
}

func TestWhatIsWrongWithAKeyFileIsSaidWithItsLine(t *testing.T) {
	const text = `{"upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": [{"env": "K_1", "name": "first"}], "key_file": "keys"}]}`
	for keys, want := range map[string]string{
		"\nwork=":                         "keys:2: want name=key",
		secret + "==":                     "keys:1: want name=key, or a key without a =",
		"=" + secret:                      "keys:1: want name=key",
		"# one\nwork=two words":           "keys:2: the key has blanks",
		"wo rk=" + secret:                 "keys:1: want a name",
		testEnv["K_1"]:                    "keys:1: the same key as at ",
		secret + "\n\nname=" + secret:     "keys:3: the same key as at ",
		"first=" + secret:                 "keys:1: an auth is called first already, at ",
		"x=" + secret + "-1\nx=" + secret: "keys:2: an auth is called x already, at ",
	} {
		_, _, err := configured(t, text, keys)
		require.ErrorContains(t, err, want, keys)
		require.NotContains(t, err.Error(), "api03", keys)
	}
}

// The same key at the same address and for the same API is the same auth, so it may not be given
// twice. At another address or for another API it is another auth.
func TestTheSameKeyTwice(t *testing.T) {
	for text, want := range map[string]string{
		`{"name": "a", "api": "any", "url": "https://a", "keys": ["K_1", "K_2", "K_1"]}`:                                                                                         "gateway.json: upstreams[0].keys[2]: the same key as at ",
		`{"name": "a", "api": "any", "url": "https://a", "keys": ["K_1", {"env": "K_1", "name": "x"}]}`:                                                                          "upstreams[0].keys[1]: the same key as at ",
		`{"name": "a", "api": "openai", "url": "https://a/", "keys": ["K_1"]}, {"name": "b", "api": "any", "url": "https://a", "keys": ["K_1"]}`:                                 "upstreams[1].keys[0]: the same key as at ",
		`{"name": "a", "api": "openai", "url": "https://a", "keys": ["K_1"]}, {"name": "a", "api": "any", "url": "https://b", "keys": ["K_1"]}`:                                  "upstreams[1].keys[0]: an auth is called a-",
		`{"name": "a", "api": "openai", "url": "https://a", "keys": [{"env":"K_1","name":"x"}]}, {"name": "b", "api":"any","url":"https://b","keys":[{"env":"K_2","name":"x"}]}`: "upstreams[1].keys[0]: an auth is called x already, at ",
		`{"name": "a", "api": "openai", "url": "https://a", "keys": ["K_1"]}, {"name": "b", "api": "anthropic", "url": "https://a", "keys": ["K_1"]}`:                            "",
		`{"name": "a", "api": "openai", "url": "https://a", "keys": ["K_1"]}, {"name": "b", "api": "openai", "url": "https://b", "keys": ["K_1"]}`:                               "",
	} {
		_, _, err := configured(t, `{"upstreams": [`+text+`]}`, "")
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "gateway.json: upstreams[0].keys[0]", text)
	}
}

// No error shows a key, in whatever place of the configuration somebody has put it.
func TestNoErrorShowsAKey(t *testing.T) {
	quoted := fmt.Sprintf("%q", secret)
	for _, text := range []string{
		secret, `{` + secret, `{"routing": {` + quoted + `: 1}}`, `{` + quoted + `: 1}`, `{"routing": {"strategy": ` + quoted + `}}`,
		`{"routing": {"session-affinity-ttl": ` + quoted + `}}`, `{"routing": ` + quoted + `}`, `{"upstreams": ` + quoted + `}`,
		`{"upstreams": [{"name": "a", "api": ` + quoted + `, "url": "https://a", "keys": ["K_1"]}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": ` + quoted + `, "keys": ["K_1"]}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": "https://u:` + secret + `@a", "keys": ["K_1"]}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": "https://` + secret + `:x/", "keys": ["K_1"]}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": [` + quoted + `]}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": [` + secret + `]}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": [{` + quoted + `: "work"}]}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": "https://a", "key_file": ` + quoted + `}]}`,
		`{"upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": ["K_BAD"]}]}`,
	} {
		_, _, err := configured(t, text, "")
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), "api03", text)
	}
	for _, flag := range []string{
		secret, "a," + secret, "a," + secret + ",https://a,K_1", "a,any," + secret + ",https://a", "a,any,https://a," + secret,
	} {
		c, err := parseCommand([]string{"-upstream", flag}, nil)
		if err == nil {
			c.source.getenv = testGetenv
			_, _, err = c.source.settings(seen{}.read)
		}
		require.True(t, errors.As(err, new(usageError)), flag)
		require.NotContains(t, err.Error(), "api03", flag)
	}
	for _, key := range []string{secret, "gsk_Q2xhdWRlQ29kZQ", "AIzaSyD-9tSrke72PouQMnMX", "9f8e7d6c5b4a39281706", "JBSWY3DPEHPK3PXPJBSWY3DP", "abcdefghijklmnopqrstuv", ""} {
		require.NotEqual(t, key, shown(key))
	}
	for _, word := range []string{"KEY_1", "LLMAFFINITY_TEST_KEY", "session-affinity-ttl", "key_file", "best"} {
		require.Equal(t, word, shown(word))
	}
}

func TestUpstreamsOfTheCommandLine(t *testing.T) {
	flags := upstreamFlag{"claude,anthropic,https://api.anthropic.com/,K_1,K_2"}
	upstreams, err := flags.upstreams()
	require.NoError(t, err)
	pool, err := poolOf(upstreams, testGetenv)
	require.NoError(t, err)
	require.Equal(t, []string{nameOf("claude", testEnv["K_1"]), nameOf("claude", testEnv["K_2"])}, namesOf(pool.All()))
	require.Equal(t, testEnv["K_2"], pool.All()[1].Key)
	require.Empty(t, pool.Serving(APIGemini), "an upstream must serve only its own API")
	_, err = upstreamFlag{"too,few,parts"}.upstreams()
	require.ErrorContains(t, err, "-upstream[0]: want name,api,url")
	_, err = NewGateway(GatewayOptions{Pool: &Pool{}})
	require.Error(t, err)
}
