package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// direct is an http.RoundTripper that calls a handler in this process.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// The operator's page warns of an auth whose prompt cache is switched off, and of one whose prompt
// cache lives for a tenth of the assumed time. It does not warn of the other auths.
func TestThePageNamesCachesThatAreNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := []string{"key-0", "key-1", "key-2", "key-3"}
		sim, err := simulator.New(simulator.Options{Credentials: keys, TTLs: map[string]time.Duration{"key-1": -1, "key-2": 30 * time.Second}})
		require.NoError(t, err)
		pool := &Pool{}
		for i, key := range keys {
			pool.auths = append(pool.auths, &Auth{Name: fmt.Sprint("auth-", i), API: APIOpenAI, URL: &url.URL{Scheme: "http", Host: "provider"}, Key: key})
		}
		g, err := NewGateway(GatewayOptions{Pool: pool, Affinity: true, Base: direct{sim}})
		require.NoError(t, err)
		defer g.Close()
		// Short and long pauses alternate, so that each auth has both.
		for turn := range 60 {
			for conversation := range 16 {
				said := fmt.Sprintf(`{"role":"user","content":%q}`, strings.Repeat(fmt.Sprintf("conversation %d has much to say. ", conversation), 700))
				more := strings.Repeat(`,{"role":"assistant","content":"yes"},{"role":"user","content":"go on"}`, turn)
				r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[`+said+more+`]}`))
				r.Header.Set("Authorization", "Bearer caller")
				r.Header.Set("X-Session-Id", fmt.Sprint("conversation-", conversation))
				w := httptest.NewRecorder()
				g.ServeHTTP(w, r)
				require.Equal(t, http.StatusOK, w.Code, w.Body)
			}
			time.Sleep([]time.Duration{10 * time.Second, 4 * time.Minute}[turn%2])
		}
		page, err := g.Page(false, nil)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		var v struct {
			Auths []struct {
				Name     string
				Warnings []string
			}
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
		require.Len(t, v.Auths, len(keys))
		for i, want := range []string{"", "No prompt cache", "The prompt cache lives for at most 2m0s, but 5m0s was assumed.", ""} {
			if want == "" {
				require.Empty(t, v.Auths[i].Warnings, v.Auths[i].Name)
			} else {
				require.Len(t, v.Auths[i].Warnings, 1, v.Auths[i].Name)
				require.Contains(t, v.Auths[i].Warnings[0], want)
			}
		}
	})
}
