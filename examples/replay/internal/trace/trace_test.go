package trace

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/examples/record"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

func read(t *testing.T, lines ...string) *Trace {
	t.Helper()
	tr, err := Read("test", strings.NewReader(strings.Join(lines, "\n")))
	require.NoError(t, err)
	return tr
}

func texts(r *Request) (out []string) {
	for _, m := range gjson.GetBytes(r.AppendBody(nil, false), "messages").Array() {
		out = append(out, m.Get("content").String())
	}
	return out
}

// A prompt is cut into messages where earlier prompts of its session ended, also inside a block:
// the last part of the earlier prompt is the beginning of the full block in the later one.
func TestPromptsAreCutWhereEarlierOnesOfTheirSessionEnded(t *testing.T) {
	tr := read(t,
		`{"session":5,"timestamp":1000,"input_length":1124,"output_length":3,"hash_ids":[10,11,12]}`,
		`{"session":5,"timestamp":2000,"input_length":1624,"output_length":3,"hash_ids":[10,11,13,14]}`,
		`{"session":5,"timestamp":3000,"input_length":2048,"output_length":3,"hash_ids":[10,11,13,15]}`,
		`{"session":6,"timestamp":3500,"input_length":2048,"output_length":3,"hash_ids":[10,11,13,15]}`,
	)
	require.Equal(t, 2, tr.Sessions)
	require.True(t, tr.Named)
	one, two, three, other := texts(&tr.Requests[0]), texts(&tr.Requests[1]), texts(&tr.Requests[2]), texts(&tr.Requests[3])
	require.Len(t, one, 1)
	require.Len(t, one[0], 1124*4)
	require.Equal(t, one, two[:1])
	require.Len(t, two, 2)
	require.Len(t, two[1], 500*4)
	require.Equal(t, two, three[:2])
	require.Len(t, three, 3)
	require.Equal(t, []string{strings.Join(three, "")}, other, "a prompt must not be cut where the prompts of another session ended")
	require.Equal(t, []time.Duration{0, time.Second, 2 * time.Second, 2500 * time.Millisecond}, []time.Duration{tr.Requests[0].At, tr.Requests[1].At, tr.Requests[2].At, tr.Requests[3].At})
}

// With answers, the session's next request has the answer as a message of the assistant. The whole
// text of the request is the same as without answers.
func TestAnswersStandInTheNextRequest(t *testing.T) {
	traces := map[string]*Trace{"blocks": read(t,
		`{"session":5,"timestamp":1000,"input_length":1124,"output_length":30,"hash_ids":[10,11,12]}`,
		`{"session":5,"timestamp":2000,"input_length":1624,"output_length":3000,"hash_ids":[10,11,13,14]}`,
		`{"session":5,"timestamp":3000,"input_length":2048,"output_length":3,"hash_ids":[10,11,13,15]}`,
	), "conversation": read(t,
		`{"session":"a","messages":[{"role":"user","content":"q1"},{"role":"assistant","content":"a1"},{"role":"user","content":"q2"},{"role":"assistant","content":"a2"},{"role":"user","content":"q3"},{"role":"assistant","content":"a3"}]}`,
	)}
	for name, tr := range traces {
		t.Run(name, func(t *testing.T) {
			for i := range tr.Requests[:len(tr.Requests)-1] {
				a := sessionid.ReadAnswer(tr.Requests[i].AppendAnswer(nil))
				require.True(t, a.IsWhole())
				said := gjson.GetBytes(tr.Requests[i].AppendAnswer(nil), "choices.0.message.content").String()
				next := gjson.GetBytes(tr.Requests[i+1].AppendBody(nil, true), "messages").Array()
				require.Equal(t, "assistant", next[len(next)-2].Get("role").String())
				require.Equal(t, said, next[len(next)-2].Get("content").String())
				require.NotEmpty(t, next[len(next)-1].Get("content").String())
			}
			last := &tr.Requests[len(tr.Requests)-1]
			var with []string
			for _, m := range gjson.GetBytes(last.AppendBody(nil, true), "messages").Array() {
				with = append(with, m.Get("content").String())
			}
			require.Equal(t, strings.Join(texts(last), ""), strings.Join(with, ""))
		})
	}
	require.Len(t, gjson.GetBytes(traces["blocks"].Requests[0].AppendAnswer(nil), "choices.0.message.content").String(), 30*4)
}

