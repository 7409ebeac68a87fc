package affinityhttp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Two resources of Azure have the same model as deployments of different names, which are in the
// path. Clients use one name.
func ExampleOutboundFrom() {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Println(r.URL.Path, gjson.GetBytes(body, "model"))
	}))
	defer provider.Close()
	base, err := url.Parse(provider.URL)
	if err != nil {
		fmt.Println(err)
		return
	}

	type resource struct {
		name        string
		deployments map[string]string // by the model that clients ask for
	}
	resources := []*resource{
		{"east", map[string]string{"chat": "chat-large-east"}},
		{"west", map[string]string{"chat": "chat-large-west"}},
	}
	prepare := func(out *http.Request, to *resource) error {
		sent, ok := affinityhttp.OutboundFrom(out.Context())
		name := to.deployments[sent.Request.Model]
		if !ok || name == "" {
			return fmt.Errorf("%s does not have the model", to.name)
		}
		affinityhttp.SetURL(out, base)
		out.URL.Path = "/openai/deployments/" + name + "/chat/completions"
		out.URL.RawQuery = "api-version=v1"

		var members map[string]json.RawMessage
		if err := json.NewDecoder(out.Body).Decode(&members); err != nil {
			return err
		}
		members["model"], _ = json.Marshal(name)
		body, err := json.Marshal(members)
		if err != nil {
			return err
		}
		out.ContentLength = int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, err = out.GetBody()
		return err
	}
	transport, err := affinityhttp.New(
		selector.RoundRobin[*resource](),
		func(r *resource) string { return r.name },
		func(*http.Request, affinity.Request) []*resource { return resources },
		prepare, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}
	for _, user := range []string{"one", "two", "one"} {
		req, err := http.NewRequest(http.MethodPost, "http://gateway/v1/chat/completions", strings.NewReader(`{"model":"chat","messages":[]}`))
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("X-Session-Id", user)
		resp, err := client.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}

	// Output:
	// /openai/deployments/chat-large-east/chat/completions chat-large-east
	// /openai/deployments/chat-large-west/chat/completions chat-large-west
	// /openai/deployments/chat-large-east/chat/completions chat-large-east
}
