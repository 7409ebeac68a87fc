package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// captured is one request of a real client, and the conversation it is part of.
type captured struct {
	Client  string      `json:"client"`
	Session string      `json:"session"`
	Turn    int         `json:"turn"`
	Path    string      `json:"path"`
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"`
}

// readCaptured reads the captured requests of a developer's or CI's machine.
func readCaptured(t *testing.T) []captured {
	t.Helper()
	const file = "../../../shared/clients/captured.jsonl.gz"
	f, err := os.Open(file)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s must be there in CI: %v", file, err)
		}
		t.Skipf("needs %s, which is not part of the project: %v", file, err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var out []captured
	for d := json.NewDecoder(z); ; {
		var c captured
		if err := d.Decode(&c); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
		out = append(out, c)
	}
	require.Len(t, out, 81)
	return out
}

// mainLine tells a session's main requests from side requests (titles, memory
// extraction): those come with fewer tools than the session's agent has.
func mainLine(all []captured) func(captured) bool {
	tools := func(c captured) int64 { return gjson.Get(c.Body, "tools.#").Int() }
	most := map[string]int64{}
	for _, c := range all {
		most[c.Session] = max(most[c.Session], tools(c))
	}
	return func(c captured) bool { return tools(c) == most[c.Session] }
}

// withoutIDs takes away everything that names a session but the messages.
func withoutIDs(t *testing.T, c captured) captured {
	t.Helper()
	var headers [][2]string
	for _, h := range c.Headers {
		switch name := strings.ToLower(h[0]); {
		case strings.Contains(name, "session"), strings.Contains(name, "thread"), strings.Contains(name, "codex"),
			name == "x-client-request-id":
		default:
			headers = append(headers, h)
		}
	}
	c.Headers = headers
	var body map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(c.Body), &body))
	for _, name := range []string{"metadata", "prompt_cache_key", "client_metadata"} {
		delete(body, name)
	}
	text, err := json.Marshal(body)
	require.NoError(t, err)
	c.Body = string(text)
	return c
}

// interleave shuffles the sessions into each other, each in its own order.
func interleave(all []captured, rng *rand.Rand) []captured {
	queues := map[string][]captured{}
	var names []string
	for _, c := range all {
		if queues[c.Session] == nil {
			names = append(names, c.Session)
		}
		queues[c.Session] = append(queues[c.Session], c)
	}
	var out []captured
	for len(names) > 0 {
		i := rng.IntN(len(names))
		q := queues[names[i]]
		out = append(out, q[0])
		if queues[names[i]] = q[1:]; len(q) == 1 {
			names = append(names[:i], names[i+1:]...)
		}
	}
	return out
}

func TestCapturedClientsStayOnTheirAuth(t *testing.T) {
	all := readCaptured(t)
	var anonymous []captured
	for _, c := range all {
		// Session 4 of each client is the word-for-word twin of session 0.
		if !strings.HasSuffix(c.Session, "/4") {
			anonymous = append(anonymous, withoutIDs(t, c))
		}
	}
	for _, test := range []struct {
		name     string
		requests []captured
	}{{"as captured", all}, {"all ids removed", anonymous}} {
		for seed := range uint64(3) {
			t.Run(test.name, func(t *testing.T) {
				replay(t, interleave(test.requests, rand.New(rand.NewPCG(seed, 1))), mainLine(all))
			})
		}
	}
}

func replay(t *testing.T, requests []captured, isMain func(captured) bool) {
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
		if !isMain(c) {
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
