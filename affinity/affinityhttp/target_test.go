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
		{"POST", "/openai/deployments/d/chat/completions", target{OpenAI, "d", kindTurn}},
		{"POST", "/azure/openai/deployments/gpt-5/embeddings?api-version=1", target{OpenAI, "gpt-5", kindApart}},
		{"GET", "/openai/deployments/d", target{"", "", kindApart}},
		{"POST", "/model/anthropic.claude-v2:0/converse", target{Bedrock, "anthropic.claude-v2:0", kindTurn}},
		{"POST", "/bedrock/model/arn:aws:bedrock:us-east-1:1:inference-profile%2Fus.x/converse-stream", target{Bedrock, "arn:aws:bedrock:us-east-1:1:inference-profile/us.x", kindTurn}},
		{"POST", "/model/us.anthropic.claude/invoke-with-response-stream", target{Bedrock, "us.anthropic.claude", kindTurn}},
		{"POST", "/model/us.anthropic.claude/count-tokens", target{Bedrock, "us.anthropic.claude", kindSide}},
		{"POST", "/model/amazon.titan-embed-text-v2:0/invoke", target{Bedrock, "amazon.titan-embed-text-v2:0", kindApart}},
		{"POST", "/model//invoke", target{"", "", kindUnknown}},
		{"POST", "/invoke", target{"", "", kindUnknown}},
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

func TestAnErrorOfBedrock(t *testing.T) {
	require.JSONEq(t, `{"message":"busy"}`, string(errorOf(Bedrock, http.StatusServiceUnavailable, "busy")))
}

// A request for AWS is signed, and each has another signature. The key that signs it is the
// tenant, and nothing of it goes to an auth.
func TestTheTenantOfASignedRequest(t *testing.T) {
	conf, err := check(&Options[string]{}, nil)
	require.NoError(t, err)
	signed := func(key, signature string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/model/m/converse", nil)
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key+"/20261129/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature="+signature)
		r.Header.Set("X-Amz-Security-Token", "token")
		return r
	}
	one := conf.tenant(signed("AKID1", "a"))
	require.Equal(t, one, conf.tenant(signed("AKID1", "b")))
	require.NotEqual(t, one, conf.tenant(signed("AKID2", "a")))
	require.NotEmpty(t, one)
	newer := signed("AKID1", "c")
	newer.Header.Set("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=AKID1/20261129/bedrock/aws4_request, SignedHeaders=host, Signature=d")
	require.Equal(t, one, conf.tenant(newer))
	odd := httptest.NewRequest(http.MethodPost, "/", nil)
	odd.Header.Set("Authorization", "AWS4-HMAC-SHA256")
	require.NotEqual(t, one, conf.tenant(odd))
	require.Empty(t, outgoing(t.Context(), signed("AKID1", "a"), &conf.http).Header)
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
