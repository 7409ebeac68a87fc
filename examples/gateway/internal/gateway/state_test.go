package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// simulatedUpstream starts a simulator, and returns it with its pool of auths.
func simulatedUpstream(t *testing.T, auths int, o simulator.Options) (*simulator.Server, *Pool) {
	t.Helper()
	sim, err := simulator.New(o)
	require.NoError(t, err)
	return sim, upstream(t, auths, sim.ServeHTTP)
}

// startSimulated starts a gateway with a simulator of its own.
func startSimulated(t *testing.T, auths int, so simulator.Options, o GatewayOptions) *testGateway {
	t.Helper()
	sim, pool := simulatedUpstream(t, auths, so)
	o.Pool = pool
	gw := startGatewayOn(t, o)
	gw.sim = sim
	return gw
}

// startInside is like startSimulated, without a network, so that a test can have a virtual clock.
func startInside(t *testing.T, auths int, so simulator.Options, o GatewayOptions) *testGateway {
	t.Helper()
	sim, err := simulator.New(so)
	require.NoError(t, err)
	base, err := url.Parse("http://provider")
	require.NoError(t, err)
	o.Pool, o.Base = &Pool{}, inside{sim}
	for i := range auths {
		o.Pool.auths = append(o.Pool.auths, &Auth{Name: fmt.Sprint("sim-", i+1), API: APIAny, URL: base, Key: fmt.Sprint("key-", i+1)})
	}
	g, err := NewGateway(o)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return &testGateway{g: g, sim: sim, pool: o.Pool, url: "http://gateway", client: &http.Client{Transport: inside{g}}}
}

// reply is the answer that a client has got.
type reply struct {
	status int
	header http.Header
	text   string
	err    error
}

func (r reply) auth() string { return decisionOf(&http.Response{Header: r.header})["auth"] }

// send is like post, with any method, and for other goroutines than the test's. header has names
// and values.
func (gw *testGateway) send(method, path, body string, header ...string) (r reply) {
	req, err := http.NewRequest(method, gw.url+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := gw.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, strings.TrimSpace(string(text)), err}
}

// pieces returns the events of a streamed answer in any form, or the one value of another answer.
func pieces(text string) (out []gjson.Result) {
	if strings.HasPrefix(text, "{") {
		return []gjson.Result{gjson.Parse(text)}
	}
	if strings.HasPrefix(text, "[") {
		return gjson.Parse(text).Array()
	}
	for line := range strings.Lines(text) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok && gjson.Valid(data) {
			out = append(out, gjson.Parse(data))
		}
	}
	return out
}

// told returns the value in one of the places, of the last piece of an answer that has one.
func told(text string, places ...string) (said string) {
	for _, p := range pieces(text) {
		for _, at := range places {
			if v := p.Get(at).String(); v != "" {
				said = v
			}
		}
	}
	return said
}

// joined returns the text in one of the places, joined over all pieces of an answer.
func joined(text string, places ...string) string {
	var b strings.Builder
	for _, p := range pieces(text) {
		for _, at := range places {
			if v := p.Get(at); v.Type == gjson.String {
				b.WriteString(v.Str)
				break
			}
		}
	}
	return b.String()
}

// written returns a value as JSON.
func written(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // does not happen: the value has only maps, lists and texts
	}
	return string(text)
}

// stateful is a client that uses state that the provider stores for it. It names no session.
type stateful struct {
	gw     *testGateway
	header []string
	asked  int
	failed []string
	auths  []string // the auths of its answers in order, without repetitions in a row
}

// ask sends a request and returns its answer, "" if it has failed.
func (s *stateful) ask(method, path string, body any) string {
	text := ""
	if body != nil {
		text = written(body)
	}
	r := s.gw.send(method, path, text, append([]string{"Authorization", "Bearer client"}, s.header...)...)
	s.asked++
	if r.err != nil || r.status != http.StatusOK {
		s.failed = append(s.failed, fmt.Sprint(method, " ", path, ": ", r.status, " ", r.text, r.err))
		return ""
	}
	if auth := r.auth(); len(s.auths) == 0 || s.auths[len(s.auths)-1] != auth {
		s.auths = append(s.auths, auth)
	}
	return r.text
}

// expect counts a wrong answer as a failure.
func (s *stateful) expect(ok bool, what string) {
	if !ok {
		s.failed = append(s.failed, what)
	}
}

const turnsOfAChain = 10

