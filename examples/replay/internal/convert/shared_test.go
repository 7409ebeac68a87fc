//go:build !race

// The race detector makes these tests ten times slower. The other tests run the same code with it.

package convert

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/field"
)

// shared returns the text of a trace of ../shared, which is not part of the project.
func shared(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(field.Shared(t, "traces/"+name))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	return text
}

// The test writes a trace of the README's tables in tau-bench's format. Convert must make the same
// trace of it, byte for byte.
func TestTauBenchGivesTheTraceOfTheREADME(t *testing.T) {
	text := shared(t, "tau_airline.jsonl.gz")
	var all []map[string]any
	for line := range bytes.Lines(text) {
		var c struct {
			Session  string
			Messages json.RawMessage
		}
		require.NoError(t, json.Unmarshal(line, &c))
		var task, trial int
		_, err := fmt.Sscanf(c.Session, "t%d-%d", &task, &trial)
		require.NoError(t, err)
		all = append(all, map[string]any{"task_id": task, "trial": trial, "reward": 1.0, "info": map[string]any{}, "traj": c.Messages})
	}
	require.Len(t, all, 200)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	require.NoError(t, e.Encode(all))
	path := filepath.Join(t.TempDir(), "gpt-4o-airline.json")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	require.True(t, string(text) == converted(t, "tau-bench", path, Options{}), "the converted trace differs from tau_airline.jsonl")
}

// kvSession are the lines of a session.
type kvSession []kvLine

func sessionsOf(t *testing.T, text string) map[int]kvSession {
	out := map[int]kvSession{}
	for line := range strings.Lines(text) {
		var l kvLine
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		out[l.Session] = append(out[l.Session], l)
	}
	return out
}

// rename gives blocks new numbers, in the order in which they first occur.
func rename(blocks []int64, names map[int64]int64) (out []int64) {
	for _, b := range blocks {
		n, ok := names[b]
		if !ok {
			n = int64(len(names))
			names[b] = n
		}
		out = append(out, n)
	}
	return out
}

// subagentsOf has the sessions of the traces that are subagents, by the session that has started
// them. A session is a subagent if it begins neither in the first minute nor five seconds after
// another session has ended.
var subagentsOf = map[int][]int{208: {209}, 217: {218, 219, 220, 221, 222}, 237: {238, 239, 240}, 247: {248, 249, 250, 251}}

// source returns a session in kv-cache-tester's format.
func source(t *testing.T, lines kvSession, start int64, subagents []kvSession) []map[string]any {
	var requests []map[string]any
	for _, l := range lines {
		blocks := []int64{} // blocks of 64 tokens
		for _, b := range l.Blocks {
			for i := range int64(mergedBlocks) {
				if len(blocks) < l.Input/64 {
					blocks = append(blocks, b*mergedBlocks+i)
				}
			}
		}
		require.Len(t, blocks, l.Input/64)
		at := float64(l.Millis-start) / 1000
		requests = append(requests, map[string]any{"t": at, "type": "s", "in": l.Input, "out": l.Output, "hash_ids": blocks})
	}
	for _, s := range subagents {
		requests = append(requests, map[string]any{"t": float64(s[0].Millis-start) / 1000, "type": "subagent", "requests": source(t, s, s[0].Millis, nil)})
	}
	return requests
}

