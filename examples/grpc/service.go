package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The service has one method, which takes a request of an LLM API and returns the answer. Both
// are bytes, so that the example needs no compiler of protocol buffers.
const (
	serviceName = "llmaffinity.example.Model"
	method      = "/" + serviceName + "/Generate"
	maxMessage  = 64 << 20
)

// raw is a codec for messages that are bytes.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("a message must be bytes, and is a %T", v)
	}
	return b, nil
}

func (raw) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a message must be bytes, and is a %T", v)
	}
	*b = bytes.Clone(data) // gRPC reuses data
	return nil
}

// generator is the service.
type generator interface {
	Generate(ctx context.Context, request []byte) ([]byte, error)
}

// newServer makes a server for the service.
func newServer(g generator) *grpc.Server {
	s := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*generator)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Generate", Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in []byte
			if err := decode(&in); err != nil {
				return nil, err
			}
			return srv.(generator).Generate(ctx, in)
		}}},
	}, g)
	return s
}

// The metadata of a call and of its answer.
const (
	pathKey        = "x-path" // with the query
	contentTypeKey = "x-content-type"
	statusKey      = "x-status" // of an answer that is not a success
)

// upstream is a generator that sends requests to a provider, with a key of its own.
type upstream struct {
	base   *url.URL
	key    string
	client http.Client
}

func (u *upstream) Generate(ctx context.Context, request []byte) ([]byte, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	first := func(key string) string {
		if v := md.Get(key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(u.base.String(), "/")+first(pathKey), bytes.NewReader(request))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the path of the request cannot be parsed")
	}
	for k, values := range md {
		if passes(k) {
			out.Header[http.CanonicalHeaderKey(k)] = values
		}
	}
	switch {
	case out.Header.Get("Anthropic-Version") != "":
		out.Header.Set("X-Api-Key", u.key)
	case strings.HasPrefix(out.URL.Path, "/v1beta/"):
		out.Header.Set("X-Goog-Api-Key", u.key)
	default:
		out.Header.Set("Authorization", "Bearer "+u.key)
	}
	out.Header.Set("Content-Type", "application/json")
	resp, err := u.client.Do(out)
	if err != nil {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Error(codes.Unavailable, "the provider cannot be reached")
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return nil, status.Error(codes.Unavailable, "the provider's answer is incomplete")
	}
	trailer := metadata.Pairs(contentTypeKey, resp.Header.Get("Content-Type"))
	defer func() { _ = grpc.SetTrailer(ctx, trailer) }() // fails only if ctx is not that of a call
	if resp.StatusCode/100 == 2 {
		return answer, nil
	}
	trailer.Set(statusKey, strconv.Itoa(resp.StatusCode))
	if v := resp.Header.Get("Retry-After"); v != "" {
		trailer.Set("retry-after", v)
	}
	return nil, status.Error(codeOf(resp.StatusCode), string(answer[:min(len(answer), maxError)]))
}

// maxError is how many bytes of a provider's error are passed on. They are sent in a header.
const maxError = 8 << 10

// codeOf returns the gRPC code for an HTTP status.
func codeOf(status int) codes.Code {
	switch {
	case status == http.StatusUnauthorized:
		return codes.Unauthenticated
	case status == http.StatusPaymentRequired, status == http.StatusForbidden:
		return codes.PermissionDenied
	case status == http.StatusNotFound:
		return codes.NotFound
	case status == http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case status/100 == 4:
		return codes.InvalidArgument
	}
	return codes.Unavailable
}

// passes reports whether a client's header is sent to the provider.
func passes(key string) bool {
	key = strings.ToLower(key)
	switch key {
	case "authorization", "x-api-key", "x-goog-api-key", "proxy-authorization", "cookie", // credentials
		"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", // belong to one connection
		"content-type", "content-length", "content-encoding", "accept-encoding", "user-agent", // each side has its own
		callerKey, modelKey, pathKey:
		return false
	}
	for _, c := range key {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false // as in :authority
		}
	}
	return !strings.HasPrefix(key, "grpc-") && !strings.HasSuffix(key, "-bin")
}
