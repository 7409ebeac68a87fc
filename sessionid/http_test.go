package sessionid_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

const question = `{"messages":[{"role":"user","content":"which session is this?"}]}`

func compressed(t *testing.T, open func(io.Writer) io.WriteCloser, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := open(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func toGzip(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
func toZlib(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
func toFlate(w io.Writer) io.WriteCloser {
	f, err := flate.NewWriter(w, flate.BestSpeed)
	if err != nil {
		panic(err)
	}
	return f
}

func TestFromRequestPutsTheBodyBack(t *testing.T) {
	want := primary(t, nil, question)
	all := &sessionid.HTTPOptions{Decompress: true, Zstd: func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }}
	for name, c := range map[string]struct {
		encoding, body string
		o              *sessionid.HTTPOptions
		found          bool
	}{
		"plain":                   {"", question, nil, true},
		"identity":                {"identity", question, nil, true},
		"empty":                   {"", "", nil, false},
		"exactly the limit":       {"", question, &sessionid.HTTPOptions{MaxBody: int64(len(question))}, true},
		"over the limit":          {"", question, &sessionid.HTTPOptions{MaxBody: int64(len(question)) - 1}, false},
		"gzip":                    {"gzip", compressed(t, toGzip, question), all, true},
		"GZIP":                    {" GZIP", compressed(t, toGzip, question), all, true},
		"deflate":                 {"deflate", compressed(t, toZlib, question), all, true},
		"deflate without zlib":    {"deflate", compressed(t, toFlate, question), all, true},
		"zstd by the caller":      {"zstd", compressed(t, toGzip, question), all, true},
		"zstd without a decoder":  {"zstd", compressed(t, toGzip, question), &sessionid.HTTPOptions{Decompress: true}, false},
		"not asked to decompress": {"gzip", compressed(t, toGzip, question), nil, false},
		"not gzip at all":         {"gzip", question, all, false},
		"truncated gzip":          {"gzip", compressed(t, toGzip, question)[:40], all, false},
		"two encodings":           {"gzip, gzip", question, all, false},
		"a bomb": {"gzip", compressed(t, toGzip, `{"session_id":"`+uuidA+`","x":"`+strings.Repeat("a", 1<<20)+`"}`),
			&sessionid.HTTPOptions{Decompress: true, MaxBody: 1 << 19}, false},
		"a bomb of white space": {"gzip", compressed(t, toGzip, question+strings.Repeat(" ", 1<<20)), &sessionid.HTTPOptions{Decompress: true, MaxBody: 1 << 19}, false},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", chunked ", chunked), func(t *testing.T) {
				r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
				if chunked {
					r.ContentLength = -1
				}
				if c.encoding != "" {
					r.Header.Set("Content-Encoding", c.encoding)
				}
				id := sessionid.FromRequest(r, c.o)
				require.Equal(t, c.found, !id.IsZero())
				if c.found {
					require.Equal(t, want, id.Primary())
				}
				again, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				require.Equal(t, c.body, string(again), "the handler gets what was sent")
				require.NoError(t, r.Body.Close())
			})
		}
	}
}

func TestFromRequestDoesNotReadWhatItNeedNot(t *testing.T) {
	untouched := iotest.ErrReader(errors.New("touched"))
	r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(untouched))
	r.Header.Set("Session-Id", uuidA)
	id := sessionid.FromRequest(r, nil)
	require.Equal(t, primary(t, headers("Session-Id", uuidA), ""), id.Primary())
	r = httptest.NewRequest(http.MethodPost, "/", io.NopCloser(untouched))
	r.ContentLength = 1 << 40
	id = sessionid.FromRequest(r, nil)
	require.True(t, id.IsZero(), "a body whose Content-Length is over the limit is not read")
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	id = sessionid.FromRequest(r, nil)
	require.True(t, id.IsZero())
}

func TestABodyThatBreaksBreaksForTheHandlerToo(t *testing.T) {
	boom := errors.New("boom")
	r := httptest.NewRequest(http.MethodPost, "/", &breaks{text: question[:20], err: boom})
	r.Header.Set("X-Session-Id", "s-1")
	id := sessionid.FromRequest(r, nil)
	require.Equal(t, primary(t, headers("X-Session-Id", "s-1"), ""), id.Primary(), "the request is identified by its headers")
	got, err := io.ReadAll(r.Body)
	require.ErrorIs(t, err, boom)
	require.Equal(t, question[:20], string(got))
}

// breaks is a body that fails once behind its text.
type breaks struct {
	text string
	err  error
}

func (b *breaks) Read(p []byte) (n int, err error) {
	if b.text != "" {
		n = copy(p, b.text)
		b.text = b.text[n:]
		return n, nil
	}
	err, b.err = b.err, io.EOF
	return 0, err
}

func TestMiddlewareLeavesTheCallersRequestAlone(t *testing.T) {
	var got sessionid.ID
	var body []byte
	h := sessionid.Middleware(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = sessionid.FromContext(r.Context())
		body, _ = io.ReadAll(r.Body)
	}))
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(question))
	before := r.Body
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, primary(t, nil, question), got.Primary())
	require.Equal(t, question, string(body))
	require.Equal(t, before, r.Body)
	none := sessionid.FromContext(t.Context())
	require.True(t, none.IsZero())
}

func TestFromRequestUsesTheCallersExtractor(t *testing.T) {
	e, err := sessionid.NewExtractor(&sessionid.Options{Own: []sessionid.Place{{Path: "my.id"}}})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"my":{"id":"x"}}`))
	r.Header.Set("Session-Id", uuidA)
	id := sessionid.FromRequest(r, &sessionid.HTTPOptions{Extractor: e})
	require.Equal(t, "my.id", id.Signal().Name, "the body is read, since its member outranks the header")

	e, err = sessionid.NewExtractor(&sessionid.Options{Own: []sessionid.Place{{Header: "my-id"}}})
	require.NoError(t, err)
	r = httptest.NewRequest(http.MethodPost, "/", unreadable{t})
	r.Header.Set("My-Id", uuidA)
	id = sessionid.FromRequest(r, &sessionid.HTTPOptions{Extractor: e})
	require.Equal(t, "My-Id", id.Signal().Name)
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func ExampleMiddleware() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := sessionid.FromContext(r.Context())
		body, _ := io.ReadAll(r.Body) // as it was sent
		fmt.Println(id.Signal().Name, len(body))
	})
	server := sessionid.Middleware(nil)(handler)
	server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/chat/completions",
		strings.NewReader(`{"conversation_id":"c-42","messages":[]}`)))
	// Output: conversation_id 40
}

func TestABodyThatTheHostHasReadIsOpened(t *testing.T) {
	plain := `{"session_id":"` + uuidA + `"}`
	zipped := []byte(compressed(t, toGzip, plain))
	header := http.Header{"Content-Encoding": {"gzip"}}
	both := &sessionid.HTTPOptions{Decompress: true}
	require.Equal(t, plain, string(both.Plain(header, zipped)))
	require.Nil(t, (&sessionid.HTTPOptions{}).Plain(header, zipped), "without Decompress nothing is decompressed")
	require.Nil(t, (&sessionid.HTTPOptions{Decompress: true, MaxBody: 8}).Plain(header, zipped), "a body that is too large is not decompressed")
	require.Nil(t, both.Plain(http.Header{"Content-Encoding": {"zstd"}}, zipped), "zstd cannot be decompressed")
	require.Nil(t, both.Plain(header, []byte("no gzip")))
	var none *sessionid.HTTPOptions
	require.Equal(t, "{}", string(none.Plain(nil, []byte("{}"))))
}
