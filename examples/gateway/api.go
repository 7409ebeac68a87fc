package main

import (
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// API is a family of endpoints that share a credential's form.
type API string

const (
	APIAnthropic API = "anthropic"
	APIOpenAI    API = "openai" // chat completions and responses
	APIGemini    API = "gemini"
	APIAny       API = "any" // an upstream that speaks all of them: the simulator
)

// route tells which API a path belongs to, and the model if the path names
// it. ok is false for paths that this gateway does not serve.
func route(path string) (api API, model string, ok bool) {
	switch path {
	case "/v1/messages", "/v1/messages/count_tokens":
		return APIAnthropic, "", true
	case "/v1/chat/completions", "/v1/responses":
		return APIOpenAI, "", true
	}
	if rest, found := strings.CutPrefix(path, "/v1beta/models/"); found {
		model, method, _ := strings.Cut(rest, ":")
		if model != "" && !strings.Contains(model, "/") && (method == "generateContent" || method == "streamGenerateContent") {
			return APIGemini, model, true
		}
	}
	return "", "", false
}

// modelOf reads the model from a body; "" if it has none.
func modelOf(body []byte) string {
	if m := gjson.GetBytes(body, "model"); m.Type == gjson.String {
		return m.Str
	}
	return ""
}

// credentialHeaders are where clients put the key they have for the gateway.
var credentialHeaders = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"}

// credentialOf is what the client presented, in any of the forms.
func credentialOf(r *http.Request) string {
	for _, h := range credentialHeaders {
		if v := r.Header.Get(h); v != "" {
			return v
		}
	}
	return r.URL.Query().Get("key")
}

// setCredential replaces the client's credential by the auth's own: the only
// change that a request sees on its way.
func setCredential(r *http.Request, api API, key string) {
	for _, h := range credentialHeaders {
		r.Header.Del(h)
	}
	if q := r.URL.Query(); q.Has("key") {
		q.Del("key")
		r.URL.RawQuery = q.Encode()
	}
	switch api {
	case APIAnthropic:
		r.Header.Set("X-Api-Key", key)
	case APIGemini:
		r.Header.Set("X-Goog-Api-Key", key)
	default:
		r.Header.Set("Authorization", "Bearer "+key)
	}
}
