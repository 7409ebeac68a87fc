package llmsession

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func askedOf(all []*upstream) (asked []int32) {
	for _, u := range all {
		asked = append(asked, u.asked.Swap(0))
	}
	return asked
}

// When an upstream has failed and Caddy tries again, the policy selects another upstream each time.
func TestARetryDoesNotGoToAnUpstreamThatHasFailed(t *testing.T) {
	ups, to := upstreams(t, 3, echo)
	f := start(t, `llm_session
		reverse_proxy {
			to `+to+`
			lb_policy llm_session {
				fallback first
				away 1h
			}
			lb_retries 5
			lb_try_interval 0
			lb_retry_match {
				expression {rp.status_code} >= 500
			}
		}`)
	require.Equal(t, ups[0].name, f.ask(t, "a"))
	askedOf(ups)
	ups[0].status.Store(503)
	ups[1].status.Store(503)
	require.Equal(t, ups[2].name, f.ask(t, "a"))
	require.Equal(t, []int32{1, 1, 1}, askedOf(ups))
	require.Equal(t, ups[2].name, f.ask(t, "a"), "the session must avoid the upstreams that have failed")
	require.Equal(t, []int32{0, 0, 1}, askedOf(ups))

	ups[2].status.Store(503)
	resp, _ := f.post(t, strings.NewReader(`{"model":"m"}`), "X-Session-Id", "a")
	require.GreaterOrEqual(t, resp.StatusCode, 500)
	require.Equal(t, []int32{2, 2, 2}, askedOf(ups), "each upstream must be tried before one is tried again")
}

// A dead upstream costs a session one retry, and is then avoided. The retry sends the whole body.
func TestADeadUpstreamIsLeftAlone(t *testing.T) {
	ups, to := upstreams(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // so that the next request needs a new connection
		echo(w, r)
	}))
	f := start(t, `llm_session
		reverse_proxy {
			to `+to+`
			lb_policy llm_session {
				fallback first
				away 1h
			}
			lb_try_duration 1m
			lb_try_interval 0
		}`)
	require.Equal(t, ups[0].name, f.ask(t, "a"))
	ups[0].server.Close()
	sent := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("long ", 50000) + `"}]}`
	resp, body := f.post(t, strings.NewReader(sent), "X-Session-Id", "a", "Authorization", "Bearer somebody")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.True(t, sent == body)
	require.Equal(t, ups[1].name, resp.Header.Get("X-Upstream"))
	require.Equal(t, ups[1].name, f.ask(t, "a"))
	stats := sessionsOf(t, "").transport.Stats()
	require.EqualValues(t, 4, stats.Total(), "want a pick for each of the three requests, and one for the only retry")
}

// Without retries the client gets the failure. The handler reports it, so the session's next
// request goes to another upstream.
func TestWhatTheHandlerSeesIsReported(t *testing.T) {
	ups, to := upstreams(t, 2, echo)
	proxy := `reverse_proxy {
			to ` + to + `
			lb_policy llm_session {
				fallback first
				away 1h
			}
		}`
	for _, status := range []int{401, 429, 500, 502, 503, 529} {
		f := start(t, "llm_session\n"+proxy)
		session := fmt.Sprint("session-", status)
		require.Equal(t, ups[0].name, f.ask(t, session))
		ups[0].status.Store(int32(status))
		resp, _ := f.post(t, strings.NewReader(`{"model":"m"}`), "X-Session-Id", session, "Authorization", "Bearer somebody")
		require.Equal(t, status, resp.StatusCode, "the client must get the upstream's status")
		require.Equal(t, ups[1].name, f.ask(t, session), status)
		ups[0].status.Store(0)
	}

	f := start(t, "llm_session\n"+proxy)
	ups[0].status.Store(400)
	resp, _ := f.post(t, strings.NewReader(`{"model":"m"}`), "X-Session-Id", "rejected", "Authorization", "Bearer somebody")
	require.Equal(t, 400, resp.StatusCode)
	ups[0].status.Store(0)
	require.Equal(t, ups[0].name, f.ask(t, "rejected"), "after a status of 400, which is the client's fault, the session must stay")

	ups[0].status.Store(hangsUp)
	resp, _ = f.post(t, strings.NewReader(`{"model":"m"}`), "X-Session-Id", "rejected", "Authorization", "Bearer somebody")
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.Equal(t, ups[1].name, f.ask(t, "rejected"), "after a closed connection the session must leave the upstream")
	require.Zero(t, sessionsOf(t, "").transport.Stats().Unreported())
}

