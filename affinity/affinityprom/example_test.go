package affinityprom_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityprom"
	"github.com/llmaffinity/llmaffinity/selector"
)

func Example() {
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, nil)
	if err != nil {
		panic(err)
	}
	defer lb.Close()
	collector, err := affinityprom.NewCollector(lb, nil)
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)

	request := affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}}
	for range 3 {
		pick, err := lb.Pick(context.Background(), request, []string{"one", "two"})
		if err != nil {
			panic(err)
		}
		pick.Report(affinity.Served)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "llmaffinity_picks_total") || strings.HasPrefix(line, "llmaffinity_sessions{") {
			fmt.Print(line)
		}
	}
	// Output:
	// llmaffinity_picks_total{outcome="hit",signal="generic-header"} 2
	// llmaffinity_picks_total{outcome="new",signal="generic-header"} 1
	// llmaffinity_sessions{auth="one"} 1
}
