package affinityprom_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// program is where a program of Prometheus is: by a variable, or in the path.
func program(t *testing.T, variable, name string) string {
	t.Helper()
	if given := os.Getenv(variable); given != "" {
		name = given
	}
	at, err := exec.LookPath(name)
	require.NoError(t, err, "apt-get install prometheus, or say in %s where it is", variable)
	return at
}

// panelExprs are the expressions of the dashboard, by the title of their panel.
func panelExprs(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var d struct {
		Panels []struct {
			Title, Description string
			Targets            []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &d))
	require.NotEmpty(t, d.Panels)
	all := map[string][]string{}
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], target.Expr)
		}
	}
	return all
}

// server is a Prometheus that scrapes a gateway.
type server struct {
	t   *testing.T
	url string
}

func serve(t *testing.T, g *gateway) *server {
	t.Helper()
	metrics := httptest.NewServer(promhttp.HandlerFor(g.reg, promhttp.HandlerOpts{}))
	t.Cleanup(metrics.Close)
	rules, err := filepath.Abs("alerts.yml")
	require.NoError(t, err)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs: [{job_name: gateway, static_configs: [{targets: [%q]}]}]
`, rules, strings.TrimPrefix(metrics.URL, "http://"))), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	var log strings.Builder
	cmd := exec.Command(program(t, "PROMETHEUS", "prometheus"), "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address, "--log.level", "error")
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it was killed
		http.DefaultClient.CloseIdleConnections()
	})
	s := &server{t, "http://" + address}
	require.Eventually(t, func() bool {
		resp, err := http.Get(s.url + "/-/ready")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond, "%s", &log)
	return s
}

// get asks the API. into takes the data.
func (s *server) get(path string, into any) {
	s.t.Helper()
	resp, err := http.Get(s.url + path)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	require.NoError(s.t, json.NewDecoder(resp.Body).Decode(&answer))
	require.Equal(s.t, "success", answer.Status, "%s: %s", path, answer.Error)
	require.NoError(s.t, json.Unmarshal(answer.Data, into))
}

// query is how many series an expression has now.
func (s *server) query(expr string) int {
	s.t.Helper()
	var data struct{ Result []any }
	s.get("/api/v1/query?query="+url.QueryEscape(expr), &data)
	return len(data.Result)
}

// A real Prometheus evaluates the dashboard and the alerts over a gateway under load.
func TestEachPanelHasDataAndEachRuleIsEvaluated(t *testing.T) {
	g := start(t, 3, affinity.Options[string]{Memory: cache.Options{MaxSessions: 20}})
	s := serve(t, g)
	turn := 0
	traffic := func() {
		turn++
		for i := range 30 { // more than the memory holds
			u := affinity.Usage{Prompt: 9000, Cached: 8000 * (i % 2), Output: 50}
			for range 3 {
				g.send(t, fmt.Sprint("session-", i), "t", "m", u)
			}
		}
		_, err := g.Pick(t.Context(), affinity.Request{}, nil)
		require.Error(t, err)
	}
	for title, exprs := range panelExprs(t) {
		for _, expr := range exprs {
			expr = strings.ReplaceAll(expr, "$__rate_interval", "10s")
			require.NotContains(t, expr, "$", title)
			require.Eventually(t, func() bool { traffic(); return s.query(expr) > 0 }, time.Minute, 50*time.Millisecond, "%s: %s", title, expr)
		}
	}
	require.Greater(t, turn, 1)
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	evaluated := func() (n int) {
		n = 0
		s.get("/api/v1/rules", &rules)
		for _, r := range rules.Groups[0].Rules {
			require.Empty(t, r.LastError, r.Name)
			if r.Health == "ok" {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return evaluated() == len(alerts) }, time.Minute, 50*time.Millisecond)
}

// alerts are series for each alert with which it must fire, and others with which it must
// not. A value is what promtool takes: the first, what is added each minute, how often.
var alerts = map[string]struct {
	at           string
	fire, silent map[string]string
}{
	"PromptCacheIsNotThere": {"60m",
		map[string]string{`cache_missed_total{auth="a"}`: "0+10x90", `cache_expected_total{auth="a"}`: "0+10x90"},
		map[string]string{ // most is found, or there is not enough to say
			`cache_missed_total{auth="a"}`: "0+1x90", `cache_expected_total{auth="a"}`: "0+10x90",
			`cache_missed_total{auth="b"}`: "0+0.1x90", `cache_expected_total{auth="b"}`: "0+0.1x90",
		}},
	"SessionsAreNotRecognised": {"60m",
		map[string]string{`picks_total{signal="none"}`: "0+5x90", `picks_total{signal="content"}`: "0+10x90"},
		map[string]string{`picks_total{signal="none"}`: "0+1x90", `picks_total{signal="content"}`: "0+10x90"}},
	"PicksAreNotReported": {"60m",
		map[string]string{`picks_unreported`: "0+60x90"},
		map[string]string{`picks_unreported`: "2000+0x90"}},
	"SessionsAreUneven": {"60m",
		map[string]string{`sessions{auth="a"}`: "400+0x90", `sessions{auth="b"}`: "10+0x90", `sessions{auth="c"}`: "10+0x90", `sessions{auth="d"}`: "10+0x90"},
		map[string]string{`sessions{auth="a"}`: "40+0x90", `sessions{auth="b"}`: "1+0x90", `sessions{auth="c"}`: "1+0x90", `sessions{auth="d"}`: "1+0x90"}},
	"HistoriesAreLost": {"90m",
		map[string]string{`lost_histories_total{past="history"}`: "0+5x90", `picks_total{outcome="new"}`: "0+10x90"},
		map[string]string{`lost_histories_total{past="history"}`: "0+1x90", `picks_total{outcome="new"}`: "0+10x90"}},
	"StoreFails": {"30m",
		map[string]string{`store_failures_total`: "0+60x90"},
		map[string]string{`store_failures_total`: "7+0x90"}},
	"AffinitySavesNothing": {"180m",
		map[string]string{`tokens_total{kind="cached"}`: "0+1000x200", `cached_tokens_without_total`: "0+1000x200", `tokens_total{kind="prompt"}`: "0+90000x200"},
		map[string]string{`tokens_total{kind="cached"}`: "0+1000x200", `cached_tokens_without_total`: "0+300x200", `tokens_total{kind="prompt"}`: "0+90000x200"}},
}

func TestEachAlertFiresWhenItHasTo(t *testing.T) {
	promtool := program(t, "PROMTOOL", "promtool")
	rules, err := filepath.Abs("alerts.yml")
	require.NoError(t, err)
	out, err := exec.Command(promtool, "check", "rules", rules).CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(rules)
	require.NoError(t, err)
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
		require.Contains(t, alerts, m[1])
	}
	require.Len(t, names, len(alerts))
	type obj = map[string]any
	var tests []obj
	for name, a := range alerts {
		for _, fires := range []bool{true, false} {
			given, want := a.silent, []obj{}
			if fires {
				given, want = a.fire, []obj{{"labels": "{}", "value": 1}}
			}
			var series []obj
			for one, values := range given {
				metric, labels, _ := strings.Cut(one, "{")
				labels = strings.TrimSuffix(`{instance="i",job="j",`+labels, "}")
				series = append(series, obj{"series": "llmaffinity_" + metric + strings.TrimSuffix(labels, ",") + "}", "values": values})
			}
			tests = append(tests, obj{"interval": "1m", "input_series": series, "promql_expr_test": []obj{{
				"expr": fmt.Sprintf(`count(ALERTS{alertname=%q,alertstate="firing"})`, name), "eval_time": a.at, "exp_samples": want,
			}}})
		}
	}
	file := filepath.Join(t.TempDir(), "tests.yml") // JSON is YAML
	text, err = json.Marshal(obj{"rule_files": []string{rules}, "evaluation_interval": "1m", "tests": tests})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	out, err = exec.Command(promtool, "test", "rules", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// What the dashboard and the alerts name is what the Collector has.
func TestNothingIsNamedThatIsNotCollected(t *testing.T) {
	g := start(t, 1, affinity.Options[string]{})
	for i := range 50 {
		g.send(t, "one", "t", "m", affinity.Usage{Prompt: 9000, Cached: 9000 * min(i, 1)})
	}
	all := g.scrape(t)
	for _, file := range []string{"dashboard.json", "alerts.yml"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		found := regexp.MustCompile(`llmaffinity_[a-z_]+`).FindAllString(string(text), -1)
		require.NotEmpty(t, found)
		for _, name := range found {
			require.Contains(t, all, name, file)
		}
	}
}
