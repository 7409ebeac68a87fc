package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
)

// The README calls this program a gateway in one file, so the file must be short.
func TestTheProgramIsShort(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "(examples/reverseproxy/main.go)")
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.LessOrEqual(t, strings.Count(string(source), "\n"), 85)
}

func TestItKeepsSessions(t *testing.T) {
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, auths []string) (affinitytest.Gateway, error) {
		upstream, err := url.Parse(provider)
		require.NoError(t, err)
		transport, err := newTransport(upstream, auths) // the names of the auths are the keys
		require.NoError(t, err)
		t.Cleanup(func() { transport.Close() })
		front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: transport, ErrorHandler: affinityhttp.WriteError})
		t.Cleanup(front.Close)
		return affinitytest.Gateway{
			URL:    front.URL,
			AuthOf: func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") },
			Back:   func(auth string) { require.NoError(t, transport.Back(t.Context(), nameOf(auth))) },
		}, nil
	}))
}

// The program streams answers, and tries another key after a failure. When it is told to stop, it
// first ends the answers under way.
func TestItServesAndDrains(t *testing.T) {
	held, first := make(chan struct{}), make(chan struct{}, 1)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") == "key-1" {
			w.WriteHeader(529)
			return
		}
		fmt.Fprint(w, "begun, ")
		w.(http.Flusher).Flush()
		first <- struct{}{}
		<-held
		fmt.Fprint(w, "ended")
	}))
	defer provider.Close()
	upstream, err := url.Parse(provider.URL)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- serve(ctx, l, upstream, []string{"key-1", "key-2"}) }()
	req, err := http.NewRequest(http.MethodPost, "http://"+l.Addr().String()+"/v1/messages", strings.NewReader(`{"model":"m"}`))
	require.NoError(t, err)
	req.Header.Set("Anthropic-Version", "2023-06-01")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	<-first
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
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, <-served)
}