// Two prompts have the same text exactly where they have the same blocks.
func TestEqualBlocksAreEqualTexts(t *testing.T) {
	tr := read(t,
		`{"session":1,"timestamp":0,"input_length":1536,"output_length":1,"hash_ids":[1,2,3]}`,
		`{"session":2,"timestamp":0,"input_length":1536,"output_length":1,"hash_ids":[1,2,4]}`,
		`{"session":3,"timestamp":0,"input_length":1536,"output_length":1,"hash_ids":[5,6,7]}`,
	)
	a, b, c := texts(&tr.Requests[0])[0], texts(&tr.Requests[1])[0], texts(&tr.Requests[2])[0]
	require.Equal(t, a[:2*blockBytes], b[:2*blockBytes])
	require.NotEqual(t, a[2*blockBytes:], b[2*blockBytes:])
	require.NotEqual(t, a[:16], c[:16])
	require.Equal(t, a, texts(&tr.Requests[0])[0], "a request must have the same body each time")
}

// Package sessionid can follow the sessions of the made-up traces: each body is JSON, and the end
// of a session's earlier prompt is a boundary of the later one.
func TestSessionsOfMadeUpTracesGoOn(t *testing.T) {
	traces := map[string]*Trace{}
	for _, s := range Shapes() {
		traces[s.Name] = s.Make(8)
	}
	var err error
	traces["sample"], err = Sample()
	require.NoError(t, err)
	for name, tr := range traces {
		t.Run(name, func(t *testing.T) {
			ends, turns := map[int]sessionid.Key{}, map[int]int{}
			var body []byte
			seen := 0
			for i := range tr.Requests {
				r := &tr.Requests[i]
				if turns[r.Session]++; r.Session > 2 || turns[r.Session] > 8 { // three sessions and eight turns are enough, because bodies are long
					continue
				}
				seen++
				body = r.AppendBody(body[:0], false)
				require.True(t, json.Valid(body))
				require.InDelta(t, r.Input*tokenBytes, len(body), 100+40*float64(len(texts(r))))
				id := sessionid.Extract(http.Header{}, body)
				if before, ok := ends[r.Session]; ok {
					require.Contains(t, id.Boundaries(), before, "request %d of session %d", i, r.Session)
				}
				ends[r.Session] = id.End()
			}
			require.NotZero(t, seen)
			require.True(t, slices.IsSortedFunc(tr.Requests, func(a, b Request) int { return int(a.At - b.At) }))
		})
	}
}

// The embedded sample is the one that WriteSample makes.
func TestTheSampleIsTheOneThatIsMade(t *testing.T) {
	var made bytes.Buffer
	require.NoError(t, WriteSample(&made))
	z, err := gzip.NewReader(bytes.NewReader(sampleFile))
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	require.True(t, bytes.Equal(made.Bytes(), text), "the embedded sample is out of date: run go generate ./internal/trace")
}

// The sample has the properties that its comment promises: some pauses are longer than a prompt
// cache lives, prompts are long, and sessions share three system prompts.
func TestTheSampleIsLikeRealTraces(t *testing.T) {
	tr, err := Sample()
	require.NoError(t, err)
	last, begin := map[int]time.Duration{}, map[int32]int{}
	pauses, long := 0, 0
	for _, r := range tr.Requests {
		at, ok := last[r.Session]
		switch {
		case !ok:
			begin[r.Blocks[0]]++
		case r.At-at > 5*time.Minute:
			long++
			fallthrough
		default:
			pauses++
		}
		last[r.Session] = r.At
	}
	require.InDelta(t, 0.046, float64(long)/float64(pauses), 0.02)
	require.InDelta(t, 60_000, tr.Tokens()/len(tr.Requests), 30_000)
	require.Len(t, begin, 3)
}

