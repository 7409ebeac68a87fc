package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// The variable inNamespace tells the test's process that it has a network of its own.
const inNamespace = "LLMAFFINITY_TEST_IN_NAMESPACE"

// The test uses the operator's page in a real browser, while the gateway is under load. If the
// machine permits it, both are in a network namespace, because browsers call their makers.
// SCREENSHOTS names a folder for pictures of the page.
func TestThePageInABrowser(t *testing.T) {
	browser := os.Getenv("CHROMIUM")
	if browser == "" {
		browser = "chromium"
	}
	browser, err := exec.LookPath(browser)
	require.NoError(t, err, "Chromium is not installed: run apt-get install chromium, or set CHROMIUM to its path")
	if os.Getenv(inNamespace) == "" && exec.Command("unshare", "-rn", "ip", "link", "set", "lo", "up").Run() == nil {
		cmd := exec.Command("unshare", "-rn", "sh", "-c", `ip link set lo up && exec "$0" "$@"`, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"=1", "HOME="+t.TempDir(), "CHROMIUM="+browser)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	_, config, env := pool(t, 4)
	urls := addresses(t, 2, env, "-config", config, "-admin", "127.0.0.1:0", "-admin-write")
	gateway, page := urls[0], urls[1]
	load := underLoad(t, gateway)

	o := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), o...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	run := func(actions ...chromedp.Action) {
		t.Helper()
		require.NoError(t, chromedp.Run(ctx, actions...))
	}
	text := func(selector string) (s string) {
		t.Helper()
		run(chromedp.Text(selector, &s, chromedp.ByQuery))
		return s
	}
	cell := func(auth string, column int) string {
		t.Helper()
		return text(fmt.Sprintf("#row-%s td:nth-of-type(%d)", auth, column))
	}

	// The operator reads numbers.
	load.wait(t, 200)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"))
	sessions, err := strconv.Atoi(text("#sessions"))
	require.NoError(t, err)
	require.Positive(t, sessions)
	share, err := strconv.ParseFloat(strings.Fields(text("#share"))[0], 64)
	require.NoError(t, err)
	require.Greater(t, share, 50.0, "the page must show that most prompt tokens were cached, because conversations stay on their auths")
	for _, c := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"wide-light", 1280, 1400, "light"}, {"wide-dark", 1280, 1400, "dark"}, {"narrow-light", 390, 1800, "light"}, {"narrow-dark", 390, 1800, "dark"}} {
		var picture []byte
		var wider bool
		run(chromedp.EmulateViewport(c.width, c.height),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: c.scheme}}),
			chromedp.Evaluate(`document.documentElement.scrollWidth > window.innerWidth`, &wider),
			chromedp.CaptureScreenshot(&picture))
		if dir := os.Getenv("SCREENSHOTS"); dir != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, c.name+".png"), picture, 0o600))
		}
		require.False(t, wider, "%s: the page must not be wider than its window", c.name)
	}
	run(chromedp.EmulateViewport(1280, 1400))

	// The operator drains an auth, which then gets no new sessions.
	load.pause(t)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"))
	before := cell("auth-0", 2)
	run(chromedp.Focus("#row-auth-0 .drain", chromedp.ByQuery), chromedp.KeyEvent("\r"), chromedp.WaitVisible(`[role=status]`)) // with the keyboard
	require.Contains(t, text("[role=status]"), "no new sessions")
	require.Contains(t, cell("auth-0", 1), "drained")
	load.next()
	load.wait(t, 100)
	load.pause(t)
	require.NotEmpty(t, load.since())
	require.NotContains(t, load.since(), "auth-0", "a drained auth must get no new conversations")
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"))
	require.Equal(t, before, cell("auth-0", 2))

	// The operator looks a session up, and invalidates it.
	auth, err := ask(http.DefaultClient, gateway, "mine")
	require.NoError(t, err)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#recent"), chromedp.Click("#recent ~ .wide tbody tr:first-child a", chromedp.ByQuery), chromedp.WaitVisible("#bound"))
	require.Contains(t, text("#bound"), auth)
	run(chromedp.Click("button.danger", chromedp.ByQuery), chromedp.WaitVisible(`[role=status]`))
	require.Equal(t, "none", text("#bound"))
	moved, err := ask(http.DefaultClient, gateway, "mine")
	require.NoError(t, err)
	require.NotEqual(t, auth, moved)

	// The operator pastes a request, and then one whose id is an attack on the page.
	const evil = `<script>document.title='taken'</script>`
	run(chromedp.Navigate(page), chromedp.WaitVisible("#request"),
		chromedp.SetValue("#request", "POST /v1/chat/completions HTTP/1.1\nAuthorization: Bearer caller\nX-Session-Id: mine\n\n{\"model\":\"m\"}", chromedp.ByQuery),
		chromedp.Click("form[action=explain] button", chromedp.ByQuery), chromedp.WaitVisible("#outcome"))
	require.Equal(t, []string{"hit", moved}, []string{text("#outcome"), text("#auth")})
	_, _ = ask(http.DefaultClient, gateway, evil) // the gateway may refuse it
	var title string
	run(chromedp.Navigate(page+"/session?name="+evil), chromedp.Title(&title))
	require.NotEqual(t, "taken", title)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#request"),
		chromedp.SetValue("#request", evil+": x\n\n"+evil, chromedp.ByQuery),
		chromedp.Click("form[action=explain] button", chromedp.ByQuery), chromedp.WaitVisible(".bad"), chromedp.Title(&title))
	require.NotEqual(t, "taken", title)

	// A form and a link on a page of another origin change nothing.
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form id="f" method="post" action="%s/invalidate-auth"><input name="auth" value="%s"><button>Win</button></form><a id="a" href="%s/invalidate-auth?auth=%s">Win</a>`, page, moved, page, moved)
	}))
	defer foreign.Close()
	for _, trap := range []string{"#f button", "#a"} {
		run(chromedp.Navigate(foreign.URL), chromedp.Click(trap, chromedp.ByQuery), chromedp.WaitVisible(".bad"))
	}
	still, err := ask(http.DefaultClient, gateway, "mine")
	require.NoError(t, err)
	require.Equal(t, moved, still)

	// The operator invalidates the auth.
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"), chromedp.Click("#row-"+moved+" .danger", chromedp.ByQuery), chromedp.WaitVisible(`[role=status]`))
	require.Equal(t, "0", cell(moved, 2))
	http.DefaultClient.CloseIdleConnections()
}

// loaded is a gateway that serves conversations until the test ends.
type loaded struct {
	url    string
	client *http.Client

	mu     sync.Mutex
	gate   sync.Mutex // held while the load pauses
	paused bool
	served int
	round  int
	seen   []string // the auths of the first turns since next was called
	failed error
}

// underLoad starts four clients, which send the turns of conversations one after the other.
func underLoad(t *testing.T, url string) *loaded {
	l := &loaded{url: url, client: &http.Client{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.mu.Lock()
				round := l.round
				l.mu.Unlock()
				id := fmt.Sprint("load-", round, "-", c, "-", i)
				for turn := range 5 {
					l.gate.Lock()
					auth, err := askFor(l.client, l.url, id, history(id, turn))
					l.gate.Unlock()
					l.mu.Lock()
					l.served++
					if turn == 0 && round == l.round {
						l.seen = append(l.seen, auth)
					}
					l.failed = errors.Join(l.failed, err)
					l.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		if l.paused {
			l.gate.Unlock()
		}
		wg.Wait()
		l.client.CloseIdleConnections()
		require.NoError(t, l.failed)
	})
	return l
}

// pause stops the load between two requests. wait continues it.
func (l *loaded) pause(t *testing.T) {
	t.Helper()
	if !l.paused {
		l.gate.Lock()
		l.paused = true
	}
}

// wait waits until n more requests were served.
func (l *loaded) wait(t *testing.T, n int) {
	t.Helper()
	if l.paused {
		l.paused = false
		l.gate.Unlock()
	}
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.served
	}
	target := count() + n
	require.Eventually(t, func() bool { return count() >= target }, time.Minute, 10*time.Millisecond)
}

// next makes since return only the auths of conversations that begin from now on.
func (l *loaded) next() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
	l.seen = nil
}

func (l *loaded) since() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}
