package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// front is a handler behind which one gateway replaces another, as when a process is restarted:
// requests under way end first, and the next ones wait.
type front struct {
	mu sync.RWMutex
	g  *Gateway
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	f.g.ServeHTTP(w, r)
}

// restarted runs conversations with a gateway that is closed and made again several times. With
// forget its state is removed each time.
func restarted(t *testing.T, o demoOptions, restarts int, forget bool) *run {
	sim, pool, stopSim, err := simulatedPool(o.auths, simulator.Options{}, nil)
	require.NoError(t, err)
	defer stopSim()
	k := &keeping{file: filepath.Join(t.TempDir(), "state"), every: time.Hour}
	f := &front{}
	begin := func() {
		key, err := k.secret(nil)
		require.NoError(t, err)
		var auths []*Auth
		for _, a := range pool.All() {
			auths = append(auths, &Auth{Name: a.Name, API: a.API, URL: a.URL, Key: a.Key})
		}
		f.g, err = NewGateway(GatewayOptions{Pool: &Pool{auths: auths}, Affinity: true, DecisionHeader: true, TenantKey: key})
		require.NoError(t, err)
		require.NoError(t, k.load(f.g, slog.New(slog.DiscardHandler)))
	}
	begin()
	defer func() { f.g.Close() }()
	url, stop, err := serve(f, "127.0.0.1:0")
	require.NoError(t, err)
	defer stop()

	r := &run{affinity: true}
	d := &driver{run: r, pool: pool, url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}}
	defer d.client.CloseIdleConnections()
	again := make(chan struct{}, restarts)
	total := o.conversations * o.turns
	d.served = func(n int) {
		if restarts > 0 && n%(total/(restarts+1)) == 0 && n < total {
			again <- struct{}{}
		}
	}
	var operator sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	done := 0
	operator.Go(func() {
		for done < restarts {
			select {
			case <-again:
			case <-ctx.Done():
				return
			}
			f.mu.Lock()
			if err := k.save(f.g); err != nil {
				t.Error(err)
			}
			f.g.Close()
			if forget {
				_ = os.Remove(k.file)
			}
			begin()
			f.mu.Unlock()
			done++
		}
	})
	require.NoError(t, d.drive(t.Context(), o))
	end()
	operator.Wait()
	require.Equal(t, restarts, done)
	for _, s := range sim.Stats() {
		r.prompt += uint64(s.PromptTokens)
		r.cached += uint64(s.CachedTokens)
	}
	return r
}

// If a gateway is restarted five times under load, all conversations stay on their auths, and the
// cached share of the prompt is the same. The control is the same without the state.
func TestRestartsUnderLoadCostNothing(t *testing.T) {
	o := demoOptions{auths: 8, conversations: max(500/thorough, 200), turns: 6}
	share := func(r *run) float64 { return 100 * float64(r.cached) / float64(r.prompt) }
	without, with := restarted(t, o, 0, false), restarted(t, o, 5, false)
	for what, r := range map[string]*run{"without restarts": without, "with five": with} {
		t.Logf("%-16s %d requests, %d failed, cached share %.2f %%, switches %v", what, r.requests, r.failed, share(r), r.switches)
		require.Equal(t, o.conversations*o.turns, r.requests)
		require.Zero(t, r.failed)
		require.Empty(t, r.switches)
	}
	require.InDelta(t, share(without), share(with), 0.5)

	control := restarted(t, o, 5, true)
	t.Logf("without its state cached share %.2f %%, switches %v", share(control), control.switches)
	require.NotEmpty(t, control.switches)
	require.Less(t, share(control), share(without)-5)
}

