package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Policy is the name of the load balancing policy in a service config: gRPC's round_robin,
// with conversations that stay on their backends.
const Policy = "llmaffinity_round_robin"

// sessions are the conversations of all clients in this process. gRPC makes new balancers
// after a client was idle, and these use the same sessions.
var sessions = wrap(selector.Func[*backend](turn))

func init() { balancer.Register(builder{balancer.Get(roundrobin.Name)}) }

func wrap(next selector.Selector[*backend]) *affinity.Selector[*backend] {
	s, err := affinity.Wrap(next, (*backend).addr, &affinity.Options[*backend]{State: (*backend).state})
	if err != nil {
		panic(err) // the options are constants
	}
	return s
}

// builder builds gRPC's own balancers, and replaces their pickers on the way to the client.
type builder struct{ balancer.Builder }

func (builder) Name() string { return Policy }

func (b builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return b.Builder.Build(conn{cc}, opts)
}

type conn struct{ balancer.ClientConn }

// UpdateState replaces each new picker. It gets the state of all backends with it.
func (c conn) UpdateState(s balancer.State) {
	if s.ConnectivityState == connectivity.Ready {
		var p picker
		for _, child := range endpointsharding.ChildStatesFromPicker(s.Picker) {
			b := &backend{child: child, all: s.Picker}
			if b.ready() {
				b.is, _ = child.State.Picker.Pick(balancer.PickInfo{Ctx: context.Background()})
			}
			p = append(p, b)
		}
		if len(p) > 0 {
			s.Picker = p
		}
	}
	c.ClientConn.UpdateState(s)
}

// backend is an endpoint of a client as one picker knows it. It is the gateway's auth: what it
// chooses among.
type backend struct {
	child endpointsharding.ChildState
	is    balancer.PickResult // the result that selects it, if it is ready
	all   balancer.Picker     // gRPC's own, over all that are ready
}

func (b *backend) addr() string { return b.child.Endpoint.Addresses[0].Addr }

func (b *backend) ready() bool { return b.child.State.ConnectivityState == connectivity.Ready }

// state returns the state of a backend. A backend without a connection is away for a moment.
func (b *backend) state(affinity.Request) (s affinity.State) {
	if !b.ready() {
		s.Fitness = affinity.Away
	}
	return s
}

// turn calls gRPC's own picker until it returns a backend that may serve the session.
func turn(ctx context.Context, able []*backend) (*backend, error) {
	for range 4 * len(endpointsharding.ChildStatesFromPicker(able[0].all)) {
		result, err := able[0].all.Pick(balancer.PickInfo{Ctx: ctx})
		if err != nil {
			return nil, err
		}
		for _, b := range able {
			if b.ready() && b.is.SubConn == result.SubConn {
				return b, nil
			}
		}
	}
	return able[rand.IntN(len(able))], nil // other calls have used the turns of these
}

// picker picks among the backends of a client.
type picker []*backend

// Pick picks for the request that an interceptor has put into the call's context.
func (p picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	b, err := sessions.Select(info.Ctx, p)
	if err != nil {
		return balancer.PickResult{}, err
	}
	pick, _ := affinity.PickFrom[*backend](info.Ctx) // without a request there is nothing to report
	result, err := b.child.State.Picker.Pick(info)
	result.Done = func(d balancer.DoneInfo) { pick.ReportAway(resultOf(d)) }
	return result, err
}

// Unary is an interceptor that says which conversation a call belongs to. It reads the message
// if that is a []byte.
func Unary(ctx context.Context, method string, in, out any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	body, _ := in.([]byte)
	return invoke(affinity.WithRequest(ctx, describe(ctx, cc, body)), method, in, out, cc, opts...)
}

// Stream is the same for streams. When a backend is picked for a stream, only the metadata is
// known.
func Stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(affinity.WithRequest(ctx, describe(ctx, cc, nil)), desc, cc, method, opts...)
}

// The metadata of a call: who is calling, and for which model. A header that names a session
// for package sessionid does so in the metadata, too.
const (
	callerKey = "x-caller"
	modelKey  = "x-model"
)

func describe(ctx context.Context, cc *grpc.ClientConn, body []byte) affinity.Request {
	r := affinity.Request{Pool: cc.Target(), Header: http.Header{}, Body: body}
	md, _ := metadata.FromOutgoingContext(ctx)
	for k, values := range md {
		for _, v := range values {
			r.Header.Add(k, v)
		}
	}
	r.Tenant, r.Model = r.Header.Get(callerKey), r.Header.Get(modelKey)
	return r
}

// statusOf has the HTTP status for each gRPC code.
var statusOf = map[codes.Code]int{
	codes.OK:                 http.StatusOK,
	codes.InvalidArgument:    http.StatusBadRequest,
	codes.FailedPrecondition: http.StatusBadRequest,
	codes.OutOfRange:         http.StatusBadRequest,
	codes.Unauthenticated:    http.StatusUnauthorized,
	codes.PermissionDenied:   http.StatusForbidden,
	codes.NotFound:           http.StatusNotFound,
	codes.Unimplemented:      http.StatusNotFound,
	codes.ResourceExhausted:  http.StatusTooManyRequests,
	codes.Unknown:            http.StatusInternalServerError,
	codes.Internal:           http.StatusInternalServerError,
	codes.DataLoss:           http.StatusInternalServerError,
	codes.Unavailable:        http.StatusServiceUnavailable,
	codes.DeadlineExceeded:   http.StatusGatewayTimeout,
	codes.AlreadyExists:      http.StatusConflict,
	codes.Aborted:            http.StatusConflict,
}

// resultOf returns what the end of a call means. The trailer retry-after says for how many
// seconds the conversation is to avoid the backend.
func resultOf(d balancer.DoneInfo) (affinity.Result, time.Duration) {
	code := status.Code(d.Err)
	if code == codes.Canceled || !d.BytesSent { // in the second case it was not sent: the connection had just been lost
		return affinity.Cancelled, 0
	}
	header := http.Header{}
	if v := d.Trailer.Get("retry-after"); len(v) > 0 {
		header.Set("Retry-After", v[0])
	}
	return affinity.Classify(&http.Response{StatusCode: statusOf[code], Header: header}, nil)
}
