// Package sdks tests the providers' own Go SDKs with examples/gateway, whose provider is
// simulated. Each conversation must stay on its auth: an auth is what the gateway sends requests
// with, such as a key or an account. The SDKs get a base URL and an API key, and nothing for
// affinity. All conversations have the same key, so only the library can tell them apart.
//
// The folder node does the same with SDKs for Node. The script run runs both.
package sdks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	apiKey = "one-key-for-all"
	system = "You are an assistant. Look things up."
	// Fewer sessions than auths: otherwise the balancer alone could choose a conversation's auth
	// again in the next turn.
	sessions = 6
	turns    = 3
)

// The addresses of two gateways: one with affinity, and the control, without it.
var affine, plain string

func TestMain(m *testing.M) {
	code, err := withGateways(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withGateways runs the tests with the gateway that the variable GATEWAY names. Without the
// variable it builds one.
func withGateways(tests func() int) (code int, err error) {
	program := os.Getenv("GATEWAY")
	if program == "" {
		dir, err := os.MkdirTemp("", "sdks")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "gateway")
		build := exec.Command("go", "build", "-o", program, "./examples/gateway")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("%w: %s", err, out)
		}
	}
	for _, g := range []struct {
		url  *string
		flag string
	}{{&affine, "-affinity"}, {&plain, "-affinity=false"}} {
		url, stop, failed := startGateway(program, g.flag)
		if failed != nil {
			return 1, failed
		}
		defer func() { err = errors.Join(err, stop()) }()
		*g.url = url
	}
	return tests(), nil
}

// startGateway starts a gateway. stop ends it, and returns an error if the gateway has logged
// anything: it logs each failure of an auth.
func startGateway(program, flag string) (url string, stop func() error, err error) {
	cmd := exec.Command(program, "-serve", "-tool-calls", "-decision-header", "-auths", "8", "-listen", "127.0.0.1:0", flag)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	lines := bufio.NewReader(out)
	stop = func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		_, err := lines.WriteTo(os.Stdout) // the gateway's counts of its decisions
		if err = errors.Join(err, cmd.Wait()); err == nil && log.Len() > 0 {
			err = errors.New("the gateway has logged failures, want an empty log")
		}
		if err != nil {
			err = fmt.Errorf("gateway %s: %w\n%s", flag, err, &log)
		}
		return err
	}
	line, err := lines.ReadString('\n')
	if url = regexp.MustCompile(`http://[0-9.:]+`).FindString(line); url == "" {
		return "", nil, errors.Join(errors.New("the gateway has not printed its address"), err, stop())
	}
	return url, stop, nil
}

// script is one way to use an SDK. In each turn of a conversation the user says something.
type script struct {
	name  string
	opens []string // the requests before the first turn
	turn  []string // the requests of each turn
	tool  bool     // each turn has a call of the tool
	// outcome is the decision's outcome that is expected for request i of a conversation. nil:
	// the first request is new, and the content finds the session of the others.
	outcome func(i int) string
	// dial makes the SDK's client, one for all conversations, and returns a function that begins
	// a conversation with it.
	dial func(url string, h *http.Client) (begin, error)
}

type (
	begin func(ctx context.Context) (say, error)
	// say has one turn of a conversation: it ends when the model has answered in words.
	say func(ctx context.Context, text string) (answer string, err error)
)

// requests returns the requests of a turn. A call of the tool needs a second one.
func requests(request string, tool bool) []string {
	if tool {
		return []string{request, request}
	}
	return []string{request}
}

// firstThen returns a script's outcome: first for the first request, others for all later ones.
func firstThen(first, others string) func(i int) string {
	return func(i int) string {
		if i == 0 {
			return first
		}
		return others
	}
}

// called returns the name of a script: the API, and the features that it uses.
func called(name string, stream, tool bool) string {
	if stream {
		name += ", streamed"
	}
	if tool {
		name += ", tool"
	}
	return name
}

// conversation records one conversation.
type conversation struct {
	say     say
	err     error
	looked  int
	mu      sync.Mutex
	answers []answer
}

// answer is the gateway's answer to one request.
type answer struct {
	request               string
	status                int
	retry                 string
	auth, outcome, signal string
}

type contextKey struct{}

// look is the tool of all conversations. The SDK has decoded its arguments.
func look(ctx context.Context, query string) (string, error) {
	c, _ := ctx.Value(contextKey{}).(*conversation)
	if c == nil || len(query) != 16 {
		return "", fmt.Errorf("the tool was called with the query %q, want 16 characters in the context of a conversation", query)
	}
	c.looked++
	return "found " + query, nil
}

// recorder is a RoundTripper that records the answers to each conversation. It changes nothing.
type recorder struct {
	base  http.RoundTripper
	mu    sync.Mutex
	stray []string // requests that belong to no conversation
}

