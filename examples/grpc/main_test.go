package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
	"github.com/llmaffinity/llmaffinity/examples/internal/talk"
)

// The README's blocks are quotes from the code.
func TestREADMEQuotesTheCode(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	source := ""
	for _, file := range []string{"main.go", "sticky.go"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			source += strings.TrimSpace(line) + "\n"
		}
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		block, _, ok := strings.Cut(block, "```")
		require.True(t, ok)
		quoted := ""
		for line := range strings.Lines(block) {
			quoted += strings.TrimSpace(line) + "\n"
		}
		require.True(t, strings.Contains(source, quoted), "the README quotes lines that the code does not have:\n%s", quoted)
	}
}

// soon makes a client connect again at once, so that the tests need not wait.
var soon = grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}, MinConnectTimeout: 10 * time.Second})

// started is a backend that runs as main runs it.
type started struct {
	address string
	stop    func()
}

func listen(t *testing.T, address string) net.Listener {
	l, err := net.Listen("tcp", address)
	for errors.Is(err, syscall.EADDRINUSE) { // a client that tries to connect may use the port for a moment
		l, err = net.Listen("tcp", address)
	}
	require.NoError(t, err)
	return l
}

func startBackend(t *testing.T, address, provider, key string) started {
	l := listen(t, address)
	base, err := url.Parse(provider)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serveBackend(ctx, l, base, key) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
	})
	t.Cleanup(stop)
	return started{l.Addr().String(), stop}
}

// running is the gateway, which runs as main runs it.
type running struct {
	t        *testing.T
	url      string
	file     string
	reload   chan os.Signal
	client   *http.Client
	provider *talk.Provider
	upstream string
}

func newRunning(t *testing.T) *running {
	provider, err := talk.NewProvider()
	require.NoError(t, err)
	upstream := httptest.NewServer(provider)
	t.Cleanup(upstream.Close)
	return &running{t: t, provider: provider, upstream: upstream.URL, file: filepath.Join(t.TempDir(), "backends"), reload: make(chan os.Signal)}
}

func (r *running) start(addresses ...string) {
	t := r.t
	r.write(addresses...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.url = "http://" + l.Addr().String()
	r.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, l, r.file, r.reload, soon) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		cancel()
		require.NoError(t, <-served)
	})
}

func (r *running) write(addresses ...string) {
	require.NoError(r.t, os.WriteFile(r.file, []byte(strings.Join(addresses, "\n")), 0o600))
}

// take makes the gateway use other backends.
func (r *running) take(addresses ...string) {
	r.write(addresses...)
	r.reload <- os.Interrupt
	r.reload <- os.Interrupt // the gateway receives it when it has done the first reload
}

func (r *running) round(all []*talk.Conversation, streamed bool) {
	r.t.Helper()
	require.NoError(r.t, talk.Round(r.t.Context(), r.client, r.url, all, streamed))
}