// An operator can replace the upstream's answer with handle_response. The upstream's status still
// counts.
func TestTheUpstreamsStatusCountsAndNotTheOneOfHandleResponse(t *testing.T) {
	ups, to := upstreams(t, 2, echo)
	f := start(t, `llm_session
		reverse_proxy {
			to `+to+`
			lb_policy llm_session {
				fallback first
				away 1h
			}
			@failed status 503
			handle_response @failed {
				respond "later" 200
			}
		}`)
	require.Equal(t, ups[0].name, f.ask(t, "a"))
	ups[0].status.Store(503)
	resp, body := f.post(t, strings.NewReader(`{"model":"m"}`), "X-Session-Id", "a", "Authorization", "Bearer somebody")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "later", body)
	require.Equal(t, ups[1].name, f.ask(t, "a"))
}

// If a stream ends early, the session avoids the upstream.
func TestAStreamThatBreaksIsReported(t *testing.T) {
	breaks := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte("break")) {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"So\"}}]}\n\n")
		_ = http.NewResponseController(w).Flush()
		if bytes.Contains(body, []byte("break loudly")) {
			panic(http.ErrAbortHandler)
		}
	})
	ups, to := upstreams(t, 2, breaks)
	f := start(t, "llm_session\nreverse_proxy {\n to "+to+"\n lb_policy llm_session {\n fallback first\n away 1h\n }\n}")
	for _, how := range []string{"break loudly", "break"} {
		require.Equal(t, ups[0].name, f.ask(t, how))
		r, err := http.NewRequest(http.MethodPost, f.url+"/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"`+how+`"}]}`))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Session-Id", how)
		r.Header.Set("Authorization", "Bearer somebody")
		resp, err := f.client.Do(r)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		require.Equal(t, how == "break loudly", err != nil)
		require.Equal(t, ups[1].name, f.ask(t, how), how)
	}
}

