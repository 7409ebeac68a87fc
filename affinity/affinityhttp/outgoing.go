package affinityhttp

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
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
	if !strings.HasPrefix(u.Path, "/") && u.Path != "" { // as of url.URL.JoinPath for a base without a path
		if u.Path = "/" + u.Path; u.RawPath != "" {
			u.RawPath = "/" + u.RawPath
		}
	}
	out.URL = &u
}

// Outgoing returns a client's request as one for an auth, with the body that the client has sent,
// for a gateway that calls [Send]. The client's credential and headers of its connection are
// removed, and Accept-Encoding is reduced to what Send can read. The caller sets the URL, see
// [SetURL], and the auth's credential. in stays as it is.
func Outgoing(ctx context.Context, in *http.Request, body []byte) *http.Request {
	out := outgoing(ctx, in, &readable)
	setBody(out, body)
	return out
}

// Outbound is what a [Transport] knows of a request that it sends to an auth.
type Outbound struct {
	// Request is the client's request as Options.Describe has left it, without the Body. Header is
	// the client's, with its credential: only read it.
	Request  affinity.Request
	Decision affinity.Decision
	// Number counts the attempts of one client's request from 1.
	Number int
}

// OutboundFrom returns what a [Transport] knows of a request that it sends, for its prepare
// function and for Options.Base: which model the client asks for, whose request it is, and why
// this auth was chosen. ctx is the context of that request, or one that is made from it.
func OutboundFrom(ctx context.Context) (o Outbound, ok bool) {
	o, ok = ctx.Value(outboundKey{}).(Outbound)
	return o, ok
}

type outboundKey struct{}

func withOutbound(ctx context.Context, o Outbound) context.Context {
	o.Request.Body = nil // it is not held as long as the context
	return context.WithValue(ctx, outboundKey{}, o)
}

// setBody gives a request a body that is held in memory.
func setBody(out *http.Request, body []byte) {
	if len(body) == 0 {
		out.Body, out.GetBody, out.ContentLength = http.NoBody, nil, 0
		return
	}
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	out.Body, _ = out.GetBody()
	out.ContentLength, out.TransferEncoding = int64(len(body)), nil
}

// outgoing returns the request to an auth, without the client's credential and without headers
// of the client's connection.
func outgoing(ctx context.Context, in *http.Request, codes *sessionid.HTTPOptions) *http.Request {
	out := in.Clone(ctx)
	out.Host, out.RequestURI = "", ""
	// An http.Client with a Timeout closes it a moment before the context ends, and that
	// moment would look like a failure of the auth.
	out.Cancel = nil //lint:ignore SA1019 the client still sets it
	dropCredential(out)
	for _, line := range in.Header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			out.Header.Del(strings.TrimSpace(name)) // RFC 9110, 7.6.1
		}
	}
	for _, hop := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Upgrade", "Http2-Settings"} {
		out.Header.Del(hop)
	}
	narrow(out.Header, codes)
	return out
}

// narrow reduces Accept-Encoding to the encodings that a watch can read.
func narrow(h http.Header, codes *sessionid.HTTPOptions) {
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
			if codes.Decoder(coding) == nil && coding != "identity" && coding != "" {
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
