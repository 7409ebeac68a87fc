package affinityhttp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity/affinitytest"
)

func TestAReverseProxyOverATransportKeepsSessions(t *testing.T) {
	affinitytest.Test(t, affinitytest.HTTP(t, func(provider string, auths []string) (affinitytest.Gateway, error) {
		base, err := url.Parse(provider)
		require.NoError(t, err)
		p := startNamed(t, base, auths, nil)
		return affinitytest.Gateway{
			URL:    p.url,
			AuthOf: func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer key-") },
			Back:   func(auth string) { require.NoError(t, p.Back(t.Context(), auth)) },
		}, nil
	}))
}
