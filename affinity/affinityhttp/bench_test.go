package affinityhttp_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// BenchmarkProxy is a reverse proxy over loopback, provider and client included, with a
// streamed answer of 200 events: as it is, and over a Transport, for a session with an id
// and for one that only its content names. With -cpu 1 the times are CPU times, and the
// difference to the plain one is what affinity costs.
func BenchmarkProxy(b *testing.B) {
	var answer bytes.Buffer
	answer.WriteString(event("message_start", `{"type":"message_start","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[],"usage":{"input_tokens":3,"cache_read_input_tokens":10000,"output_tokens":1}}}`))
	answer.WriteString(event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`))
	for range 200 {
		answer.WriteString(event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" some words more"}}`))
	}
	answer.WriteString(event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":800}}`))
	answer.WriteString(event("message_stop", `{"type":"message_stop"}`))
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for rest := answer.Bytes(); len(rest) > 0; { // as a provider does: some events a packet
			n := min(len(rest), 2048)
			_, _ = w.Write(rest[:n])
			w.(http.Flusher).Flush()
			rest = rest[n:]
		}
	}))
	defer provider.Close()
	base, err := url.Parse(provider.URL)
	if err != nil {
		b.Fatal(err)
	}
	transport := func(o *affinityhttp.Options[string]) *affinityhttp.Transport[string] {
		t, err := affinityhttp.New(selector.RoundRobin[string](), itself,
			func(*http.Request, affinity.Request) []string { return names },
			func(out *http.Request, _ string) error {
				affinityhttp.SetURL(out, base)
				return nil
			}, o)
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	sticky := transport(nil)
	defer sticky.Close()
	reusing := transport(&affinityhttp.Options[string]{ReuseBodies: true})
	defer reusing.Close()
	plain := http.DefaultTransport.(*http.Transport).Clone()
	plain.DisableCompression = true
	plain.MaxIdleConnsPerHost = 64
	defer plain.CloseIdleConnections()
	for _, size := range []int{20 << 10, 200 << 10} {
		var messages strings.Builder
		for i := 0; messages.Len() < size; i++ {
			fmt.Fprintf(&messages, `{"role":"user","content":"question %d %s"},{"role":"assistant","content":"answer %d"},`, i, strings.Repeat("words ", 300), i)
		}
		body := `{"model":"m","messages":[` + messages.String() + `{"role":"user","content":"go on"}]}`
		for _, c := range []struct {
			name, session string
			transport     http.RoundTripper
		}{{"plain", "s", plain}, {"id", "s", sticky}, {"content", "", sticky}, {"id-reused", "s", reusing}, {"content-reused", "", reusing}} {
			b.Run(fmt.Sprintf("%dKB/%s", size>>10, c.name), func(b *testing.B) {
				front := httptest.NewServer(&httputil.ReverseProxy{
					Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(base) }, Transport: c.transport, FlushInterval: -1,
				})
				defer front.Close()
				client := &http.Client{Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				b.ReportAllocs()
				for b.Loop() {
					req, err := http.NewRequest(http.MethodPost, front.URL+"/v1/messages", strings.NewReader(body))
					if err != nil {
						b.Fatal(err)
					}
					if c.session != "" {
						req.Header.Set("X-Session-Id", c.session)
					}
					resp, err := client.Do(req)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						b.Fatal(err)
					}
					resp.Body.Close()
				}
			})
		}
	}
}