// asked sends a request of a session to a process, and returns the decision.
func (p *process) asked(url, session string) map[string]string {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`))
	require.NoError(p.t, err)
	r.Header.Set("X-Session-Id", session)
	r.Header.Set("Authorization", "Bearer caller")
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	require.Equal(p.t, http.StatusOK, resp.StatusCode)
	return decisionOf(resp)
}

// served returns the address that a process prints.
func (p *process) served() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	require.NoError(p.t, err)
	_, url, ok := strings.Cut(line, "serving on ")
	require.True(p.t, ok, line)
	url, _, _ = strings.Cut(url, " ")
	return url
}

// If processes are killed while they write their state, the last complete state stays.
func TestKilledWhileItSavesItsState(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	args := []string{"-serve", "-listen", "127.0.0.1:0", "-auths", "4", "-decision-header", "-state", state, "-state-every", "1ms"}

	p := startProcess(t, args...)
	url := p.served()
	want := map[string]string{}
	for i := range 20 {
		id := fmt.Sprint("s", i)
		want[id] = p.asked(url, id)["auth"]
	}
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_, _, code := p.end()
	require.Zero(t, code)

	// Many other sessions, so that writing the state takes a while.
	key, err := keyFile(state + ".key")
	require.NoError(t, err)
	g, err := NewGateway(GatewayOptions{Pool: &Pool{auths: []*Auth{{Name: "sim-1"}}}, Affinity: true, TenantKey: key})
	require.NoError(t, err)
	defer g.Close()
	require.NoError(t, g.transport.LoadFile(state))
	for i := range 20_000 {
		_, err := g.transport.Pick(t.Context(), affinity.Request{Header: http.Header{"X-Session-Id": {fmt.Sprint("other", i)}}}, g.opts.Pool.All())
		require.NoError(t, err)
	}
	require.NoError(t, g.transport.SaveFile(state))

	torn := 0
	for n := range 12 {
		p := startProcess(t, args...)
		url := p.served()
		id := fmt.Sprint("s", n)
		got := p.asked(url, id)
		require.Equal(t, want[id], got["auth"])
		require.Equal(t, "hit", got["outcome"])
		time.Sleep(time.Duration(n) * 3 * time.Millisecond)
		require.NoError(t, p.cmd.Process.Kill())
		_, log, _ := p.end()
		require.NotContains(t, log, "lost")
		require.NotContains(t, log, "level=ERROR")
		if left, _ := filepath.Glob(filepath.Join(dir, ".state.*.tmp")); len(left) > torn {
			torn = len(left)
		}
	}
	t.Logf("of 12 processes %d were killed in the middle of writing", torn)
	require.Positive(t, torn, "no process was killed in the middle of writing: the test proves nothing")
	for _, name := range []string{state, state + ".key"} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
}

// If the state cannot be read, the gateway keeps the file under another name, logs the reason, and
// serves.
func TestADamagedStateIsKeptAside(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	args := []string{"-serve", "-listen", "127.0.0.1:0", "-auths", "2", "-decision-header", "-state", state}
	require.NoError(t, os.WriteFile(state, []byte("no state"), 0o600))
	p := startProcess(t, args...)
	url := p.served()
	require.Equal(t, "new", p.asked(url, "s")["outcome"])
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_, log, code := p.end()
	require.Zero(t, code)
	require.Contains(t, log, "the state cannot be read")
	require.Contains(t, log, "the data is not a snapshot")
	kept, err := os.ReadFile(state + ".unread")
	require.NoError(t, err)
	require.Equal(t, "no state", string(kept))

	p = startProcess(t, args...)
	url = p.served()
	require.Equal(t, "hit", p.asked(url, "s")["outcome"])
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_, log, code = p.end()
	require.Zero(t, code)
	require.NotContains(t, log, "lost")
}

func TestAStateThatCannotBeWrittenIsSaidAtOnce(t *testing.T) {
	serve := func(args ...string) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out, log strings.Builder
		return gateway(ctx, append([]string{"-serve", "-listen", "127.0.0.1:0"}, args...), &out, &log, With{})
	}
	dir := t.TempDir()
	require.ErrorIs(t, serve("-state", filepath.Join(dir, "none", "state")), os.ErrNotExist)
	require.ErrorContains(t, serve("-state", dir), "not a regular file")
	state := filepath.Join(dir, "state")
	require.NoError(t, serve("-state", state))
	first, err := keyFile(state + ".key")
	require.NoError(t, err)
	require.NoError(t, serve("-state", state))
	again, err := keyFile(state + ".key")
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.NoError(t, os.WriteFile(state+".key", []byte("short"), 0o600))
	require.ErrorContains(t, serve("-state", state), "is not the key of a state file")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "want only the state and its key in the folder")
}

// The store of -store keeps the bindings, so that two gateways share them. It is closed at the end.
func TestASharedStore(t *testing.T) {
	m, err := cache.New(nil)
	require.NoError(t, err)
	defer m.Close()
	opened, closed := []string{}, 0
	stores := Stores{"test": func(_ context.Context, url string) (cache.Store, func() error, error) {
		if strings.Contains(url, "broken") {
			return nil, nil, errors.New("nobody is there")
		}
		opened = append(opened, url)
		return m, func() error { closed++; return nil }, nil
	}}
	serve := func(args ...string) (string, error) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out, log strings.Builder
		err := gateway(ctx, append([]string{"-serve", "-listen", "127.0.0.1:0"}, args...), &out, &log, With{Stores: stores})
		return log.String(), err
	}
	_, err = serve("-store", "test://host:1")
	require.NoError(t, err)
	require.Equal(t, []string{"test://host:1"}, opened)
	require.Equal(t, 1, closed)
	_, err = serve("-store", "test://broken")
	require.ErrorContains(t, err, "nobody is there")

	var auths []string
	for range 2 {
		k := &keeping{url: "test://host:1"}
		key, err := k.secret(nil)
		require.NoError(t, err)
		gw := startGateway(t, 4, GatewayOptions{Affinity: true, DecisionHeader: true, Store: m, TenantKey: key})
		for range 2 {
			resp, _ := gw.post(t, "/v1/chat/completions", `{"model":"m","messages":[]}`, http.Header{"X-Session-Id": {"s"}, "Authorization": {"Bearer caller"}})
			auths = append(auths, decisionOf(resp)["auth"])
		}
	}
	require.NotEmpty(t, auths[0])
	require.Equal(t, []string{auths[0], auths[0], auths[0]}, auths[1:])
	require.Equal(t, 1, m.Len())
}

func TestWhatMakesNoSenseOfStateAndStore(t *testing.T) {
	t.Setenv("LLMAFFINITY_TEST_SHORT", "short")
	stores := Stores{"test": func(context.Context, string) (cache.Store, func() error, error) { panic("not here") }}
	for args, want := range map[string]string{
		"-serve -store redis://h":                            "go -C examples/gateway/full run . -store redis://",
		"-serve -store rediss://user:secretword@h":           "go -C examples/gateway/full run . -store rediss://",
		"-serve -store mongo://h":                            "It has test and the one in memory",
		"-serve -store secretword":                           "want a URL with a scheme",
		"-serve -store test://h -state x":                    "-state is for the store in memory",
		"-serve -state x -state-every 0s":                    "-state-every must be more than 0",
		"-state x":                                           "-state and -store need -upstream",
		"-store test://h":                                    "-state and -store need -upstream",
		"-serve -state x -tenant-key LLMAFFINITY_TEST_SHORT": "less than 16 bytes",
	} {
		var out, log strings.Builder
		err := gateway(t.Context(), strings.Fields(args), &out, &log, With{Stores: stores})
		require.ErrorContains(t, err, want, args)
		require.NotContains(t, err.Error(), "secretword", args)
		require.Equal(t, 2, exitCode(err, &log), args)
	}
}
