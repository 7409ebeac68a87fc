package affinityprom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// patience limits waiting. What the tests wait for takes a moment on an idle machine.
const patience = 2 * time.Minute

// program returns the path of a program of Prometheus: the one that an environment variable
// names, or the one in PATH.
func program(t *testing.T, variable, name string) string {
	t.Helper()
	if given := os.Getenv(variable); given != "" {
		name = given
	}
	path, err := exec.LookPath(name)
	require.NoError(t, err, "%s is not installed: run apt-get install --no-install-recommends prometheus, or set %s to its path", name, variable)
	return path
}

// rule is an alert rule of alerts.yml.
type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) (all []rule) {
	t.Helper()
	text, err := os.ReadFile("alerts.yml")
	require.NoError(t, err)
	var file struct{ Groups []struct{ Rules []rule } }
	require.NoError(t, yaml.Unmarshal(text, &file))
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

type source struct{ UID string }

type panel struct {
	ID                 int
	Title, Description string
	Datasource         source
	GridPos            struct{ X, Y, W, H int }
	Targets            []struct {
		Datasource         source
		Expr, LegendFormat string
	}
}

type dashboard struct {
	ID            *int
	UID           string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
			Datasource source
		}
	}
}

func grafana(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &d))
	require.NotEmpty(t, d.Panels)
	return d
}

// filled returns an expression as Grafana sends it, for all jobs and instances. Its time range is
// longer than the test.
func filled(t *testing.T, expr string) string {
	t.Helper()
	expr = strings.NewReplacer("$__rate_interval", "10m", "$__range", "10m", "$job", ".*", "$instance", ".*").Replace(expr)
	require.NotContains(t, expr, "$", "the expression has a variable that the dashboard does not define")
	return expr
}

// fragile is a store that a test can make fail.
type fragile struct {
	*cache.Memory
	away atomic.Bool
}

func (f *fragile) Get(ctx context.Context, s cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	if f.away.Load() {
		return cache.Binding{}, false, cache.ErrClosed
	}
	return f.Memory.Get(ctx, s, k)
}

// busy is a gateway with traffic.
type busy struct {
	*gateway
	store  *fragile
	round  int
	target string // the address that Prometheus scrapes
}

const (
	// A round of traffic has 8 sessions of 13 turns, 2 for each of 4 auths. 4 more requests move a
	// session, and 10 more name no session.
	sessionsSent, turnsSent = 8, 13
	movedSent, namelessSent = 4, 10
	// blind is the auth without a prompt cache.
	blind = "auth-3"
)

func newBusy(t *testing.T) *busy {
	t.Helper()
	memory, err := cache.New(nil)
	require.NoError(t, err)
	t.Cleanup(func() { memory.Close() })
	b := &busy{store: &fragile{Memory: memory}}
	b.gateway = start(t, 4, 0, affinity.Options[string]{Store: b.store})
	return b
}

// traffic sends a round of traffic, with new sessions. After it, a scrape has all metrics.
func (b *busy) traffic(t *testing.T) {
	t.Helper()
	b.round++
	pick := func(r affinity.Request, auths []string) affinity.Pick[string] {
		r.Model = "m"
		p, err := b.Pick(t.Context(), r, auths)
		require.NoError(t, err)
		return p
	}
	session := func(i int) affinity.Request {
		return affinity.Request{Header: http.Header{"X-Session-Id": {fmt.Sprintf("session-%d-%d", b.round, i)}}}
	}
	homes := map[string][]affinity.Request{}
	for i := range sessionsSent {
		for turn := range turnsSent {
			p := pick(session(i), b.auths)
			u := affinity.Usage{Prompt: 5000 + 1000*turn}
			if turn > 0 && p.Auth != blind {
				u.Cached = u.Prompt - 1000
			}
			p.Done(affinity.Report{Result: affinity.Served, Usage: u})
			if turn == 0 {
				homes[p.Auth] = append(homes[p.Auth], session(i))
			}
		}
	}
	require.Len(t, homes, len(b.auths))
	for _, home := range b.auths {
		require.Len(t, homes[home], sessionsSent/len(b.auths))
		others := slices.DeleteFunc(slices.Clone(b.auths), func(a string) bool { return a == home })
		p := pick(homes[home][0], others)
		require.Equal(t, affinity.OutcomeMoved, p.Decision.Outcome)
		p.Report(affinity.Served)
	}
	for i := range namelessSent {
		p := pick(affinity.Request{}, b.auths)
		require.Equal(t, affinity.OutcomeNone, p.Decision.Outcome)
		p.Report(affinity.Result(i % (int(affinity.Cancelled) + 1)))
	}
	lost := fmt.Sprintf(`{"messages":[{"role":"user","content":"a%d"},{"role":"assistant","content":"b"},`+
		`{"role":"user","content":"c"},{"role":"assistant","content":"d"},{"role":"user","content":"e"}]}`, b.round)
	p := pick(affinity.Request{Body: []byte(lost)}, b.auths)
	require.True(t, p.Decision.LostHistory)
	p.Report(affinity.Served)
	p.Report(affinity.Transient) // a second report of the same pick

	b.store.away.Store(true)
	pick(session(0), b.auths).Report(affinity.Served)
	b.store.away.Store(false)
	_, err := b.Pick(t.Context(), affinity.Request{}, nil)
	require.Error(t, err)
	pick(affinity.Request{Off: true}, b.auths) // a pick without a report
}

