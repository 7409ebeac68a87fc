package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-kratos/kratos/v2/errors"
	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/transport"
	khttp "github.com/go-kratos/kratos/v2/transport/http"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Sticky builds selectors of Kratos that keep conversations on their nodes. A node is the
// gateway's auth: what it chooses among. All selectors of one Sticky share the conversations.
type Sticky struct {
	next     *selector.DefaultBuilder
	sessions *affinity.Affinity[selector.WeightedNode]
}

// Wrap makes a selector sticky: one that the NewBuilder of Kratos's wrr, p2c or random
// returns, or a DefaultBuilder of yours.
func Wrap(next selector.Builder) (*Sticky, error) {
	builder, ok := next.(*selector.DefaultBuilder)
	if !ok {
		return nil, fmt.Errorf("the builder is a %T, want a *selector.DefaultBuilder", next)
	}
	sessions, err := affinity.New(selector.WeightedNode.Address, nil)
	return &Sticky{builder, sessions}, err
}

// Build builds a selector.
func (s *Sticky) Build() selector.Selector {
	return &selector.Default{NodeBuilder: s.next.Node, Balancer: &balancer{s.next.Balancer.Build(), s.sessions}}
}

// balancer is a balancer of Kratos, together with the sessions that are bound already.
type balancer struct {
	next     selector.Balancer
	sessions *affinity.Affinity[selector.WeightedNode]
}

// Pick chooses a node for the request in the context of a Kratos client.
func (b *balancer) Pick(ctx context.Context, nodes []selector.WeightedNode) (selector.WeightedNode, selector.DoneFunc, error) {
	var chosen selector.WeightedNode
	var done selector.DoneFunc
	pick, err := b.sessions.Pick(ctx, describe(ctx), nodes, func(ctx context.Context, able []selector.WeightedNode) (_ selector.WeightedNode, err error) {
		chosen, done, err = b.next.Pick(ctx, able)
		return chosen, err
	})
	if done != nil && (err != nil || chosen != pick.Auth) { // another request of the session was faster
		done(ctx, selector.DoneInfo{})
		done = nil
	}
	if err != nil {
		return nil, nil, err
	}
	if done == nil {
		done = pick.Auth.Pick() // a node counts all its requests
	}
	return pick.Auth, func(ctx context.Context, info selector.DoneInfo) {
		done(ctx, info)
		pick.ReportAway(resultOf(info.Err))
	}, nil
}

// resultOf returns what the error of a call means.
func resultOf(err error) (affinity.Result, time.Duration) {
	var e *errors.Error
	switch {
	case err == nil:
		return affinity.Served, 0
	case stderrors.Is(err, context.Canceled) || !stderrors.As(err, &e):
		return affinity.Classify(nil, err)
	}
	return affinity.Classify(&http.Response{StatusCode: int(e.Code), Header: http.Header{"Retry-After": {e.Metadata[retryAfter]}}}, nil)
}

// retryAfter is the name of that header in the metadata of an error.
const retryAfter = "retry-after"

// describe returns what a call is: who is calling, and for which model. A client over gRPC has
// no body that can be read here.
func describe(ctx context.Context) (q affinity.Request) {
	t, ok := transport.FromClientContext(ctx)
	if !ok {
		return q
	}
	q.Pool = t.Endpoint()
	q.Header = http.Header{}
	for _, k := range t.RequestHeader().Keys() {
		q.Header.Set(k, t.RequestHeader().Get(k))
	}
	for _, h := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"} {
		if v := q.Header.Get(h); v != "" {
			q.Tenant = fmt.Sprintf("%x", sha256.Sum256([]byte(v)))
		}
	}
	call, ok := t.(khttp.Transporter)
	if !ok || call.Request().GetBody == nil {
		return q
	}
	q.Path = call.Request().URL.Path
	body, err := call.Request().GetBody()
	if err != nil {
		return q
	}
	q.Body, _ = io.ReadAll(body) // it is in memory, so there is no error
	var named struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(q.Body, &named) // if the body is wrong, the provider says so
	q.Model = named.Model
	if _, rest, ok := strings.Cut(q.Path, "/v1beta/models/"); ok {
		q.Model, _, _ = strings.Cut(rest, ":")
	}
	return q
}