// In a trace without sessions, a request belongs to the conversation of an earlier one if its
// blocks continue that prompt. A first block that all prompts share does not count.
func TestConversationsAreFoundByTheirBlocks(t *testing.T) {
	tr := read(t,
		`{"timestamp":0,"input_length":1100,"output_length":1,"hash_ids":[0,1,2]}`,
		`{"timestamp":1,"input_length":600,"output_length":1,"hash_ids":[0,3]}`,
		`{"timestamp":2,"input_length":700,"output_length":1,"hash_ids":[0,4]}`,
		`{"timestamp":3,"input_length":1700,"output_length":1,"hash_ids":[0,1,5,6]}`,
		`{"timestamp":4,"input_length":2200,"output_length":1,"hash_ids":[0,1,5,7,8]}`,
	)
	require.False(t, tr.Named)
	var sessions []int
	for _, r := range tr.Requests {
		sessions = append(sessions, r.Session)
	}
	require.Equal(t, []int{0, 1, 2, 0, 0}, sessions)
	require.Equal(t, 3, tr.Sessions)
}

// A conversation becomes one request for each message of the assistant.
func TestConversationsBecomeRequests(t *testing.T) {
	long := strings.Repeat("x", 2*blockBytes)
	line := func(session, question string) string {
		return fmt.Sprintf(`{"session":%q,"messages":[{"role":"system","content":%q},{"role":"user","content":%q},{"role":"assistant","content":"a1"},{"role":"user","content":"q2"},{"role":"assistant","content":"a2"}]}`, session, long, question)
	}
	tr := read(t, line("a", "q1"), line("b", "another"))
	require.Len(t, tr.Requests, 4)
	var first, second []*Request
	for i := range tr.Requests {
		r := &tr.Requests[i]
		if r.Session == 0 {
			first = append(first, r)
		} else {
			second = append(second, r)
		}
	}
	require.Equal(t, []string{long, "q1"}, texts(first[0]))
	require.Equal(t, []string{long, "q1", "a1", "q2"}, texts(first[1]))
	require.Equal(t, first[0].Blocks[:2], first[1].Blocks[:2])
	require.Equal(t, first[0].Blocks[:2], second[0].Blocks[:2], "both conversations have the same system prompt, so they must have the same first blocks")
	require.NotEqual(t, first[0].Blocks[2], second[0].Blocks[2])
	require.Less(t, first[0].At, first[1].At)
}

// A recording becomes a trace with the sessions that were recorded.
func TestARecordingIsATrace(t *testing.T) {
	var b bytes.Buffer
	rec, err := record.New(&b)
	require.NoError(t, err)
	var plain strings.Builder
	const sessions, turns = 12, 5
	begun := time.Now()
	for turn := range turns {
		for s := range sessions {
			said := []map[string]string{{"role": "system", "content": strings.Repeat("the rules. ", 1000)}}
			for i := range turn + 1 {
				said = append(said,
					map[string]string{"role": "user", "content": fmt.Sprintf("question %d of conversation %d, %s", i, s, strings.Repeat("with many words ", 100))},
					map[string]string{"role": "assistant", "content": fmt.Sprintf("answer %d of conversation %d", i, s)})
			}
			body, err := json.Marshal(map[string]any{"model": "m", "messages": said[:len(said)-1]})
			require.NoError(t, err)
			h := http.Header{}
			if s%2 == 0 {
				h.Set("X-Session-Id", fmt.Sprintf("0f9a8b7c-0000-4000-8000-%012d", s))
			}
			at := begun.Add(time.Duration(turn)*time.Minute + time.Duration(s)*time.Second)
			require.NoError(t, rec.Record(record.Request{At: at, Took: 3 * time.Second, Header: h, Body: body}))
			line, err := json.Marshal(map[string]any{"timestamp": at.Sub(begun).Milliseconds(), "headers": h, "body": string(body)})
			require.NoError(t, err)
			plain.Write(append(line, '\n'))
		}
	}
	recorded, asItWas := read(t, b.String()), read(t, plain.String())
	require.True(t, recorded.Recorded)
	require.Equal(t, sessions, recorded.Sessions)
	require.Len(t, recorded.Requests, sessions*turns)
	for i, r := range recorded.Requests {
		w := asItWas.Requests[i]
		require.Equal(t, i%sessions, r.Session)
		require.Equal(t, w.Session, r.Session)
		require.Equal(t, w.At, r.At)
		require.Equal(t, 3*time.Second, r.Took)
		require.InDelta(t, w.Input, r.Input, 0.02*float64(w.Input))
		require.Equal(t, shared(asItWas.Requests[0].Blocks, w.Blocks) >= 4, shared(recorded.Requests[0].Blocks, r.Blocks) >= 4)
		require.GreaterOrEqual(t, shared(recorded.Requests[0].Blocks, r.Blocks), 4, "all requests have the same system prompt, so they must have the same first blocks")
		if i%sessions != 0 {
			require.Less(t, shared(recorded.Requests[0].Blocks, r.Blocks), 8)
		}
	}
}

