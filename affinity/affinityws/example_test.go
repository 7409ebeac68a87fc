package affinityws_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"

	"github.com/coder/websocket"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/affinityws"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Two sessions of Codex use WebSockets. Each stays on its own account.
func Example() {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			if _, _, err := conn.Read(r.Context()); err != nil {
				return
			}
			event := fmt.Sprintf(`{"type":"response.completed","response":{"id":"resp_1","instructions":%q}}`, r.Header.Get("Authorization"))
			_ = conn.Write(r.Context(), websocket.MessageText, []byte(event))
		}
	}))
	defer provider.Close()
	base, _ := url.Parse(provider.URL)

	accounts := []string{"first", "second"}
	transport, err := affinityhttp.New(selector.RoundRobin[string](), func(a string) string { return a },
		func(*http.Request, affinity.Request) []string { return accounts },
		func(out *http.Request, account string) error {
			affinityhttp.SetURL(out, base)
			out.Header.Set("Authorization", account)
			return nil
		}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	proxy := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: transport, ErrorHandler: affinityhttp.WriteError, FlushInterval: -1}
	sockets, err := affinityws.New(transport, proxy, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	gateway := httptest.NewServer(sockets)
	defer gateway.Close()
	ctx := context.Background()
	defer sockets.Shutdown(ctx)

	for _, session := range []string{"0197f0d1-9f63-7c12-9d4e-000000000001", "0197f0d1-9f63-7c12-9d4e-000000000002"} {
		client, _, err := websocket.Dial(ctx, gateway.URL+"/v1/responses", &websocket.DialOptions{HTTPHeader: http.Header{"Session_id": {session}}})
		if err != nil {
			fmt.Println(err)
			return
		}
		for range 3 {
			if err := client.Write(ctx, websocket.MessageText, []byte(`{"type":"response.create","model":"m","input":"hello"}`)); err != nil {
				fmt.Println(err)
				return
			}
			_, event, err := client.Read(ctx)
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println(session[35:], gjson.GetBytes(event, "response.instructions"))
		}
		client.CloseNow()
	}
	// Output:
	// 1 first
	// 1 first
	// 1 first
	// 2 second
	// 2 second
	// 2 second
}
