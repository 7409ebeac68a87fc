// Command grpc is an LLM gateway that reaches its backends over gRPC, and such a backend. File
// sticky.go wraps gRPC's round_robin, so that every conversation stays on the backend where
// its prompt cache is.
//
//	KEY=sk-ant-… go run . backend 127.0.0.1:9001 https://api.anthropic.com
//	KEY=sk-ant-… go run . backend 127.0.0.1:9002 https://api.anthropic.com
//	printf '127.0.0.1:9001\n127.0.0.1:9002\n' > backends.txt
//	go run . gateway 127.0.0.1:8080 backends.txt
//	ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

// serviceConfig chooses the policy. gRPC itself tries another backend if that can help.
const serviceConfig = `{
	"loadBalancingConfig": [{"` + Policy + `": {}}],
	"methodConfig": [{
		"name": [{"service": "` + serviceName + `"}],
		"retryPolicy": {
			"maxAttempts": 4, "initialBackoff": "0.01s", "maxBackoff": "0.1s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
		}
	}]
}`

// dial makes a client of the service. The resolver r tells it which backends there are.
func dial(r *manual.Resolver, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(r.Scheme()+":///"+serviceName, append([]grpc.DialOption{
		grpc.WithResolvers(r),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithUnaryInterceptor(Unary),
		grpc.WithStreamInterceptor(Stream),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage),
			grpc.MaxRetryRPCBufferSize(maxMessage)), // a larger message is not sent again
	}, opts...)...)
}

// endpoints returns backends in the form that a resolver uses.
func endpoints(addresses []string) (s resolver.State) {
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	return s
}

// read reads the addresses in a file, one a line.
func read(file string, r *manual.Resolver) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	addresses := strings.Fields(string(text))
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return err
		}
	}
	if len(addresses) == 0 {
		return fmt.Errorf("%s: there are no addresses", file)
	}
	r.UpdateState(endpoints(addresses))
	return nil
}

// gateway turns HTTP requests into calls.
type gateway struct{ client *grpc.ClientConn }

func (g gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		http.Error(w, "the request's body cannot be read", http.StatusBadRequest)
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "use the method POST", http.StatusMethodNotAllowed)
		return
	}
	var answer []byte
	var trailer metadata.MD
	err = g.client.Invoke(metadata.NewOutgoingContext(r.Context(), metadataOf(r, body)), method, body, &answer, grpc.Trailer(&trailer))
	first := func(key string) string {
		if v := trailer.Get(key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	if v := first(contentTypeKey); v != "" {
		w.Header().Set("Content-Type", v)
	}
	if err == nil {
		_, _ = w.Write(answer)
		return
	}
	code, convErr := strconv.Atoi(first(statusKey))
	if convErr != nil || code < 400 || code > 599 { // the provider has not answered
		log.Print(err)
		code = http.StatusBadGateway
		if status.Code(err) == codes.Unavailable {
			code = http.StatusServiceUnavailable
		}
		http.Error(w, "no backend can serve this request now", code)
		return
	}
	if v := first("retry-after"); v != "" {
		w.Header().Set("Retry-After", v)
	}
	w.WriteHeader(code)
	_, _ = io.WriteString(w, status.Convert(err).Message())
}

// metadataOf returns what a call carries of a request's header, and what is known of the
// request.
func metadataOf(r *http.Request, body []byte) metadata.MD {
	md := metadata.MD{}
	for k, values := range r.Header {
		for _, v := range values {
			if passes(k) && printable(v) {
				md.Append(k, v)
			}
		}
	}
	for _, h := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"} {
		if v := r.Header.Get(h); v != "" {
			md.Set(callerKey, fmt.Sprintf("%x", sha256.Sum256([]byte(v))))
		}
	}
	var named struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(body, &named) // if the body is wrong, the provider says so
	if _, rest, ok := strings.Cut(r.URL.Path, "/v1beta/models/"); ok {
		named.Model, _, _ = strings.Cut(rest, ":")
	}
	if printable(named.Model) {
		md.Set(modelKey, named.Model)
	}
	md.Set(pathKey, r.URL.RequestURI())
	return md
}

// printable reports whether a value can be in metadata.
func printable(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return false
		}
	}
	return true
}

// serve serves until ctx is done, and then until the answers under way have ended. For each
// value of reload it reads the backends again.
func serve(ctx context.Context, l net.Listener, file string, reload <-chan os.Signal, opts ...grpc.DialOption) error {
	r := manual.NewBuilderWithScheme("file")
	if err := read(file, r); err != nil {
		return err
	}
	client, err := dial(r, opts...)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: gateway{client}, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	for {
		select {
		case <-reload:
			if err := read(file, r); err != nil {
				log.Print("the backends stay as they were: ", err)
			}
		case err := <-served:
			return errors.Join(err, client.Close())
		case <-ctx.Done():
			err := server.Shutdown(context.Background())
			if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
				err = ended
			}
			return errors.Join(err, client.Close())
		}
	}
}

// serveBackend serves until ctx is done, and then until the calls under way have ended.
func serveBackend(ctx context.Context, l net.Listener, base *url.URL, key string) error {
	u := &upstream{base: base, key: key}
	u.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	u.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer u.client.CloseIdleConnections()
	s := newServer(u)
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.GracefulStop()
		close(drained)
	})
	err := s.Serve(l)
	if !stop() {
		<-drained
	}
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if len(os.Args) != 4 {
		log.Fatal("usage: grpc gateway address file, or grpc backend address provider")
	}
	l, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	switch os.Args[1] {
	case "gateway":
		reload := make(chan os.Signal, 1)
		signal.Notify(reload, syscall.SIGHUP)
		err = serve(ctx, l, os.Args[3], reload)
	case "backend":
		var base *url.URL
		if base, err = url.Parse(os.Args[3]); err == nil {
			err = serveBackend(ctx, l, base, os.Getenv("KEY"))
		}
	default:
		err = fmt.Errorf("unknown command %q, want gateway or backend", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}
