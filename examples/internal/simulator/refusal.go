package simulator

import (
	"net/http"
	"strings"
)

// refusal is an error before it has an API's form.
type refusal struct {
	status  int
	message string
	code    string // OpenAI's code, Anthropic's details.error_code
	param   string // OpenAI's
}

func anthropicFailure(r *refusal) any {
	kind := map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
	}[r.status]
	if kind == "" {
		kind = "api_error"
	}
	e := object{"type": kind, "message": r.message}
	if r.code != "" {
		e["details"] = object{"error_code": r.code}
	}
	return object{"type": "error", "error": e}
}

func openAIFailure(r *refusal) any {
	e := object{"message": r.message, "type": "invalid_request_error", "param": nil, "code": nil}
	switch {
	case r.status == http.StatusTooManyRequests:
		e["type"], e["code"] = "requests", "rate_limit_exceeded"
	case r.status >= 500:
		e["type"] = "server_error"
	case r.status == http.StatusUnauthorized:
		e["code"] = "invalid_api_key"
	}
	if r.code != "" {
		e["code"] = r.code
	}
	if r.param != "" {
		e["param"] = r.param
	}
	return object{"error": e}
}

func geminiFailure(r *refusal) any {
	name := map[int]string{
		400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
		429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
	}[r.status]
	if name == "" {
		name = "UNKNOWN"
	}
	return object{"error": object{"code": r.status, "message": r.message, "status": name}}
}

// interactionFailure differs from the form of Google's other APIs.
func interactionFailure(r *refusal) any {
	code := map[int]string{
		400: "invalid_request", 401: "unauthenticated", 403: "permission_denied", 404: "not_found",
		429: "rate_limit_exceeded", 503: "unavailable",
	}[r.status]
	if code == "" {
		code = "internal"
	}
	return object{"error": object{"code": code, "message": r.message}}
}

// unknownModel returns how each API refuses a model that it does not have.
func unknownModel(d *dialect, model string) *refusal {
	switch d {
	case &messages:
		return &refusal{status: http.StatusNotFound, message: "model: " + model}
	case &chat, &responses:
		return &refusal{status: http.StatusNotFound, message: "The model `" + model + "` does not exist or you do not have access to it.", code: "model_not_found"}
	}
	return &refusal{status: http.StatusNotFound, message: "models/" + strings.TrimPrefix(model, "models/") + " is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."}
}
