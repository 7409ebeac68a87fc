package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// owned are kinds of state that a provider stores: how each is made, and a request that uses it.
var owned = []struct {
	name, make, made string
	at               []string // where an answer names the state
	next, body       string   // the body has a place for the state's name
	follows          bool     // each answer is a new state
	header           []string
}{
	{"response", "/v1/responses", `{"model":"m","input":"q"}`, []string{"id"}, "/v1/responses", `{"model":"m","input":"go on","previous_response_id":%q}`, true, nil},
	{"conversation", "/v1/conversations", `{}`, []string{"id"}, "/v1/responses", `{"model":"m","input":"go on","conversation":%q}`, false, nil},
	{"message thread", "/v1/messages", `{"model":"m","thread":{"type":"create"},"messages":[{"role":"user","content":"q"}]}`, []string{"id"},
		"/v1/messages", `{"model":"m","thread":{"type":"continue","previous_message_id":%q},"messages":[{"role":"user","content":"go on"}]}`, true,
		[]string{"Anthropic-Beta", "message-threads-2026-08-12"}},
	{"container", "/v1/messages", `{"model":"m","tools":[{"type":"code_execution_20250825","name":"code_execution"}],"messages":[{"role":"user","content":"q"}]}`, []string{"container.id"},
		"/v1/messages", `{"model":"m","container":%q,"tools":[{"type":"code_execution_20250825","name":"code_execution"}],"messages":[{"role":"user","content":"go on"}]}`, false, nil},
	{"cached content", "/v1beta/cachedContents", `{"model":"models/m","contents":[{"role":"user","parts":[{"text":"c"}]}]}`, []string{"name"},
		"/v1beta/models/m:generateContent", `{"cachedContent":%q,"contents":[{"role":"user","parts":[{"text":"q"}]}]}`, false, nil},
	{"interaction", "/v1beta/interactions", `{"model":"m","input":"q"}`, []string{"id"}, "/v1beta/interactions", `{"model":"m","input":"go on","previous_interaction_id":%q}`, true, nil},
}

// passingFaults are failures that happen once.
var passingFaults = map[string]simulator.Fault{
	"503": {Status: http.StatusServiceUnavailable, Times: 1}, "429": {Status: http.StatusTooManyRequests, RetryAfter: time.Second, Times: 1},
	"hung up": {HangUp: true, Times: 1},
}

// failOnce makes state and uses it in some turns. Then the state's auth fails once. It returns the
// answer to that request, and a function that sends the next one.
func failOnce(t *testing.T, gw *testGateway, kind, turns int, f simulator.Fault) (failed reply, home string, goOn func() reply) {
	o := owned[kind]
	header := append([]string{"Authorization", "Bearer client"}, o.header...)
	r := gw.send("POST", o.make, o.made, header...)
	require.Equal(t, http.StatusOK, r.status, r.text)
	home = r.auth()
	name := told(r.text, o.at...)
	goOn = func() reply {
		r := gw.send("POST", o.next, fmt.Sprintf(o.body, name), header...)
		if o.follows && r.status == http.StatusOK {
			name = told(r.text, o.at...)
		}
		return r
	}
	for range turns {
		r = goOn()
		require.Equal(t, http.StatusOK, r.status, r.text)
		require.Equal(t, home, r.auth())
	}
	gw.sim.SetFault(gw.pool.Named(home).Key, f)
	return goOn(), home, goOn
}

// If an auth fails once, requests for its state are served by it again, after some minutes at the
// latest, even if the client has sent them all the time.
func TestStateOutlivesOneFailureOfItsAuth(t *testing.T) {
	for kind, o := range owned {
		for fault, f := range passingFaults {
			for _, turns := range []int{0, 3} {
				t.Run(fmt.Sprintf("%s, %s after %d turns", o.name, fault, turns), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						gw := startInside(t, 4, simulator.Options{ThreadTTL: 24 * time.Hour}, GatewayOptions{Affinity: true, DecisionHeader: true})
						_, home, goOn := failOnce(t, gw, kind, turns, f)
						for second := range 300 { // the client tries again every second
							if r := goOn(); r.status == http.StatusOK {
								require.Equal(t, home, r.auth())
								t.Logf("served again after %d seconds", second)
								return
							}
							time.Sleep(time.Second)
						}
						r := goOn()
						require.Equal(t, http.StatusOK, r.status, "%s: %s", r.header.Get(decisionHeader), r.text)
					})
				})
			}
		}
	}
}

// If the auth that has a conversation, a container or a cached content fails for a moment, the
// client gets that failure. It must not get the answer of another auth that the state does not
// exist: then it would give up state that still exists and that it cannot send again. (A client
// that continues a response, a thread or an interaction can send it again, and another auth serves
// it at once.)
func TestNobodyIsToldThatStateIsGoneWhichIsThere(t *testing.T) {
	for kind, o := range owned {
		if o.follows {
			continue
		}
		for fault, f := range passingFaults {
			t.Run(o.name+", "+fault, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gw := startInside(t, 4, simulator.Options{}, GatewayOptions{Affinity: true, DecisionHeader: true})
					r, _, _ := failOnce(t, gw, kind, 3, f)
					require.NoError(t, r.err)
					require.NotContains(t, []int{400, 403, 404}, r.status, "%s: %s", r.header.Get(decisionHeader), r.text)
				})
			})
		}
	}
}

// An auth gets requests only for the paths that the gateway serves. Dots in a path, also in the
// form %2e, must not lead to other paths, because servers resolve them.
func TestNoPathLeadsOutOfThoseThatAreServed(t *testing.T) {
	gw := startGatewayOn(t, GatewayOptions{Affinity: true, Pool: upstream(t, 1, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RequestURI)
	})})
	for _, path := range []string{
		"/v1/responses/../organization/admin_api_keys", "/v1/responses/%2e%2e/organization/admin_api_keys",
		"/v1/responses/..%2forganization/admin_api_keys", "/v1/responses/x/../../files", "/v1/models/../files",
		"/v1beta/models/../files", "/v1beta/models/..%2f..%2fv1/files", "/v1/conversations/conv_1/%2E./../files",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(gw.url, "http://")) // an http.Client may resolve the dots itself
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n", path)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusNotFound, resp.StatusCode, "%s must be refused, but the upstream has got a request for %s", path, text)
	}
}
