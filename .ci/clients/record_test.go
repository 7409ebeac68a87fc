package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// The recorder finds the gateway's decision in a header over HTTP, and in the gateway's log over a
// WebSocket.
func TestTheRecorder(t *testing.T) {
	dir := t.TempDir()
	logged := filepath.Join(dir, "log")
	require.NoError(t, os.WriteFile(logged, []byte("msg=old decision.auth=old decision.session=old\n"), 0o600))
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("X-Llmaffinity", "auth=a; outcome=new; signal=content; session=s")
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for n := 1; ; n++ {
			kind, _, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			f, err := os.OpenFile(logged, os.O_APPEND|os.O_WRONLY, 0o600)
			if err == nil {
				_, err = fmt.Fprintf(f, "msg=served decision.outcome=hit decision.signal=Session-Id decision.auth=b-%d decision.session=t\n", n)
			}
			if err != nil || f.Close() != nil || conn.Write(r.Context(), kind, []byte(`{"type":"response.created"}`)) != nil || conn.Write(r.Context(), kind, []byte(`{"type":"response.completed"}`)) != nil {
				return
			}
		}
	}))
	defer gateway.Close()
	to, err := url.Parse(gateway.URL)
	require.NoError(t, err)
	out, err := os.Create(filepath.Join(dir, "requests.jsonl"))
	require.NoError(t, err)
	defer out.Close()
	w := newWitness(to, logged, dir, out)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(3, rw, r) }))
	defer front.Close()
	w.begin(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/begin?session=3&turn=1&words=tell+me&helper=a+bird", nil))

	post := func(path, body string) {
		t.Helper()
		resp, err := http.Post(front.URL+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	post("/v1/messages", `{"model":"m","tools":[{"name":"x"},{"name":"y"}],"messages":[{"role":"user","content":"tell me"}]}`)
	post("/v1beta/models/g:streamGenerateContent", `{"tools":[{"functionDeclarations":[{},{},{}]}],"contents":[{"parts":[{"functionResponse":{}},{"text":"a bird"}]}]}`)
	conn, _, err := websocket.Dial(t.Context(), front.URL+"/v1/responses", nil)
	require.NoError(t, err)
	defer conn.CloseNow()
	for _, frame := range []string{`{"model":"m","input":"tell me"}`, `{"model":"m","input":[{"type":"function_call_output"}]}`} {
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(frame)))
		for _, kind := range []string{"response.created", "response.completed"} {
			_, answer, err := conn.Read(t.Context())
			require.NoError(t, err)
			require.JSONEq(t, `{"type":"`+kind+`"}`, string(answer))
		}
	}
	require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
	// /begin answers when all requests of the turn before are recorded.
	begun := httptest.NewRecorder()
	w.begin(begun, httptest.NewRequest(http.MethodGet, "/begin?session=3&turn=2", nil))
	require.Equal(t, http.StatusOK, begun.Code)

	all, err := readRequests(filepath.Join(dir, "requests.jsonl"))
	require.NoError(t, err)
	require.Equal(t, []*request{
		{Number: 1, Session: 3, Turn: 1, Method: "POST", Path: "/v1/messages", Status: 200, Model: "m", Tools: 2, Opened: true, Auth: "a", Outcome: "new", Signal: "content", Name: "s"},
		{Number: 2, Session: 3, Turn: 1, Method: "POST", Path: "/v1beta/models/g:streamGenerateContent", Status: 200, Model: "g", Tools: 3, Result: true, Helper: true, Auth: "a", Outcome: "new", Signal: "content", Name: "s"},
		{Number: 3, Session: 3, Turn: 1, Method: "frame", Path: "/v1/responses", Socket: true, Status: 200, Model: "m", Opened: true, Auth: "b-1", Outcome: "hit", Signal: "Session-Id", Name: "t"},
		{Number: 4, Session: 3, Turn: 1, Method: "frame", Path: "/v1/responses", Socket: true, Status: 200, Model: "m", Result: true, Opened: true, Auth: "b-2", Outcome: "hit", Signal: "Session-Id", Name: "t"},
	}, all)
}
