package affinityhttp

import (
	"net/http"
	"strings"
)

// The APIs that a Transport knows. The Pool of a request is one of them, unless
// Options.Describe says otherwise.
const (
	Anthropic = "anthropic" // Anthropic's messages
	OpenAI    = "openai"    // chat completions, responses, and OpenAI's other calls
	Gemini    = "gemini"    // Google's generateContent and interactions
	// Bedrock is Amazon Bedrock's Converse and InvokeModel. The answers of Converse, and streams of
	// both, are passed on but not read: their cost is unknown, and they tell no conversations apart.
	Bedrock = "bedrock"
)

// kind is how a call relates to a session.
type kind uint8

const (
	// kindTurn is a turn of a conversation: it calls a model and may be repeated.
	kindTurn kind = iota
	// kindSide belongs to a conversation, but is no turn of it: a token count, reading a
	// response.
	kindSide
	// kindApart belongs to no conversation: embeddings, a list of models.
	kindApart
	// kindState makes or changes state, such as a conversation, and calls no model.
	kindState
	// kindUnknown is a call that is not known.
	kindUnknown
)

// target is what the URL and the method of a request say.
type target struct {
	api, model string
	kind       kind
}

// calls maps the segments of a path that identify a call. The last one in the path counts. But
// one without an API of its own is a part of the one before it, as files are of a container.
var calls = map[string]target{
	"messages":      {api: Anthropic, kind: kindTurn},
	"count_tokens":  {api: Anthropic, kind: kindSide},
	"completions":   {api: OpenAI, kind: kindTurn},
	"responses":     {api: OpenAI, kind: kindTurn},
	"input_tokens":  {api: OpenAI, kind: kindSide},
	"compact":       {api: OpenAI, kind: kindSide},
	"conversations": {api: OpenAI, kind: kindState},
	"containers":    {api: OpenAI, kind: kindState},
	"interactions":  {api: Gemini, kind: kindTurn},
	// Its contents are the beginning of many conversations, and no conversation.
	"cachedContents": {api: Gemini, kind: kindApart},
	"embeddings":     {api: OpenAI, kind: kindApart},
	"moderations":    {api: OpenAI, kind: kindApart},
	"images":         {api: OpenAI, kind: kindApart},
	"audio":          {api: OpenAI, kind: kindApart},
	"rerank":         {api: OpenAI, kind: kindApart},
	"models":         {kind: kindApart},
	"batches":        {kind: kindApart},
	"files":          {kind: kindApart},
}

// bedrockCalls are the calls of Amazon Bedrock's runtime, POST /model/{modelId}/{call}, from its
// API reference.
var bedrockCalls = map[string]kind{
	"converse": kindTurn, "converse-stream": kindTurn,
	"invoke": kindTurn, "invoke-with-response-stream": kindTurn,
	"count-tokens": kindSide,
}

// bedrockTarget returns the target of a call of Bedrock. before is the path without its last
// segment.
func bedrockTarget(before, last string) (t target, ok bool) {
	call, ok := bedrockCalls[last]
	if !ok {
		return t, false
	}
	_, model, ok := strings.Cut(before, "/model/") // an ARN has slashes
	if strings.Contains(model, "embed") {
		call = kindApart // embeddings are invoked like any model
	}
	return target{Bedrock, model, call}, ok && model != ""
}

// deploymentOf returns the deployment that a path of Azure OpenAI names in place of a model.
func deploymentOf(path string) string {
	_, rest, _ := strings.Cut(path, "/openai/deployments/")
	name, _, ok := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	return name
}

// targetOf reads the URL and the method of a request.
func targetOf(r *http.Request) target {
	t := target{kind: kindUnknown}
	path := strings.TrimSuffix(r.URL.Path, "/")
	last := path[strings.LastIndexByte(path, '/')+1:]
	if name, method, ok := strings.Cut(last, ":"); ok && !strings.Contains(path, "/conversations/") { // Google's custom methods
		t.api = Gemini
		if strings.HasSuffix(path[:len(path)-len(last)], "/models/") {
			t.model = name
		}
		switch method {
		case "generateContent", "streamGenerateContent":
			t.kind = kindTurn
		case "rawPredict", "streamRawPredict":
			t.kind = kindTurn
			if strings.Contains(path, "/publishers/anthropic/") {
				t.api = Anthropic
			}
		case "countTokens":
			t.kind = kindSide
		default:
			t.kind = kindApart
		}
		return t
	}
	if t, ok := bedrockTarget(path[:max(len(path)-len(last)-1, 0)], last); ok {
		return t
	}
	depth := 0 // how many segments follow that of the call
	for segment := range strings.SplitSeq(path, "/") {
		c, ok := calls[segment]
		switch {
		case !ok:
			depth++
		case t.api != "" && (c.api == "" || t.kind == kindApart): // a part of the call before it
			depth++
		default:
			t, depth = c, 0
		}
	}
	switch t.api {
	case "":
		t.api = apiOfHeader(r)
	case OpenAI:
		t.model = deploymentOf(path)
	}
	switch read := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete; {
	case read && t.kind == kindUnknown:
		t.kind = kindApart
	case depth > 0 && strings.Contains(path, "/cachedContents/"): // an existing cached content
		t.kind = kindState
		if read {
			t.kind = kindSide
		}
	case read && t.kind != kindApart:
		t.kind = kindSide
	case t.kind == kindTurn && depth > 0: // responses/{id}/cancel
		t.kind = kindState
	}
	return t
}

// apiOfHeader returns the API of a call that all APIs have, such as /v1/models.
func apiOfHeader(r *http.Request) string {
	h := r.Header
	switch {
	case h.Get("Anthropic-Version") != "" || h.Get("X-Api-Key") != "":
		return Anthropic
	case h.Get("X-Goog-Api-Key") != "" || strings.HasPrefix(r.URL.Path, "/v1beta/") || strings.HasPrefix(r.URL.Path, "/upload/v1beta/"):
		return Gemini
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		return OpenAI
	}
	return ""
}
