package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
	"github.com/llmaffinity/llmaffinity/examples/internal/talk"
)

// The README has all of sticky.go, which wraps the picker in a few lines.
func TestREADMEShowsTheWrapping(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("sticky.go")
	require.NoError(t, err)
	require.True(t, strings.Contains(string(readme), "```go\n"+string(source)+"```\n"), "README.md must contain sticky.go as it is")
	_, code, ok := strings.Cut(string(source), "\n)\n") // the code after the imports
	require.True(t, ok)
	lines := 0
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	const inTheHandler = "ctx := affinity.WithPick(r.Context())"
	handler, err := os.ReadFile("gateway.go")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(handler), "\t"+inTheHandler+"\n"))
	require.Contains(t, string(readme), "\n"+inTheHandler+"\n")
	require.LessOrEqual(t, lines+1, 25)
}

// running is the gateway, which runs as main runs it.
type running struct {
	url      string
	file     string
	provider *talk.Provider
	upstream string
	reload   chan os.Signal
	client   *http.Client
	t        *testing.T
}

func start(t *testing.T, accounts ...string) *running {
	provider, err := talk.NewProvider()
	require.NoError(t, err)
	upstream := httptest.NewServer(provider)
	t.Cleanup(upstream.Close)
	r := &running{provider: provider, upstream: upstream.URL, file: filepath.Join(t.TempDir(), "accounts"), reload: make(chan os.Signal), t: t}
	r.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	r.write(accounts...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, l, r.file, r.reload) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		cancel()
		require.NoError(t, <-served)
	})
	return r
}

// write writes the file of accounts: each is "priority key".
func (r *running) write(accounts ...string) {
	text := "# provider priority address key\n\n"
	for _, a := range accounts {
		priority, key, _ := strings.Cut(a, " ")
		text += fmt.Sprintf("* %s %s %s\n", priority, r.upstream, key)
	}
	require.NoError(r.t, os.WriteFile(r.file, []byte(text), 0o600))
}

// read makes the gateway read the file of accounts.
func (r *running) read() {
	r.reload <- os.Interrupt
	r.reload <- os.Interrupt // the gateway receives it when it has done the first reload
}

func (r *running) round(all []*talk.Conversation, streamed bool) {
	r.t.Helper()
	require.NoError(r.t, talk.Round(r.t.Context(), r.client, r.url, all, streamed))
}

// Conversations with all APIs stay on their accounts, while accounts are added and removed.
func TestConversationsStayWhileAccountsComeAndGo(t *testing.T) {
	r := start(t, "1 key-1", "1 key-2", "1 key-3", "1 key-4")
	all := talk.Conversations(8)
	early, late := all[:len(all)/2], all[len(all)/2:]
	for turn := range 4 {
		r.round(early, turn == 2)
	}
	homes, err := r.provider.Homes(early, 4)
	require.NoError(t, err)
	require.Len(t, r.provider.Spread(), 4, "the conversations must use all accounts")

	r.write("1 key-5", "1 key-1", "1 key-2", "1 key-3", "1 key-4")
	r.read()
	r.round(early, true)
	r.round(late, false)
	r.round(late, true)
	after, err := r.provider.Homes(early, 5)
	require.NoError(t, err)
	require.Equal(t, homes, after, "a new account must not move a conversation")
	lateHomes, err := r.provider.Homes(late, 2)
	require.NoError(t, err)
	found := map[string]bool{}
	for _, key := range lateHomes {
		found[key] = true
	}
	require.Len(t, found, 5, "new conversations must use the new account, too")

	require.NoError(t, os.WriteFile(r.file, []byte("* 1 nowhere key-1\n"), 0o600))
	r.read()
	r.round(early, false)
	after, err = r.provider.Homes(early, 6)
	require.NoError(t, err, "a file with an error must change nothing")
	require.Equal(t, homes, after)

	r.write("1 key-5", "1 key-1", "1 key-3", "1 key-4")
	r.read()
	r.round(early, false)
	r.round(early, false)
	for _, c := range early {
		auths := r.provider.Served(c.Name)
		if homes[c.Name] == "key-2" {
			require.NotEqual(t, "key-2", auths[6], c.Name)
		} else {
			require.Equal(t, homes[c.Name], auths[6], "%s must stay: its account was not removed", c.Name)
		}
		require.Equal(t, auths[6], auths[7], c.Name)
	}
}

