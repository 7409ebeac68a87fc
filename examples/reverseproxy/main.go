// Command reverseproxy is an LLM gateway in one file: several keys of one provider, and
// every conversation stays on the key where its prompt cache is.
//
//	UPSTREAM=https://api.anthropic.com KEYS=sk-ant-…,sk-ant-… go run ./examples/reverseproxy
//	ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// nameOf is the lasting name of a key: the same after a restart, and safe to log.
func nameOf(key string) string { return fmt.Sprintf("account-%.4x", sha256.Sum256([]byte(key))) }

func newTransport(upstream *url.URL, keys []string) (*affinityhttp.Transport[string], error) {
	balancer := selector.RoundRobin[string]() // or the one that you have
	accounts := func(*http.Request, affinity.Request) []string { return keys }
	prepare := func(out *http.Request, key string) error {
		affinityhttp.SetURL(out, upstream)
		if out.Header.Get("Anthropic-Version") != "" {
			out.Header.Set("X-Api-Key", key)
		} else {
			out.Header.Set("Authorization", "Bearer "+key)
		}
		return nil
	}
	o := affinityhttp.Options[string]{Patience: 3 * time.Second, ReuseBodies: true, DecisionHeader: "X-Llmaffinity"}
	return affinityhttp.New(balancer, nameOf, accounts, prepare, &o)
}

// serve serves until ctx is done, and then until the answers under way have ended.
func serve(ctx context.Context, l net.Listener, upstream *url.URL, keys []string) error {
	transport, err := newTransport(upstream, keys)
	if err != nil {
		return err
	}
	defer transport.Close()
	failed := func(w http.ResponseWriter, r *http.Request, err error) {
		log.Print(err)
		affinityhttp.WriteError(w, r, err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: transport, ErrorHandler: failed, FlushInterval: -1}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() { drained <- server.Shutdown(context.Background()) })
	if err := server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return <-drained
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait
	upstream, err := url.Parse(os.Getenv("UPSTREAM"))
	keys := slices.Sorted(slices.Values(strings.FieldsFunc(os.Getenv("KEYS"), func(c rune) bool { return c == ',' || c <= ' ' })))
	if keys = slices.Compact(keys); err != nil || upstream.Host == "" || len(keys) == 0 {
		log.Fatal("set UPSTREAM to the provider's address, and KEYS to its keys, separated by commas")
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		err = serve(ctx, l, upstream, keys)
	}
	if err != nil {
		log.Fatal(err)
	}
}
