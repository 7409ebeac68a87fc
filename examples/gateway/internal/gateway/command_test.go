package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// With the variable asCommand the test's binary runs as the command.
const asCommand = "LLMAFFINITY_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(Main(ctx, os.Args[1:], os.Stdout, os.Stderr, With{}))
	}
	os.Exit(m.Run())
}

// process is the command in a process of its own.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Reader
	log *bufio.Reader
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), asCommand+"=1", "LLMAFFINITY_TEST_KEY=k")
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	p.out, p.log = bufio.NewReader(stdout), bufio.NewReader(stderr)
	require.NoError(t, p.cmd.Start())
	return p
}

// await reads lines until one contains want, and returns it.
func (p *process) await(r *bufio.Reader, want string) (line string) {
	p.t.Helper()
	for {
		line, err := r.ReadString('\n')
		require.NoError(p.t, err, "the output has ended, but no line contains %q", want)
		if strings.Contains(line, want) {
			return line
		}
	}
}

// end waits for the end of the process. It returns the rest of its output, and the exit code.
func (p *process) end() (out, log string, code int) {
	rest, err := io.ReadAll(p.out)
	require.NoError(p.t, err)
	errs, err := io.ReadAll(p.log)
	require.NoError(p.t, err)
	err = p.cmd.Wait()
	if !errors.As(err, new(*exec.ExitError)) {
		require.NoError(p.t, err)
	}
	return string(rest), string(errs), p.cmd.ProcessState.ExitCode()
}

func TestInterruptAndSIGTERMStopTheGatewayInTheSameWay(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := startProcess(t, "-serve", "-listen", "127.0.0.1:0", "-auths", "1")
		p.await(p.out, "serving on")
		require.NoError(t, p.cmd.Process.Signal(s))
		out, log, code := p.end()
		require.Zero(t, code, s)
		require.Equal(t, "decisions: there were none\nprompt cache: no answer has reported its usage\n", out, s)
		require.Empty(t, log, s)
	}
}

// With -tool-calls the simulated provider calls tools, so that real clients can run their loops.
func TestTheSimulatedProviderCallsToolsIfToldTo(t *testing.T) {
	for _, c := range []struct{ flag, reason string }{{"-tool-calls=false", "stop"}, {"-tool-calls", "tool_calls"}} {
		p := startProcess(t, "-serve", "-listen", "127.0.0.1:0", c.flag)
		url := regexp.MustCompile(`http://[0-9.:]+`).FindString(p.await(p.out, "serving on"))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions",
			strings.NewReader(`{"model":"m","tools":[{"type":"function","function":{"name":"look"}}],"messages":[{"role":"user","content":"q"}]}`))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer any")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.reason, gjson.GetBytes(text, "choices.0.finish_reason").Str, "%s", text)
		http.DefaultClient.CloseIdleConnections()
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		_, log, code := p.end()
		require.Zero(t, code)
		require.Empty(t, log)
	}
}

// The operators' page has an address of its own. The clients' address does not serve it.
func TestOperatorsHaveAPageOfTheirOwn(t *testing.T) {
	p := startProcess(t, "-serve", "-listen", "127.0.0.1:0", "-auths", "2", "-admin", "localhost:0")
	line := p.await(p.out, "serving on")
	clients := regexp.MustCompile(`http://[0-9.:]+`).FindString(line)
	line = p.await(p.out, "the page for operators")
	operators := regexp.MustCompile(`http://[0-9.:]+/`).FindString(line)
	get := func(url string) (int, string) {
		resp, err := http.Get(url)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}
	status, text := get(operators)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, "<h1>Overview</h1>")
	require.NotContains(t, text, "Invalidate", "without -admin-write the page must have no buttons that change something")
	status, _ = get(operators + "metrics")
	require.Equal(t, http.StatusNotFound, status, "this module must not have metrics")
	status, text = get(clients + "/")
	require.Equal(t, http.StatusNotFound, status)
	require.NotContains(t, text, "Overview")
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_, log, code := p.end()
	require.Zero(t, code)
	require.Empty(t, log)
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string // on stdout for 0, on stderr otherwise
	}{
		{[]string{"-h"}, 0, "Usage: gateway"},
		{[]string{"-config", "x", "-help"}, 0, "ANTHROPIC_BASE_URL"},
		{[]string{"-nonsense"}, 2, "gateway: flag provided but not defined: -nonsense"},
		{[]string{"-config", filepath.Join(t.TempDir(), "none.json")}, 1, "none.json"},
	} {
		out, log, code := startProcess(t, c.args...).end()
		require.Equal(t, c.code, code, c.args)
		if code == 0 {
			require.Contains(t, out, c.want, c.args)
			require.Empty(t, log, c.args)
			continue
		}
		require.Empty(t, out, c.args)
		require.Equal(t, 1, strings.Count(log, c.want), "the log must contain %q once: %s", c.want, log)
	}
	require.Equal(t, 1, exitCode(errors.New("x"), io.Discard))
}