// The pool has its own priorities and cooldowns, and they also apply to requests of bound sessions.
func TestPrioritiesAndCooldowns(t *testing.T) {
	r := start(t, "0 key-spare-1", "9 key-first", "0 key-spare-2")
	all := talk.Conversations(4)
	r.round(all, false)
	require.Equal(t, map[string]int{"key-first": len(all)}, r.provider.Spread())

	r.provider.SetFault("key-first", simulator.Fault{Status: 429, RetryAfter: 50 * time.Minute})
	r.round(all[:1], false) // now the account rests until its Retry-After
	asked := r.provider.Stats()["key-first"].Requests
	r.round(all, false)
	r.round(all, true)
	require.Equal(t, asked, r.provider.Stats()["key-first"].Requests, "an account that rests must get no request")
	found := map[string]bool{}
	for i, c := range all {
		auths := r.provider.Served(c.Name)
		if i > 0 {
			require.Len(t, auths, 3)
		}
		require.NotEqual(t, "key-first", auths[1])
		for _, a := range auths[1:] {
			require.Equal(t, auths[1], a, c.Name)
		}
		found[auths[1]] = true
	}
	require.Len(t, found, 2, "the conversations must use both accounts of the next priority")
}

// If an account rests because it has refused a request, the end of an earlier answer does not end
// its rest.
func TestALateAnswerEndsNoRest(t *testing.T) {
	a := &Auth{Name: "a"}
	a.failed("m", 50*time.Minute, restFailed)
	a.served("m")
	require.False(t, a.RestsUntil("m").IsZero())
	for range 2 * (strikes - 1) {
		a.failed("n", 0, restFailed)
		a.served("n")
	}
	require.True(t, a.RestsUntil("n").IsZero(), "only failures in a row may make an account rest")
}

// The control: without sticky.go a conversation goes to several accounts.
func TestThePickerAloneKeepsNothing(t *testing.T) {
	provider, err := talk.NewProvider()
	require.NoError(t, err)
	upstream := httptest.NewServer(provider)
	defer upstream.Close()
	var auths []*Auth
	for i := range 4 {
		auths = append(auths, account(t, upstream.URL, fmt.Sprint("key-", i)))
	}
	g, sticky, err := newGateway(auths)
	require.NoError(t, err)
	defer g.client.CloseIdleConnections()
	g.picker, g.hooks = sticky.Picker, g.hooks[:1]
	front := httptest.NewServer(g)
	defer front.Close()
	c := talk.Conversations(1)[:1]
	for range 3 {
		require.NoError(t, talk.Round(t.Context(), front.Client(), front.URL, c, false))
	}
	_, err = provider.Homes(c, 3)
	require.ErrorContains(t, err, "was sent to")
}

func account(t *testing.T, address, key string) *Auth {
	u, err := url.Parse(address)
	require.NoError(t, err)
	return &Auth{Name: key, Provider: everyAPI, URL: u, Key: key}
}

func TestItKeepsSessions(t *testing.T) {
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, keys []string) (affinitytest.Gateway, error) {
		var auths []*Auth
		for _, key := range keys {
			auths = append(auths, account(t, provider, key))
		}
		g, sticky, err := newGateway(auths)
		require.NoError(t, err)
		t.Cleanup(g.client.CloseIdleConnections)
		front := httptest.NewServer(g)
		t.Cleanup(front.Close)
		return affinitytest.Gateway{
			URL:    front.URL,
			AuthOf: talk.Credential,
			Back: func(key string) {
				a := auths[slices.Index(keys, key)]
				a.mu.Lock()
				clear(a.health)
				a.mu.Unlock()
				require.NoError(t, sticky.sessions.Back(t.Context(), a.Name))
			},
		}, nil
	}))
}

// A gateway that is told to stop first ends the answers under way, and reports their results.
func TestItDrains(t *testing.T) {
	begun, held := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begun, ")
		w.(http.Flusher).Flush()
		close(begun)
		<-held
		fmt.Fprint(w, "ended")
	}))
	defer upstream.Close()
	file := filepath.Join(t.TempDir(), "accounts")
	require.NoError(t, os.WriteFile(file, []byte("openai 1 "+upstream.URL+" key\n"), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- serve(ctx, l, file, nil) }()
	client := &http.Client{Transport: &http.Transport{}}
	resp, err := client.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	<-begun
	cancel()
	select {
	case err := <-served:
		t.Fatal("serve has returned while an answer was under way: ", err)
	default:
	}
	close(held)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "begun, ended", string(text))
	client.CloseIdleConnections()
	require.NoError(t, <-served)
}

// An account rests after streams that end early. A result without a pick changes nothing.
func TestResultsAreOfThePickThatMadeThem(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "broken")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer upstream.Close()
	g, sticky, err := newGateway([]*Auth{account(t, upstream.URL, "key")})
	require.NoError(t, err)
	defer g.client.CloseIdleConnections()
	front := httptest.NewServer(g)
	defer front.Close()
	for range strikes {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/v1/chat/completions", strings.NewReader(`{"model":"m"}`))
		require.NoError(t, err)
		resp, err := front.Client().Do(req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.Error(t, err)
		resp.Body.Close()
	}
	resp, err := front.Client().Post(front.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	stats := sticky.sessions.Stats()
	require.Zero(t, stats.Unreported())
	sticky.MarkResult(t.Context(), Result{Status: 500})
	require.Equal(t, stats, sticky.sessions.Stats())
}