// until sends requests without a session until the backend with a key has answered. Then there is a
// connection to it.
func (r *running) until(key string) {
	r.t.Helper()
	for before := r.provider.Stats()[key].Requests; r.provider.Stats()[key].Requests == before; {
		resp, err := r.client.Post(r.url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[]}`))
		require.NoError(r.t, err)
		resp.Body.Close()
	}
}

// Conversations with all APIs stay on their backends, while the resolver adds and removes backends,
// and while one is restarted.
func TestConversationsStayWhileBackendsComeAndGo(t *testing.T) {
	r := newRunning(t)
	var b [4]started
	for i := range b {
		b[i] = startBackend(t, "127.0.0.1:0", r.upstream, fmt.Sprint("key-", i))
	}
	r.start(b[0].address, b[1].address, b[2].address)
	for i := range 3 {
		r.until(fmt.Sprint("key-", i))
	}
	all := talk.Conversations(12)
	early, late := all[:len(all)/2], all[len(all)/2:]
	for turn := range 4 {
		r.round(early, turn == 2)
	}
	homes, err := r.provider.Homes(early, 4)
	require.NoError(t, err)
	at := func(homes map[string]string) map[string]int {
		n := map[string]int{}
		for _, key := range homes {
			n[key]++
		}
		return n
	}
	require.Len(t, at(homes), 3, "the conversations must use all backends")

	r.take(b[0].address, b[1].address, b[2].address, b[3].address)
	r.until("key-3")
	r.round(early, true)
	r.round(late, false)
	r.round(late, true)
	after, err := r.provider.Homes(early, 5)
	require.NoError(t, err)
	require.Equal(t, homes, after, "a new backend must not move a conversation")
	lateHomes, err := r.provider.Homes(late, 2)
	require.NoError(t, err)
	require.Len(t, at(lateHomes), 4, "new conversations must use the new backend, too")

	r.take("no address")
	b[1].stop()
	r.round(early, false)
	r.round(early, false)
	for _, c := range early {
		auths := r.provider.Served(c.Name)
		if homes[c.Name] == "key-1" {
			require.NotEqual(t, "key-1", auths[5], c.Name)
		} else {
			require.Equal(t, homes[c.Name], auths[5], "%s must stay: its backend was not stopped", c.Name)
		}
		require.Equal(t, auths[5], auths[6], "%s must stay on one other backend while its own is stopped", c.Name)
	}
	startBackend(t, b[1].address, r.upstream, "key-1")
	r.until("key-1")
	r.round(early, false)
	for _, c := range early {
		require.Equal(t, homes[c.Name], r.provider.Served(c.Name)[7], "%s must return to its backend, which is started again", c.Name)
	}

	r.take(b[1].address, b[3].address)
	r.round(early, false)
	r.round(early, true)
	for _, c := range early {
		auths := r.provider.Served(c.Name)
		if homes[c.Name] == "key-1" {
			require.Equal(t, "key-1", auths[8], c.Name)
		}
		require.Contains(t, []string{"key-1", "key-3"}, auths[8], c.Name)
		require.Equal(t, auths[8], auths[9], c.Name)
	}
}

// The control: round_robin alone sends a conversation to several backends.
func TestRoundRobinAloneKeepsNothing(t *testing.T) {
	provider, err := talk.NewProvider()
	require.NoError(t, err)
	upstream := httptest.NewServer(provider)
	defer upstream.Close()
	r := manual.NewBuilderWithScheme("alone")
	r.InitialState(endpoints([]string{startBackend(t, "127.0.0.1:0", upstream.URL, "key-1").address, startBackend(t, "127.0.0.1:0", upstream.URL, "key-2").address}))
	client, err := dial(r, grpc.WithDefaultServiceConfig(strings.ReplaceAll(serviceConfig, Policy, roundrobin.Name)))
	require.NoError(t, err)
	defer client.Close()
	front := httptest.NewServer(gateway{client})
	defer front.Close()
	c := talk.Conversations(1)[:1]
	seen := map[string]bool{}
	for len(seen) < 2 {
		require.NoError(t, talk.Round(t.Context(), front.Client(), front.URL, c, false))
		for _, key := range provider.Served(c[0].Name) {
			seen[key] = true
		}
	}
}

// A conversation avoids a backend until its Retry-After. If all backends refuse a request, the
// client gets the provider's error unchanged.
func TestFailures(t *testing.T) {
	r := newRunning(t)
	one, two := startBackend(t, "127.0.0.1:0", r.upstream, "key-1"), startBackend(t, "127.0.0.1:0", r.upstream, "key-2")
	r.start(one.address, two.address)
	r.until("key-1")
	r.until("key-2")
	c := talk.Conversations(1)[0]
	r.round([]*talk.Conversation{c}, false)
	home := r.provider.Served(c.Name)[0]
	r.provider.SetFault(home, simulator.Fault{Status: 429, RetryAfter: 50 * time.Minute})
	r.round([]*talk.Conversation{c}, false)
	asked := r.provider.Stats()[home].Requests
	r.round([]*talk.Conversation{c}, false)
	auths := r.provider.Served(c.Name)
	require.NotEqual(t, home, auths[1])
	require.Equal(t, auths[1], auths[2])
	require.Equal(t, asked, r.provider.Stats()[home].Requests)

	for _, key := range []string{"key-1", "key-2"} {
		r.provider.SetFault(key, simulator.Fault{Status: 402, Body: `{"error":{"message":"no money"}}`})
	}
	err := c.Turn(t.Context(), r.client, r.url)
	require.ErrorContains(t, err, "402")
	require.ErrorContains(t, err, "no money")
}

// resultOf turns the end of a call into a result.
func TestResults(t *testing.T) {
	for _, c := range []struct {
		info balancer.DoneInfo
		want affinity.Result
		away time.Duration
	}{
		{balancer.DoneInfo{BytesSent: true}, affinity.Served, 0},
		{balancer.DoneInfo{}, affinity.Cancelled, 0},
		{balancer.DoneInfo{Err: status.Error(codes.Unavailable, "")}, affinity.Cancelled, 0},
		{balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Canceled, "")}, affinity.Cancelled, 0},
		{balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.InvalidArgument, "")}, affinity.Rejected, 0},
		{balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Unauthenticated, "")}, affinity.Terminal, 0},
		{balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Unavailable, "")}, affinity.Transient, 0},
		{balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.DeadlineExceeded, "")}, affinity.Transient, 0},
		{balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Aborted, "")}, affinity.Unlisted, 0},
		{balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.ResourceExhausted, ""), Trailer: metadata.Pairs("retry-after", "7")}, affinity.Transient, 7 * time.Second},
	} {
		got, away := resultOf(c.info)
		require.Equal(t, c.want, got, "%v", c.info)
		require.Equal(t, c.away, away, "%v", c.info)
	}
}

// host is a client of the service for affinitytest, which decides what its backends answer.
type host struct {
	t        *testing.T
	client   *grpc.ClientConn
	resolver *manual.Resolver
	over     context.Context
	last     atomic.Int64

	mu      sync.Mutex
	names   []string
	address map[string]string
	down    map[string]bool
	waiting map[string]chan arrival
	server  map[string]*grpc.Server
}

type arrival struct {
	name   string
	answer chan affinity.Result
}

const numberKey = "x-number"

// named is a backend of a host.
type named struct {
	*host
	name string
}

func (n named) Generate(ctx context.Context, _ []byte) ([]byte, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if len(md.Get(numberKey)) == 0 {
		return []byte(n.name), nil
	}
	n.mu.Lock()
	waiting := n.waiting[md.Get(numberKey)[0]]
	delete(n.waiting, md.Get(numberKey)[0])
	n.mu.Unlock()
	if waiting == nil { // gRPC has sent the call again after a failure
		return nil, nil
	}
	a := arrival{n.name, make(chan affinity.Result, 1)}
	waiting <- a
	select {
	case result := <-a.answer:
		switch result {
		case affinity.Transient:
			return nil, status.Error(codes.Unavailable, "transient")
		case affinity.Terminal:
			return nil, status.Error(codes.Unauthenticated, "terminal")
		case affinity.Rejected:
			return nil, status.Error(codes.InvalidArgument, "rejected")
		}
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var hosts atomic.Int64

func newHost(t *testing.T, names []string) *host {
	h := &host{t: t, names: names, address: map[string]string{}, down: map[string]bool{}, waiting: map[string]chan arrival{}}
	over, end := context.WithCancel(context.Background())
	h.over = over
	h.server = map[string]*grpc.Server{}
	for _, name := range names {
		h.begin(name, "127.0.0.1:0")
	}
	h.resolver = manual.NewBuilderWithScheme("host" + strconv.FormatInt(hosts.Add(1), 10)) // each host has a pool of its own
	h.resolver.InitialState(h.up())
	var err error
	h.client, err = dial(h.resolver, soon)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.client.Close()) })
	t.Cleanup(end) // ends the calls that were never reported, before the client is closed
	h.connected()
	return h
}

// begin starts a backend.
func (h *host) begin(name, address string) {
	l := listen(h.t, address)
	h.address[name] = l.Addr().String()
	s := newServer(named{h, name})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	h.server[name] = s
	h.t.Cleanup(func() {
		s.Stop()
		require.NoError(h.t, <-served)
	})
}

// connected waits until all backends have connections.
func (h *host) connected() {
	for found := map[string]bool{}; len(found) < len(h.names); {
		var name []byte
		require.NoError(h.t, h.client.Invoke(h.t.Context(), method, []byte{}, &name))
		found[string(name)] = true
	}
}

// restarting is a host in which a backend that is down was stopped. The resolver has it all the
// time.
type restarting struct{ *host }

func (h restarting) Down(name string, down bool) {
	if down {
		h.server[name].GracefulStop()
		return
	}
	h.begin(name, h.address[name])
	h.connected()
}

// up returns the backends that are not down.
func (h *host) up() resolver.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	var addresses []string
	for _, name := range h.names {
		if !h.down[name] {
			addresses = append(addresses, h.address[name])
		}
	}
	return endpoints(addresses)
}

func (h *host) Down(name string, down bool) {
	h.mu.Lock()
	h.down[name] = down
	h.mu.Unlock()
	h.resolver.UpdateState(h.up())
}

func (h *host) Pick(ctx context.Context, q affinity.Request) (string, func(affinity.Result), error) {
	n := strconv.FormatInt(h.last.Add(1), 10)
	arrived := make(chan arrival, 1)
	h.mu.Lock()
	h.waiting[n] = arrived
	h.mu.Unlock()
	md := metadata.Pairs(callerKey, q.Tenant, modelKey, q.Model, numberKey, n)
	for k, v := range q.Header {
		md.Append(k, v...)
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, md))
	context.AfterFunc(h.over, cancel)
	ended := make(chan error, 1)
	go func() {
		var answer []byte
		ended <- h.client.Invoke(ctx, method, slices.Clone(q.Body), &answer)
	}()
	select {
	case a := <-arrived:
		var once sync.Once
		return a.name, func(result affinity.Result) {
			once.Do(func() {
				if result == affinity.Cancelled {
					cancel()
				} else {
					a.answer <- result
				}
				<-ended
				cancel()
			})
		}, nil
	case err := <-ended:
		cancel()
		if err == nil {
			err = fmt.Errorf("the call has an answer, but no backend has got it")
		}
		return "", nil, err
	}
}

func TestItKeepsSessions(t *testing.T) {
	for _, check := range affinitytest.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			require.NoError(t, check.Run(func(auths []string) (affinitytest.Host, error) {
				h := newHost(t, auths)
				if check.Name == "a-session-comes-back" { // not to a backend that the resolver has removed
					return restarting{h}, nil
				}
				return h, nil
			}))
		})
	}
}

// When a gateway or a backend is told to stop, it first ends what is under way.
func TestTheyDrain(t *testing.T) {
	begun, held := make(chan struct{}), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-held
		fmt.Fprint(w, "answer")
	}))
	defer provider.Close()
	base, err := url.Parse(provider.URL)
	require.NoError(t, err)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l
	}
	ctx, cancel := context.WithCancel(t.Context())
	back, front := listen(), listen()
	file := filepath.Join(t.TempDir(), "backends")
	require.NoError(t, os.WriteFile(file, []byte(back.Addr().String()), 0o600))
	backEnded, frontEnded := make(chan error, 1), make(chan error, 1)
	go func() { backEnded <- serveBackend(ctx, back, base, "key") }()
	go func() { frontEnded <- serve(ctx, front, file, nil) }()
	client := &http.Client{Transport: &http.Transport{}}
	answered := make(chan error, 1)
	go func() {
		resp, err := client.Post("http://"+front.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m"}`))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("the status of the answer is %s, want 200", resp.Status)
			}
		}
		answered <- err
	}()
	<-begun
	cancel()
	select {
	case err := <-backEnded:
		t.Fatal("the backend has ended while a call was under way: ", err)
	case err := <-frontEnded:
		t.Fatal("the gateway has ended while an answer was under way: ", err)
	default:
	}
	close(held)
	require.NoError(t, <-answered)
	client.CloseIdleConnections()
	require.NoError(t, <-frontEnded)
	require.NoError(t, <-backEnded)
}