var field = regexp.MustCompile(`(\w+)=([^;]*)`)

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.base.RoundTrip(req)
	a := answer{request: req.Method + " " + req.URL.RequestURI(), retry: req.Header.Get("X-Stainless-Retry-Count")}
	if err == nil {
		a.status = resp.StatusCode
		for _, m := range field.FindAllStringSubmatch(resp.Header.Get("X-Llmaffinity"), -1) {
			switch m[1] {
			case "auth":
				a.auth = m[2]
			case "outcome":
				a.outcome = m[2]
			case "signal":
				a.signal = m[2]
			}
		}
	}
	c, _ := req.Context().Value(contextKey{}).(*conversation)
	if c == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stray = append(r.stray, a.request)
		return resp, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, a)
	return resp, err
}

// auths returns the auths of the answers, each once.
func auths(answers []answer) []string {
	all := map[string]bool{}
	for _, a := range answers {
		all[a.auth] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// play has all conversations of a script at the same time. A turn begins when all conversations
// have ended the turn before, so their requests are certainly interleaved.
func (s *script) play(t *testing.T, url string, alike bool) []*conversation {
	t.Helper()
	r := &recorder{base: http.DefaultTransport.(*http.Transport).Clone()}
	h := &http.Client{Transport: r}
	defer r.base.(*http.Transport).CloseIdleConnections()
	begin, err := s.dial(url, h)
	require.NoError(t, err)
	all := make([]*conversation, sessions)
	for i := range all {
		all[i] = &conversation{}
	}
	for turn := range turns {
		var talking sync.WaitGroup
		for i, c := range all {
			talking.Go(func() {
				ctx := context.WithValue(t.Context(), contextKey{}, c)
				if turn == 0 {
					c.say, c.err = begin(ctx)
				}
				if c.err != nil {
					return
				}
				text := "And then?"
				switch {
				case turn == 0 && alike:
					text = "Hi"
				case turn == 0:
					text = fmt.Sprintf("This is task %d of %q.", i, s.name)
				}
				words, err := c.say(ctx, text)
				if err == nil && !strings.HasPrefix(words, "Answer ") {
					err = fmt.Errorf("the model's answer is %q, want one that begins with Answer", words)
				}
				c.err = err
			})
		}
		talking.Wait()
	}
	require.Empty(t, r.stray, "requests that belong to no conversation")
	return all
}

// checkTalk checks what must be true of each conversation with affinity: all requests were sent
// once, and all were answered.
func (s *script) checkTalk(t *testing.T, c *conversation) {
	t.Helper()
	require.NoError(t, c.err)
	var sent []string
	for _, a := range c.answers {
		sent = append(sent, a.request)
		require.Equal(t, http.StatusOK, a.status)
		require.Contains(t, []string{"", "0"}, a.retry)
	}
	require.Equal(t, slices.Concat(s.opens, slices.Repeat(s.turn, turns)), sent)
	looks := 0
	if s.tool {
		looks = turns
	}
	require.Equal(t, looks, c.looked)
}

// run plays a script with affinity, and each conversation must stay on its auth. Then it plays
// the script without affinity, and most conversations must not stay.
func (s *script) run(t *testing.T) {
	outcome := s.outcome
	if outcome == nil {
		outcome = firstThen("new", "hit")
	}
	t.Run(s.name, func(t *testing.T) {
		perAuth, by := map[string]int{}, map[string]int{}
		for _, c := range s.play(t, affine, false) {
			s.checkTalk(t, c)
			for i, a := range c.answers {
				require.Equal(t, outcome(i), a.outcome, "request %d", i)
				by[a.outcome+" by "+a.signal]++
			}
			require.Len(t, auths(c.answers), 1, "the auths of one conversation")
			perAuth[c.answers[0].auth]++
		}
		require.Greater(t, len(perAuth), sessions/2, "the conversations use too few auths: %v", perAuth)
		stayed := 0
		for _, c := range s.play(t, plain, false) {
			if c.err == nil && len(auths(c.answers)) == 1 {
				stayed++
			}
		}
		require.Less(t, stayed, sessions/2, "without affinity, too many conversations have stayed on one auth: the test proves nothing")
		t.Logf("%v over %d auths; without affinity %d of %d conversations stay", by, len(perAuth), stayed, sessions)
	})
	// All conversations begin with the same words. Only their first answers differ, so the first
	// request of a conversation may go to any auth.
	t.Run(s.name+", all begin alike", func(t *testing.T) {
		for _, c := range s.play(t, affine, true) {
			s.checkTalk(t, c)
			require.Len(t, auths(c.answers[1:]), 1, "the auths of one conversation after its first request: %+v", c.answers)
		}
	})
}