// A running gateway reads changed files without a signal, and all files after a signal.
func TestARunningGatewayReadsItsFilesAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(file, text string) {
		next := filepath.Join(dir, "next")
		require.NoError(t, os.WriteFile(next, []byte(text), 0o600))
		require.NoError(t, os.Rename(next, filepath.Join(dir, file)))
	}
	write("keys", "one=k1\n")
	write("gateway.json", `{"upstreams": [{"name": "a", "api": "any", "url": "http://127.0.0.1:1", "keys": ["LLMAFFINITY_TEST_KEY"], "key_file": "keys"}]}`)
	p := startProcess(t, "-config", filepath.Join(dir, "gateway.json"), "-listen", "127.0.0.1:0")
	p.await(p.out, "with 2 auths")
	write("keys", "one=k1\ntwo=k2\n")
	p.await(p.log, "auths=3")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	p.await(p.log, "auths=3")
	write("keys", "two words\n")
	p.await(p.log, "keys:1: the key has blanks")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	out, _, code := p.end()
	require.Zero(t, code)
	require.Contains(t, out, "decisions: ")
}

func TestWhatMakesNoSenseOnTheCommandLine(t *testing.T) {
	t.Setenv("LLMAFFINITY_TEST_KEY", secret)
	t.Setenv("LLMAFFINITY_TEST_SAME", secret)
	const up = "a,any,http://127.0.0.1:1,LLMAFFINITY_TEST_KEY"
	config := filepath.Join(t.TempDir(), "gateway.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"routing": {"session-affinity": true}}`), 0o600))
	for _, c := range []struct {
		args string
		want string
	}{
		{"-affinity false", "write -affinity=false"},
		{"-v -affinity true -serve", "write -affinity=true"},
		{"--serve 1", "write -serve=1"},
		{"-turns 2 serve", "argument 3 belongs to no flag"},
		{"serve", "argument 1 belongs to no flag"},
		{"-upstream a,any,http://127.0.0.1:1, " + secret, "argument 3 belongs to no flag"},
		{"-- -serve", "argument 2 belongs to no flag"},
		{"-serve -config x", "-serve is for the simulated provider"},
		{"-upstream " + up + " -serve", "-serve is for the simulated provider"},
		{"-auths 0", "must be at least 1"},
		{"-turns x", "invalid value"},
		{"-slow -1s", "-slow must not be negative"},
		{"-upstream x", "-upstream[0]: want name,api"},
		{"-upstream " + up + ",LLMAFFINITY_TEST_SAME", "-upstream[0].keys[1]: the same key as at -upstream[0].keys[0]"},
		{"-upstream " + up + " -upstream b,openai,http://127.0.0.1:2,LLMAFFINITY_TEST_SAME", "-upstream[1].keys[0]: the same key as at -upstream[0].keys[0]"},
		{"-upstream a,any,http://127.0.0.1:1,LLMAFFINITY_TEST_NONE", "-upstream[0].keys[0]: the environment variable LLMAFFINITY_TEST_NONE is not set"},
		{"-admin 127.0.0.1:0", "-admin needs -upstream"},
		{"-tool-calls", "-tool-calls needs -serve"},
		{"-tool-calls -upstream " + up, "-tool-calls needs -serve"},
		{"-serve -admin-write", "-admin-write needs -admin"},
		{"-serve -admin 8081", "-admin: want an address"},
		{"-affinity=false -config " + config + " -upstream " + up, "routing.session-affinity is true, but -affinity=false was given"},
	} {
		var out, log bytes.Buffer
		err := gateway(t.Context(), strings.Fields(c.args), &out, &log, With{})
		require.ErrorContains(t, err, c.want, c.args)
		require.NotContains(t, err.Error(), "api03", c.args)
		require.Empty(t, out.String(), c.args)
		require.Empty(t, log.String(), c.args)
		require.Equal(t, 2, exitCode(err, &log), c.args)
	}
}

// The configuration in the help is valid.
func TestTheHelpShowsAConfiguration(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, gateway(t.Context(), []string{"-h"}, &out, io.Discard, With{}))
	_, text, _ := strings.Cut(out.String(), "\n  {\n")
	text, _, found := strings.Cut(text, "\n  }\n")
	require.True(t, found, out.String())
	c, err := parseConfig("help", []byte("{"+text+"}"))
	require.NoError(t, err)
	require.Len(t, c.Upstreams, 1)
}

