package convert

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func converted(t testing.TB, source, path string, o Options) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Convert(&b, source, path, o))
	return b.String()
}

// ids returns ranges of numbers, each from one to another, as a JSON array.
func ids(ranges ...int) string {
	var all []string
	for i := 0; i < len(ranges); i += 2 {
		for n := ranges[i]; n <= ranges[i+1]; n++ {
			all = append(all, fmt.Sprint(n))
		}
	}
	return "[" + strings.Join(all, ",") + "]"
}

// request returns a request in kv-cache-tester's format, with members that Convert ignores.
func request(at float64, kind string, in, out int, blocks string) string {
	return fmt.Sprintf(`{"t":%v,"type":%q,"model":"m","in":%d,"out":%d,"hash_ids":%s,"input_types":["text"],"output_types":["text"],"stop":"","api_time":1.5,"think_time":0.5}`, at, kind, in, out, blocks)
}

func file(scope string, requests ...string) string {
	return fmt.Sprintf(`{"id":"trace_0001","models":["m"],"block_size":64,"hash_id_scope":%q,"tool_tokens":10,"system_tokens":5,"requests":[%s],"totals":{"subagent_count":0}}`, scope, strings.Join(requests, ","))
}

// Eight blocks become one, and a pair of equal requests becomes one request. Prompts with the same
// beginning, in one file or in files with global ids, have the same beginning afterwards.
func TestKVCacheTester(t *testing.T) {
	dir := folder(t, map[string]string{
		"trace_0001.json": file("global",
			request(0, "s", 1150, 11, ids(1, 17)),
			request(0.4, "n", 1150, 12, ids(1, 17)), // the second one of a pair
			request(3.25, "n", 1290, 13, ids(1, 16, 18, 21)),
		),
		"trace_0002.json": file("global", request(0, "n", 600, 14, ids(1, 9)), request(100, "s", 600, 15, ids(1, 9))),
		"trace_0003.json": file("local", request(0, "s", 520, 16, ids(1, 8))),
		"notes.txt":       "no trace",
	})
	want := []struct {
		session, in, out int
		after            int64 // milliseconds since the session's first request
		blocks           string
	}{
		{0, 1150, 11, 0, "[0,1,2]"}, {0, 1290, 13, 3250, "[0,1,3]"},
		{1, 600, 14, 0, "[0,4]"}, {1, 600, 15, 100000, "[0,4]"},
		{2, 520, 16, 0, "[5]"},
	}
	first := map[int64]int64{}
	at := int64(0)
	lines := strings.Split(strings.TrimSpace(converted(t, "kv-cache-tester", dir, Options{})), "\n")
	require.Len(t, lines, len(want))
	for _, line := range lines {
		l := gjson.Parse(line)
		session, millis := l.Get("session").Int(), l.Get("timestamp").Int()
		require.GreaterOrEqual(t, millis, at, "the lines must be in the order of time")
		at = millis
		if _, ok := first[session]; !ok {
			require.Less(t, millis, begin.Milliseconds())
			first[session] = millis
		}
		found := false
		for _, w := range want {
			if w.out == int(l.Get("output_length").Int()) {
				found = true
				require.Equal(t, fmt.Sprintf(`{"session":%d,"timestamp":%d,"input_length":%d,"output_length":%d,"hash_ids":%s}`, w.session, first[session]+w.after, w.in, w.out, w.blocks), line)
			}
		}
		require.True(t, found, line)
	}

	tr, err := trace.Read("converted", strings.NewReader(converted(t, "kv-cache-tester", dir, Options{})))
	require.NoError(t, err)
	require.Equal(t, 3, tr.Sessions)
	require.True(t, tr.Named)
}

// A subagent becomes a session of its own. Its times count from its own beginning. While it works,
// the user's session is not idle.
func TestKVCacheTesterSubagents(t *testing.T) {
	dir := folder(t, map[string]string{"trace_0001.json": file("global",
		request(0, "s", 600, 1, ids(1, 9)),
		`{"t":50,"type":"subagent","agent_id":"agent_001","requests":[`+request(0, "s", 520, 2, ids(1, 8))+","+request(30, "s", 530, 3, ids(1, 8))+`]}`,
		`{"t":60,"type":"subagent","agent_id":"agent_002","requests":[]}`,
		request(200, "s", 700, 4, ids(1, 10)),
	)})
	for _, c := range []struct {
		idle time.Duration
		at   []int64
	}{{0, []int64{0, 50000, 80000, 200000}}, {time.Minute, []int64{0, 50000, 80000, 140000}}} {
		lines := strings.Split(strings.TrimSpace(converted(t, "kv-cache-tester", dir, Options{Idle: c.idle})), "\n")
		require.Len(t, lines, 4)
		first := gjson.Get(lines[0], "timestamp").Int()
		for i, line := range lines {
			require.Equal(t, c.at[i], gjson.Get(line, "timestamp").Int()-first)
			require.Equal(t, int64([]int{0, 1, 1, 0}[i]), gjson.Get(line, "session").Int())
			require.Equal(t, int64(i+1), gjson.Get(line, "output_length").Int())
		}
	}
}

