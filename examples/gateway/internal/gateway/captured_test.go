package gateway

import (
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
		// Session 4 of each client has the same words as session 0.
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

// Real clients that ask for a stream get one, also from the simulator.
func TestCapturedClientsGetTheirStreams(t *testing.T) {
	gw := startGateway(t, 8, GatewayOptions{Affinity: true})
	for _, c := range field.Captured(t) {
		header := http.Header{}
		for _, h := range c.Headers {
			header.Add(h[0], h[1])
		}
		header.Set("Authorization", "Bearer client")
		resp, stream := gw.post(t, c.Path, c.Body, header)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s", stream)
		require.Contains(t, resp.Header.Get("Content-Type"), "text/event-stream", "the response must be a stream")
		require.Contains(t, stream, "data: ")
	}
}

func replay(t *testing.T, requests []field.Request) {
	const auths = 8
	// The provider's answers are those that the session's next requests repeat.
	sessions, at := map[string][]field.Request{}, map[string]int{}
	for _, c := range requests {
		sessions[c.Session] = append(sessions[c.Session], c)
	}
	answers := map[string][]string{}
	for name, session := range sessions {
		answers[name] = field.Answers(t, session)
	}
	var answer string
	gw := startGatewayOn(t, GatewayOptions{Affinity: true, DecisionHeader: true, Pool: upstream(t, auths, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	})})
	first := map[string]string{}
	perAuth := map[string]int{}
	for _, c := range requests {
		if answer = answers[c.Session][at[c.Session]]; answer == "" {
			answer = `{}`
		}
		at[c.Session]++
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.url+c.Path, strings.NewReader(c.Body))
		require.NoError(t, err)
		for _, h := range c.Headers {
			req.Header.Add(h[0], h[1])
		}
		req.Header.Set("Authorization", "Bearer client")
		resp, err := gw.client.Do(req)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
		require.Equal(t, answer, string(text))
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
	// The balancer is round robin. Side requests take some of its turns, so the sessions are not
	// spread exactly evenly.
	require.GreaterOrEqual(t, len(perAuth), auths*3/4)
	for auth, n := range perAuth {
		require.LessOrEqual(t, float64(n), 2*float64(len(first))/auths+1, auth)
	}
}
