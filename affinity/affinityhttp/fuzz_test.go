package affinityhttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// pieces is a body that comes in pieces of a length, and then ends.
type pieces struct {
	text   []byte
	length int
	end    error
	closed int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, p.end
	}
	n := copy(b, p.text[:min(p.length, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

func (p *pieces) Close() error {
	p.closed++
	return nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// endsStream matches what ends a stream. What breaks off behind it has broken nothing.
var endsStream = regexp.MustCompile(`\[DONE\]|message_stop|completed?\b|incomplete|cancelled|error|[fF]inish`)

// An answer of any bytes comes in any pieces, and breaks off or loses its client anywhere. What
// arrives is what was sent, each attempt is reported once with the right result, and nothing
// stays in flight or open.
func FuzzAnswer(f *testing.F) {
	for _, c := range costs {
		f.Add([]byte(c.whole), "", 7, 1000, false, false)
		f.Add([]byte(c.stream), "", 64, 1000, false, false)
		f.Add([]byte(c.stream), "", 1, 30, true, false)
		f.Add([]byte(c.stream), "", 100, 200, false, true)
	}
	f.Add([]byte("\x1f\x8b\x08 no gzip"), "gzip", 3, 1000, false, false)
	f.Add([]byte("\x78\x9c no deflate"), "deflate", 1, 5, true, false)
	f.Add([]byte(event("error", `{"type":"error","error":{"type":"overloaded_error"}}`)), "", 10, 1000, false, false)
	f.Fuzz(func(t *testing.T, text []byte, encoding string, length, read int, breaks, leaves bool) {
		length, read = 1+max(length, 0)%4096, max(read, 0)
		end := io.EOF
		if breaks {
			end = errors.New("it broke off")
		}
		var bodies []*pieces
		var told []affinityhttp.Attempt
		tr, err := affinityhttp.New(selector.FillFirst[string](), itself,
			func(*http.Request, affinity.Request) []string { return names[:2] },
			func(*http.Request, string) error { return nil },
			&affinityhttp.Options[string]{
				Zstd: openTestZstd, OnAttempt: func(_ context.Context, a affinityhttp.Attempt) { told = append(told, a) },
				Base: roundTripper(func(*http.Request) (*http.Response, error) {
					b := &pieces{text: text, length: length, end: end}
					bodies = append(bodies, b)
					h := http.Header{"Content-Encoding": {encoding}}
					return &http.Response{StatusCode: 200, Header: h, Body: b, ContentLength: -1}, nil
				}),
			})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		req := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"q"}]}`))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			if !breaks || len(text) > 0 {
				t.Fatal(err)
			}
		} else {
			var got []byte
			var ended error
			if leaves {
				got = make([]byte, min(read, len(text)))
				_, ended = io.ReadFull(resp.Body, got)
				if ended == nil {
					ended = io.EOF
				}
			} else if got, ended = io.ReadAll(resp.Body); ended == nil {
				ended = io.EOF
			}
			resp.Body.Close()
			resp.Body.Close()
			if !bytes.Equal(got, text[:len(got)]) || !leaves && (len(got) != len(text) || ended != end) {
				t.Fatalf("%d of %d bytes, and %v", len(got), len(text), ended)
			}
		}
		if len(told) != len(bodies) {
			t.Fatalf("%d attempts, %d told", len(bodies), len(told))
		}
		for i, b := range bodies {
			if b.closed == 0 {
				t.Fatal("a body was left open")
			}
			if breaks && !leaves && told[i].Result == affinity.Served && !endsStream.Match(text) || told[i].Result == affinity.Unlisted {
				t.Fatalf("%v", told[i].Result)
			}
		}
		for _, auth := range names {
			if tr.InFlight(auth) != 0 {
				t.Fatal("something is in flight")
			}
		}
	})
}