// server is a Prometheus server.
type server struct{ url string }

// prometheus starts a server that scrapes the gateway until the test ends.
func (b *busy) prometheus(t *testing.T) *server {
	t.Helper()
	path := program(t, "PROMETHEUS", "prometheus")
	target := httptest.NewServer(promhttp.HandlerFor(b.reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(target.Close)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	b.target = target.Listener.Addr().String()
	text := fmt.Sprintf("global: {scrape_interval: 500ms}\n"+
		"scrape_configs: [{job_name: gateway, metrics_path: /, static_configs: [{targets: [%q]}]}]\n", b.target)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	for try := range 5 { // another process may take the port first
		free, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := free.Addr().String()
		require.NoError(t, free.Close())

		var said bytes.Buffer
		run := exec.Command(path, "--config.file="+config, "--web.listen-address="+address,
			"--storage.tsdb.path="+filepath.Join(dir, fmt.Sprint("data", try)))
		run.Stdout, run.Stderr = &said, &said
		require.NoError(t, run.Start())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = run.Wait()
		}()
		t.Cleanup(func() {
			_ = run.Process.Kill()
			<-ended
			if t.Failed() {
				t.Log(said.String())
			}
		})
		s := &server{url: "http://" + address}
		over := func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
		require.Eventually(t, func() bool { return over() || s.ready() }, patience, 50*time.Millisecond)
		if !over() {
			return s
		}
	}
	require.Fail(t, "Prometheus has ended at once in all 5 attempts to start it")
	return nil
}

func (s *server) ready() bool {
	resp, err := http.Get(s.url + "/-/ready")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// series is a series in the answer to a query.
type series struct {
	labels map[string]string
	value  float64
}

// query evaluates an expression now.
func (s *server) query(expr string) (all []series, err error) {
	resp, err := http.PostForm(s.url+"/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" || answer.Data.ResultType != "vector" {
		return nil, fmt.Errorf("%s: %s %s: %s", expr, answer.Status, answer.Data.ResultType, answer.Error)
	}
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, series{r.Metric, value})
	}
	return all, nil
}

// legend returns the legend that Grafana shows for a series. ok is false if the format names a
// label that the series does not have.
func (s series) legend(format string) (text string, ok bool) {
	ok = true
	return inLegend.ReplaceAllStringFunc(format, func(ref string) string {
		value := s.labels[inLegend.FindStringSubmatch(ref)[1]]
		ok = ok && value != ""
		return value
	}), ok
}

var inLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// positive stands for any value above 0.
const positive = -1

// A real Prometheus server evaluates each expression of the dashboard and of the alerts, with the
// metrics of a gateway with traffic. The values in the panels must be those of that traffic.
func TestEveryPanelHasData(t *testing.T) {
	b := newBusy(t)
	b.traffic(t)
	s := b.prometheus(t)
	eventually := func(holds func() error) {
		t.Helper()
		var last atomic.Value
		if !assert.Eventually(t, func() bool {
			err := holds()
			if err != nil {
				last.Store(err.Error())
			}
			return err == nil
		}, patience, 100*time.Millisecond) {
			t.Fatal(last.Load())
		}
	}
	eventually(func() error {
		all, err := s.query("llmaffinity_picks_unreported")
		if err == nil && len(all) != 1 {
			err = fmt.Errorf("Prometheus has not scraped the gateway: llmaffinity_picks_unreported has %d series, want 1", len(all))
		}
		return err
	})
	b.traffic(t) // rates need a second round, because the first one creates the series

	const (
		hits   = sessionsSent * (turnsSent - 1)
		named  = hits + sessionsSent + movedSent + 1 /* lost */ + 1 /* store away */
		picks  = named + namelessSent + 1 /* off */ + 1             /* refused */
		bound  = hits + movedSent
		cached = 0.75 * 126. / 143
	)
	want := map[string]map[string]float64{
		"Affinity in this time range": {"Served by their auth": float64(hits) / bound, "Name a session": float64(named) / picks},
		"Picks by outcome": {
			"hit": float64(hits) / picks, "new": float64(sessionsSent+1) / picks, "moved": float64(movedSent) / picks,
			"none": float64(namelessSent+2) / picks, "refused": 1. / picks,
		},
		"Prompt tokens from the cache": {"With affinity": cached, "Without affinity": positive},
		"Picks by reason":              {"gone": positive},
		"Tokens saved per hour":        {"Tokens per hour": positive},
		"Money saved per hour":         {"Money per hour": positive},
		"Sessions per auth":            {"auth-0": positive, "auth-1": positive, "auth-2": positive, "auth-3": positive},
		"Prompt cache misses per auth": {"auth-0": 0, "auth-1": 0, "auth-2": 0, "auth-3": 1},
		"How long prompt caches live":  {"auth-0": 10, "auth-1": 10, "auth-2": 10, "auth-3": 0},
		"Results": {
			"unlisted": positive, "served": positive, "transient": positive, "terminal": positive, "rejected": positive, "cancelled": positive,
		},
		"Picks without a report":                     {b.target: 2},
		"Lost histories and store failures per hour": {"Lost history: turns": positive, "Store failures": positive},
	}
	for _, p := range grafana(t).Panels {
		require.Contains(t, want, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		eventually(func() error {
			shown := map[string]float64{}
			for _, target := range p.Targets {
				all, err := s.query(filled(t, target.Expr))
				if err != nil {
					return err
				}
				if len(all) == 0 {
					return fmt.Errorf("panel %q: the query has no data: %s", p.Title, target.Expr)
				}
				for _, one := range all {
					legend, ok := one.legend(target.LegendFormat)
					if _, twice := shown[legend]; !ok || twice {
						return fmt.Errorf("panel %q: the legend %q lacks a label, or is the same for two series: %v", p.Title, target.LegendFormat, one.labels)
					}
					if math.IsNaN(one.value) || math.IsInf(one.value, 0) {
						return fmt.Errorf("panel %q: %s is %v, want a finite number", p.Title, legend, one.value)
					}
					shown[legend] = one.value
				}
			}
			for legend, value := range want[p.Title] {
				got, ok := shown[legend]
				if !ok || value == positive && got <= 0 || value != positive && math.Abs(got-value) > 1e-3 {
					return fmt.Errorf("panel %q: want %q to be %v (-1: any value above 0), but the panel shows %v", p.Title, legend, value, shown)
				}
			}
			if p.Title == "Prompt tokens from the cache" && shown["Without affinity"] >= shown["With affinity"] {
				return fmt.Errorf("panel %q: want more with affinity than without, but the panel shows %v", p.Title, shown)
			}
			return nil
		})
		delete(want, p.Title)
	}
	require.Empty(t, want, "the dashboard does not have these panels")

	for _, r := range alerts(t) {
		eventually(func() error {
			all, err := s.query(r.Expr)
			if err != nil || r.Alert != "LLMAffinityPromptCacheNotThere" {
				return err
			}
			if len(all) != 1 || all[0].labels["auth"] != blind || all[0].value != 1 {
				return fmt.Errorf("alert %s: want the value 1 for %s only, but the query has %v", r.Alert, blind, all)
			}
			return nil
		})
	}
}

// alertCase has series in which an alert must fire, or must not.
type alertCase struct {
	alert, name string
	series      map[string]string // names without the prefix llmaffinity_; one value each minute
	at          string
	fires       map[string]string // the labels of the alert, except severity; nil: it must not fire
	says        []string          // placeholders in the annotations, each with its text
}

const (
	jobLabel  = "{{ $labels.job }}"
	authLabel = "{{ $labels.auth }}"
	instLabel = "{{ $labels.instance }}"
	share     = "{{ $value | humanizePercentage }}"
	number    = "{{ $value | humanize }}"
)

var alertCases = []alertCase{
	{"LLMAffinityPromptCacheNotThere", "three of four requests miss the cache, over two replicas", map[string]string{
		`cache_expected_total{job="g",instance="1",auth="a"}`: "0+2x90",
		`cache_expected_total{job="g",instance="2",auth="a"}`: "0+2x90",
		`cache_missed_total{job="g",instance="1",auth="a"}`:   "0+1x90",
		`cache_missed_total{job="g",instance="2",auth="a"}`:   "0+2x90",
		`cache_expected_total{job="g",instance="1",auth="b"}`: "0+4x90",
		`cache_missed_total{job="g",instance="1",auth="b"}`:   "0+0x90",
	}, "1h", map[string]string{"job": "g", "auth": "a"}, []string{authLabel, "a", share, "75%"}},
	{"LLMAffinityPromptCacheNotThere", "two of five requests miss the cache", map[string]string{
		`cache_expected_total{job="g",instance="1",auth="a"}`: "0+5x90",
		`cache_missed_total{job="g",instance="1",auth="a"}`:   "0+2x90",
	}, "1h", nil, nil},
	{"LLMAffinityPromptCacheNotThere", "few requests", map[string]string{
		`cache_expected_total{job="g",instance="1",auth="a"}`: "0+0.5x90",
		`cache_missed_total{job="g",instance="1",auth="a"}`:   "0+0.5x90",
	}, "1h", nil, nil},
	{"LLMAffinityPromptCacheNotThere", "not for long", map[string]string{
		`cache_expected_total{job="g",instance="1",auth="a"}`: "0+40x90",
		`cache_missed_total{job="g",instance="1",auth="a"}`:   "0+40x90",
	}, "9m", nil, nil},

	{"LLMAffinitySessionsNotRecognised", "three of four requests name no session", map[string]string{
		`picks_total{job="g",instance="1",outcome="none",signal="none"}`: "0+3x150",
		`picks_total{job="g",instance="2",outcome="none",signal="none"}`: "0+3x150",
		`picks_total{job="g",instance="1",outcome="hit",signal="body"}`:  "0+2x150",
	}, "2h", map[string]string{"job": "g"}, []string{jobLabel, "g", share, "75%"}},
	{"LLMAffinitySessionsNotRecognised", "two of five requests name no session", map[string]string{
		`picks_total{job="g",instance="1",outcome="none",signal="none"}`: "0+4x150",
		`picks_total{job="g",instance="1",outcome="hit",signal="body"}`:  "0+6x150",
	}, "2h", nil, nil},
	{"LLMAffinitySessionsNotRecognised", "most requests have a forced auth, or one that owns state", map[string]string{
		`picks_total{job="g",instance="1",outcome="forced",signal="none"}`: "0+8x150",
		`picks_total{job="g",instance="1",outcome="owner",signal="none"}`:  "0+8x150",
		`picks_total{job="g",instance="1",outcome="none",signal="none"}`:   "0+1x150",
	}, "2h", nil, nil},
	{"LLMAffinitySessionsNotRecognised", "few requests", map[string]string{
		`picks_total{job="g",instance="1",outcome="none",signal="none"}`: "0+1x150",
	}, "2h", nil, nil},
	{"LLMAffinitySessionsNotRecognised", "not for long", map[string]string{
		`picks_total{job="g",instance="1",outcome="none",signal="none"}`: "0+80x150",
	}, "14m", nil, nil},

	{"LLMAffinityPicksNotReported", "one of four picks has no report, at one of two replicas", map[string]string{
		`picks_unreported{job="g",instance="1"}`:                            "0+2x150",
		`picks_total{job="g",instance="1",outcome="hit",signal="body"}`:     "0+6x150",
		`picks_total{job="g",instance="1",outcome="none",signal="none"}`:    "0+2x150",
		`picks_total{job="g",instance="1",outcome="refused",signal="none"}`: "0+90x150",
		`picks_total{job="g",instance="1",outcome="waits",signal="body"}`:   "0+90x150",
		`picks_unreported{job="g",instance="2"}`:                            "5+0x150",
		`picks_total{job="g",instance="2",outcome="hit",signal="body"}`:     "0+8x150",
	}, "2h", map[string]string{"job": "g", "instance": "1"}, []string{instLabel, "1", share, "25%"}},
	{"LLMAffinityPicksNotReported", "many are under way", map[string]string{
		`picks_unreported{job="g",instance="1"}`:                        "5000+0x150",
		`picks_total{job="g",instance="1",outcome="hit",signal="body"}`: "0+8x150",
	}, "2h", nil, nil},
	{"LLMAffinityPicksNotReported", "a few have no report", map[string]string{
		`picks_unreported{job="g",instance="1"}`:                        "0+0.4x150",
		`picks_total{job="g",instance="1",outcome="hit",signal="body"}`: "0+8x150",
	}, "2h", nil, nil},
	{"LLMAffinityPicksNotReported", "slow answers for ten minutes", map[string]string{
		`picks_unreported{job="g",instance="1"}`:                        "0+0x60 90+0x9 0+0x60",
		`picks_total{job="g",instance="1",outcome="hit",signal="body"}`: "0+8x150",
	}, "70m", nil, nil},
	{"LLMAffinityPicksNotReported", "few picks", map[string]string{
		`picks_unreported{job="g",instance="1"}`:                        "0+1x150",
		`picks_total{job="g",instance="1",outcome="hit",signal="body"}`: "0+1x150",
	}, "2h", nil, nil},

	{"LLMAffinityAuthHasManySessions", "four times the mean of two others, over two replicas", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`:     "200+0x90",
		`sessions{job="g",instance="2",auth="a"}`:     "200+0x90",
		`sessions{job="g",instance="1",auth="b"}`:     "90+0x90",
		`sessions{job="g",instance="2",auth="c"}`:     "110+0x90",
		`sessions{job="other",instance="1",auth="a"}`: "200+0x90",
		`sessions{job="other",instance="1",auth="b"}`: "200+0x90",
	}, "1h", map[string]string{"job": "g", "auth": "a"}, []string{authLabel, "a", number, "400"}},
	{"LLMAffinityAuthHasManySessions", "one of two", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`: "310+0x90",
		`sessions{job="g",instance="1",auth="b"}`: "100+0x90",
	}, "1h", map[string]string{"job": "g", "auth": "a"}, []string{authLabel, "a", number, "310"}},
	{"LLMAffinityAuthHasManySessions", "one of two, beside the auths in other", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`:     "310+0x90",
		`sessions{job="g",instance="1",auth="b"}`:     "100+0x90",
		`sessions{job="g",instance="1",auth="other"}`: "5000+0x90",
	}, "1h", map[string]string{"job": "g", "auth": "a"}, []string{authLabel, "a", number, "310"}},
	{"LLMAffinityAuthHasManySessions", "less than three times the mean of others", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`: "140+0x90",
		`sessions{job="g",instance="2",auth="a"}`: "150+0x90",
		`sessions{job="g",instance="1",auth="b"}`: "90+0x90",
		`sessions{job="g",instance="1",auth="c"}`: "110+0x90",
	}, "1h", nil, nil},
	{"LLMAffinityAuthHasManySessions", "few sessions", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`: "90+0x90",
		`sessions{job="g",instance="1",auth="b"}`: "1+0x90",
	}, "1h", nil, nil},
	{"LLMAffinityAuthHasManySessions", "one auth", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`: "900+0x90",
	}, "1h", nil, nil},
	{"LLMAffinityAuthHasManySessions", "the auths in other have many", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`:     "200+0x90",
		`sessions{job="g",instance="1",auth="b"}`:     "100+0x90",
		`sessions{job="g",instance="1",auth="other"}`: "5000+0x90",
	}, "1h", nil, nil},
	{"LLMAffinityAuthHasManySessions", "not for long", map[string]string{
		`sessions{job="g",instance="1",auth="a"}`: "900+0x90",
		`sessions{job="g",instance="1",auth="b"}`: "100+0x90",
	}, "29m", nil, nil},

	{"LLMAffinityHistoriesLost", "half of the new sessions", map[string]string{
		`lost_histories_total{job="g",instance="1",past="turns"}`:          "0+1x150",
		`lost_histories_total{job="g",instance="2",past="summary"}`:        "0+1x150",
		`picks_total{job="g",instance="1",outcome="new",signal="content"}`: "0+3x150",
		`picks_total{job="g",instance="2",outcome="new",signal="body"}`:    "0+1x150",
		`picks_total{job="g",instance="2",outcome="hit",signal="body"}`:    "0+900x150",
	}, "2h", map[string]string{"job": "g"}, []string{jobLabel, "g", share, "50%"}},
	{"LLMAffinityHistoriesLost", "a quarter of them", map[string]string{
		`lost_histories_total{job="g",instance="1",past="turns"}`:          "0+1x150",
		`picks_total{job="g",instance="1",outcome="new",signal="content"}`: "0+4x150",
	}, "2h", nil, nil},
	{"LLMAffinityHistoriesLost", "few new sessions", map[string]string{
		`lost_histories_total{job="g",instance="1",past="turns"}`:          "0+0.5x150",
		`picks_total{job="g",instance="1",outcome="new",signal="content"}`: "0+0.5x150",
	}, "2h", nil, nil},
	{"LLMAffinityHistoriesLost", "a restart has lost all at once", map[string]string{
		`lost_histories_total{job="g",instance="1",past="turns"}`:          "0+0x60 500+0x90",
		`picks_total{job="g",instance="1",outcome="new",signal="content"}`: "0+1x60 560+1x90",
	}, "90m", nil, nil},

	{"LLMAffinityStoreFails", "it keeps failing at one of two replicas", map[string]string{
		`store_failures_total{job="g",instance="1"}`: "0+1x60",
		`store_failures_total{job="g",instance="2"}`: "9+0x60",
	}, "30m", map[string]string{"job": "g", "instance": "1"}, []string{instLabel, "1", number, "5"}},
	{"LLMAffinityStoreFails", "it has failed at times", map[string]string{
		`store_failures_total{job="g",instance="1"}`: "0+0x10 20+0x20 40+0x20",
	}, "15m", nil, nil},
	{"LLMAffinityStoreFails", "it has failed long ago", map[string]string{
		`store_failures_total{job="g",instance="1"}`: "900+0x60",
	}, "30m", nil, nil},

	{"LLMAffinitySavesNothing", "as much as without", map[string]string{
		`tokens_total{job="g",instance="1",outcome="hit",kind="prompt"}`: "0+9000x200",
		`tokens_total{job="g",instance="2",outcome="new",kind="prompt"}`: "0+1000x200",
		`tokens_total{job="g",instance="1",outcome="hit",kind="cached"}`: "0+1000x200",
		`cached_tokens_without_total{job="g",instance="1"}`:              "0+1000x200",
		`auth_tokens_total{job="g",instance="1",auth="a",kind="prompt"}`: "0+9000x200",
		`auth_tokens_total{job="g",instance="2",auth="b",kind="prompt"}`: "0+1000x200",
	}, "3h", map[string]string{"job": "g"}, []string{jobLabel, "g", share, "10%"}},
	{"LLMAffinitySavesNothing", "nothing is cached at all", map[string]string{
		`tokens_total{job="g",instance="1",outcome="hit",kind="prompt"}`: "0+9000x200",
		`tokens_total{job="g",instance="1",outcome="hit",kind="cached"}`: "0+0x200",
		`cached_tokens_without_total{job="g",instance="1"}`:              "0+0x200",
		`auth_tokens_total{job="g",instance="1",auth="a",kind="prompt"}`: "0+9000x200",
		`auth_tokens_total{job="g",instance="1",auth="b",kind="prompt"}`: "0+1000x200",
	}, "3h", map[string]string{"job": "g"}, []string{jobLabel, "g", share, "0%"}},
	{"LLMAffinitySavesNothing", "it saves a little", map[string]string{
		`tokens_total{job="g",instance="1",outcome="hit",kind="prompt"}`: "0+10000x200",
		`tokens_total{job="g",instance="1",outcome="hit",kind="cached"}`: "0+1020x200",
		`cached_tokens_without_total{job="g",instance="1"}`:              "0+1000x200",
		`auth_tokens_total{job="g",instance="1",auth="a",kind="prompt"}`: "0+9000x200",
		`auth_tokens_total{job="g",instance="1",auth="b",kind="prompt"}`: "0+1000x200",
	}, "3h", nil, nil},
	{"LLMAffinitySavesNothing", "there is one auth", map[string]string{
		`tokens_total{job="g",instance="1",outcome="hit",kind="prompt"}`: "0+10000x200",
		`tokens_total{job="g",instance="1",outcome="hit",kind="cached"}`: "0+1000x200",
		`cached_tokens_without_total{job="g",instance="1"}`:              "0+1000x200",
		`auth_tokens_total{job="g",instance="1",auth="a",kind="prompt"}`: "0+10000x200",
		`auth_tokens_total{job="g",instance="2",auth="a",kind="prompt"}`: "0+10000x200",
	}, "3h", nil, nil},
	{"LLMAffinitySavesNothing", "few tokens", map[string]string{
		`tokens_total{job="g",instance="1",outcome="hit",kind="prompt"}`: "0+1000x200",
		`tokens_total{job="g",instance="1",outcome="hit",kind="cached"}`: "0+100x200",
		`cached_tokens_without_total{job="g",instance="1"}`:              "0+100x200",
		`auth_tokens_total{job="g",instance="1",auth="a",kind="prompt"}`: "0+900x200",
		`auth_tokens_total{job="g",instance="1",auth="b",kind="prompt"}`: "0+100x200",
	}, "3h", nil, nil},
}

// promtool tests the rules with each alert case. Each alert must have a case in which it fires,
// and one in which it does not.
func TestEachAlertFiresAndIsSilent(t *testing.T) {
	type (
		object = map[string]any
		list   = []any
	)
	rules, fires, silent := map[string]rule{}, map[string]bool{}, map[string]bool{}
	for _, r := range alerts(t) {
		rules[r.Alert] = r
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
	}
	var tests list
	for _, c := range alertCases {
		r, ok := rules[c.alert]
		require.True(t, ok, c.alert)
		var input list
		for name, values := range c.series {
			input = append(input, object{"series": "llmaffinity_" + name, "values": values})
		}
		expected := list{}
		if c.fires == nil {
			silent[c.alert] = true
		} else {
			fires[c.alert] = true
			annotations := map[string]string{}
			for name, text := range r.Annotations {
				annotations[name] = strings.NewReplacer(c.says...).Replace(text)
				require.NotContains(t, annotations[name], "{{", c.alert)
			}
			labels := maps.Clone(r.Labels)
			maps.Copy(labels, c.fires)
			expected = append(expected, object{"exp_labels": labels, "exp_annotations": annotations})
		}
		tests = append(tests, object{
			"name": c.alert + ": " + c.name, "interval": "1m", "input_series": input,
			"alert_rule_test": list{object{"eval_time": c.at, "alertname": c.alert, "exp_alerts": expected}},
		})
	}
	for name := range rules {
		require.True(t, fires[name], "alertCases has no case in which %s fires", name)
		require.True(t, silent[name], "alertCases has no case in which %s does not fire", name)
	}

	promtool := program(t, "PROMTOOL", "promtool")
	file, err := filepath.Abs("alerts.yml")
	require.NoError(t, err)
	said, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput()
	require.NoError(t, err, string(said))

	text, err := yaml.Marshal(object{"rule_files": list{file}, "evaluation_interval": "1m", "tests": tests})
	require.NoError(t, err)
	played := filepath.Join(t.TempDir(), "alerts_test.yml")
	require.NoError(t, os.WriteFile(played, text, 0o600))
	said, err = exec.CommandContext(t.Context(), promtool, "test", "rules", played).CombinedOutput()
	require.NoError(t, err, string(said))
}

var (
	metric    = regexp.MustCompile(`(llmaffinity_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher   = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping  = regexp.MustCompile(`\b(?:by|on|group_left) \(([^)]*)\)`)
	inAVector = regexp.MustCompile(`\b(?:by|on|without|ignoring|group_left|group_right)\b`)
)

// The dashboard and the alerts name only what a scrape has: metrics, labels, and values of labels.
// The labels job and instance come from Prometheus.
func TestMetricsAndLabelsExist(t *testing.T) {
	b := newBusy(t)
	b.traffic(t)
	known := map[string]map[string]map[string]bool{} // metric, label, value
	for name, f := range b.scrape(t) {
		known[name] = map[string]map[string]bool{"job": nil, "instance": nil}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if known[name][l.GetName()] == nil {
					known[name][l.GetName()] = map[string]bool{}
				}
				known[name][l.GetName()][l.GetValue()] = true
			}
		}
	}
	for o := affinity.OutcomeNone; o <= affinity.OutcomeWaits; o++ {
		known["llmaffinity_picks_total"]["outcome"][o.String()] = true
	}
	for name := range known {
		if auths := known[name]["auth"]; auths != nil {
			auths["other"] = true // for those beyond Options.MaxAuths
		}
	}

	var exprs []string
	d := grafana(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	for _, v := range d.Templating.List {
		if query, ok := v.Query.(map[string]any); ok {
			exprs = append(exprs, query["query"].(string))
		}
	}
	for _, r := range alerts(t) {
		exprs = append(exprs, r.Expr)
	}
	for _, expr := range exprs {
		named := metric.FindAllStringSubmatch(expr, -1)
		require.NotEmpty(t, named, expr)
		for _, n := range named {
			require.Contains(t, known, n[1], expr)
			for _, m := range matcher.FindAllStringSubmatch(n[2], -1) {
				require.Contains(t, known[n[1]], m[1], "%s in %s", n[0], expr)
				for _, value := range strings.Split(m[2], "|") {
					if !strings.HasPrefix(value, "$") {
						require.Contains(t, known[n[1]][m[1]], value, "%s in %s", n[0], expr)
					}
				}
			}
		}
		groups := grouping.FindAllStringSubmatchIndex(expr, -1)
		require.Len(t, groups, len(inAVector.FindAllString(expr, -1)), expr)
		for _, g := range groups {
			of := metric.FindStringSubmatch(expr[g[1]:])
			require.NotNil(t, of, expr)
			for _, label := range strings.FieldsFunc(expr[g[2]:g[3]], func(r rune) bool { return r == ',' || r == ' ' }) {
				require.Contains(t, known[of[1]], label, expr)
			}
		}
	}

	// The same for names in texts and in comments.
	for _, file := range []string{"dashboard.json", "alerts.yml"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, n := range metric.FindAllStringSubmatch(string(text), -1) {
			require.Contains(t, known, n[1], file)
		}
	}
}

// The dashboard can be imported into any Grafana: it has no id and names no data source.
func TestTheDashboardIsOfNoInstall(t *testing.T) {
	d := grafana(t)
	require.Nil(t, d.ID)
	require.Equal(t, "llmaffinity", d.UID)
	require.Equal(t, 39, d.SchemaVersion)
	anyone := source{UID: "${datasource}"}
	require.Equal(t, "datasource", d.Templating.List[0].Type)
	require.Equal(t, "datasource", d.Templating.List[0].Name)
	for _, v := range d.Templating.List[1:] {
		require.Equal(t, anyone, v.Datasource, v.Name)
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Description, p.Title)
		require.Equal(t, anyone, p.Datasource, p.Title)
		for _, target := range p.Targets {
			require.Equal(t, anyone, target.Datasource, p.Title)
		}
		require.False(t, ids[p.ID], p.Title)
		ids[p.ID] = true
		at := p.GridPos
		require.LessOrEqual(t, at.X+at.W, 24, p.Title)
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				require.Empty(t, cells[[2]int{x, y}], "the panel %s covers another panel", p.Title)
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
}
