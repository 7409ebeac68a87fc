package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// With the variable asCommand the test's binary runs as the command.
const asCommand = "REPLAY_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func runCommand(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	_ = cmd.Run() // the exit code says whether it has failed
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// The command writes tables to stdout and nothing else.
func TestTheCommandWritesTables(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, `{"session":%d,"timestamp":%d,"input_length":%d,"output_length":50,"hash_ids":[0,%d,%d]}`+"\n", i%8, i*3000, 1100+10*i, 1+i%8, 100+i)
	}
	file := filepath.Join(dir, "small.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
	table := filepath.Join(dir, "numbers.csv")
	out, errs, code := runCommand(t, "-n", "2", "-p", "roundrobin,stay", "--csv", table, "--plots", filepath.Join(dir, "plots"), file)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	require.NotContains(t, out, "PASS")
	require.Equal(t, 2, strings.Count(out, "\nroundrobin "), out)
	require.Equal(t, 2, strings.Count(out, "\nstay "), out)
	require.Contains(t, out, "small, sessions by id: ")
	require.Contains(t, out, "small, sessions by content: ")

	f, err := os.Open(table)
	require.NoError(t, err)
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 1+2*2*2)
	require.Equal(t, []string{"trace", "identity", "policy", "history", "quality", "max/mean"}, lines[0][:6])
	require.Equal(t, []string{"small", "id", "roundrobin", "0"}, lines[1][:4])

	for _, name := range []string{"small-id-balance", "small-content-balance", "small-id-load-stay", "small-content-load-roundrobin"} {
		f, err := os.Open(filepath.Join(dir, "plots", name+".png"))
		require.NoError(t, err)
		image, err := png.Decode(f)
		require.NoError(t, f.Close())
		require.NoError(t, err)
		require.Greater(t, image.Bounds().Dx(), 500)
		svg, err := os.ReadFile(filepath.Join(dir, "plots", name+".svg"))
		require.NoError(t, err)
		require.Contains(t, string(svg), "<svg")
	}
}

// Without a trace the command replays the sample that is part of it.
func TestTheCommandReplaysItsOwnTrace(t *testing.T) {
	out, errs, code := runCommand(t, "-n", "1", "-i", "id", "-p", "stay")
	require.Zero(t, code, errs)
	require.Contains(t, out, "sample, sessions by id: ")
	require.Contains(t, out, "\nstay ")
}

func TestTheCommandsErrors(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"--policy", "none"}, `"none"`, 2},
		{[]string{"--shape", "none"}, `"none"`, 2},
		{[]string{"--identity", "none"}, `"none"`, 2},
		{[]string{"--identity", "recorded"}, "no headers", 1},
		{[]string{"-n", "0"}, "--histories", 2},
		{[]string{"--ttl", "0s"}, "--ttl", 2},
		{[]string{"--what"}, "--what", 2},
		{[]string{"--convert", "mooncake", "x"}, `"mooncake"`, 2},
		{[]string{"--convert", "tau-bench"}, "one path", 2},
		{[]string{"--convert", "tau-bench", filepath.Join(t.TempDir(), "missing.json")}, "missing.json", 1},
		{[]string{filepath.Join(t.TempDir(), "missing.jsonl")}, "missing.jsonl", 1},
		{[]string{"-n", "1", "-s", "one", "-p", "stay", "--csv", filepath.Join(t.TempDir(), "no", "folder")}, "folder", 1},
	} {
		_, errs, code := runCommand(t, c.args...)
		require.Equal(t, c.code, code, c.args)
		require.Contains(t, errs, c.want)
	}
	_, errs, code := runCommand(t, "--help")
	require.Zero(t, code)
	require.Contains(t, errs, "--histories")
}

// The command can replay a trace that it has converted.
func TestTheCommandConverts(t *testing.T) {
	dir := t.TempDir()
	source, file := filepath.Join(dir, "airline.json"), filepath.Join(dir, "airline.jsonl")
	require.NoError(t, os.WriteFile(source, []byte(`[{"task_id":1,"trial":0,"traj":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}]`), 0o600))
	out, errs, code := runCommand(t, "--convert", "tau-bench", source)
	require.Zero(t, code, errs)
	require.Equal(t, `{"session": "t1-0", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`+"\n", out)
	require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
	out, errs, code = runCommand(t, "-n", "1", "-i", "id", "-p", "stay", file)
	require.Zero(t, code, errs)
	require.Contains(t, out, "airline, sessions by id: 1 requests of 1 sessions")
}

func TestTheDefaults(t *testing.T) {
	c, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Len(t, c.traces, 1)
	require.Equal(t, 8, c.config.Auths)
	require.Equal(t, 20, c.config.Histories)
	var names []string
	for _, p := range c.policies {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"roundrobin", "stay", "least", "spill", "rendezvous", "coldanew", "balance"}, names)
	c, err = parse([]string{"-s", "all", "-p", "all"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, c.traces, 7)
	require.Greater(t, len(c.policies), len(names))
}
