package requests

import "net/http"

// Where clients send their ids.
const (
	OwnHeader     = "X-Claude-Code-Session-Id"
	GenericHeader = "X-Session-Id"
)

// Header has the 16 names of a Claude Code request, without its session.
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

// WithID is Header with one name more. The id is in value[0], to be changed from request to
// request: a new map for each request would measure the making of maps.
func WithID(name string) (h http.Header, value []string) {
	h, value = Header(), []string{""}
	h[name] = value
	return h, value
}
