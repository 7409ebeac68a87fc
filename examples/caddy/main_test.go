package main

import (
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// This Caddy can read the Caddyfile of the README, and the file has the form that caddy fmt writes.
func TestTheCaddyfileIsWhole(t *testing.T) {
	file, err := os.ReadFile("Caddyfile")
	require.NoError(t, err)
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(file, map[string]any{"filename": "Caddyfile"})
	require.NoError(t, err)
	require.Empty(t, warnings)
	server := gjson.GetBytes(config, "apps.http.servers.srv0")
	require.JSONEq(t, `["127.0.0.1:8080"]`, server.Get("listen").Raw)
	require.Equal(t, "llm_session", server.Get("routes.0.handle.0.handler").Str)
	require.Equal(t, "least_conn", server.Get("routes.0.handle.1.load_balancing.selection_policy.fallback.policy").Str)
}
