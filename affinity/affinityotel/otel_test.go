package affinityotel_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/semconv/v1.41.0/genaiconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityotel"
	"github.com/llmaffinity/llmaffinity/selector"
)

const secret = "sk-a-secret-that-a-client-sends"

func attributes(s attribute.Set) map[string]string {
	all := map[string]string{}
	for _, kv := range s.ToSlice() {
		all[string(kv.Key)] = kv.Value.String()
	}
	return all
}

// The SDK exports the right values and attributes for a few requests, and nothing that the client
// has sent.
func TestMetricsByTheConventions(t *testing.T) {
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	defer func() { require.NoError(t, provider.Shutdown(t.Context())) }()
	m, err := affinityotel.New(provider, &affinityotel.Options{
		Provider: func(auth string) genaiconv.ProviderNameAttr {
			require.Equal(t, "a", auth)
			return genaiconv.ProviderNameAnthropic
		},
		Model: func(model string) string {
			require.Equal(t, secret, model)
			return "known"
		},
	})
	require.NoError(t, err)
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{OnEvent: m.Observe})
	require.NoError(t, err)
	defer lb.Close()
	r := affinity.Request{Tenant: secret, Model: secret, Header: http.Header{"X-Session-Id": {secret}}}
	for _, u := range []affinity.Usage{{Prompt: 1000, Output: 5}, {Prompt: 3000, Cached: 1000, Output: 7}, {}} {
		p, err := lb.Pick(t.Context(), r, []string{"a"})
		require.NoError(t, err)
		p.Done(affinity.Report{Result: affinity.Served, Usage: u, FirstToken: time.Duration(u.Output) * time.Second})
		p.Report(affinity.Transient)
	}
	_, err = lb.Pick(t.Context(), r, nil)
	require.Error(t, err)

	var out metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &out))
	require.Len(t, out.ScopeMetrics, 1)
	require.Equal(t, affinityotel.Name, out.ScopeMetrics[0].Scope.Name)
	hit := map[string]string{"llmaffinity.outcome": "hit", "llmaffinity.auth": "a", "gen_ai.request.model": "known"}
	tokens := map[string]string{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic"}
	for k, v := range hit {
		tokens[k] = v
	}
	seen := map[string]bool{}
	for _, one := range out.ScopeMetrics[0].Metrics {
		seen[one.Name] = true
		found := false
		check := func(s attribute.Set, want map[string]string) bool {
			all := attributes(s)
			for _, v := range all {
				require.NotContains(t, v, "secret")
			}
			found = found || len(want) > 0 && equal(all, want)
			return equal(all, want)
		}
		switch data := one.Data.(type) {
		case metricdata.Histogram[int64]:
			require.Equal(t, []string{"gen_ai.client.token.usage", "{token}"}, []string{one.Name, one.Unit})
			require.Len(t, data.DataPoints, 4, "want points for two outcomes, each with input and output")
			tokens["gen_ai.token.type"] = "input"
			for _, p := range data.DataPoints {
				if check(p.Attributes, tokens) {
					require.EqualValues(t, 3000, p.Sum)
				}
			}
		case metricdata.Histogram[float64]:
			require.Equal(t, []string{"gen_ai.client.operation.time_to_first_chunk", "s"}, []string{one.Name, one.Unit})
			delete(tokens, "gen_ai.token.type")
			for _, p := range data.DataPoints {
				if check(p.Attributes, tokens) {
					require.Equal(t, []any{uint64(1), 7.0}, []any{p.Count, p.Sum})
				}
			}
		case metricdata.Sum[int64]:
			want := hit
			n := int64(1000)
			if one.Name == "llmaffinity.picks" {
				want, n = map[string]string{"llmaffinity.outcome": "hit", "llmaffinity.reason": "", "llmaffinity.signal": "generic-header"}, 2
				require.Len(t, data.DataPoints, 3)
			}
			for _, p := range data.DataPoints {
				if check(p.Attributes, want) {
					require.Equal(t, n, p.Value)
				}
			}
		}
		require.True(t, found, "%s has no point with the expected attributes", one.Name)
	}
	require.Len(t, seen, 4)
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func TestAttributesOfASpan(t *testing.T) {
	var events []affinity.Event
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{
		OnEvent: func(_ context.Context, e affinity.Event) { events = append(events, e) }})
	require.NoError(t, err)
	defer lb.Close()
	r := affinity.Request{Model: "m", Header: http.Header{"X-Session-Id": {secret}}}
	p, err := lb.Pick(t.Context(), r, []string{"a"})
	require.NoError(t, err)
	p.Done(affinity.Report{Result: affinity.Served, FirstToken: time.Second, Usage: affinity.Usage{Prompt: 10, Cached: 5, CacheWritten: 2, Output: 3}})
	_, err = lb.Pick(t.Context(), r, []string{"b"})
	require.NoError(t, err)
	require.Len(t, events, 3)
	name := p.Decision.SessionName(false)
	pick := map[string]string{
		"llmaffinity.outcome": "new", "llmaffinity.candidates": "1", "llmaffinity.signal": "generic-header", "llmaffinity.auth": "a",
		"gen_ai.conversation.id": name, "gen_ai.request.model": "m",
	}
	require.Equal(t, pick, attributes(attribute.NewSet(affinityotel.Attributes(events[0])...)))
	for k, v := range map[string]string{
		"llmaffinity.result": "served", "gen_ai.response.time_to_first_chunk": "1", "gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": "3",
		"gen_ai.usage.cache_read.input_tokens": "5", "gen_ai.usage.cache_creation.input_tokens": "2",
	} {
		pick[k] = v
	}
	require.Equal(t, pick, attributes(attribute.NewSet(affinityotel.Attributes(events[1])...)))
	moved := attributes(attribute.NewSet(affinityotel.Attributes(events[2])...))
	require.Equal(t, []string{"moved", "gone", "a", "b"}, []string{moved["llmaffinity.outcome"], moved["llmaffinity.reason"], moved["llmaffinity.before"], moved["llmaffinity.auth"]})
}

