package affinityhttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Trailers arrive, of HTTP/1.1 and of HTTP/2.
func TestTrailersArrive(t *testing.T) {
	for _, two := range []bool{false, true} {
		up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-T")
			_, _ = io.WriteString(w, "abc")
			w.Header().Set("X-T", "1")
		}))
		up.EnableHTTP2 = two
		up.StartTLS()
		defer up.Close()
		base, err := url.Parse(up.URL)
		require.NoError(t, err)
		tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
			func(*http.Request, affinity.Request) []string { return names },
			func(out *http.Request, _ string) error {
				affinityhttp.SetURL(out, base)
				return nil
			}, &affinityhttp.Options[string]{Base: up.Client().Transport})
		require.NoError(t, err)
		defer tr.Close()
		resp, err := (&http.Client{Transport: tr}).Get("http://gateway/v1/models")
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, "abc", string(text))
		require.Equal(t, http.Header{"X-T": {"1"}}, resp.Trailer, two)
	}
}
