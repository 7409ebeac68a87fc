package main

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// The metrics of a running gateway count all its requests and sessions. A thousand sessions that a
// client makes up add no series.
func TestTheMetricsOfARunningGateway(t *testing.T) {
	_, config, env := pool(t, 3)
	urls := addresses(t, 2, env, "-config", config, "-admin", "127.0.0.1:0")
	scrape := func() (series int, picks, sessions, prompt float64) {
		t.Helper()
		resp, err := http.Get(urls[1] + "/metrics")
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		all, err := parser.TextToMetricFamilies(resp.Body)
		require.NoError(t, err)
		for name, f := range all {
			series += len(f.Metric)
			for _, m := range f.Metric {
				switch {
				case name == "llmaffinity_picks_total":
					picks += m.Counter.GetValue()
				case name == "llmaffinity_sessions":
					sessions += m.Gauge.GetValue()
				case name == "llmaffinity_auth_tokens_total" && m.Label[1].GetValue() == "prompt":
					prompt += m.Counter.GetValue()
				}
			}
		}
		return series, picks, sessions, prompt
	}
	const conversations, turns = 20, 3
	for turn := range turns {
		for i := range conversations {
			id := fmt.Sprint("conversation-", i)
			_, err := askFor(http.DefaultClient, urls[0], id, history(id, turn))
			require.NoError(t, err)
		}
	}
	before, picks, sessions, prompt := scrape()
	require.Equal(t, []float64{conversations * turns, conversations}, []float64{picks, sessions})
	require.Positive(t, prompt)
	for i := range 1000 {
		_, err := ask(http.DefaultClient, urls[0], fmt.Sprint("forged-", i))
		require.NoError(t, err)
	}
	after, picks, sessions, _ := scrape()
	require.Equal(t, []float64{conversations*turns + 1000, conversations + 1000}, []float64{picks, sessions})
	require.Equal(t, before, after)
	http.DefaultClient.CloseIdleConnections()
}
