package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// With the variable asCommand the test's binary runs as the command.
const asCommand = "LLMAFFINITY_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// redisServer starts a redis-server and returns its URL.
func redisServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	program := "redis-server"
	if given := os.Getenv("REDIS_SERVER"); given != "" {
		program = given
	}
	cmd := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	require.NoError(t, cmd.Start(), "redis-server cannot be started: run apt-get install redis-server, or set REDIS_SERVER to its path")
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it was killed
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	return "redis://" + addr
}

var listening = regexp.MustCompile(`http://[0-9.:]+`)

// replica starts the command with a simulated provider and returns its address.
func replica(t *testing.T, store string) string {
	t.Helper()
	return started(t, nil, "-serve", "-auths", "5", "-store", store)
}

// started starts the command and returns its address.
func started(t *testing.T, env []string, args ...string) string {
	t.Helper()
	return addresses(t, 1, env, args...)[0]
}

// addresses starts the command and returns the addresses that it prints, one on each line.
func addresses(t *testing.T, lines int, env []string, args ...string) (urls []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append(args, "-listen", "127.0.0.1:0", "-decision-header")...)
	cmd.Env = append(append(os.Environ(), asCommand+"=1"), env...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var log strings.Builder
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_, err := io.Copy(io.Discard, out)
		require.NoError(t, err)
		require.NoError(t, cmd.Wait(), "%s", &log)
	})
	reader := bufio.NewReader(out)
	for range lines {
		line, err := reader.ReadString('\n')
		require.NoError(t, err, "%s", &log)
		url := listening.FindString(line)
		require.NotEmpty(t, url, line)
		urls = append(urls, url)
	}
	return urls
}

// ask sends one turn of a conversation and returns the auth that has served it.
func ask(c *http.Client, url, conversation string) (string, error) {
	return askFor(c, url, conversation, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`)
}

func askFor(c *http.Client, url, conversation, body string) (string, error) {
	req, err := http.NewRequest(http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Session-Id", conversation)
	req.Header.Set("Authorization", "Bearer caller")
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(resp.Header.Get("X-Llmaffinity"), "; ") {
		if auth, ok := strings.CutPrefix(part, "auth="); ok && resp.StatusCode == http.StatusOK {
			return auth, nil
		}
	}
	return "", fmt.Errorf("%s: status %d, decision %q", url, resp.StatusCode, resp.Header.Get("X-Llmaffinity"))
}

// The turns of 500 conversations go to random ones of three replicas. Each conversation has the
// same auth in all its turns.
func TestReplicasAgree(t *testing.T) {
	store := redisServer(t) + "?budget=10s" // a long budget, because the machine may be busy
	urls := []string{replica(t, store), replica(t, store), replica(t, store)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	const conversations, turns, clients = 500, 4, 8
	where := make([]map[string]int, conversations)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; i < conversations; i += clients {
				where[i] = map[string]int{}
				for range turns {
					auth, err := ask(client, urls[rand.IntN(len(urls))], fmt.Sprint("conversation-", i))
					if err != nil {
						t.Error(err)
						return
					}
					where[i][auth]++
				}
			}
		})
	}
	wg.Wait()
	auths := map[string]int{}
	for i, w := range where {
		require.Len(t, w, 1, "conversation %d must have one auth", i)
		for auth := range w {
			auths[auth]++
		}
	}
	require.Len(t, auths, 5, "the conversations must use all auths")
}

// Replicas start while their store is away, and choose the same auths without it.
func TestReplicasNeedNoStore(t *testing.T) {
	urls := []string{replica(t, "redis://127.0.0.1:1"), replica(t, "redis://127.0.0.1:1")}
	for i := range 20 {
		first, err := ask(http.DefaultClient, urls[i%2], fmt.Sprint("conversation-", i))
		require.NoError(t, err)
		for _, url := range urls {
			auth, err := ask(http.DefaultClient, url, fmt.Sprint("conversation-", i))
			require.NoError(t, err)
			require.Equal(t, first, auth)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
