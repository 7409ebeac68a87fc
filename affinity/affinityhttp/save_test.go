package affinityhttp_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// A snapshot is written only if the next process finds its sessions: with a key, with tenants
// that the host names, or without tenants.
func TestWhatIsSavedIsFoundAgain(t *testing.T) {
	key := []byte("a secret of sixteen bytes or more")
	caller := func(in *http.Request, r *affinity.Request) { r.Tenant = "caller of " + in.Header.Get("X-Team") }
	model := func(_ *http.Request, r *affinity.Request) { r.Model = "another" }
	for name, c := range map[string]struct {
		o          affinityhttp.Options[string]
		credential string
		saved      bool
	}{
		"a key":                           {affinityhttp.Options[string]{TenantKey: key}, "Bearer secret", true},
		"no key":                          {affinityhttp.Options[string]{}, "Bearer secret", false},
		"the host describes other things": {affinityhttp.Options[string]{Describe: model}, "Bearer secret", false},
		"the host names the tenants":      {affinityhttp.Options[string]{Describe: caller}, "Bearer secret", true},
		"nobody has a credential":         {affinityhttp.Options[string]{}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state")
			run := func(next selector.Selector[string]) (tr *affinityhttp.Transport[string], auth string) {
				o := c.o
				o.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
					auth = r.Header.Get("X-Auth")
					return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody}, nil
				})
				tr, err := affinityhttp.New(next, itself, func(*http.Request, affinity.Request) []string { return names },
					func(out *http.Request, auth string) error { out.Header.Set("X-Auth", auth); return nil }, &o)
				require.NoError(t, err)
				t.Cleanup(func() { tr.Close() })
				if _, err := os.Stat(file); err == nil {
					require.NoError(t, tr.LoadFile(file))
				}
				in := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(`{"model":"m"}`))
				in.Header.Set("X-Session-Id", "s")
				if c.credential != "" {
					in.Header.Set("Authorization", c.credential)
				}
				resp, err := tr.RoundTrip(in)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				return tr, auth
			}
			choose := func(auth string) selector.Selector[string] {
				return selector.Filter(func(_ context.Context, a string) bool { return a == auth }, selector.FillFirst[string]())
			}
			tr, auth := run(choose("c"))
			require.Equal(t, "c", auth)
			var w bytes.Buffer
			if c.saved {
				require.NoError(t, tr.Save(&w))
				require.NoError(t, tr.SaveFile(file))
				_, auth = run(choose("a"))
				require.Equal(t, "c", auth, "the session has its auth again")
				return
			}
			require.ErrorContains(t, tr.Save(&w), "TenantKey")
			require.ErrorContains(t, tr.SaveFile(file), "TenantKey")
			require.Zero(t, w.Len())
			require.NoFileExists(t, file)
			// Another configuration without a key keeps the random one, and one with a key is good.
			require.NoError(t, tr.Reconfigure(selector.FillFirst[string](), &c.o))
			require.ErrorContains(t, tr.SaveFile(file), "TenantKey")
			c.o.TenantKey = key
			require.NoError(t, tr.Reconfigure(selector.FillFirst[string](), &c.o))
			require.NoError(t, tr.SaveFile(file))
		})
	}
}
