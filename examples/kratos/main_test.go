package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kratos/kratos/v2/registry"
	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/p2c"
	"github.com/go-kratos/kratos/v2/selector/random"
	"github.com/go-kratos/kratos/v2/selector/wrr"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
	"github.com/llmaffinity/llmaffinity/examples/internal/talk"
	"github.com/llmaffinity/llmaffinity/sessionid"
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

// instanceOf starts an instance, which has an account of its own at the provider.
func instanceOf(t *testing.T, provider http.Handler, account string) (address string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("X-Api-Key")
		r.Header.Del("X-Goog-Api-Key")
		r.Header.Set("Authorization", "Bearer "+account)
		provider.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// heard is a discovery that reports each call of its watcher's Next. When the client calls Next
// again, it knows the instances that Next returned before.
type heard struct {
	*instances
	asked chan struct{}
}

type hearing struct {
	registry.Watcher
	asked chan struct{}
}

func (h heard) Watch(ctx context.Context, name string) (registry.Watcher, error) {
	w, err := h.instances.Watch(ctx, name)
	return hearing{w, h.asked}, err
}

func (h hearing) Next() ([]*registry.ServiceInstance, error) {
	h.asked <- struct{}{}
	return h.Watcher.Next()
}

// start starts the gateway on loopback with a selector. set changes its instances.
func start(t *testing.T, next selector.Builder, addresses ...string) (url string, sticky *Sticky, set func(...string)) {
	url, sticky, _, set = startWith(t, next, addresses...)
	return url, sticky, set
}

func startWith(t *testing.T, next selector.Builder, addresses ...string) (url string, sticky *Sticky, base *http.Transport, set func(...string)) {
	discovery := heard{newInstances(), make(chan struct{}, 10)}
	require.NoError(t, discovery.set(addresses))
	sticky, err := Wrap(next)
	require.NoError(t, err)
	g, err := newGateway(t.Context(), discovery, sticky)
	require.NoError(t, err)
	<-discovery.asked
	<-discovery.asked
	front := httptest.NewServer(g)
	t.Cleanup(func() {
		front.Close()
		require.NoError(t, g.close())
		require.NoError(t, sticky.sessions.Close())
	})
	return front.URL, sticky, g.base, func(addresses ...string) {
		require.NoError(t, discovery.set(addresses))
		<-discovery.asked
	}
}

func newProvider(t *testing.T) *talk.Provider {
	p, err := talk.NewProvider()
	require.NoError(t, err)
	return p
}

func newClient(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// With Kratos's own selectors in a Sticky, conversations with all APIs stay on their instances,
// while instances are added and removed.
func TestConversationsStayWhileInstancesComeAndGo(t *testing.T) {
	for name, next := range map[string]struct {
		selector.Builder
		conversations int // for each API; so many that a random choice uses each instance
	}{"wrr": {wrr.NewBuilder(), 6}, "random": {random.NewBuilder(), 32}, "p2c": {p2c.NewBuilder(), 16}} {
		t.Run(name, func(t *testing.T) {
			provider := newProvider(t)
			var address [4]string
			for i := range address {
				address[i] = instanceOf(t, provider, fmt.Sprint("account-", i))
			}
			gateway, sticky, set := start(t, next.Builder, address[:3]...)
			client := newClient(t)
			all := talk.Conversations(next.conversations)
			early, late := all[:len(all)/2], all[len(all)/2:]
			round := func(all []*talk.Conversation, streamed bool) {
				t.Helper()
				require.NoError(t, talk.Round(t.Context(), client, gateway, all, streamed))
			}
			for turn := range 4 {
				round(early, turn == 2)
			}
			homes, err := provider.Homes(early, 4)
			require.NoError(t, err)
			require.Len(t, provider.Spread(), 3, "the conversations must use all instances")

			set(address[:]...)
			round(early, true)
			round(late, false)
			round(late, true)
			after, err := provider.Homes(early, 5)
			require.NoError(t, err)
			require.Equal(t, homes, after, "a new instance must not move a conversation")
			_, err = provider.Homes(late, 2)
			require.NoError(t, err)
			require.Len(t, provider.Spread(), 4, "new conversations must use the new instance, too")

			set(address[0], address[2], address[3])
			round(early, false)
			round(early, false)
			for _, c := range early {
				auths := provider.Served(c.Name)
				if homes[c.Name] == "account-1" {
					require.NotEqual(t, "account-1", auths[5], c.Name)
				} else {
					require.Equal(t, homes[c.Name], auths[5], "%s must stay: its instance was not removed", c.Name)
				}
				require.Equal(t, auths[5], auths[6], c.Name)
			}
			require.Zero(t, sticky.sessions.Stats().Unreported())
		})
	}
}

// The control: without sessions Kratos's selector sends a conversation to several instances.
func TestTheSelectorAloneKeepsNothing(t *testing.T) {
	provider := newProvider(t)
	gateway, sticky, _ := start(t, wrr.NewBuilder(), instanceOf(t, provider, "account-1"), instanceOf(t, provider, "account-2"))
	require.NoError(t, sticky.sessions.Reconfigure(&affinity.Options[selector.WeightedNode]{
		Extract: func(http.Header, []byte) (none sessionid.ID) { return none },
	}))
	c := talk.Conversations(1)[:1]
	client := newClient(t)
	for range 2 {
		require.NoError(t, talk.Round(t.Context(), client, gateway, c, false))
	}
	_, err := provider.Homes(c, 2)
	require.ErrorContains(t, err, "was sent to")
}

// If an instance fails, its conversation goes to another one and stays there. If all instances
// fail, the client gets the answer of the last one.
func TestFailures(t *testing.T) {
	provider := newProvider(t)
	gateway, _, _ := start(t, wrr.NewBuilder(), instanceOf(t, provider, "account-1"), instanceOf(t, provider, "account-2"))
	client := newClient(t)
	c := talk.Conversations(1)[0]
	require.NoError(t, c.Turn(t.Context(), client, gateway))
	home := provider.Served(c.Name)[0]
	fault := simulator.Fault{Status: 429, Body: `{"error":{"message":"slow down"}}`, RetryAfter: 50 * time.Minute}
	provider.SetFault(home, fault)
	require.NoError(t, c.Turn(t.Context(), client, gateway))
	asked := provider.Stats()[home].Requests
	require.NoError(t, c.Turn(t.Context(), client, gateway))
	auths := provider.Served(c.Name)
	require.NotEqual(t, home, auths[1])
	require.Equal(t, auths[1], auths[2])
	require.Equal(t, asked, provider.Stats()[home].Requests, "the conversation must avoid the instance that has failed")

	provider.SetFault(auths[1], fault)
	resp, err := client.Post(gateway+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"Are you there?"}]}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "3000", resp.Header.Get("Retry-After"))
	require.Contains(t, string(text), "slow down")
}

