package affinityprom_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityprom"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

type gateway struct {
	*affinity.Selector[string]
	auths []string
	reg   *prometheus.Registry
}

func register(t *testing.T, with *prometheus.Registry, from affinityprom.Source, o *affinityprom.Options) {
	t.Helper()
	c, err := affinityprom.NewCollector(from, o)
	require.NoError(t, err)
	require.NoError(t, with.Register(c))
}

func start(t *testing.T, auths, most int, o affinity.Options[string]) *gateway {
	t.Helper()
	m, err := savings.New(&savings.Options{Prices: func(string, string) savings.Prices { return savings.Prices{Prompt: 3, Cached: 0.3} }})
	require.NoError(t, err)
	o.OnEvent = m.Observe
	g := &gateway{reg: prometheus.NewPedanticRegistry()}
	for i := range auths {
		g.auths = append(g.auths, fmt.Sprint("auth-", i))
	}
	g.Selector, err = affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	register(t, g.reg, g, &affinityprom.Options{Savings: m, MaxAuths: most})
	return g
}

func (g *gateway) send(t *testing.T, id, tenant, model string, u affinity.Usage) affinity.Pick[string] {
	t.Helper()
	r := affinity.Request{Tenant: tenant, Model: model}
	if id != "" {
		r.Header = http.Header{"X-Session-Id": {id}}
	}
	p, err := g.Pick(t.Context(), r, g.auths)
	require.NoError(t, err)
	p.Done(affinity.Report{Result: affinity.Served, Usage: u})
	return p
}

// scrape reads the metrics as a Prometheus server does, over HTTP.
func (g *gateway) scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	s := httptest.NewServer(promhttp.HandlerFor(g.reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	return all
}

func value(m *dto.Metric) float64 {
	if m.Counter != nil {
		return m.Counter.GetValue()
	}
	return m.Gauge.GetValue()
}

func TestAScrapeSaysWhatHasHappened(t *testing.T) {
	g := start(t, 3, 0, affinity.Options[string]{})
	for turn := range 10 {
		u := affinity.Usage{Prompt: 5000 + 1000*turn, Output: 10}
		if turn > 0 {
			u.Cached = u.Prompt - 1000
		}
		g.send(t, "one", "t", "m", u)
	}
	g.send(t, "", "t", "m", affinity.Usage{})
	_, err := g.Pick(t.Context(), affinity.Request{}, nil)
	require.Error(t, err)
	p, err := g.Pick(t.Context(), affinity.Request{}, g.auths)
	require.NoError(t, err)
	want := map[string]float64{
		`picks_total{outcome="hit",signal="generic-header"}`: 9,
		`picks_total{outcome="new",signal="generic-header"}`: 1,
		`picks_total{outcome="none",signal="none"}`:          2,
		`picks_total{outcome="refused",signal="none"}`:       1,
		`results_total{result="served"}`:                     11,
		`picks_unreported`:                                   1,
		`reasons_total{reason="gone"}`:                       1,
		`sessions{auth="auth-0"}`:                            1,
		`tokens_total{kind="prompt",outcome="hit"}`:          90_000,
		`tokens_total{kind="cached",outcome="hit"}`:          81_000,
		`requests_total{outcome="hit"}`:                      9,
		`auth_tokens_total{auth="auth-0",kind="prompt"}`:     95_000,
		`cache_expected_total{auth="auth-0"}`:                9,
		`cache_missed_total{auth="auth-0"}`:                  0,
		`cost_total`:                                         (14_000*3 + 81_000*0.3) / 1e6,
		`sessions_removed_total{cause="evicted"}`:            0,
		`store_failures_total`:                               0,
		`reports_again_total`:                                0,
		`lost_histories_total{past="summary"}`:               0,
	}
	got := map[string]float64{}
	for name, f := range g.scrape(t) {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := strings.TrimPrefix(name, "llmaffinity_")
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			got[key] = value(m)
		}
	}
	for key, n := range want {
		require.Contains(t, got, key)
		require.InDelta(t, n, got[key], 1e-9, key)
	}
	require.Greater(t, got["cost_without_total"], got["cost_total"])
	require.Less(t, got["cached_tokens_without_total"], 81_000.0)
	p.Report(affinity.Served)
	p.Report(affinity.Transient)
	again := g.scrape(t)
	require.Zero(t, value(again["llmaffinity_picks_unreported"].Metric[0]))
	require.EqualValues(t, 1, value(again["llmaffinity_reports_again_total"].Metric[0]))

	problems, err := testutil.GatherAndLint(g.reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// Sessions, tenants and models that a client makes up are in no label. The number of auths in
// labels is bounded.
func TestLabelsAreBounded(t *testing.T) {
	g := start(t, 300, 0, affinity.Options[string]{Memory: cache.Options{MaxSessions: 5000}})
	for i := range forged {
		secret := fmt.Sprint("forged-", i)
		g.send(t, secret, secret, secret, affinity.Usage{Prompt: 10})
	}
	for name, f := range g.scrape(t) {
		series := map[string]int{}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				require.NotContains(t, l.GetValue(), "forged")
				series[l.GetName()]++
			}
		}
		require.LessOrEqual(t, len(f.Metric), 2*200, name)
		if name == "llmaffinity_sessions" {
			require.Len(t, f.Metric, 200)
			sum := 0.0
			for _, m := range f.Metric {
				sum += value(m)
			}
			require.Greater(t, sum, 4000.0, "with the label other, the metric must count the sessions of all auths")
		}
		if name == "llmaffinity_auth_tokens_total" {
			sum := 0.0
			for _, m := range f.Metric {
				sum += value(m)
			}
			require.EqualValues(t, 10*forged, sum)
		}
	}
}

