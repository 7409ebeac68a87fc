package affinityhttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// key is an account at a provider.
type key struct {
	name, secret string
	url          *url.URL

	mu    sync.Mutex
	until time.Time // it rests until then
	asked bool      // it has said so itself
}

func (k *key) rest(d time.Duration, asked bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked && !asked && time.Now().Before(k.until) {
		return // it knows better
	}
	k.until, k.asked = time.Now().Add(d), asked
}

func (k *key) state() affinity.State {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.until) {
		return affinity.State{Fitness: affinity.Away, Until: k.until, Guess: !k.asked}
	}
	return affinity.State{}
}

// gateway is an http.RoundTripper with a loop of its own.
type gateway struct {
	keys   []*key
	sticky *affinity.Selector[*key]
}

// RoundTrip asks one key after the other, as long as another one may help.
func (g *gateway) RoundTrip(in *http.Request) (answer *http.Response, err error) {
	ctx := in.Context()
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	request := affinityhttp.Describe(in, body)
	request.Tenant = in.Header.Get("X-Team") // whoever the gateway knows the caller as
	for {
		pick, failed := g.sticky.Pick(ctx, request, g.keys)
		switch {
		case failed == nil:
		case answer == nil && err == nil: // no key was asked
			return nil, &affinityhttp.PickError{Err: failed}
		default:
			return answer, err // what the last key has said
		}
		if answer != nil {
			answer.Body.Close()
		}
		k := pick.Auth
		var report affinity.Report
		answer, report, err = affinityhttp.Send(ctx, pick, func(ctx context.Context) (*http.Response, error) {
			out := affinityhttp.Outgoing(ctx, in, body)
			affinityhttp.SetURL(out, k.url)
			out.Header.Set("X-Api-Key", k.secret)
			out.Header.Del("X-Team")
			return http.DefaultTransport.RoundTrip(out)
		})
		switch report.Result {
		case affinity.Transient: // another key may help
			k.rest(max(report.Away, time.Second), report.Away > 0)
		case affinity.Terminal: // a key that is refused is of no use to others
			if answer != nil && answer.StatusCode != http.StatusNotFound {
				k.rest(time.Minute, false)
			}
		default:
			return answer, err
		}
		request.Tried = append(request.Tried, k.name)
		if len(request.Tried) == 4 || !affinityhttp.Refused(answer, err) && !affinityhttp.Repeatable(in, request) {
			return answer, err
		}
	}
}

// A whole gateway with a loop of its own.
func ExampleSend_loop() {
	busy := map[string]bool{}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret := r.Header.Get("X-Api-Key")
		if busy[secret] {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		fmt.Fprintf(w, `{"type":"message","content":[{"type":"text","text":"by %s"}]}`, secret)
	}))
	defer provider.Close()
	base, _ := url.Parse(provider.URL)

	g := &gateway{keys: []*key{{name: "one", secret: "sk-1", url: base}, {name: "two", secret: "sk-2", url: base}}}
	var err error
	g.sticky, err = affinity.Wrap(selector.RoundRobin[*key](), func(k *key) string { return k.name }, &affinity.Options[*key]{
		State: func(k *key, _ affinity.Request) affinity.State { return k.state() },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.sticky.Close()
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, Transport: g, ErrorHandler: affinityhttp.WriteError, FlushInterval: -1,
	})
	defer front.Close()

	ask := func(session string) {
		req, _ := http.NewRequest(http.MethodPost, front.URL+"/v1/messages", strings.NewReader(`{"model":"claude","messages":[]}`))
		req.Header.Set("X-Session-Id", session)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		fmt.Println(session, resp.StatusCode, string(text))
	}
	ask("a")
	ask("b")
	ask("a")
	busy["sk-1"] = true
	ask("a")
	busy["sk-2"] = true
	ask("b")
	// Output:
	// a 200 {"type":"message","content":[{"type":"text","text":"by sk-1"}]}
	// b 200 {"type":"message","content":[{"type":"text","text":"by sk-2"}]}
	// a 200 {"type":"message","content":[{"type":"text","text":"by sk-1"}]}
	// a 200 {"type":"message","content":[{"type":"text","text":"by sk-2"}]}
	// b 429
}