// Two requests of a session choose at the same time, and one choice is dropped. Its done function
// is called, so that the node's count of requests under way is right.
func TestAChoiceThatIsNotTakenIsTakenBack(t *testing.T) {
	node := func(address string) *counted {
		return &counted{Node: selector.NewNode("http", address, nil)}
	}
	one, two := node("1"), node("2")
	s, err := Wrap(&selector.DefaultBuilder{Balancer: inTurn{both: make(chan struct{}), nodes: []*counted{one, two}, turn: new(int), mu: new(sync.Mutex)}})
	require.NoError(t, err)
	b := &balancer{s.next.Balancer.Build(), s.sessions}
	require.NoError(t, s.sessions.Reconfigure(&affinity.Options[selector.WeightedNode]{
		Extract: func(http.Header, []byte) sessionid.ID {
			return sessionid.Extract(http.Header{"X-Session-Id": {"5a3f0f6e-0001-4a53-9b5e-2f1f7a6d0001"}}, nil)
		},
	}))
	var wg sync.WaitGroup
	var got [2]selector.WeightedNode
	var dones [2]selector.DoneFunc
	var errs [2]error
	for i := range got {
		wg.Go(func() { got[i], dones[i], errs[i] = b.Pick(t.Context(), []selector.WeightedNode{one, two}) })
	}
	wg.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.Equal(t, got[0].Address(), got[1].Address(), "both requests of the session must go to the same node")
	home := got[0].(*counted)
	require.Equal(t, 2, home.under)
	require.Equal(t, 2, one.under+two.under)
	for _, done := range dones {
		done(t.Context(), selector.DoneInfo{})
	}
	require.Zero(t, one.under+two.under)
	require.Equal(t, 3, one.picks+two.picks)
}

// counted is a node that counts the requests under way.
type counted struct {
	selector.Node
	mu           sync.Mutex
	under, picks int
}

func (n *counted) Raw() selector.Node         { return n.Node }
func (n *counted) Weight() float64            { return 1 }
func (n *counted) PickElapsed() time.Duration { return 0 }
func (n *counted) Pick() selector.DoneFunc {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.under++
	n.picks++
	return func(context.Context, selector.DoneInfo) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.under--
	}
}