// With Only, a session keeps its number and its pauses.
func TestKVCacheTesterOnly(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.json": file("global", request(0, "s", 100, 1, "[1]"), `{"t":50,"type":"subagent","requests":[`+request(0, "s", 100, 2, "[1]")+`]}`, request(100, "s", 100, 3, "[1]")),
		"b.json": file("global", request(0, "s", 100, 4, "[1]")),
		"c.json": file("global", request(0, "s", 100, 5, "[1]")),
	})
	for _, c := range []struct {
		only []int
		want [][]int64 // session, output
	}{
		{nil, [][]int64{{0, 1}, {0, 3}, {1, 2}, {2, 4}, {3, 5}}},
		{[]int{3, 0}, [][]int64{{0, 1}, {0, 3}, {3, 5}}},
		{[]int{1}, [][]int64{{1, 2}}},
		{[]int{7}, nil},
	} {
		var got [][]int64
		at := map[int64]int64{}
		for line := range strings.Lines(converted(t, "kv-cache-tester", dir, Options{Idle: time.Minute, Only: c.only})) {
			l := gjson.Parse(line)
			got = append(got, []int64{l.Get("session").Int(), l.Get("output_length").Int()})
			at[l.Get("output_length").Int()] = l.Get("timestamp").Int()
		}
		slices.SortFunc(got, slices.Compare)
		require.Equal(t, c.want, got)
		if len(c.want) > 2 {
			require.Equal(t, int64(100_000), at[3]-at[1], "the pause must not be cut, because the subagent works meanwhile")
		}
	}
}

// With AtOnce, the next session begins five seconds after one has ended.
func TestKVCacheTesterAtOnce(t *testing.T) {
	files := map[string]string{}
	for i := range 4 {
		files[fmt.Sprintf("trace_%04d.json", i)] = file("global", request(0, "s", 100, 1, "[1]"), request(float64(100*(i+1)), "s", 100, 2, "[1]"))
	}
	from, to := map[int64]int64{}, map[int64]int64{}
	for line := range strings.Lines(converted(t, "kv-cache-tester", folder(t, files), Options{AtOnce: 2})) {
		l := gjson.Parse(line)
		if s, at := l.Get("session").Int(), l.Get("timestamp").Int(); l.Get("output_length").Int() == 1 {
			from[s] = at
		} else {
			to[s] = at
		}
	}
	require.Less(t, max(from[0], from[1]), begin.Milliseconds())
	require.Equal(t, to[0]+5000, from[2])
	require.Equal(t, to[1]+5000, from[3])
}

// A trajectory becomes one line. Its messages are written in the form of Python's json.dumps.
func TestTauBench(t *testing.T) {
	text := `[
  {
    "task_id": 7,
    "reward": 0.0,
    "info": {"task": {"user_id": "u"}},
    "traj": [
      {
        "role": "system",
        "content": "Be \"kind\": a, b:c \\"
      },
      {
        "role": "user",
        "content": "Caf\u00e9 [1, 2]"
      },
      {
        "content": null,
        "role": "assistant",
        "tool_calls": [{"function": {"arguments": "{\"a\":1}", "name": "f"}, "id": "call_1", "type": "function"}]
      }
    ],
    "trial": 2
  },
  {"task_id":0,"traj":[{"role":"assistant","content":"x"}],"trial":3}
]`
	path := filepath.Join(folder(t, map[string]string{"airline.json": text}), "airline.json")
	got := converted(t, "tau-bench", path, Options{})
	require.Equal(t, `{"session": "t7-2", "messages": [{"role": "system", "content": "Be \"kind\": a, b:c \\"}, {"role": "user", "content": "Caf\u00e9 [1, 2]"}, `+
		`{"content": null, "role": "assistant", "tool_calls": [{"function": {"arguments": "{\"a\":1}", "name": "f"}, "id": "call_1", "type": "function"}]}]}
{"session": "t0-3", "messages": [{"role": "assistant", "content": "x"}]}
`, got)
	tr, err := trace.Read("converted", strings.NewReader(got))
	require.NoError(t, err)
	require.Len(t, tr.Requests, 2)
}

func TestWhatCannotBeConverted(t *testing.T) {
	dir := folder(t, map[string]string{"list.json": `{"task_id":1}`, "cut.json": `[{"task_id":1,"traj":[{}]}`, "none.json": `[{"traj":[{}]}]`, "text.json": "trajectories"})
	for _, c := range []struct{ source, path, want string }{
		{"mooncake", dir, `"mooncake"`},
		{"kv-cache-tester", filepath.Join(dir, "missing"), "no .json files"},
		{"kv-cache-tester", folder(t, map[string]string{"a.json": "{"}), "a.json"},
		{"kv-cache-tester", folder(t, map[string]string{"a.json": `{"block_size":48}`}), "block_size is 48"},
		{"kv-cache-tester", folder(t, map[string]string{"a.json": `{"block_size":16}`}), "block_size is 16"},
		{"kv-cache-tester", folder(t, map[string]string{"a.json": file("global", request(-1, "s", 1, 1, "[1]"))}), "request 0: t is -1"},
		{"kv-cache-tester", folder(t, map[string]string{"a.json": file("global", `{"t":5,"type":"subagent","requests":[{"t":1e300}]}`)}), "subagent: request 0"},
		{"tau-bench", filepath.Join(dir, "missing.json"), "missing.json"},
		{"tau-bench", filepath.Join(dir, "list.json"), "not a list"},
		{"tau-bench", filepath.Join(dir, "cut.json"), "cut.json"},
		{"tau-bench", filepath.Join(dir, "none.json"), "trajectory 0"},
		{"tau-bench", filepath.Join(dir, "text.json"), "text.json"},
	} {
		require.ErrorContains(t, Convert(&bytes.Buffer{}, c.source, c.path, Options{}), c.want, "%s %s", c.source, c.path)
	}
}
