package affinityhttp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Two keys of one provider behind one address. The session stays on its key, and goes to
// the other one while that cannot serve.
func ExampleNew() {
	busy := map[string]bool{}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy[r.Header.Get("X-Api-Key")] {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"type":"message","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":9000,"output_tokens":5}}`)
	}))
	defer provider.Close()
	base, _ := url.Parse(provider.URL)

	transport, err := affinityhttp.New(
		selector.RoundRobin[string](),
		func(key string) string { return "account-of-" + key },
		func(*http.Request, affinity.Request) []string { return []string{"key-1", "key-2"} },
		func(out *http.Request, key string) error {
			affinityhttp.SetURL(out, base)
			out.Header.Set("X-Api-Key", key)
			return nil
		},
		&affinityhttp.Options[string]{OnAttempt: func(_ context.Context, a affinityhttp.Attempt) {
			fmt.Println(a.Decision.Auth, a.Decision.Outcome, a.Status, a.Result, a.Model, "cached:", a.Usage.Cached)
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	gateway := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, Transport: transport, ErrorHandler: affinityhttp.WriteError,
	})
	defer gateway.Close()

	ask := func() {
		req, _ := http.NewRequest(http.MethodPost, gateway.URL+"/v1/messages", strings.NewReader(`{"model":"claude"}`))
		req.Header.Set("X-Claude-Code-Session-Id", "a conversation")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	ask()
	ask()
	busy["key-1"] = true
	ask()
	// Output:
	// account-of-key-1 new 200 served claude cached: 9000
	// account-of-key-1 hit 200 served claude cached: 9000
	// account-of-key-1 hit 429 transient claude cached: 0
	// account-of-key-2 detour 200 served claude cached: 9000
}

// A gateway with a loop of its own sends a request, and passes the answer on.
func ExampleSend() {
	sticky, err := affinity.Wrap(selector.RoundRobin[string](), func(key string) string { return "account-of-" + key },
		&affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) {
			if e.Reported {
				fmt.Println(e.Decision.Auth, e.Report.Result, "prompt:", e.Report.Usage.Prompt, "cached:", e.Report.Usage.Cached)
			}
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sticky.Close()
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"usage":{"prompt_tokens":9010,"prompt_tokens_details":{"cached_tokens":9000}}}`)
	}))
	defer provider.Close()

	ctx := context.Background() // of the client's request
	request := affinity.Request{Body: []byte(`{"messages":[{"role":"user","content":"Hello"}]}`)}
	pick, err := sticky.Pick(ctx, request, []string{"key-1", "key-2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, report, err := affinityhttp.Send(ctx, pick, func(ctx context.Context) (*http.Response, error) {
		return http.Post(provider.URL, "application/json", bytes.NewReader(request.Body))
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	fmt.Println(report.Result, answer.StatusCode)
	_, _ = io.Copy(io.Discard, answer.Body) // to the client
	// Output:
	// served 200
	// account-of-key-1 served prompt: 9010 cached: 9000
}

// What an answer says, read while it is passed on.
func ExampleAnswerWriter() {
	answer := strings.NewReader(`data: {"model":"claude-haiku-4-5","choices":[{"delta":{"content":"Hi"}}]}

data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9010,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":9000}}}

data: [DONE]

`)
	var client strings.Builder
	var read affinityhttp.AnswerWriter
	if _, err := io.Copy(&client, io.TeeReader(answer, &read)); err != nil {
		fmt.Println(err)
		return
	}
	// For pick.Answered: read.Answer(). For pick.Done:
	fmt.Println(read.Usage().Prompt, read.Usage().Cached, read.IsWhole())
	fmt.Println(read.Model())
	// Output:
	// 9010 9000 true
	// claude-haiku-4-5
}
