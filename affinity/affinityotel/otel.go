// Package affinityotel exports the events of an Affinity to OpenTelemetry, by its semantic
// conventions for generative AI (semconv 1.41). An auth is what the gateway chooses among: a
// credential, an account, a replica.
//
//	m, err := affinityotel.New(otel.GetMeterProvider(), nil)
//	if err != nil { ... }
//	lb, err := affinity.Wrap(balancer, name, &affinity.Options[*Account]{OnEvent: m.Observe})
//
// The context of an event has the span of its request, so measurements get exemplars. If the
// gateway makes spans of its own, [Attributes] are for them:
//
//	OnEvent: func(ctx context.Context, e affinity.Event) {
//		m.Observe(ctx, e)
//		trace.SpanFromContext(ctx).SetAttributes(affinityotel.Attributes(e)...)
//	},
//
// # Metrics
//
//	gen_ai.client.token.usage                      histogram of tokens, gen_ai.token.type is input or output
//	gen_ai.client.operation.time_to_first_chunk    histogram of seconds, of answers that were streamed
//	llmaffinity.cached_tokens                      counter of prompt tokens that came from the provider's cache
//	llmaffinity.picks                              counter of picks
//
// All of them have llmaffinity.outcome. The first three also have llmaffinity.auth, and the
// provider, the operation and the model as Options name them. llmaffinity.picks also has
// llmaffinity.reason and llmaffinity.signal. Nothing that a client sends is an attribute of a
// metric.
//
// # Attributes of spans
//
// Spans have these attributes, too. gen_ai.conversation.id is the session's stable name, which
// reveals nothing of the client. gen_ai.request.model is the model as the client has named it.
// gen_ai.usage.input_tokens, output_tokens, cache_read.input_tokens and
// cache_creation.input_tokens are the usage. llmaffinity.before, age, idle, candidates and
// result are the fields of affinity.Decision and affinity.Report.
package affinityotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/semconv/v1.41.0/genaiconv"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Options configure Metrics. The zero value is ready to use.
type Options struct {
	// Provider returns the provider of an auth, such as genaiconv.ProviderNameAnthropic. nil
	// returns "_OTHER". It must return only a few different names.
	Provider func(auth string) genaiconv.ProviderNameAttr
	// Operation is the operation of all requests. Empty is genaiconv.OperationNameChat.
	Operation genaiconv.OperationNameAttr
	// Model returns the name for metrics of the model that a request names. It must return
	// only a few different names, because clients can send any. With an empty name, and with
	// nil, metrics have no model.
	Model func(model string) string
}

// Metrics holds the instruments. Any number of goroutines may use it.
type Metrics struct {
	o      Options
	usage  genaiconv.ClientTokenUsage
	first  genaiconv.ClientOperationTimeToFirstChunk
	cached metric.Int64Counter
	picks  metric.Int64Counter
}

// Names of attributes that the conventions do not have.
const (
	OutcomeKey    = attribute.Key("llmaffinity.outcome")
	ReasonKey     = attribute.Key("llmaffinity.reason")
	SignalKey     = attribute.Key("llmaffinity.signal")
	AuthKey       = attribute.Key("llmaffinity.auth")
	BeforeKey     = attribute.Key("llmaffinity.before")
	AgeKey        = attribute.Key("llmaffinity.age")  // in seconds
	IdleKey       = attribute.Key("llmaffinity.idle") // likewise
	CandidatesKey = attribute.Key("llmaffinity.candidates")
	ResultKey     = attribute.Key("llmaffinity.result")
)

// Name is the name of the meter.
const Name = "github.com/llmaffinity/llmaffinity/affinity/affinityotel"

// Boundaries that the conventions recommend.
var (
	tokenBounds = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
	firstBounds = []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
)