// Of more auths than MaxAuths the largest keep their names.
func TestTheSmallestAuthsAreOthers(t *testing.T) {
	for most, want := range map[int]map[string]float64{
		1: {"other": 15},
		3: {"auth-4": 5, "auth-3": 4, "other": 6},
		5: {"auth-4": 5, "auth-3": 4, "auth-2": 3, "auth-1": 2, "auth-0": 1},
	} {
		g := start(t, 5, most, affinity.Options[string]{})
		for i, auth := range g.auths {
			for range i + 1 {
				p, err := g.Pick(t.Context(), affinity.Request{Header: http.Header{"X-Session-Id": {fmt.Sprint(most, auth, g.Stats().Outcome(affinity.OutcomeNew))}}}, []string{auth})
				require.NoError(t, err)
				p.Report(affinity.Served)
			}
		}
		got := map[string]float64{}
		for _, m := range g.scrape(t)["llmaffinity_sessions"].Metric {
			got[m.Label[0].GetValue()] = value(m)
		}
		require.Equal(t, want, got, most)
	}
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	for _, from := range []affinityprom.Source{nil, (*affinity.Affinity[string])(nil)} {
		_, err := affinityprom.NewCollector(from, nil)
		require.ErrorContains(t, err, "the Source is nil")
	}
	g := start(t, 1, 0, affinity.Options[string]{})
	_, err := affinityprom.NewCollector(g, &affinityprom.Options{MaxAuths: -1})
	require.ErrorContains(t, err, "affinityprom: Options.MaxAuths is -1")
}

// If the store is no cache.Admin, there is no metric of sessions. Without a meter there
// are no metrics of tokens.
func TestWhatIsNotKnownIsNoMetric(t *testing.T) {
	store, err := cache.New(nil)
	require.NoError(t, err)
	defer store.Close()
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{Store: struct{ cache.Store }{store}})
	require.NoError(t, err)
	g := &gateway{Selector: lb, auths: []string{"a"}, reg: prometheus.NewPedanticRegistry()}
	register(t, g.reg, lb, nil)
	g.send(t, "x", "", "", affinity.Usage{})
	all := g.scrape(t)
	require.Contains(t, all, "llmaffinity_picks_total")
	require.NotContains(t, all, "llmaffinity_sessions")
	require.NotContains(t, all, "llmaffinity_tokens_total")
}

// hanging is a Source over a store that does not answer.
type hanging struct{ *affinity.Selector[string] }

func (hanging) Sessions(ctx context.Context) (map[string]int, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A store that does not answer delays a scrape by a second, and costs it the sessions only.
func TestAScrapeDoesNotWaitForASlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, nil)
		require.NoError(t, err)
		defer lb.Close()
		reg := prometheus.NewPedanticRegistry()
		register(t, reg, hanging{lb}, nil)
		began := time.Now()
		all, err := reg.Gather()
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(began))
		var names []string
		for _, f := range all {
			names = append(names, f.GetName())
		}
		require.Contains(t, names, "llmaffinity_store_failures_total")
		require.NotContains(t, names, "llmaffinity_sessions")
	})
}