func shared(a, b []int32) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func TestWhatIsNoTraceIsAnError(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "no requests"},
		{"\n\n", "no requests"},
		{`{"what":1}`, "the format is unknown"},
		{`{"hash_ids":[1],"input_length":1}` + "\n" + `{"hash_ids":"x"}`, "line 2"},
		{`{"messages":[]}` + "\nnonsense", "line 2"},
		{`{"headers":{},"body":{}}` + "\nnonsense", "line 2"},
		{`{"headers":{"A":3},"body":{}}`, "line 1"},
	} {
		_, err := Read("x", strings.NewReader(c.text))
		require.ErrorContains(t, err, c.want, c.text)
	}
	_, err := ReadFile(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ShapeOf("missing")
	require.Error(t, err)
}

// In a history each session begins up to half a minute earlier or later than in the trace. The same
// seed gives the same history.
func TestHistories(t *testing.T) {
	tr, err := Sample()
	require.NoError(t, err)
	a, again, b := tr.History(1), tr.History(1), tr.History(2)
	require.Equal(t, a, again)
	require.NotEqual(t, a, b)
	shift := map[int]time.Duration{}
	last := time.Duration(0)
	order := map[int]int{}
	for _, s := range a {
		r := tr.Requests[s.Request]
		by := s.At - r.At - tr.Later()
		require.LessOrEqual(t, by.Abs(), 30*time.Second)
		if was, ok := shift[r.Session]; ok {
			require.Equal(t, was, by, "all requests of a session must be moved by the same time")
			require.Less(t, order[r.Session], s.Request)
		}
		shift[r.Session], order[r.Session] = by, s.Request
		require.GreaterOrEqual(t, s.At, last)
		last = s.At
	}
	require.Len(t, a, len(tr.Requests))
	earlier := 0
	for _, by := range shift {
		if by < 0 {
			earlier++
		}
	}
	require.InDelta(t, len(shift)/2, earlier, float64(len(shift))/3)
}

func TestALineThatCannotBe(t *testing.T) {
	const good = `{"timestamp":1,"input_length":600,"output_length":1,"hash_ids":[1,2]}` + "\n"
	_, err := Read("good", strings.NewReader(good))
	require.NoError(t, err)
	for bad, says := range map[string]string{
		`{"timestamp":1e300,"input_length":600,"output_length":1,"hash_ids":[1]}`:             "timestamp",
		`{"timestamp":-5,"input_length":600,"output_length":1,"hash_ids":[1]}`:                "timestamp",
		`{"timestamp":2,"input_length":-5000,"output_length":1,"hash_ids":[1]}`:               "input_length",
		`{"timestamp":2,"input_length":600,"output_length":-10,"hash_ids":[1]}`:               "output_length",
		`{"timestamp":2,"input_length":9223372036854775807,"output_length":1,"hash_ids":[1]}`: "input_length",
	} {
		_, err := Read("bad", strings.NewReader(good+bad))
		require.ErrorContains(t, err, "line 2: "+says)
	}
}
