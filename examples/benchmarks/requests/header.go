package requests

import "net/http"

// Names of headers in which clients send their ids.
const (
	OwnHeader     = "X-Claude-Code-Session-Id"
	GenericHeader = "X-Session-Id"
)

// Header returns a header with the 16 names of a Claude Code request, without its session.
func Header() http.Header {
	h := http.Header{}
	for _, name := range []string{
		"Accept", "Content-Type", "User-Agent", "X-Stainless-Arch", "X-Stainless-Lang", "X-Stainless-Os", "X-Stainless-Package-Version",
		"X-Stainless-Retry-Count", "X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout", "Anthropic-Beta",
		"Anthropic-Dangerous-Direct-Browser-Access", "Anthropic-Version", "X-App", "Accept-Encoding",
	} {
		h[name] = []string{"some value of a usual length"}
	}
	return h
}

// WithID returns Header with one more name. The id is in value[0], which a caller changes for each
// request: with a new map for each request, a benchmark would measure the making of maps.
func WithID(name string) (h http.Header, value []string) {
	h, value = Header(), []string{""}
	h[name] = value
	return h, value
}
