package gateway

import (
	"net/http"
	"strings"

	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// API is a family of endpoints that share a credential's form.
type API string

const (
	APIAnthropic API = affinityhttp.Anthropic
	APIOpenAI    API = affinityhttp.OpenAI // chat completions, responses and what is beside them
	APIGemini    API = affinityhttp.Gemini
	APIAny       API = "any" // an upstream that speaks all of them: the simulator
)

// paths are what the gateway serves: a path, or with a slash at its end all below it.
var paths = map[string]API{
	"/v1/messages": APIAnthropic, "/v1/messages/count_tokens": APIAnthropic,
	"/v1/chat/completions": APIOpenAI, "/v1/completions": APIOpenAI, "/v1/embeddings": APIOpenAI,
	"/v1/responses": APIOpenAI, "/v1/responses/": APIOpenAI, "/v1/conversations": APIOpenAI, "/v1/conversations/": APIOpenAI,
	"/v1beta/models": APIGemini, "/v1beta/models/": APIGemini, "/v1beta/interactions": APIGemini, "/v1beta/interactions/": APIGemini,
	"/v1beta/cachedContents": APIGemini, "/v1beta/cachedContents/": APIGemini,
	"/v1/models": "", "/v1/models/": "", // of the provider that the client's headers are for
}

// served reports whether the gateway serves a request, and which API it calls. anyone says
// that all APIs have that call, so that the client's headers have decided.
func served(r *http.Request) (api API, anyone, ok bool) {
	path := r.URL.Path
	if path == "/" && r.Method == http.MethodHead { // Claude Code checks whether a server is there
		return APIAnthropic, true, true
	}
	if leadsUp(path) {
		return "", false, false
	}
	if api, ok = paths[path]; !ok {
		for i := strings.LastIndexByte(path, '/'); i > 0 && !ok; i = strings.LastIndexByte(path[:i], '/') {
			api, ok = paths[path[:i+1]]
		}
	}
	if !ok || api != "" {
		return api, false, ok
	}
	if r.Header.Get("Anthropic-Version") != "" {
		return APIAnthropic, true, true
	}
	return APIOpenAI, true, true
}

// leadsUp reports whether a path names a parent folder: with it a provider may serve something
// that the gateway does not. Some servers take a backslash for a slash, and ignore what
// follows a semicolon.
func leadsUp(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." || strings.Contains(strings.ToLower(segment), "%2e") || strings.Contains(strings.ToLower(segment), "%2f") {
			return true
		}
	}
	return false
}

// setCredential sets an auth's key in the form of the API.
func setCredential(r *http.Request, api API, key string) {
	switch api {
	case APIAnthropic:
		r.Header.Set("X-Api-Key", key)
	case APIGemini:
		r.Header.Set("X-Goog-Api-Key", key)
	default:
		r.Header.Set("Authorization", "Bearer "+key)
	}
}
