package affinityhttp_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// A request that the provider cannot serve at any auth, and that its client repeats, costs other
// sessions nothing: with an id, by its content, and if nothing names a session.
func TestARequestThatFailsEverywhereStopsNoAuth(t *testing.T) {
	const poison = `{"model":"m","messages":[{"role":"user","content":"poison"}]}`
	for what, bad := range map[string]func(p *proxy) got{
		"an id": func(p *proxy) got {
			return p.send(t, http.MethodPost, "/v1/chat/completions", poison, "X-Session-Id", "bad")
		},
		"content": func(p *proxy) got { return p.send(t, http.MethodPost, "/v1/chat/completions", poison) },
		"nothing": func(p *proxy) got {
			return p.send(t, http.MethodPost, "/v1/rerank", `{"model":"m","query":"poison"}`)
		},
	} {
		p := start(t, func(auth string, w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil && bytes.Contains(body, []byte("poison")) {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			ok(auth, w, r)
		}, nil)
		home := map[string]string{}
		for i := range 12 {
			session := fmt.Sprint("s", i)
			home[session] = p.turn(t, session).decision["auth"]
		}
		for range 20 {
			require.Equal(t, http.StatusInternalServerError, bad(p).StatusCode)
			for session, auth := range home {
				require.Equal(t, auth, p.turn(t, session).decision["auth"], what)
			}
		}
		for _, auth := range names {
			require.Zero(t, p.RestsUntil(auth, "m"), what)
		}
	}
}

// Requests without a session that fail are different ones if their bodies are, so that an auth
// that fails all of them rests.
func TestRequestsWithoutASessionCountEach(t *testing.T) {
	var f failing
	for _, auth := range names {
		f.set(auth, 500, "")
	}
	p := start(t, f.serve, nil)
	for i := range 20 {
		require.Equal(t, 500, p.send(t, http.MethodPost, "/v1/rerank", fmt.Sprintf(`{"model":"m","query":"%d"}`, i)).StatusCode)
	}
	for _, auth := range names {
		require.NotZero(t, p.RestsUntil(auth, "m"))
	}
}
