package affinityhttp

import (
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Repeatable reports whether a request may be sent to another auth although the first
// one may have done something with it. A turn of a conversation costs its tokens again,
// and that is all, unless it goes on in state at the provider's (a conversation, a
// container), runs in the background, or calls tools that the provider runs and that may
// change something (MCP). Nothing else may be sent again but what only reads.
func Repeatable(in *http.Request, r affinity.Request) bool {
	switch t := targetOf(in); t.kind {
	case kindTurn:
	case kindState, kindUnknown:
		return in.Method == http.MethodGet || in.Method == http.MethodHead
	case kindSide:
		return in.Method != http.MethodDelete
	default:
		return in.Method == http.MethodGet || in.Method == http.MethodHead || isAnswerOnly(in.URL.Path)
	}
	if len(r.Body) == 0 {
		return false // nobody knows what it asks for
	}
	harmless := true
	gjson.ParseBytes(r.Body).ForEach(func(name, v gjson.Result) bool { // of duplicate members any may count
		switch name.Str {
		case "background":
			harmless = v.Type == gjson.False || v.Type == gjson.Null
		case "conversation", "container", "mcp_servers":
			harmless = !isSet(v)
		case "tools":
			v.ForEach(func(_, tool gjson.Result) bool {
				harmless = tool.Get("type").Str != "mcp" && tool.Get("container").Type != gjson.String && !tool.Get("environment.container_id").Exists()
				return harmless
			})
		}
		return harmless
	})
	return harmless
}

func isSet(v gjson.Result) bool {
	return v.Exists() && v.Type != gjson.Null && v.Raw != "[]" && v.Raw != "{}"
}

// isAnswerOnly reports whether a POST only asks.
func isAnswerOnly(path string) bool {
	for _, end := range [...]string{"/embeddings", "/moderations", "/rerank", ":embedContent", ":batchEmbedContents"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}