// Each measurement has the trace of its request as an exemplar, also that of a report which
// comes when the request's context is done.
func TestMeasurementsHaveTheTraceOfTheirRequest(t *testing.T) {
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	defer func() { require.NoError(t, provider.Shutdown(t.Context())) }()
	m, err := affinityotel.New(provider, nil)
	require.NoError(t, err)
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{OnEvent: m.Observe})
	require.NoError(t, err)
	defer lb.Close()
	id := trace.TraceID{1, 2, 3}
	ctx, cancel := context.WithCancel(trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: trace.SpanID{4}, TraceFlags: trace.FlagsSampled,
	})))
	p, err := lb.Pick(ctx, affinity.Request{Header: http.Header{"X-Session-Id": {secret}}}, []string{"a"})
	require.NoError(t, err)
	cancel()
	p.Done(affinity.Report{Result: affinity.Served, FirstToken: time.Second, Usage: affinity.Usage{Prompt: 10, Cached: 5, Output: 3}})

	var out metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &out))
	got := map[string]int{}
	for _, one := range out.ScopeMetrics[0].Metrics {
		switch data := one.Data.(type) {
		case metricdata.Histogram[int64]:
			for _, p := range data.DataPoints {
				got[one.Name] += traced(p.Exemplars, id)
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				got[one.Name] += traced(p.Exemplars, id)
			}
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				got[one.Name] += traced(p.Exemplars, id)
			}
		}
	}
	require.Equal(t, map[string]int{
		"gen_ai.client.token.usage": 2, "gen_ai.client.operation.time_to_first_chunk": 1,
		"llmaffinity.cached_tokens": 1, "llmaffinity.picks": 1,
	}, got)
}

// traced returns how many exemplars are of a trace.
func traced[N int64 | float64](all []metricdata.Exemplar[N], id trace.TraceID) (n int) {
	for _, e := range all {
		if bytes.Equal(e.TraceID, id[:]) {
			n++
		}
	}
	return n
}

// refusing is a MeterProvider that cannot make instruments.
type refusing struct{ noop.MeterProvider }

type refuses struct{ noop.Meter }

func (refusing) Meter(string, ...metric.MeterOption) metric.Meter { return refuses{} }

func (refuses) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return nil, http.ErrNotSupported
}

func TestAProviderThatRefuses(t *testing.T) {
	_, err := affinityotel.New(refusing{}, nil)
	require.ErrorIs(t, err, http.ErrNotSupported)
}
