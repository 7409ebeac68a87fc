package affinityhttp

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
)

func TestWhatAPathSays(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         target
	}{
		{"POST", "/v1/messages", target{Anthropic, "", kindTurn}},
		{"POST", "/v1/messages?beta=true", target{Anthropic, "", kindTurn}},
		{"POST", "/anthropic/v1/messages/", target{Anthropic, "", kindTurn}},
		{"POST", "/v1/messages/count_tokens", target{Anthropic, "", kindSide}},
		{"POST", "/v1/messages/batches", target{Anthropic, "", kindState}},
		{"GET", "/v1/messages/batches/b1", target{Anthropic, "", kindSide}},
		{"POST", "/v1/chat/completions", target{OpenAI, "", kindTurn}},
		{"POST", "/openai/deployments/d/chat/completions", target{OpenAI, "", kindTurn}},
		{"POST", "/v1/responses", target{OpenAI, "", kindTurn}},
		{"GET", "/v1/responses/resp_1", target{OpenAI, "", kindSide}},
		{"DELETE", "/v1/responses/resp_1", target{OpenAI, "", kindSide}},
		{"POST", "/v1/responses/resp_1/cancel", target{OpenAI, "", kindState}},
		{"POST", "/v1/responses/compact", target{OpenAI, "", kindSide}},
		{"POST", "/v1/responses/input_tokens", target{OpenAI, "", kindSide}},
		{"POST", "/v1/conversations", target{OpenAI, "", kindState}},
		{"POST", "/v1/conversations/conv_1/items", target{OpenAI, "", kindState}},
		{"GET", "/v1/conversations/conv_1/items", target{OpenAI, "", kindSide}},
		{"GET", "/v1/containers/cntr_1/files", target{OpenAI, "", kindSide}},
		{"POST", "/v1/embeddings", target{OpenAI, "", kindApart}},
		{"POST", "/v1/images/generations", target{OpenAI, "", kindApart}},
		{"GET", "/v1/models", target{OpenAI, "", kindApart}},
		{"GET", "/v1/models/responses", target{OpenAI, "", kindSide}}, // a name that is a call's
		{"GET", "/v1beta/models", target{Gemini, "", kindApart}},
		{"GET", "/v1beta/models/gemini-2.5-pro", target{Gemini, "", kindApart}},
		{"POST", "/v1beta/models/gemini-2.5-pro:generateContent", target{Gemini, "gemini-2.5-pro", kindTurn}},
		{"POST", "/v1beta/models/g:streamGenerateContent?alt=sse", target{Gemini, "g", kindTurn}},
		{"POST", "/v1beta/models/g:countTokens", target{Gemini, "g", kindSide}},
		{"POST", "/v1beta/models/g:batchEmbedContents", target{Gemini, "g", kindApart}},
		{"POST", "/v1internal:streamGenerateContent", target{Gemini, "", kindTurn}},
		{"POST", "/v1/projects/p/locations/l/publishers/google/models/g:generateContent", target{Gemini, "g", kindTurn}},
		{"POST", "/v1/projects/p/locations/l/publishers/anthropic/models/c:streamRawPredict", target{Anthropic, "c", kindTurn}},
		{"POST", "/v1beta/cachedContents", target{Gemini, "", kindApart}},
		{"GET", "/v1beta/cachedContents/c1", target{Gemini, "", kindSide}},
		{"PATCH", "/v1beta/cachedContents/c1", target{Gemini, "", kindState}},
		{"POST", "/v1beta/interactions", target{Gemini, "", kindTurn}},
		{"GET", "/v1beta/interactions/v1_1", target{Gemini, "", kindSide}},
		{"HEAD", "/", target{"", "", kindApart}},
		{"POST", "/", target{"", "", kindUnknown}},
		{"POST", "/v1/things", target{OpenAI, "", kindUnknown}},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		require.Equal(t, c.want, targetOf(r), "%s %s", c.method, c.path)
	}
	for header, want := range map[string]string{"Anthropic-Version": Anthropic, "X-Api-Key": Anthropic, "X-Goog-Api-Key": Gemini, "Authorization": OpenAI} {
		r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
		r.Header.Set(header, "x")
		require.Equal(t, want, targetOf(r).api, header)
	}
}

// Nothing that a client sends causes a panic. A request that is no turn of a conversation is
// not sent twice, unless the client allows it.
func FuzzTargetOf(f *testing.F) {
	f.Add("POST", "/v1/messages", `{"background":true}`)
	f.Add("GET", "/v1beta/models/m:generateContent", `{"tools":[{"type":"mcp"}]}`)
	f.Add("DELETE", "//conversations/conv_1/:x", `{`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Method, r.URL.Path = method, path
		to := targetOf(r)
		if Repeatable(r, affinity.Request{Body: []byte(body)}) && to.kind == kindUnknown && method != http.MethodGet && method != http.MethodHead {
			t.Fatalf("%s %s", method, path)
		}
	})
}

func nobody() uint64 { return 1 }

func TestRests(t *testing.T) {
	var s rests
	for range maxRests + 10 {
		s.note("a", string(rune(s.known.Load())), time.Now(), affinity.Transient, 1e9, 429, nobody)
	}
	require.EqualValues(t, maxRests, s.known.Load(), "bounded")
	s.forget("a")
	require.Zero(t, s.known.Load())
	s.note("a", "m", time.Now(), affinity.Served, 0, 200, nobody)
	require.Zero(t, s.known.Load(), "an auth that is well is not known")
}
