package simulator

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

func TestTheModelsAreListed(t *testing.T) {
	s := server(t, Options{Models: []string{"a", "b"}})
	_, text := send(t, s, "k", "GET", "/v1/models", "")
	require.JSONEq(t, `{"object":"list","data":[{"id":"a","object":"model","created":0,"owned_by":"simulator"},{"id":"b","object":"model","created":0,"owned_by":"simulator"}]}`, text)
	_, text = send(t, s, "k", "GET", "/v1beta/models", "")
	require.Equal(t, `["models/a","models/b"]`, gjson.Get(text, "models.#.name").Raw)
	r := httptest.NewRequest("GET", "/v1/models", nil)
	r.Header.Set("X-Api-Key", "k")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	require.Equal(t, `["a","b"]`, gjson.Get(w.Body.String(), "data.#.id").Raw)
	require.Equal(t, "model", gjson.Get(w.Body.String(), "data.0.type").Str)
	require.Equal(t, "b", gjson.Get(w.Body.String(), "last_id").Str)
	status, _ := send(t, server(t, Options{}), "", "GET", "/v1/models", "")
	require.Equal(t, 401, status)
	_, text = send(t, server(t, Options{}), "k", "GET", "/v1/models", "")
	require.Equal(t, "sim-1", gjson.Get(text, "data.0.id").Str)
}

func TestAnotherModelIsRefused(t *testing.T) {
	s := server(t, Options{Models: []string{"a"}})
	const (
		anthropic = `{"type":"error","error":{"type":"not_found_error","message":"model: m"}}`
		openAI    = "{\"error\":{\"message\":\"The model `m` does not exist or you do not have access to it.\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}"
		missing   = "models/m is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
		google    = `{"error":{"code":404,"message":"` + missing + `","status":"NOT_FOUND"}}`
	)
	for path, want := range map[string]string{
		"/v1/messages": anthropic, "/v1/messages/count_tokens": anthropic,
		"/v1/chat/completions": openAI, "/v1/responses": openAI, "/v1/embeddings": openAI,
		"/v1beta/models/m:generateContent": google, "/v1beta/models/m:streamGenerateContent": google,
		"/v1beta/models/m:countTokens": google, "/v1beta/models/m:embedContent": google, "/v1beta/cachedContents": google,
		"/v1beta/interactions": `{"error":{"code":"not_found","message":"` + missing + `"}}`,
	} {
		status, text := send(t, s, "k", "POST", path, `{"model":"m","stream":true}`)
		require.Equal(t, 404, status, path)
		require.JSONEq(t, want, text, path)
	}
	for _, path := range []string{"/v1/messages", "/v1/embeddings", "/v1beta/models/a:generateContent", "/v1beta/cachedContents"} {
		status, _ := send(t, s, "k", "POST", path, `{"model":"a"}`)
		require.Equal(t, 200, status, path)
	}
}

func TestEmbeddings(t *testing.T) {
	s := server(t, Options{})
	_, text := send(t, s, "k", "POST", "/v1/embeddings", `{"model":"m","input":["a","b","a"]}`)
	require.Equal(t, "list", gjson.Get(text, "object").Str)
	require.Len(t, gjson.Get(text, "data").Array(), 3)
	require.Equal(t, gjson.Get(text, "data.0.embedding").Raw, gjson.Get(text, "data.2.embedding").Raw)
	require.NotEqual(t, gjson.Get(text, "data.0.embedding").Raw, gjson.Get(text, "data.1.embedding").Raw)
	require.Positive(t, gjson.Get(text, "usage.prompt_tokens").Int())
	for _, one := range []string{`"a"`, `[1,2,3]`} {
		_, text = send(t, s, "k", "POST", "/v1/embeddings", `{"model":"m","input":`+one+`}`)
		require.Len(t, gjson.Get(text, "data").Array(), 1, one)
	}
	_, text = send(t, s, "k", "POST", "/v1beta/models/m:embedContent", `{"content":{"parts":[{"text":"a"}]}}`)
	require.Len(t, gjson.Get(text, "embedding.values").Array(), 8)
}

func TestGeminiCountsTokens(t *testing.T) {
	s := server(t, Options{})
	body := `{"contents":[{"role":"user","parts":[{"text":"` + long + `"}]}]}`
	_, text := send(t, s, "k", "POST", "/v1beta/models/m:countTokens", body)
	total := gjson.Get(text, "totalTokens").Int()
	require.Greater(t, total, int64(1024))
	_, text = send(t, s, "k", "POST", "/v1beta/models/m:countTokens", `{"generateContentRequest":`+body+`}`)
	require.Equal(t, total, gjson.Get(text, "totalTokens").Int())
	_, text = send(t, s, "k", "POST", "/v1beta/models/m:generateContent", body)
	require.Equal(t, total, gjson.Get(text, "usageMetadata.promptTokenCount").Int())
	require.Zero(t, gjson.Get(text, "usageMetadata.cachedContentTokenCount").Int())
}

func TestWhoLooksWhetherSomebodyIsThere(t *testing.T) {
	s := server(t, Options{Credentials: []string{"good"}})
	status, _ := send(t, s, "", http.MethodHead, "/", "")
	require.Equal(t, 200, status)
}

func TestWhatIsNotFoundIsSoInEachForm(t *testing.T) {
	s := server(t, Options{})
	for path, want := range map[string]string{
		"/v1beta/models/m:batch": `{"error":{"code":404,"message":"Invalid URL (POST /v1beta/models/m:batch)","status":"NOT_FOUND"}}`,
		"/v1/messages/batches":   `{"type":"error","error":{"type":"not_found_error","message":"Invalid URL (POST /v1/messages/batches)"}}`,
		"/v1/files":              `{"error":{"message":"Invalid URL (POST /v1/files)","type":"invalid_request_error","param":null,"code":null}}`,
	} {
		status, text := send(t, s, "k", "POST", path, `{}`)
		require.Equal(t, 404, status, path)
		require.JSONEq(t, want, text, path)
	}
}

// The faults of a credential also apply to endpoints that give no answer of a model.
func TestEveryEndpointMeetsTheFault(t *testing.T) {
	s := server(t, Options{})
	s.SetFault("k", Fault{Status: 429, Times: 1})
	status, _ := send(t, s, "k", "GET", "/v1/models", "")
	require.Equal(t, 429, status)
	status, _ = send(t, s, "k", "POST", "/v1/conversations", "x")
	require.Equal(t, 400, status)
	require.Equal(t, 2, s.Stats()["k"].Requests)
	require.Zero(t, s.Stats()["k"].Served)
}
