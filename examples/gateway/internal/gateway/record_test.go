package gateway

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/examples/record"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// readRecording reads a recording.
func readRecording(t *testing.T, text string) (out []record.Request) {
	t.Helper()
	for line := range strings.Lines(text) {
		q, err := record.Parse([]byte(line))
		require.NoError(t, err)
		out = append(out, q)
	}
	return out
}

// tape is a writer that lets a test wait for lines. A request is recorded when its answer has
// ended, which is a moment after the client has got it.
type tape chan string

func (t tape) Write(p []byte) (int, error) {
	t <- string(p)
	return len(p), nil
}

// take waits for n lines, and returns them.
func (t tape) take(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(<-t)
	}
	return b.String()
}

// Each request is recorded with the usage of its answer. The recording shows which requests belong
// to a session, and none of the words.
func TestAGatewayRecordsItsRequests(t *testing.T) {
	file := make(tape, 100)
	rec, err := record.New(file)
	require.NoError(t, err)
	gw := startGateway(t, 4, GatewayOptions{Affinity: true, Record: rec})
	const sessions, turns = 3, 4
	for turn := range turns {
		for s := range sessions {
			var said []string
			for i := range turn + 1 {
				said = append(said, fmt.Sprintf(`{"role":"user","content":"the secret question %d of conversation %d"},{"role":"assistant","content":"a secret answer"}`, i, s))
			}
			body := `{"model":"m","messages":[` + strings.Join(said, ",") + `,{"role":"user","content":"goes on"}]}`
			header := http.Header{"Authorization": {"Bearer credential"}}
			if s == 0 {
				header.Set("X-Session-Id", "5a1b0c9e-4f6d-4b3a-9f7e-1c2d3e4f5a6b")
			}
			resp, text := gw.post(t, "/v1/chat/completions?secret=query", body, header)
			require.Equal(t, http.StatusOK, resp.StatusCode, text)
		}
	}
	text := file.take(sessions * turns)
	gw.g.recording.mu.Lock()
	require.Empty(t, gw.g.recording.usages, "the recording must keep no usage of requests that have ended")
	gw.g.recording.mu.Unlock()

	require.NotContains(t, text, "secret")
	require.NotContains(t, text, "credential")
	require.NotContains(t, text, "5a1b0c9e")
	all := readRecording(t, text)
	require.Len(t, all, sessions*turns)
	for i, q := range all {
		require.Equal(t, "/v1/chat/completions", q.Path)
		require.NotZero(t, q.Usage.Prompt, "request %d", i)
		require.NotZero(t, q.Usage.Output, "request %d", i)
		require.Equal(t, "user", gjson.GetBytes(q.Body, "messages.0.role").String())
		id := sessionid.Extract(q.Header, q.Body)
		if i%sessions == 0 {
			require.Equal(t, "X-Session-Id", id.Signal().Name)
			require.Equal(t, all[0].Header, q.Header)
		}
		if i < sessions {
			continue
		}
		require.Equal(t, gjson.GetBytes(all[i-sessions].Body, "messages.0").Raw, gjson.GetBytes(q.Body, "messages.0").Raw, "a turn must begin like the turn before")
		require.False(t, q.At.Before(all[i-sessions].At))
	}
	require.NotEqual(t, gjson.GetBytes(all[0].Body, "messages.0").Raw, gjson.GetBytes(all[1].Body, "messages.0").Raw)
}

// A request with a body that is too large is served, and is recorded without its body.
func TestALargeBodyIsNotRecorded(t *testing.T) {
	file := make(tape, 100)
	rec, err := record.New(file)
	require.NoError(t, err)
	gw := startGateway(t, 2, GatewayOptions{Affinity: true, MaxBody: 1000, Record: rec})
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("long ", 1000) + `"}]}`
	resp, text := gw.post(t, "/v1/chat/completions", body, http.Header{"X-Session-Id": {"5a1b0c9e-4f6d-4b3a-9f7e-1c2d3e4f5a6b"}})
	require.Equal(t, http.StatusOK, resp.StatusCode, text)
	all := readRecording(t, file.take(1))
	require.Len(t, all, 1)
	require.Empty(t, all[0].Body)
	require.Equal(t, "X-Session-Id", signalOf(all[0]))
}

func TestTheCommandRecords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "recording.jsonl")
	p := startProcess(t, "-serve", "-listen", "127.0.0.1:0", "-record", file)
	line := p.await(p.out, "serving on ")
	url := strings.Fields(line)[2]
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	_, _, code := p.end()
	require.Zero(t, code)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, readRecording(t, string(text)), 1)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	p = startProcess(t, "-serve", "-listen", "127.0.0.1:0", "-record", file)
	_, log, code := p.end()
	require.Equal(t, 1, code)
	require.Contains(t, log, "recording.jsonl")
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, text, again, "an existing recording must not change")

	p = startProcess(t, "-record", file)
	_, _, code = p.end()
	require.Equal(t, 2, code, "the demo must refuse to record")
}

func signalOf(q record.Request) string {
	id := sessionid.Extract(q.Header, q.Body)
	return id.Signal().Name
}
