package gateway

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watched is a reloader with files in a temporary folder. It does not wait: the test calls check
// instead of a ticker.
type watched struct {
	*reloader
	t       *testing.T
	dir     string
	writes  int
	log     bytes.Buffer
	applied []Settings
	refuse  error
}

func startWatched(t *testing.T, config, keys string) *watched {
	w := &watched{t: t, dir: t.TempDir()}
	w.write("gateway.json", config)
	w.write("keys", keys)
	w.reloader = &reloader{
		source: source{config: w.path("gateway.json"), getenv: testGetenv},
		log:    slog.New(slog.NewTextHandler(&w.log, nil)),
		apply: func(s Settings) error {
			if w.refuse == nil {
				w.applied = append(w.applied, s)
			}
			return w.refuse
		},
	}
	_, err := w.settings()
	require.NoError(t, err)
	return w
}

func (w *watched) path(file string) string { return filepath.Join(w.dir, file) }

// write writes a file. Each write gives the file another time, whatever the resolution of the file
// system's clock.
func (w *watched) write(file, text string) {
	require.NoError(w.t, os.WriteFile(w.path(file), []byte(text), 0o600))
	w.writes++
	at := time.Unix(1_700_000_000+int64(w.writes), 0)
	require.NoError(w.t, os.Chtimes(w.path(file), at, at))
}

func (w *watched) checks(n int) {
	for range n {
		w.check()
	}
}

const watchedConfig = `{"routing": {"session-affinity-ttl": "1h"}, "upstreams": [{"name": "a", "api": "any", "url": "https://a", "key_file": "keys"}]}`

func TestAChangeIsReadWhenItHasStayedForOneCheck(t *testing.T) {
	w := startWatched(t, watchedConfig, "one=k1")
	w.checks(3)
	require.Empty(t, w.applied, "without a change nothing may be applied")
	w.write("gateway.json", strings.Replace(watchedConfig, "1h", "2h", 1))
	w.checks(1)
	require.Empty(t, w.applied, "a change must not be read at once: somebody may still be writing")
	w.write("gateway.json", strings.Replace(watchedConfig, "1h", "3h", 1))
	w.checks(1)
	require.Empty(t, w.applied, "a file that has changed again must not be read yet")
	w.checks(5)
	require.Len(t, w.applied, 1, "a change must be applied once")
	require.Equal(t, 3*time.Hour, w.applied[0].TTL)
	require.Equal(t, 1, strings.Count(w.log.String(), "read again"))
}

func TestAChangeThatIsTakenBackIsNone(t *testing.T) {
	w := startWatched(t, watchedConfig, "one=k1")
	require.NoError(t, os.Rename(w.path("gateway.json"), w.path("away")))
	w.checks(1)
	require.NoError(t, os.Rename(w.path("away"), w.path("gateway.json")))
	w.checks(3)
	require.Empty(t, w.applied)
	require.Empty(t, w.log.String())
}

func TestAHalfWrittenFileIsSaidOnceAndChangesNothing(t *testing.T) {
	w := startWatched(t, watchedConfig, "one=k1")
	w.write("gateway.json", watchedConfig[:60])
	w.checks(10)
	require.Empty(t, w.applied)
	require.Equal(t, 1, strings.Count(w.log.String(), "\n"), w.log.String())
	require.Contains(t, w.log.String(), "the configuration stays as it was")
	require.Contains(t, w.log.String(), "gateway.json:1:61: ")
	w.write("gateway.json", watchedConfig)
	w.checks(2)
	require.Len(t, w.applied, 1)
	w.refuse = errors.New("not like this")
	w.write("gateway.json", watchedConfig)
	w.checks(10)
	require.Equal(t, 1, strings.Count(w.log.String(), "not like this"), "an error of Apply must be logged once")
}

func TestAKeyFileBringsKeysInWithoutARestart(t *testing.T) {
	w := startWatched(t, watchedConfig, "one=k1")
	w.write("keys", "one=k1\ntwo=k2\n")
	w.checks(2)
	require.Equal(t, []string{"one", "two"}, namesOf(w.applied[0].Auths))

	require.NoError(t, os.Remove(w.path("keys")))
	w.checks(5)
	require.Len(t, w.applied, 1, "if the key file is gone, the old keys must stay")
	require.Equal(t, 1, strings.Count(w.log.String(), "key_file: no such file"))
	w.write("keys", "")
	w.checks(5)
	require.Len(t, w.applied, 1, "an empty key file must change nothing: somebody may still be writing")
	w.write("keys", "two=k2")
	w.checks(2)
	require.Equal(t, []string{"two"}, namesOf(w.applied[1].Auths))

	// A key file that the new configuration names is watched from now on.
	w.write("others", "three=k3")
	w.write("gateway.json", strings.Replace(watchedConfig, `"keys"`, `"others"`, 1))
	w.checks(2)
	require.Equal(t, []string{"three"}, namesOf(w.applied[2].Auths))
	w.write("keys", "nobody=reads-it")
	w.checks(3)
	require.Len(t, w.applied, 3)
	w.write("others", "four=k4")
	w.checks(2)
	require.Equal(t, []string{"four"}, namesOf(w.applied[3].Auths))
}