// The test writes a trace of the README's tables in kv-cache-tester's format. Convert must make the
// same requests of it, with the same tokens, blocks and pauses. With pauses cut at a minute, it
// must make the pauses of the README's other trace.
func TestKVCacheTesterGivesTheTracesOfTheREADME(t *testing.T) {
	recorded := sessionsOf(t, string(shared(t, "claude_code_100_pauses.jsonl.gz")))
	cut := sessionsOf(t, string(shared(t, "claude_code_100.jsonl.gz")))
	var numbers []int
	for n := range recorded {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	isSubagent := map[int]bool{}
	for _, all := range subagentsOf {
		for _, n := range all {
			isSubagent[n] = true
		}
	}
	dir := t.TempDir()
	order := []int{} // order[i] is the session of the trace that becomes session i
	for _, n := range numbers {
		if isSubagent[n] {
			continue
		}
		order = append(order, n)
		var subagents []kvSession
		for _, s := range subagentsOf[n] {
			order = append(order, s)
			subagents = append(subagents, recorded[s])
		}
		text, err := json.Marshal(map[string]any{"block_size": 64, "hash_id_scope": "global", "requests": source(t, recorded[n], recorded[n][0].Millis, subagents)})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("trace_%04d.json", n)), text, 0o600))
	}
	got := sessionsOf(t, converted(t, "kv-cache-tester", dir, Options{Idle: time.Hour, AtOnce: 64}))
	short := sessionsOf(t, converted(t, "kv-cache-tester", dir, Options{Idle: time.Minute}))
	require.Len(t, got, len(recorded))
	ours, theirs := map[int64]int64{}, map[int64]int64{}
	same, differs := 0, 0
	for i, n := range order {
		require.Len(t, got[i], len(recorded[n]))
		for j, l := range got[i] {
			want := recorded[n][j]
			if want.Input != l.Input || want.Output != l.Output || want.Millis-recorded[n][0].Millis != l.Millis-got[i][0].Millis ||
				!slices.Equal(rename(want.Blocks, theirs), rename(l.Blocks, ours)) {
				t.Fatalf("session %d, request %d: the converted request differs from the trace's in tokens, blocks or time", n, j)
			}
			if c := cut[n]; j > 0 && c != nil {
				if a, b := c[j].Millis-c[j-1].Millis, short[i][j].Millis-short[i][j-1].Millis; a == b {
					same++
				} else {
					differs++
					t.Logf("session %d, request %d: the pause before it is %d ms in the trace, but converted %d ms", n, j, a, b)
				}
			}
		}
	}
	require.Zero(t, differs)
	require.Len(t, cut, 100)
	t.Logf("%d sessions, %d blocks; of the pauses cut at a minute %d are equal and %d are not", len(order), len(ours), same, differs)
}

// The test has the beginning of traces/trace_0007.json, as it is in kv-cache-tester at 7647c82.
// Convert must make the beginning of a session of the trace of it. That session was made of
// trace_0008.json, which has the same beginning: its tokens are those in that file's totals. The
// tokens of another session are those in the totals of trace_0051.json.
func TestTheBeginningOfAPublicFile(t *testing.T) {
	all := sessionsOf(t, string(shared(t, "claude_code_100_pauses.jsonl.gz")))
	tokens := func(lines kvSession) (n int) {
		for _, l := range lines {
			n += l.Input
		}
		return n
	}
	require.Equal(t, 21_964_884, 2*tokens(all[2]), "want the total of trace_0008.json, which has each request twice")
	require.Equal(t, 645_444, tokens(all[20])+all[20][0].Input+all[20][2].Input, "want the total of trace_0051.json, which has two of four requests twice")
	want := all[2][:3]
	first, second, third := ids(1, 2, 139652, 139955), ids(1, 2, 139652, 139954, 139956, 139965), ids(1, 2, 139652, 139954, 139956, 139968)
	dir := folder(t, map[string]string{"trace_0007.json": file("global",
		request(0, "s", 19584, 237, first), request(6, "n", 19584, 268, first),
		request(13, "s", 20217, 315, second), request(19, "n", 20217, 124, second),
		request(23, "s", 20378, 121, third), request(27, "n", 20378, 96, third),
	)})
	got := sessionsOf(t, converted(t, "kv-cache-tester", dir, Options{}))[0]
	require.Len(t, got, len(want))
	ours, theirs := map[int64]int64{}, map[int64]int64{}
	for i, w := range want {
		require.Equal(t, []int{w.Input, w.Output}, []int{got[i].Input, got[i].Output})
		require.Equal(t, w.Millis-want[0].Millis, got[i].Millis-got[0].Millis)
		require.Equal(t, rename(w.Blocks, theirs), rename(got[i].Blocks, ours))
	}
}
