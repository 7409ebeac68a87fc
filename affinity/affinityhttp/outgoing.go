package affinityhttp

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// SetURL directs a request to base: it sets the scheme and the host, and puts the path of base
// before the request's own. It is for the prepare function of [New].
func SetURL(out *http.Request, base *url.URL) {
	u := *out.URL
	u.Scheme, u.Host, u.User = base.Scheme, base.Host, base.User
	if u.RawPath != "" || base.RawPath != "" {
		u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + u.EscapedPath()
	}
	u.Path = strings.TrimSuffix(base.Path, "/") + u.Path
	out.URL = &u
}

// outgoing returns the request to an auth, without the client's credential and without headers
// of the client's connection.
func (s *settings[T]) outgoing(ctx context.Context, in *http.Request) *http.Request {
	out := in.Clone(ctx)
	out.Host, out.RequestURI = "", ""
	dropCredential(out)
	for _, hop := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Upgrade", "Http2-Settings"} {
		out.Header.Del(hop)
	}
	s.narrow(out.Header)
	return out
}

// narrow reduces Accept-Encoding to the encodings that a watch can read.
func (s *settings[T]) narrow(h http.Header) {
	accepted := h.Values("Accept-Encoding")
	if len(accepted) == 0 {
		return
	}
	var known []string
	all := true
	for _, line := range accepted {
		for part := range strings.SplitSeq(line, ",") {
			coding, _, _ := strings.Cut(part, ";")
			coding = strings.ToLower(strings.TrimSpace(coding))
			if s.http.Decoder(coding) == nil && coding != "identity" && coding != "" {
				all = false
				continue
			}
			known = append(known, strings.TrimSpace(part))
		}
	}
	switch {
	case all:
	case len(known) == 0:
		h.Set("Accept-Encoding", "identity")
	default:
		h.Set("Accept-Encoding", strings.Join(known, ", "))
	}
}