// A configuration file may have only routing, if the command line has the upstreams.
func TestRoutingForTheUpstreamsOfTheCommandLine(t *testing.T) {
	config := filepath.Join(t.TempDir(), "gateway.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"routing": {"strategy": "fill-first"}}`), 0o600))
	c, err := parseCommand([]string{"-config", config, "-upstream", "a,any,http://127.0.0.1:1,K_1"}, nil)
	require.NoError(t, err)
	c.source.getenv = testGetenv
	s, _, err := c.source.settings(seen{}.read)
	require.NoError(t, err)
	require.Equal(t, "fill-first", s.Strategy)
	require.Len(t, s.Auths, 1)
}

// The summary shows each count of Stats, each in a way of its own. A field that is added to Stats
// makes this test fail until the summary shows it.
func TestTheSummaryForgetsNothing(t *testing.T) {
	require.Equal(t, "decisions: there were none", summary(affinity.Stats{}))
	var some affinity.Stats
	some.Picks[affinity.OutcomeNew][sessionid.KindContent] = 1
	some.Picks[affinity.OutcomeHit][sessionid.KindContent] = 3
	some.Picks[affinity.OutcomeRefused][sessionid.KindNone] = 2
	some.Results[affinity.Served] = 3
	require.Equal(t, "decisions: 1 new, 3 hit, 2 refused, 1 not reported", summary(some))
	// Reasons and results are left out: they say more about picks that are counted already.
	texts := map[string]string{}
	seen := func(name string, s affinity.Stats) {
		text := summary(s)
		require.Regexp(t, `^decisions: 7 [a-z -]+(, 7 not reported)?$`, text, name)
		require.Empty(t, texts[text], "the summary is the same for %s and for %s", name, texts[text])
		texts[text] = name
	}
	stats := reflect.TypeFor[affinity.Stats]()
	for i := range stats.NumField() {
		name := stats.Field(i).Name
		var s affinity.Stats
		switch f := reflect.ValueOf(&s).Elem().Field(i); {
		case name == "Reasons" || name == "Results":
		case name == "Picks":
			for o := range s.Picks {
				var s affinity.Stats
				s.Picks[o][sessionid.KindContent] = 7
				seen(fmt.Sprint(name, o), s)
			}
		case f.Kind() == reflect.Array:
			for j := range f.Len() {
				f.SetZero()
				f.Index(j).SetUint(7)
				seen(fmt.Sprint(name, j), s)
			}
		default:
			f.SetUint(7)
			seen(name, s)
		}
	}
}
