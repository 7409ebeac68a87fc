package affinityhttp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
)

// credentialHeaders are the headers in which clients send their credential for the gateway.
var credentialHeaders = [...]string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key", "Proxy-Authorization"}

// credentialOf returns the client's credential, "" for none.
func credentialOf(r *http.Request) string {
	for _, h := range credentialHeaders {
		if v := r.Header.Get(h); v != "" {
			// The same key is the same tenant, in whatever header it comes.
			switch scheme, key, _ := strings.Cut(v, " "); {
			case strings.EqualFold(scheme, "bearer"):
				return strings.TrimSpace(key)
			case strings.HasPrefix(scheme, "AWS4-"): // each request has another signature
				_, key, _ = strings.Cut(key, "Credential=")
				key, _, _ = strings.Cut(key, "/")
				return "AWS4 " + key
			}
			return v
		}
	}
	if strings.Contains(r.URL.RawQuery, "key=") {
		return r.URL.Query().Get("key")
	}
	return ""
}

// dropCredential removes the client's credential from a request.
func dropCredential(r *http.Request) {
	for _, h := range credentialHeaders {
		r.Header.Del(h)
	}
	r.Header.Del("X-Amz-Security-Token")
	if strings.Contains(r.URL.RawQuery, "key=") {
		if q := r.URL.Query(); q.Has("key") {
			q.Del("key")
			r.URL.RawQuery = q.Encode()
		}
	}
}

// tenant returns the tenant of a request: a digest of the credential, because a credential
// must not be in a store.
func (s *settings[T]) tenant(r *http.Request) string {
	credential := credentialOf(r)
	if credential == "" {
		return ""
	}
	h := hmac.New(sha256.New, s.TenantKey)
	_, _ = io.WriteString(h, credential)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
