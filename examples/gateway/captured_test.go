package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/field"
)

func TestCapturedClientsStayOnTheirAuth(t *testing.T) {
	all := field.Captured(t)
	require.Len(t, all, 81)
	var anonymous []field.Request
	for _, c := range all {
		// Session 4 of each client is the word-for-word twin of session 0.
		if !strings.HasSuffix(c.Session, "/4") {
			anonymous = append(anonymous, c.WithoutIDs(t))
		}
	}
	for name, requests := range map[string][]field.Request{"as captured": all, "all ids removed": anonymous} {
		for seed := range uint64(3) {
			t.Run(name, func(t *testing.T) {
				session := func(r field.Request) string { return r.Session }
				replay(t, field.Interleave(requests, session, rand.New(rand.NewPCG(seed, 1))))
			})
		}
	}
}

func replay(t *testing.T, requests []field.Request) {
	const auths = 8
	gw := startGateway(t, auths, GatewayOptions{Affinity: true, DecisionHeader: true})
	first := map[string]string{}
	perAuth := map[string]int{}
	for _, c := range requests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.url+c.Path, strings.NewReader(c.Body))
		require.NoError(t, err)
		for _, h := range c.Headers {
			req.Header.Add(h[0], h[1])
		}
		req.Header.Set("Authorization", "Bearer client")
		resp, err := gw.client.Do(req)
		require.NoError(t, err)
		stream, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s", stream)
		require.Contains(t, resp.Header.Get("Content-Type"), "text/event-stream", "each response is streamed")
		require.True(t, bytes.Contains(stream, []byte("data: ")))
		if !c.Main {
			continue
		}
		auth := decisionOf(resp)["auth"]
		if first[c.Session] == "" {
			first[c.Session] = auth
			perAuth[auth]++
		}
		require.Equal(t, first[c.Session], auth, "%s, turn %d", c.Session, c.Turn)
	}
	t.Logf("%d sessions, first requests per auth: %v, decisions %+v", len(first), perAuth, gw.g.Stats())
	// The balancer is round robin, and side requests take turns of it too, so
	// the main lines' spread is not exact.
	require.GreaterOrEqual(t, len(perAuth), auths*3/4)
	for auth, n := range perAuth {
		require.LessOrEqual(t, float64(n), 2*float64(len(first))/auths+1, auth)
	}
}
