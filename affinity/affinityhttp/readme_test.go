package affinityhttp_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Account is what the gateway of README chooses among.
type Account struct {
	ID, Key string

	mu    sync.Mutex
	until time.Time
	asked bool
}

func (a *Account) RestsUntil() (until time.Time, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.until, a.asked
}

// Rest makes the account rest. asked says that the account itself has said for how long.
func (a *Account) Rest(d time.Duration, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until, a.asked = time.Now().Add(d), asked
}

// readmeProxy is README's reverse proxy.
func readmeProxy(balancer selector.Selector[*Account], accounts []*Account, upstream *url.URL) (http.Handler, error) {
	transport, err := affinityhttp.New(balancer,
		func(a *Account) string { return a.ID },
		func(*http.Request, affinity.Request) []*Account { return accounts },
		func(out *http.Request, a *Account) error {
			affinityhttp.SetURL(out, upstream)
			out.Header.Set("X-Api-Key", a.Key)
			return nil
		}, nil)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, Transport: transport, ErrorHandler: affinityhttp.WriteError, FlushInterval: -1,
	}, nil
}

func TestREADMEsProxy(t *testing.T) {
	var keys []string
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("X-Api-Key"))
		if keys[len(keys)-1] == "one" {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer provider.Close()
	upstream, err := url.Parse(provider.URL)
	require.NoError(t, err)
	handler, err := readmeProxy(selector.FillFirst[*Account](), []*Account{{ID: "a", Key: "one"}, {ID: "b", Key: "two"}}, upstream)
	require.NoError(t, err)
	for _, session := range []string{"x", "x", "y"} {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(`{"model":"m","messages":[]}`))
		r.Header.Set("X-Session-Id", session)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
	}
	require.Equal(t, []string{"one", "two", "two", "two"}, keys, "the account that rests is asked once, for both sessions")
}
