// Package field measures with captured requests of real clients, with traces of real
// conversations, and with made-up ones. The real ones are in ../shared, beside the repository, and
// are not part of the project. A test whose file is missing is skipped, and fails in CI (CI=true).
// The same is measured with made-up requests and conversations, in every clone.
package field

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Request is one captured request of a real client. Session is the conversation that the
// request really belonged to.
type Request struct {
	Client  string      `json:"client"`
	Session string      `json:"session"`
	Turn    int         `json:"turn"`
	Path    string      `json:"path"`
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"` // empty if the request has none

	// The second capture has these for each request: whether it is beside the conversation,
	// which subagent has sent it, and which session its own is a fork of.
	Side   bool   `json:"side"`
	Lane   string `json:"lane"`
	Parent string `json:"parent"`

	// Main reports that the request is part of the session's main line. In the first
	// capture, side requests (titles, memory extraction) have fewer tools than the
	// agent. In the second, neither a side request nor a subagent's is.
	Main bool `json:"-"`
}

// Conversation is one conversation of a trace. The messages before each assistant
// message are one request.
type Conversation struct {
	Session  string            `json:"session"`
	Messages []json.RawMessage `json:"messages"`
}

// Captured returns the captured requests, each session in the order of time.
func Captured(t testing.TB) []Request {
	all := read[Request](t, "clients/captured.jsonl.gz")
	tools := make([]int, len(all))
	most := map[string]int{}
	for i, r := range all {
		var body struct {
			Tools []json.RawMessage `json:"tools"`
		}
		if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
			t.Fatal(err)
		}
		tools[i] = len(body.Tools)
		most[r.Session] = max(most[r.Session], tools[i])
	}
	for i := range all {
		all[i].Main = tools[i] == most[all[i].Session]
	}
	return all
}

// Captured2 returns the requests of the second capture in the order of time. Some
// of its sessions ran at the same time.
func Captured2(t testing.TB) []Request {
	all := read[Request](t, "clients/captured2.jsonl.gz")
	for i := range all {
		all[i].Main = !all[i].Side && all[i].Lane == ""
	}
	return all
}

// Airline returns the conversations of tau-bench.
func Airline(t testing.TB) []Conversation {
	return read[Conversation](t, "traces/tau_airline.jsonl.gz")
}

// WithoutIDs returns the request with only the messages to name its session. What names state
// behind one auth stays (previous_response_id, thread), unless it names the whole
// conversation.
func (r Request) WithoutIDs(t testing.TB) Request {
	var headers [][2]string
	for _, h := range r.Headers {
		switch name := strings.ToLower(h[0]); {
		case strings.Contains(name, "session"), strings.Contains(name, "thread"), strings.Contains(name, "codex"),
			strings.HasPrefix(name, "x-claude-code-"), strings.HasPrefix(name, "x-opencode-"),
			name == "x-client-request-id", name == "x-resource-id":
		default:
			headers = append(headers, h)
		}
	}
	r.Headers = headers
	if r.Body == "" {
		return r
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"metadata", "prompt_cache_key", "client_metadata", "conversation"} {
		delete(body, name)
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = string(text)
	return r
}

// Interleave mixes the sessions at random and keeps the order inside each session.
func Interleave[T any](all []T, session func(T) string, rng *rand.Rand) []T {
	queues := map[string][]T{}
	var names []string
	for _, r := range all {
		s := session(r)
		if queues[s] == nil {
			names = append(names, s)
		}
		queues[s] = append(queues[s], r)
	}
	var out []T
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

// Shared returns the path of a file of ../shared. If the file is missing, it skips the test, and
// fails it in CI.
func Shared(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("..", "shared", name)
	for range 7 { // upwards from the test's folder
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = filepath.Join("..", path)
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("shared/%s must be there in CI", name)
	}
	t.Skipf("needs ../shared/%s, which is not part of the project", name)
	return ""
}

// read reads a file of ../shared.
func read[T any](t testing.TB, name string) []T {
	t.Helper()
	f, err := os.Open(Shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	for d := json.NewDecoder(z); ; {
		var v T
		err := d.Decode(&v)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
}
