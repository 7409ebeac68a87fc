package affinityotel_test

import (
	"context"
	"fmt"
	"net/http"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityotel"
	"github.com/llmaffinity/llmaffinity/selector"
)

func Example() {
	reader := sdk.NewManualReader() // a gateway would use an exporter
	m, err := affinityotel.New(sdk.NewMeterProvider(sdk.WithReader(reader)), nil)
	if err != nil {
		panic(err)
	}
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{OnEvent: m.Observe})
	if err != nil {
		panic(err)
	}
	defer lb.Close()
	request := affinity.Request{Header: http.Header{"X-Session-Id": {"a conversation"}}}
	pick, err := lb.Pick(context.Background(), request, []string{"one", "two"})
	if err != nil {
		panic(err)
	}
	pick.Done(affinity.Report{Result: affinity.Served, Usage: affinity.Usage{Prompt: 9000, Cached: 8000, Output: 300}})

	var out metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &out); err != nil {
		panic(err)
	}
	for _, metric := range out.ScopeMetrics[0].Metrics {
		fmt.Println(metric.Name)
	}
	// Output:
	// gen_ai.client.token.usage
	// llmaffinity.cached_tokens
	// llmaffinity.picks
}
