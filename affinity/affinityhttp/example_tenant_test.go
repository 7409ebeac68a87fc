package affinityhttp_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// transportTo returns a Transport with three keys of the provider at an address.
func transportTo(address string, o *affinityhttp.Options[string]) (*affinityhttp.Transport[string], error) {
	base, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return affinityhttp.New(
		selector.RoundRobin[string](),
		func(key string) string { return "account-of-" + key },
		func(*http.Request, affinity.Request) []string { return []string{"key-1", "key-2", "key-3"} },
		func(out *http.Request, key string) error {
			affinityhttp.SetURL(out, base)
			out.Header.Set("X-Api-Key", key)
			return nil
		}, o)
}

// ask sends a request with a caller's key.
func ask(transport http.RoundTripper, caller, conversation string) error {
	req, err := http.NewRequest(http.MethodPost, "http://gateway/v1/messages", strings.NewReader(`{"model":"claude"}`))
	if err != nil {
		return err
	}
	req.Header.Set("X-Api-Key", caller)
	req.Header.Set("X-Session-Id", conversation)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// printing is a provider that prints the key of each request that it gets.
func printing() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Header.Get("X-Api-Key"))
	}))
}

// The gateway knows which customer has which keys. A customer is one tenant, so its conversation
// stays where it is when its key is replaced. Another customer with the same id for a
// conversation has another session.
func ExampleOptions_describe() {
	upstream := printing()
	defer upstream.Close()
	customers := map[string]string{"old-key": "acme", "new-key": "acme", "other-key": "umbrella"} // others are refused before
	transport, err := transportTo(upstream.URL, &affinityhttp.Options[string]{
		Describe: func(in *http.Request, r *affinity.Request) { r.Tenant = customers[in.Header.Get("X-Api-Key")] },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	for _, caller := range []string{"old-key", "other-key", "new-key"} {
		if err := ask(transport, caller, "1"); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// key-1
	// key-2
	// key-1
}

// A gateway starts again, and each conversation goes on at its key. Tenants are digests of the
// callers' keys, so the next process needs the same TenantKey.
func ExampleTransport_SaveFile() {
	upstream := printing()
	defer upstream.Close()
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	state := filepath.Join(dir, "gateway.state")

	// run is one life of the gateway.
	run := func(tenantKey []byte, conversations ...string) error {
		transport, err := transportTo(upstream.URL, &affinityhttp.Options[string]{TenantKey: tenantKey})
		if err != nil {
			return err
		}
		defer transport.Close()
		if err := transport.LoadFile(state); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, c := range conversations {
			if err := ask(transport, "a caller's key", c); err != nil {
				return err
			}
		}
		return transport.SaveFile(state) // after the last request
	}
	secret := []byte("the same in each process") // of the configuration
	fmt.Println(run(secret, "one", "two"))
	fmt.Println(run(secret, "two", "one"))
	// Output:
	// key-1
	// key-2
	// <nil>
	// key-2
	// key-1
	// <nil>
}