// stateKinds are the kinds of state that a provider stores for a credential, each with a client
// that uses it. All clients begin with the same words.
var stateKinds = []struct {
	name  string
	chain func(s *stateful, stream bool)
}{
	{name: "previous_response_id", chain: func(s *stateful, stream bool) {
		id := ""
		for range turnsOfAChain {
			body := object{"model": "m", "stream": stream, "input": "go on"}
			if id != "" {
				body["previous_response_id"] = id
			}
			if text := s.ask("POST", "/v1/responses", body); text != "" {
				id = told(text, "id", "response.id")
			}
		}
		s.expect(told(s.ask("GET", "/v1/responses/"+id, nil), "id") == id, "the response is not shown")
		s.expect(told(s.ask("DELETE", "/v1/responses/"+id, nil), "deleted") == "true", "the response is not deleted")
	}},
	{name: "conversation", chain: func(s *stateful, stream bool) {
		id := told(s.ask("POST", "/v1/conversations", object{}), "id")
		for i := range turnsOfAChain {
			s.ask("POST", "/v1/responses", object{"model": "m", "stream": stream, "input": "go on", "conversation": id})
			items := s.ask("GET", "/v1/conversations/"+id+"/items?limit=100", nil)
			s.expect(items == "" || gjson.Get(items, "data.#").Int() == int64(2*(i+1)), "items are missing: "+items)
		}
		s.ask("POST", "/v1/conversations/"+id+"/items", object{"items": []any{object{"role": "user", "content": "later"}}})
		s.ask("DELETE", "/v1/conversations/"+id, nil)
	}},
	{name: "message thread", chain: func(s *stateful, stream bool) {
		s.header = []string{"Anthropic-Version", "2023-06-01", "Anthropic-Beta", "message-threads-2026-08-12"}
		thread := object{"type": "create"}
		for range turnsOfAChain {
			text := s.ask("POST", "/v1/messages", object{"model": "m", "stream": stream, "max_tokens": 9, "thread": thread,
				"messages": []any{object{"role": "user", "content": "go on"}}})
			if text != "" {
				thread = object{"type": "continue", "previous_message_id": told(text, "id", "message.id")}
			}
		}
	}},
	{name: "container", chain: func(s *stateful, stream bool) {
		s.header = []string{"Anthropic-Version", "2023-06-01"}
		var messages []any
		container := ""
		for range turnsOfAChain {
			messages = append(messages, object{"role": "user", "content": "go on"})
			body := object{"model": "m", "stream": stream, "max_tokens": 9, "messages": messages,
				"tools": []any{object{"type": "code_execution_20250825", "name": "code_execution"}}}
			if container != "" {
				body["container"] = container
			}
			text := s.ask("POST", "/v1/messages", body)
			if text == "" { // after a failure the client asks again
				messages = messages[:len(messages)-1]
				continue
			}
			container = told(text, "container.id", "delta.container.id")
			messages = append(messages, object{"role": "assistant", "content": joined(text, "delta.text", "content.0.text")})
		}
	}},
	{name: "cachedContent", chain: func(s *stateful, stream bool) {
		part := func(role, text string) object {
			return object{"role": role, "parts": []any{object{"text": text}}}
		}
		name := told(s.ask("POST", "/v1beta/cachedContents", object{"model": "models/m", "contents": []any{part("user", boilerplate("gemini"))}, "ttl": "600s"}), "name")
		path := "/v1beta/models/m:generateContent"
		if stream {
			path = "/v1beta/models/m:streamGenerateContent?alt=sse"
		}
		var contents []any
		for range turnsOfAChain {
			contents = append(contents, part("user", "go on"))
			text := s.ask("POST", path, object{"contents": contents, "cachedContent": name})
			if text == "" {
				contents = contents[:len(contents)-1]
				continue
			}
			s.expect(told(text, "usageMetadata.cachedContentTokenCount") != "0", "nothing was cached")
			contents = append(contents, part("model", joined(text, "candidates.0.content.parts.0.text")))
		}
		s.ask("PATCH", "/v1beta/"+name, object{"ttl": "900s"})
		s.expect(told(s.ask("GET", "/v1beta/"+name, nil), "name") == name, "the cached content is not shown")
		s.ask("DELETE", "/v1beta/"+name, nil)
	}},
	{name: "previous_interaction_id", chain: func(s *stateful, stream bool) {
		id := ""
		for range turnsOfAChain {
			body := object{"model": "m", "stream": stream, "input": "go on"}
			if id != "" {
				body["previous_interaction_id"] = id
			}
			if text := s.ask("POST", "/v1beta/interactions", body); text != "" {
				id = told(text, "id", "interaction.id")
			}
		}
	}},
}

