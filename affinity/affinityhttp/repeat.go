package affinityhttp

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Repeatable reports whether a request may be sent to another auth although it may have had an
// effect at the first one. It is true for requests that only read, and for most turns of a
// conversation, which only cost their tokens again. It is false for a turn that uses state at
// the provider (a conversation, a container), that runs in the background, or that calls tools
// which the provider runs and which may change something (MCP).
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
		return false // its effects are not known
	}
	harmless := true
	gjson.ParseBytes(r.Body).ForEach(func(name, v gjson.Result) bool { // the provider may use any of duplicate members
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

// Refused reports whether the request has had no effect, so that it may be sent to another auth
// whatever it asks for: the auth has refused it, perhaps in a stream with status 200, or there was
// no connection (the name is unknown, the connection was refused, the TLS handshake has failed
// before anything was sent). answer and err are what [Send] has returned.
func Refused(answer *http.Response, err error) bool {
	if answer == nil {
		return isNoConnection(err)
	}
	if body, ok := answer.Body.(*unwatched); ok {
		return body.refused
	}
	return isRefusal(answer.StatusCode)
}

// isNoConnection reports whether an error of a RoundTripper says that nothing was sent: there was
// no connection to the auth, nor to a proxy before it, or no agreement on TLS.
func isNoConnection(err error) bool {
	var op *net.OpError
	var name *net.DNSError
	var untrusted *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"),
		errors.As(err, &name), errors.As(err, &untrusted), errors.As(err, &noTLS),
		errors.Is(err, syscall.ECONNREFUSED):
		return true
	}
	// The type of this error of net/http is not exported.
	return err != nil && strings.HasSuffix(err.Error(), "net/http: TLS handshake timeout")
}

func isRefusal(status int) bool {
	switch status {
	case 400, 401, 402, 403, 404, 425, 429, 503, 529:
		return true
	}
	return false
}

func isSet(v gjson.Result) bool {
	return v.Exists() && v.Type != gjson.Null && v.Raw != "[]" && v.Raw != "{}"
}

// isAnswerOnly reports whether a POST changes nothing.
func isAnswerOnly(path string) bool {
	for _, end := range [...]string{"/embeddings", "/moderations", "/rerank", ":embedContent", ":batchEmbedContents"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}
