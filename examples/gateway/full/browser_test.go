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

// inNamespace says that this process has a network of its own.
const inNamespace = "LLMAFFINITY_TEST_IN_NAMESPACE"

// An operator drives the page in a real browser, while the gateway is under load. Where
// the machine allows it both have a network of their own, because browsers call home.
// SCREENSHOTS names a folder for pictures of what it has looked like.
func TestThePageInABrowser(t *testing.T) {
	browser := os.Getenv("CHROMIUM")
	if browser == "" {
		browser = "chromium"
	}
	browser, err := exec.LookPath(browser)
	require.NoError(t, err, "apt-get install chromium, or say in CHROMIUM where it is")
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

	// It reads numbers.
	load.wait(t, 200)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"))
	sessions, err := strconv.Atoi(text("#sessions"))
	require.NoError(t, err)
	require.Positive(t, sessions)
	share, err := strconv.ParseFloat(strings.Fields(text("#share"))[0], 64)
	require.NoError(t, err)
	require.Greater(t, share, 50.0, "conversations stay where their prompt cache is")
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
		require.False(t, wider, "%s: the page is wider than its window", c.name)
	}
	run(chromedp.EmulateViewport(1280, 1400))

	// It drains an auth, which gets no new sessions and runs dry.
	load.pause(t)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"))
	before := cell("auth-0", 2)
	run(chromedp.Focus("#row-auth-0 .drain", chromedp.ByQuery), chromedp.KeyEvent("\r"), chromedp.WaitVisible(`[role=status]`)) // by the keyboard
	require.Contains(t, text("[role=status]"), "no new sessions")
	require.Contains(t, cell("auth-0", 1), "drained")
	load.next()
	load.wait(t, 100)
	load.pause(t)
	require.NotEmpty(t, load.since())
	require.NotContains(t, load.since(), "auth-0", "new conversations")
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"))
	require.Equal(t, before, cell("auth-0", 2))

	// It looks a session up, and sends it away.
	auth, err := ask(http.DefaultClient, gateway, "mine")
	require.NoError(t, err)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#recent"), chromedp.Click("#recent ~ .wide tbody tr:first-child a", chromedp.ByQuery), chromedp.WaitVisible("#bound"))
	require.Contains(t, text("#bound"), auth)
	run(chromedp.Click("button.danger", chromedp.ByQuery), chromedp.WaitVisible(`[role=status]`))
	require.Equal(t, "none", text("#bound"))
	moved, err := ask(http.DefaultClient, gateway, "mine")
	require.NoError(t, err)
	require.NotEqual(t, auth, moved)

	// A pasted request, with an id that is an attack.
	const evil = `<script>document.title='taken'</script>`
	run(chromedp.Navigate(page), chromedp.WaitVisible("#request"),
		chromedp.SetValue("#request", "POST /v1/chat/completions HTTP/1.1\nAuthorization: Bearer caller\nX-Session-Id: mine\n\n{\"model\":\"m\"}", chromedp.ByQuery),
		chromedp.Click("form[action=explain] button", chromedp.ByQuery), chromedp.WaitVisible("#outcome"))
	require.Equal(t, []string{"hit", moved}, []string{text("#outcome"), text("#auth")})
	_, _ = ask(http.DefaultClient, gateway, evil) // whatever the gateway makes of it
	var title string
	run(chromedp.Navigate(page+"/session?name="+evil), chromedp.Title(&title))
	require.NotEqual(t, "taken", title)
	run(chromedp.Navigate(page), chromedp.WaitVisible("#request"),
		chromedp.SetValue("#request", evil+": x\n\n"+evil, chromedp.ByQuery),
		chromedp.Click("form[action=explain] button", chromedp.ByQuery), chromedp.WaitVisible(".bad"), chromedp.Title(&title))
	require.NotEqual(t, "taken", title)

	// A page of another origin writes nothing, and neither does a link.
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

	// It invalidates that auth itself.
	run(chromedp.Navigate(page), chromedp.WaitVisible("#auths"), chromedp.Click("#row-"+moved+" .danger", chromedp.ByQuery), chromedp.WaitVisible(`[role=status]`))
	require.Equal(t, "0", cell(moved, 2))
	http.DefaultClient.CloseIdleConnections()
}

// loaded is a gateway that serves conversations, until the test ends.
type loaded struct {
	url    string
	client *http.Client

	mu     sync.Mutex
	gate   sync.Mutex // held while the load pauses
	paused bool
	served int
	round  int
	seen   []string // auths that have served first turns since next
	failed error
}

// underLoad sends the turns of conversations, one after the other, by four clients.
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

// pause stops the load between two requests; wait goes on.
func (l *loaded) pause(t *testing.T) {
	t.Helper()
	if !l.paused {
		l.gate.Lock()
		l.paused = true
	}
}

// wait waits until so many more requests were served.
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

// next lets the conversations that begin from now on count for since.
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
