package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
)

// The gateway passes the checks of package affinitytest.
func TestTheGatewayKeepsSessionsAsAnyMust(t *testing.T) {
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, auths []string) (affinitytest.Gateway, error) {
		base, err := url.Parse(provider)
		require.NoError(t, err)
		p := &Pool{}
		for _, name := range auths {
			p.auths = append(p.auths, &Auth{Name: name, API: APIAny, URL: base, Key: "key-" + name})
		}
		gw := startGatewayOn(t, GatewayOptions{Pool: p, Affinity: true})
		return affinitytest.Gateway{
			URL:    gw.url,
			AuthOf: func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer key-") },
			Back:   func(auth string) { require.NoError(t, gw.g.transport.Back(t.Context(), auth)) },
		}, nil
	}))
}