// chains runs many clients of one kind at the same time, with other sessions in between.
func chains(t *testing.T, affinity bool, run func(*stateful)) (asked, failed int, all []*stateful) {
	t.Helper()
	gw := startSimulated(t, 8, simulator.Options{}, GatewayOptions{Affinity: affinity, DecisionHeader: true})
	var clients sync.WaitGroup
	for range 30 / thorough {
		s := &stateful{gw: gw}
		all = append(all, s)
		clients.Go(func() { run(s) })
	}
	var others []*stateful
	for i := range 10 {
		s := &stateful{gw: gw, header: []string{"X-Session-Id", fmt.Sprint("other-", i)}}
		others = append(others, s)
		clients.Go(func() {
			for range turnsOfAChain {
				s.ask("POST", "/v1/chat/completions", object{"model": "m", "messages": []any{object{"role": "user", "content": "go on"}}})
			}
		})
	}
	clients.Wait()
	for _, s := range others {
		require.Empty(t, s.failed, "clients that need no state must be served without a failure")
	}
	for _, s := range all {
		asked += s.asked
		failed += len(s.failed)
	}
	return asked, failed, all
}

// Only the auth that has made a state knows it. With affinity many clients of each kind, at the same
// time, get no error, and all answers of a client come from one auth. The control: without affinity
// the same clients get errors.
func TestStateIsFoundByTheAuthThatHasIt(t *testing.T) {
	for _, kind := range stateKinds {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, streamed %v", kind.name, stream), func(t *testing.T) {
				asked, failed, all := chains(t, true, func(s *stateful) { kind.chain(s, stream) })
				auths := map[string]int{}
				for _, s := range all {
					require.Empty(t, s.failed)
					require.Len(t, s.auths, 1, "%v", s.auths)
					auths[s.auths[0]]++
				}
				plainAsked, plainFailed, _ := chains(t, false, func(s *stateful) { kind.chain(s, stream) })
				require.Zero(t, failed)
				require.Positive(t, plainFailed)
				t.Logf("with affinity %d of %d requests fail, without it %d of %d; chains per auth %v", failed, asked, plainFailed, plainAsked, auths)
			})
		}
	}
}

// A thread that was not continued for a long time expires. The client gets the provider's own
// error, sends the whole history again, and stays on its auth.
func TestAThreadThatHasExpiredGoesOnAtItsAuth(t *testing.T) {
	for _, header := range [][]string{nil, {"X-Session-Id", "the-session"}} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, streamed %v", header, stream), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gw := startInside(t, 8, simulator.Options{ThreadTTL: time.Minute}, GatewayOptions{Affinity: true, DecisionHeader: true})
					ask := func(messages []any, thread object) reply {
						return gw.send("POST", "/v1/messages", written(object{"model": "m", "stream": stream, "max_tokens": 9, "messages": messages, "thread": thread}),
							append([]string{"Authorization", "Bearer client", "Anthropic-Version", "2023-06-01", "Anthropic-Beta", "message-threads-2026-08-12"}, header...)...)
					}
					between := func(n int) { // other sessions, so that round robin would choose another auth
						require.Equal(t, http.StatusOK, gw.send("POST", "/v1/messages", question, "X-Session-Id", fmt.Sprint("other-", n)).status)
					}
					var history []any
					home, id := "", ""
					thread := object{"type": "create"}
					for i := range 6 {
						question := object{"role": "user", "content": fmt.Sprint("question ", i)}
						history = append(history, question)
						sent := []any{question}
						if i == 4 { // after the thread has expired
							time.Sleep(2 * time.Minute)
							r := ask(sent, thread)
							require.Equal(t, http.StatusNotFound, r.status)
							require.JSONEq(t, `{"type":"error","error":{"type":"not_found_error","message":"Thread not found: `+id+`","details":{"error_code":"thread_not_found"}}}`, r.text)
							require.Equal(t, home, r.auth())
							between(100)
							sent, thread = history, object{"type": "create"}
						}
						r := ask(sent, thread)
						require.Equal(t, http.StatusOK, r.status, r.text)
						if i == 0 {
							home = r.auth()
						}
						require.Equal(t, home, r.auth(), "turn %d", i)
						id = told(r.text, "id", "message.id")
						thread = object{"type": "continue", "previous_message_id": id}
						history = append(history, object{"role": "assistant", "content": joined(r.text, "delta.text", "content.0.text")})
						between(i)
					}
					require.Equal(t, 6+1+7, gw.tries(), "no other auth may get a request for the thread")
					require.Empty(t, gw.pool.Named(home).Reason(), "an expired thread must not count as a failure of its auth")
				})
			})
		}
	}
}
