package affinityhttp_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// RequestOf and Explain say what the proxy then does with a request, compressed or not.
func TestARequestIsDescribedAsItWouldBeSent(t *testing.T) {
	p := start(t, func(_ string, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"choices":[{"message":{"role":"assistant","content":"yes"}}]}`))
	}, &affinityhttp.Options[string]{TenantKey: []byte("a secret of sixteen bytes or more"), Patience: 3 * time.Second})
	const (
		first = `{"model":"m","messages":[{"role":"user","content":"the only thing that names it"}]}`
		next  = `{"model":"m","messages":[{"role":"user","content":"the only thing that names it"},{"role":"assistant","content":"yes"},{"role":"user","content":"more"}]}`
	)
	request := func(text string, packed bool) *http.Request {
		r := httptest.NewRequest(http.MethodPost, p.url+"/v1/chat/completions", nil)
		if packed {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, err := w.Write([]byte(text))
			require.NoError(t, err)
			require.NoError(t, w.Close())
			text = b.String()
			r.Header.Set("Content-Encoding", "gzip")
		}
		r.RequestURI = ""
		r.Header.Set("Authorization", "Bearer caller")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		return r
	}
	explain := func(r *http.Request) affinity.Decision {
		q, auths, err := p.RequestOf(r)
		require.NoError(t, err)
		require.Equal(t, names, auths)
		require.Equal(t, "m", q.Model)
		require.Equal(t, 3*time.Second, q.Patience)
		require.NotEmpty(t, q.Tenant)
		require.NotContains(t, q.Tenant, "caller")
		return p.Explain(t.Context(), q, auths).Decision
	}
	require.Equal(t, affinity.OutcomeNew, explain(request(first, false)).Outcome)
	resp, err := p.client.Do(request(first, false))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Contains(t, resp.Header.Get("X-Decision"), "outcome=new")
	for _, packed := range []bool{false, true} {
		d := explain(request(next, packed))
		require.Equal(t, affinity.OutcomeHit, d.Outcome)
		require.Contains(t, resp.Header.Get("X-Decision"), "auth="+d.Auth+";")
	}
	_, _, err = p.RequestOf(&http.Request{Method: http.MethodPost, URL: request(first, false).URL, Header: http.Header{}, Body: io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))})
	require.ErrorAs(t, err, new(*affinityhttp.BodyError))
}