// A file that is replaced by another one with the same size and time counts as changed.
func TestAReplacedFileIsAnotherOne(t *testing.T) {
	w := startWatched(t, watchedConfig, "one=k1")
	w.write("next", "two=k2")
	was, err := os.Stat(w.path("keys"))
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(w.path("next"), was.ModTime(), was.ModTime()))
	require.NoError(t, os.Rename(w.path("next"), w.path("keys")))
	w.checks(2)
	require.Equal(t, []string{"two"}, namesOf(w.applied[0].Auths))
}

func TestAReloadSaysThatTheEnvironmentDoesNotChange(t *testing.T) {
	w := startWatched(t, watchedConfig, "one=k1")
	w.write("gateway.json", `{"upstreams": [{"name": "a", "api": "any", "url": "https://a", "keys": ["K_1", "K_9"]}]}`)
	w.reload()
	require.Empty(t, w.applied)
	require.Contains(t, w.log.String(), "upstreams[0].keys[1]: the environment variable K_9 is not set, and the environment of a running process does not change: write the key into a key_file")
	w.checks(5)
	require.Equal(t, 1, strings.Count(w.log.String(), "\n"), "a file that a signal has made the gateway read must not be read again")
}

func TestWarningsAreLogged(t *testing.T) {
	w := startWatched(t, strings.Replace(watchedConfig, `"session-affinity-ttl": "1h"`, `"claude-code-session-affinity": true`, 1), "one=k1")
	require.Contains(t, w.log.String(), "level=WARN")
	require.Contains(t, w.log.String(), "routing.claude-code-session-affinity is deprecated")
}

func TestAffinityOfTheCommandLineAndOfTheFileMustAgree(t *testing.T) {
	for _, c := range []struct{ flag, file, want string }{
		{"", "", "on"}, {"", "true", "on"}, {"", "false", "off"},
		{"true", "", "on"}, {"true", "true", "on"}, {"true", "false", "error"},
		{"false", "", "off"}, {"false", "true", "error"}, {"false", "false", "off"},
	} {
		for _, member := range []string{"session-affinity", "claude-code-session-affinity"} {
			config := watchedConfig
			if c.file != "" {
				config = strings.Replace(config, `"routing": {`, `"routing": {"`+member+`": `+c.file+`, `, 1)
			}
			w := startWatched(t, watchedConfig, "one=k1")
			if c.flag != "" {
				on := c.flag == "true"
				w.source.affinity = &on
			}
			w.write("gateway.json", config)
			w.reload()
			if c.want == "error" {
				require.Empty(t, w.applied, "%+v", c)
				require.Contains(t, w.log.String(), "routing.session-affinity is "+c.file+", but -affinity="+c.flag+" was given")
				continue
			}
			require.Len(t, w.applied, 1, "%+v: %s", c, w.log.String())
			require.Equal(t, c.want == "on", w.applied[0].Affinity, "%+v", c)
		}
	}
}

// A change of the files reaches the sessions of a running gateway.
func TestAChangeOfTheFilesReachesTheGateway(t *testing.T) {
	gw := startGateway(t, 4, GatewayOptions{Affinity: true, DecisionHeader: true})
	config := strings.Replace(watchedConfig, "https://a", gw.pool.All()[0].URL.String(), 1)
	w := startWatched(t, config, "s1=sim-key-1\ns2=sim-key-2\ns3=sim-key-3\n")
	w.reloader.apply = gw.g.Apply
	w.reload()
	where := gw.homes(t, 9)
	w.write("keys", "# s2 is gone\ns4=sim-key-4\ns3=sim-key-3\ns1=sim-key-1\n")
	w.write("gateway.json", strings.Replace(config, `"1h"`, `"2h", "strategy": "fill-first"`, 1))
	w.checks(2)
	for id, auth := range where {
		d := gw.say(t, id)
		if auth == "s2" {
			require.Equal(t, "moved", d["outcome"])
			continue
		}
		require.Equal(t, "hit", d["outcome"])
		require.Equal(t, auth, d["auth"])
	}
	require.Equal(t, "s4", gw.say(t, "late-session")["auth"], "with fill-first a new session must get the first key of the file")
	w.write("gateway.json", strings.Replace(config, `"1h"`, `"2h", "session-affinity": false`, 1))
	w.checks(2)
	require.Equal(t, "none", gw.say(t, "late-session")["outcome"])
	w.write("gateway.json", config)
	w.checks(2)
	require.Equal(t, "hit", gw.say(t, "late-session")["outcome"])
	require.NotContains(t, w.log.String(), "sim-key")
}