// inTurn is a balancer that waits until two requests choose, and gives each of them another node.
type inTurn struct {
	both  chan struct{}
	nodes []*counted
	mu    *sync.Mutex
	turn  *int
}

func (b inTurn) Build() selector.Balancer { return b }

func (b inTurn) Pick(context.Context, []selector.WeightedNode) (selector.WeightedNode, selector.DoneFunc, error) {
	b.mu.Lock()
	n := b.nodes[*b.turn]
	if *b.turn++; *b.turn == len(b.nodes) {
		close(b.both)
	}
	b.mu.Unlock()
	<-b.both
	return n, n.Pick(), nil
}

// A prompt cache belongs to a model, so a session has an instance for each model.
func TestEachModelOfASessionHasAPlace(t *testing.T) {
	provider := newProvider(t)
	address, _, _ := start(t, wrr.NewBuilder(), instanceOf(t, provider, "account-1"), instanceOf(t, provider, "account-2"))
	client := newClient(t)
	ask := func(path, model string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+path, strings.NewReader(`{"model":"`+model+`","messages":[],"contents":[]}`))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Session-Id", "5a3f0f6e-0001-4a53-9b5e-2f1f7a6d0001")
		req.Header.Set(talk.Header, path+model)
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	asked := []struct{ path, model string }{
		{"/v1/chat/completions", "one"}, {"/v1/chat/completions", "two"},
		{"/v1beta/models/three:generateContent", ""}, {"/v1beta/models/four:generateContent", ""},
	}
	for range 3 {
		for _, a := range asked {
			ask(a.path, a.model)
		}
	}
	for i, a := range asked {
		auths := provider.Served(a.path + a.model)
		require.Equal(t, []string{auths[0], auths[0], auths[0]}, auths)
		if i%2 == 1 {
			require.NotEqual(t, provider.Served(asked[i-1].path + asked[i-1].model)[0], auths[0], "the balancer must place each model of the session separately, and takes the next instance")
		}
	}
}

func TestItKeepsSessions(t *testing.T) {
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, names []string) (affinitytest.Gateway, error) {
		var addresses []string
		for _, name := range names {
			addresses = append(addresses, "http://"+name+":80")
		}
		gateway, sticky, base, _ := startWith(t, wrr.NewBuilder(), addresses...)
		base.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) { // all names lead to the provider
			return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(provider, "http://"))
		}
		return affinitytest.Gateway{
			URL:    gateway,
			AuthOf: func(r *http.Request) string { return strings.TrimSuffix(r.Host, ":80") },
			Back:   func(name string) { require.NoError(t, sticky.sessions.Back(t.Context(), name+":80")) },
		}, nil
	}))
}

// The whole program streams answers, and reads its instances again. When it is told to stop, it
// first ends the answers under way.
func TestItServesAndDrains(t *testing.T) {
	begun, held := make(chan struct{}), make(chan struct{})
	named := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/name" {
				fmt.Fprint(w, name)
				return
			}
			fmt.Fprint(w, "begun, ")
			w.(http.Flusher).Flush()
			close(begun)
			<-held
			fmt.Fprint(w, "ended")
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	one, two := named("one"), named("two")
	file := filepath.Join(t.TempDir(), "instances")
	require.NoError(t, os.WriteFile(file, []byte(one+"\n"), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served, reload := make(chan error), make(chan os.Signal)
	go func() { served <- serve(ctx, l, file, reload) }()
	client := newClient(t)
	name := func() string {
		resp, err := client.Get("http://" + l.Addr().String() + "/name")
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, "one", name())
	require.NoError(t, os.WriteFile(file, []byte("no address\n"), 0o600))
	reload <- os.Interrupt
	require.NoError(t, os.WriteFile(file, []byte(one+"\n"+two+"\n"), 0o600))
	reload <- os.Interrupt
	for name() != "two" { // the client of Kratos learns of the new instance a little later
	}

	resp, err := client.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	<-begun
	_, err = io.ReadFull(resp.Body, make([]byte, len("begun, ")))
	require.NoError(t, err, "the client must get the first bytes before the answer has ended")
	cancel()
	select {
	case err := <-served:
		t.Fatal("serve has returned while an answer was under way: ", err)
	default:
	}
	close(held)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "ended", string(rest))
	client.CloseIdleConnections()
	require.NoError(t, <-served)
}
