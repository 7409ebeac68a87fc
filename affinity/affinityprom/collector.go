// Package affinityprom exports the numbers of an Affinity to Prometheus. An auth is what the
// gateway chooses among: a credential, an account, a replica.
//
//	m, err := savings.New(nil)
//	if err != nil { ... }
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{OnEvent: m.Observe})
//	if err != nil { ... }
//	c, err := affinityprom.NewCollector(lb, &affinityprom.Options{Savings: m})
//	if err != nil { ... }
//	prometheus.MustRegister(c)
//
// Everything is read when Prometheus scrapes. A pick costs nothing more.
//
// # Metrics
//
//	llmaffinity_picks_total{outcome,signal}        picks by outcome, and by the kind of signal that named the session
//	llmaffinity_reasons_total{reason}              picks with a reason: another auth has served the session, or the request was refused
//	llmaffinity_results_total{result}              picks by the result of their first report
//	llmaffinity_reports_again_total                reports of picks that already had a report
//	llmaffinity_picks_unreported                   picks without a report: the request is under way, or the host does not report it
//	llmaffinity_lost_histories_total{past}         new sessions that continue an unknown conversation
//	llmaffinity_sessions_removed_total{cause}      sessions that the store in memory has removed
//	llmaffinity_store_failures_total               store operations that have failed
//	llmaffinity_sessions{auth}                     bound sessions
//
// With [Options].Savings:
//
//	llmaffinity_tokens_total{outcome,kind}         kind is prompt, cached, cache_written or output
//	llmaffinity_requests_total{outcome}            served requests whose answers have reported their usage
//	llmaffinity_auth_tokens_total{auth,kind}       prompt and cached, by auth
//	llmaffinity_cache_expected_total{auth}         requests whose beginning should be in the auth's prompt cache
//	llmaffinity_cache_missed_total{auth}           … of them, those for which the cache had nothing
//	llmaffinity_cache_warm_seconds{auth}           how long the auth's prompt cache was seen to live
//	llmaffinity_cached_tokens_without_total        prompt tokens that would have been cached without affinity, estimated
//	llmaffinity_cost_total, llmaffinity_cost_without_total   at the prices of the meter's Options
//
// The store counts the sessions. If it cannot do so within a second, or is no cache.Admin,
// llmaffinity_sessions is left out of the scrape. If several processes share a store, each of
// them exports the number of all sessions there: take their maximum, not their sum.
//
// The directory of this package has a dashboard for Grafana, dashboard.json, and alert rules
// to begin with, alerts.yml.
//
// # Labels
//
// Outcomes, reasons, results, signals and causes are enumerations. The names of auths are
// those of the host. If there are more than Options.MaxAuths, those with the fewest sessions or
// tokens are counted together as "other". Nothing that a client sends is a label: no session, no
// tenant, no model.
package affinityprom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Options of a Collector. The zero value works.
type Options struct {
	// Savings has the numbers of tokens. nil leaves out their metrics.
	Savings *savings.Meter
	// MaxAuths is how many values the label auth has, "other" included. 0 means 200. It must
	// not be negative.
	MaxAuths int
}

const defaultMaxAuths = 200

// patience is how long a scrape waits for a store that counts its sessions.
const patience = time.Second

// Source is implemented by affinity.Affinity, affinity.Selector and affinityhttp.Transport. It
// may get methods: a type of yours that embeds one of these keeps implementing it.
type Source interface {
	Stats() affinity.Stats
	Sessions(ctx context.Context) (map[string]int, error)
}

// Collector is a prometheus.Collector. Any number of goroutines may use it.
type Collector struct {
	from Source
	o    Options
}

// NewCollector makes a Collector. nil options mean the zero Options. An error says what cannot
// work.
func NewCollector(from Source, o *Options) (*Collector, error) {
	c := &Collector{from: from}
	if o != nil {
		c.o = *o
	}
	switch {
	case isNil(from):
		return nil, errors.New("affinityprom: the Source is nil")
	case c.o.MaxAuths < 0:
		return nil, fmt.Errorf("affinityprom: Options.MaxAuths is %d, want at least 0", c.o.MaxAuths)
	case c.o.MaxAuths == 0:
		c.o.MaxAuths = defaultMaxAuths
	}
	return c, nil
}

// isNil reports whether an interface is nil or holds a nil pointer.
func isNil(v any) bool {
	p := reflect.ValueOf(v)
	return v == nil || p.Kind() == reflect.Pointer && p.IsNil()
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("llmaffinity_"+name, help, labels, nil)
}