// If the client disconnects, the upstream has not failed, and the session stays.
func TestAClientThatLeavesChangesNothing(t *testing.T) {
	held := make(chan struct{})
	defer close(held)
	holds := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); !bytes.Contains(body, []byte("hold")) {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-held:
		case <-r.Context().Done():
		}
	})
	ups, to := upstreams(t, 2, holds)
	f := start(t, "llm_session\nreverse_proxy {\n to "+to+"\n lb_policy llm_session {\n fallback round_robin\n }\n}")
	at := f.ask(t, "a")
	require.Contains(t, []string{ups[0].name, ups[1].name}, at)
	r, err := http.NewRequest(http.MethodPost, f.url+"/v1/chat/completions", strings.NewReader(`{"model":"m","hold":1}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Session-Id", "a")
	r.Header.Set("Authorization", "Bearer somebody")
	resp, err := f.client.Do(r)
	require.NoError(t, err)
	_, err = io.ReadFull(resp.Body, make([]byte, 5))
	require.NoError(t, err)
	resp.Body.Close()
	transport := sessionsOf(t, "").transport
	require.Eventually(t, func() bool { return transport.Stats().Unreported() == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, at, f.ask(t, "a"))
}

// Two callers that send the same session id have different sessions.
func TestCallersDoNotMeet(t *testing.T) {
	_, to := upstreams(t, 2, echo)
	policy := "llm_session\nreverse_proxy {\n to " + to + "\n header_up Authorization \"Bearer the gateway's\"\n lb_policy llm_session {\n fallback round_robin\n %s\n }\n}"
	f := start(t, fmt.Sprintf(policy, "name by-credential"))
	at := f.ask(t, "a")
	require.NotEqual(t, at, f.ask(t, "a", "Authorization", "Bearer somebody else"))
	require.Equal(t, at, f.ask(t, "a"))
	require.Equal(t, at, f.ask(t, "a", "Authorization", "", "X-Api-Key", "somebody"), "the same key in another header must be the same caller")

	f = start(t, fmt.Sprintf(policy, "name by-placeholder\n tenant {http.request.header.X-Team}"))
	at = f.ask(t, "a", "X-Team", "red")
	require.NotEqual(t, at, f.ask(t, "a", "X-Team", "blue"))
	require.Equal(t, at, f.ask(t, "a", "X-Team", "red", "Authorization", "Bearer somebody else"))
}

// A retry belongs to the same caller as the first try, although Caddy has replaced the caller's
// credential in the header by the upstream's.
func TestARetryIsTheSameCaller(t *testing.T) {
	ups, to := upstreams(t, 2, echo)
	f := start(t, `llm_session
		reverse_proxy {
			to `+to+`
			header_up Authorization "Bearer the gateway's"
			lb_policy llm_session {
				fallback first
				away 1h
			}
			lb_retries 1
			lb_retry_match {
				expression {rp.status_code} == 503
			}
		}`)
	ups[0].status.Store(503)
	require.Equal(t, ups[1].name, f.ask(t, "a"))
	ups[0].status.Store(0)
	require.Equal(t, ups[1].name, f.ask(t, "a"), "the session must be bound to the upstream that has served it")
	require.Equal(t, ups[0].name, f.ask(t, "a", "Authorization", "Bearer somebody else"))
}

func zipped(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, s)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

// The policy finds the session in bodies of all forms, and the upstream gets each body as the
// client has sent it.
func TestBodiesPassAsTheyWereSent(t *testing.T) {
	_, to := upstreams(t, 2, echo)
	for _, buffers := range []string{"", "request_buffers 1MiB", "request_buffers 10B"} {
		f := start(t, "llm_session\nreverse_proxy {\n to "+to+"\n "+buffers+"\n lb_policy llm_session {\n fallback round_robin\n max_body 1000B\n }\n}")
		send := func(body []byte, length bool, header ...string) string {
			var from io.Reader = bytes.NewReader(body)
			if !length {
				from = struct{ io.Reader }{from}
			}
			resp, answer := f.post(t, from, append([]string{"Authorization", "Bearer somebody" + buffers}, header...)...)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.True(t, string(body) == answer)
			return resp.Header.Get("X-Upstream")
		}
		const (
			one = `{"model":"m","messages":[],"session_id":"0a8f2c51-one"}`
			two = `{"model":"m","messages":[],"session_id":"0a8f2c51-two"}`
		)
		at := send([]byte(one), true)
		require.NotEqual(t, at, send([]byte(two), true))
		for range 2 {
			require.Equal(t, at, send([]byte(one), true))
			require.Equal(t, at, send([]byte(one), false), "a body in chunks, without a length, must name the session")
			require.Equal(t, at, send(zipped(t, one), true, "Content-Encoding", "gzip"))
			require.Equal(t, at, send([]byte(one), true, "Content-Type", "application/json; charset=utf-8"))
		}
		long := strings.Replace(one, `"m"`, `"`+strings.Repeat("m", 1000)+`"`, 1)
		for _, length := range []bool{true, false} {
			require.NotEqual(t, send([]byte(long), length), send([]byte(long), length), "a body longer than max_body must name no session")
			require.Equal(t, send([]byte(long), length, "X-Session-Id", "a"), send([]byte(long), length, "X-Session-Id", "a"), "the header of a request with a long body must name the session")
			require.NotEqual(t, send([]byte(one), length, "Content-Type", "text/plain"), send([]byte(one), length, "Content-Type", "text/plain"), "a body that is not JSON must name no session")
		}
	}
}

// The upstream gets the first bytes of a client's stream before the client has sent the rest.
func TestAStreamOfTheClientsPasses(t *testing.T) {
	begun := make(chan string, 1)
	_, to := upstreams(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 6)
		_, _ = io.ReadFull(r.Body, first)
		begun <- string(first)
		rest, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append(first, rest...))
	}))
	f := start(t, "llm_session\nreverse_proxy {\n to "+to+"\n lb_policy llm_session {\n max_body 10B\n }\n}")
	for kind, head := range map[string]string{"application/x-ndjson": "{\"a\":1", "application/json": `{"longer than ten bytes":`} {
		from, client := io.Pipe()
		go func() {
			_, _ = io.WriteString(client, head)
			if got := <-begun; got != head[:6] {
				client.CloseWithError(fmt.Errorf("the upstream's first bytes are %q, want %q", got, head[:6]))
				return
			}
			_, _ = io.WriteString(client, "1}")
			client.Close()
		}()
		resp, body := f.post(t, from, "Content-Type", kind)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, head+"1}", body)
	}
}

// A body longer than max_body is not held. If a part of it was sent already, it is not sent again.
func TestABodyThatIsTooLongIsNotSentTwice(t *testing.T) {
	bodies := make(chan string, 2)
	ups, to := upstreams(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			bodies <- string(body)
		}
		w.WriteHeader(503)
	}))
	f := start(t, `llm_session
		reverse_proxy {
			to `+to+`
			lb_policy llm_session {
				max_body 10B
			}
			lb_retries 1
			lb_retry_match {
				expression {rp.status_code} == 503
			}
		}`)
	sent := `{"longer than ten bytes":"` + strings.Repeat("x", 100000) + `"}`
	resp, _ := f.post(t, struct{ io.Reader }{strings.NewReader(sent)})
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.Len(t, bodies, 1)
	require.True(t, sent == <-bodies)
	askedOf(ups)
}

// The handler reads compressed answers. It limits Accept-Encoding to what it can read.
func TestCompressedAnswersAreRead(t *testing.T) {
	ups, to := upstreams(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Accepted", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		z := gzip.NewWriter(w)
		fmt.Fprintf(z, `{"id":"resp_%s","object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Yes."}]}]}`, r.Header.Get("X-Number"))
		z.Close()
	}))
	f := start(t, "llm_session\nreverse_proxy {\n to "+to+"\n lb_policy llm_session {\n fallback round_robin\n }\n}")
	var at []string
	send := func(number int, previous string) string {
		r, err := http.NewRequest(http.MethodPost, f.url+"/v1/responses", strings.NewReader(`{"model":"m",`+previous+`"input":"Hello."}`))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer somebody")
		r.Header.Set("X-Number", fmt.Sprintf("%032d", number))
		r.Header.Set("Accept-Encoding", "br, gzip;q=0.5, zstd")
		resp, _ := f.do(t, r)
		require.Equal(t, "gzip;q=0.5", resp.Header.Get("X-Accepted"))
		return resp.Header.Get("X-Upstream")
	}
	for i := range 4 {
		at = append(at, send(i, ""))
	}
	require.Contains(t, at, ups[0].name)
	require.Contains(t, at, ups[1].name)
	for i := range 4 {
		require.Equal(t, at[i], send(10+i, fmt.Sprintf(`"previous_response_id":"resp_%032d",`, i)))
	}
}

// The fallback gets the upstreams in the order of the Caddyfile, so its weights apply to the right
// ones.
func TestWeightsCount(t *testing.T) {
	ups, to := upstreams(t, 3, echo)
	f := start(t, "llm_session\nreverse_proxy {\n to "+to+"\n lb_policy llm_session {\n fallback weighted_round_robin 1 0 3\n }\n}")
	for i := range 40 {
		f.ask(t, fmt.Sprint("session-", i))
	}
	require.Equal(t, []int32{10, 0, 30}, askedOf(ups))
}

// While an upstream has as many requests as it may have, its sessions use another one. Then they
// come back.
func TestAFullUpstreamKeepsItsSessions(t *testing.T) {
	held, first := make(chan struct{}), make(chan struct{})
	ups, to := upstreams(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Hold") != "" {
			first <- struct{}{}
			<-held
		}
	}))
	f := start(t, "llm_session\nreverse_proxy {\n to "+to+"\n lb_policy llm_session {\n fallback first\n away 1h\n }\n unhealthy_request_count 1\n fail_duration 1s\n}")
	require.Equal(t, ups[0].name, f.ask(t, "a"))
	done := make(chan string)
	go func() { done <- f.ask(t, "b", "X-Hold", "1") }()
	<-first
	require.Equal(t, ups[1].name, f.ask(t, "a"))
	close(held)
	require.Equal(t, ups[0].name, <-done)
	require.Eventually(t, func() bool { return f.ask(t, "a") == ups[0].name }, time.Minute, time.Millisecond)
}

// Without the handler, the policy learns of failures only by Caddy's health checks and retries.
func TestThePolicyAlone(t *testing.T) {
	ups, to := upstreams(t, 3, echo)
	f := start(t, `reverse_proxy {
			to `+to+`
			lb_policy llm_session {
				fallback round_robin
				away 1h
			}
			lb_retries 2
			lb_try_interval 0
			lb_retry_match {
				expression {rp.status_code} == 503
			}
		}`)
	at := map[string]string{}
	for range 3 {
		for _, session := range []string{"a", "b", "c"} {
			u := f.ask(t, session)
			if at[session] == "" {
				at[session] = u
			}
			require.Equal(t, at[session], u)
		}
	}
	require.Len(t, map[string]bool{at["a"]: true, at["b"]: true, at["c"]: true}, 3)
	transport := sessionsOf(t, "").transport
	reported := func() bool { return transport.Stats().Unreported() == 0 } // a report may come a moment after the answer
	require.Eventually(t, reported, time.Minute, time.Millisecond)
	byName(ups, at["a"]).status.Store(503)
	detour := f.ask(t, "a")
	require.NotEqual(t, at["a"], detour)
	askedOf(ups)
	f.ask(t, "a")
	require.Zero(t, byName(ups, at["a"]).asked.Load(), "the session must avoid the upstream that has failed")

	byName(ups, at["b"]).status.Store(hangsUp)
	byName(ups, at["c"]).status.Store(429)
	for _, session := range []string{"b", "c"} {
		resp, _ := f.post(t, strings.NewReader(`{"model":"m"}`), "X-Session-Id", session, "Authorization", "Bearer somebody")
		require.NotEqual(t, http.StatusOK, resp.StatusCode)
		require.Eventually(t, reported, time.Minute, time.Millisecond)
	}
	byName(ups, at["a"]).status.Store(0)
	byName(ups, at["b"]).status.Store(0)
	byName(ups, at["c"]).status.Store(0)
	require.NotEqual(t, at["c"], f.ask(t, "c"))
	require.NotEqual(t, at["b"], f.ask(t, "b"))
}