// New makes the instruments with a MeterProvider. It returns the errors of the provider.
func New(from metric.MeterProvider, o *Options) (*Metrics, error) {
	m := &Metrics{}
	if o != nil {
		m.o = *o
	}
	if m.o.Operation == "" {
		m.o.Operation = genaiconv.OperationNameChat
	}
	meter := from.Meter(Name)
	var errs [4]error
	m.usage, errs[0] = genaiconv.NewClientTokenUsage(meter, metric.WithExplicitBucketBoundaries(tokenBounds...))
	m.first, errs[1] = genaiconv.NewClientOperationTimeToFirstChunk(meter, metric.WithExplicitBucketBoundaries(firstBounds...))
	m.cached, errs[2] = meter.Int64Counter("llmaffinity.cached_tokens", metric.WithUnit("{token}"),
		metric.WithDescription("Prompt tokens that came from the provider's prompt cache."))
	m.picks, errs[3] = meter.Int64Counter("llmaffinity.picks", metric.WithUnit("{request}"),
		metric.WithDescription("Picks by outcome, reason and signal."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return m, nil
}

// Observe records an event, for affinity.Options.OnEvent. It annotates no span.
func (m *Metrics) Observe(ctx context.Context, e affinity.Event) {
	d, r := &e.Decision, &e.Report
	if !e.Reported {
		m.picks.Add(ctx, 1, metric.WithAttributes(
			OutcomeKey.String(d.Outcome.String()), ReasonKey.String(d.Reason.String()), SignalKey.String(d.Signal.Kind.String())))
		return
	}
	if e.Again {
		return
	}
	provider := genaiconv.ProviderNameAttr("_OTHER")
	if m.o.Provider != nil {
		provider = m.o.Provider(d.Auth)
	}
	attrs := append(make([]attribute.KeyValue, 0, 3), OutcomeKey.String(d.Outcome.String()), AuthKey.String(d.Auth))
	if m.o.Model != nil {
		if name := m.o.Model(e.Model); name != "" {
			attrs = append(attrs, semconv.GenAIRequestModel(name))
		}
	}
	if r.FirstToken > 0 {
		m.first.Record(ctx, r.FirstToken.Seconds(), m.o.Operation, provider, attrs...)
	}
	if r.Usage.IsZero() {
		return
	}
	m.usage.Record(ctx, int64(r.Usage.Prompt), m.o.Operation, provider, genaiconv.TokenTypeInput, attrs...)
	m.usage.Record(ctx, int64(r.Usage.Output), m.o.Operation, provider, genaiconv.TokenTypeOutput, attrs...)
	m.cached.Add(ctx, int64(r.Usage.Cached), metric.WithAttributes(attrs...))
}

// Attributes returns the attributes of an event, for a span. It omits those that are not
// known.
func Attributes(e affinity.Event) []attribute.KeyValue {
	d, r := &e.Decision, &e.Report
	all := append(make([]attribute.KeyValue, 0, 16), OutcomeKey.String(d.Outcome.String()), CandidatesKey.Int(d.Candidates))
	text := func(key attribute.Key, value string) {
		if value != "" {
			all = append(all, key.String(value))
		}
	}
	text(ReasonKey, d.Reason.String())
	text(SignalKey, d.Signal.Kind.String())
	text(AuthKey, d.Auth)
	text(BeforeKey, d.Before)
	text(semconv.GenAIConversationIDKey, d.SessionName(false))
	text(semconv.GenAIRequestModelKey, e.Model)
	if d.Age > 0 {
		all = append(all, AgeKey.Float64(d.Age.Seconds()), IdleKey.Float64(d.Idle.Seconds()))
	}
	if !e.Reported {
		return all
	}
	all = append(all, ResultKey.String(r.Result.String()))
	if r.FirstToken > 0 {
		all = append(all, semconv.GenAIResponseTimeToFirstChunkKey.Float64(r.FirstToken.Seconds()))
	}
	if u := r.Usage; !u.IsZero() {
		all = append(all, semconv.GenAIUsageInputTokens(u.Prompt), semconv.GenAIUsageOutputTokens(u.Output),
			semconv.GenAIUsageCacheReadInputTokens(u.Cached), semconv.GenAIUsageCacheCreationInputTokens(u.CacheWritten))
	}
	return all
}