var (
	picks      = desc("picks_total", "Picks by outcome, and by the kind of signal that named the session.", "outcome", "signal")
	reasons    = desc("reasons_total", "Picks that have a reason, such as why the session's own auth did not serve.", "reason")
	results    = desc("results_total", "Picks by the result of their first report.", "result")
	again      = desc("reports_again_total", "Reports of picks that already had a report.")
	unreported = desc("picks_unreported", "Picks without a report: the request is under way, or the host does not report it.")
	lost       = desc("lost_histories_total", "New sessions that continue an unknown conversation, by what the request shows of its history.", "past")
	removed    = desc("sessions_removed_total", "Sessions that the store in memory has removed, by cause.", "cause")
	failed     = desc("store_failures_total", "Store operations that have failed.")
	sessions   = desc("sessions", "Sessions that are bound to the auth.", "auth")

	tokens     = desc("tokens_total", "Tokens of served requests, by outcome and kind.", "outcome", "kind")
	requests   = desc("requests_total", "Served requests whose answers have reported their usage.", "outcome")
	authTokens = desc("auth_tokens_total", "Prompt tokens by auth, and how many of them were cached.", "auth", "kind")
	expected   = desc("cache_expected_total", "Requests whose beginning should be in the prompt cache of the auth.", "auth")
	missed     = desc("cache_missed_total", "Requests of cache_expected_total for which the prompt cache had nothing.", "auth")
	warm       = desc("cache_warm_seconds", "How long the prompt cache of the auth was seen to live.", "auth")
	without    = desc("cached_tokens_without_total", "Estimate of the prompt tokens that would have been cached without affinity.")
	cost       = desc("cost_total", "Cost of the tokens, at the prices of the meter's Options.")
	costOther  = desc("cost_without_total", "Estimate of what the tokens would have cost without affinity.")
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{picks, reasons, results, again, unreported, lost, removed, failed, sessions} {
		to <- d
	}
	if c.o.Savings == nil {
		return
	}
	for _, d := range []*prometheus.Desc{tokens, requests, authTokens, expected, missed, warm, without, cost, costOther} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	s := c.from.Stats()
	for o := range s.Picks {
		for k, n := range s.Picks[o] {
			if n > 0 {
				count(picks, float64(n), affinity.Outcome(o).String(), sessionid.Kind(k).String())
			}
		}
	}
	for r, n := range s.Reasons {
		if r > 0 {
			count(reasons, float64(n), affinity.Reason(r).String())
		}
	}
	for r, n := range s.Results {
		count(results, float64(n), affinity.Result(r).String())
	}
	for p, n := range s.Lost {
		if p > 0 {
			count(lost, float64(n), sessionid.Past(p).String())
		}
	}
	for why, n := range s.Removed {
		if why > 0 {
			count(removed, float64(n), cache.Cause(why).String())
		}
	}
	count(again, float64(s.Again))
	gauge(unreported, float64(s.Unreported()))
	count(failed, float64(s.StoreFailed))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if bound, err := c.from.Sessions(ctx); err == nil {
		for auth, n := range atMost(c.o.MaxAuths, bound, func(n int) float64 { return float64(n) }, func(a, b int) int { return a + b }) {
			gauge(sessions, float64(n), auth)
		}
	}
	if c.o.Savings != nil {
		c.collectSavings(count, gauge)
	}
}

func (c *Collector) collectSavings(count, gauge func(d *prometheus.Desc, n float64, labels ...string)) {
	s := c.o.Savings.Snapshot()
	for o, t := range s.Outcomes {
		if t.Requests == 0 {
			continue
		}
		outcome := affinity.Outcome(o).String()
		count(requests, float64(t.Requests), outcome)
		for kind, n := range map[string]uint64{"prompt": t.Prompt, "cached": t.Cached, "cache_written": t.CacheWritten, "output": t.Output} {
			count(tokens, float64(n), outcome, kind)
		}
	}
	for auth, a := range atMost(c.o.MaxAuths, s.Auths, func(a savings.Auth) float64 { return float64(a.Prompt) }, savings.Auth.Plus) {
		count(authTokens, float64(a.Prompt), auth, "prompt")
		count(authTokens, float64(a.Cached), auth, "cached")
		count(expected, float64(a.Expected), auth)
		count(missed, float64(a.Missed), auth)
		if d, ok := a.Warm(); ok {
			gauge(warm, d.Seconds(), auth)
		}
	}
	count(without, s.CachedWithout)
	count(cost, s.Cost)
	count(costOther, s.CostWithout)
}

// atMost counts the smallest auths together, as "other", so that most are left.
func atMost[V any](most int, all map[string]V, size func(V) float64, add func(a, b V) V) map[string]V {
	if len(all) <= most {
		return all
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(size(all[b]), size(all[a])), cmp.Compare(a, b))
	})
	few := make(map[string]V, most)
	for _, name := range names[:most-1] {
		few[name] = all[name]
	}
	other := few["other"] // an auth may have this name
	for _, name := range names[most-1:] {
		other = add(other, all[name])
	}
	few["other"] = other
	return few
}
