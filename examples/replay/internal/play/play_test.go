package play

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

var config = Config{Auths: 2, Histories: 1, Identity: ByID, TTL: 300 * time.Second, Prices: Prices{Uncached: 3, Cached: 0.3}, Speed: 50}

func policies(t *testing.T, names ...string) (out []Policy) {
	for _, name := range names {
		for _, p := range Policies() {
			if p.Name == name {
				out = append(out, p)
			}
		}
	}
	require.Len(t, out, len(names))
	return out
}

func read(t *testing.T, lines ...string) *trace.Trace {
	tr, err := trace.Read("test", strings.NewReader(strings.Join(lines, "\n")))
	require.NoError(t, err)
	return tr
}

// oneSession has a session of five requests. The first prompt has two blocks, and each later one
// has one block more. The prompt cache is cold at the fourth request.
func oneSession(t *testing.T) *trace.Trace {
	var lines []string
	for i, at := range []int{0, 10, 20, 400, 410} {
		ids := strings.Trim(strings.ReplaceAll(fmt.Sprint([]int{0, 1, 2, 3, 4, 5}[:2+i]), " ", ","), "[]")
		lines = append(lines, fmt.Sprintf(`{"session":1,"timestamp":%d,"input_length":%d,"output_length":10,"hash_ids":[%s]}`, at*1000, 512*(2+i), ids))
	}
	return read(t, lines...)
}

// The results of one session are those that were computed by hand.
func TestTheMeasure(t *testing.T) {
	results, err := Run(t, oneSession(t), policies(t, "roundrobin", "stay"), config)
	require.NoError(t, err)
	// The prompts have 2, 3, 4, 5 and 6 blocks, 20 in all. One cache has 0, 2, 3, 0 and 5 of them,
	// 10 in all. With round robin, auth 0 gets the prompts of 2, 4 and 6 blocks, and its cache has
	// 0, 2 and 0 of them. Auth 1 gets those of 3 and 5 blocks, and its cache has none of them.
	robin, stay := results[0][0], results[1][0]
	require.InDelta(t, 2.0/10, robin.Quality, 1e-9)
	require.InDelta(t, 18.0/10, robin.Uncached, 1e-9)
	require.InDelta(t, 12.0/10, robin.Imbalance, 1e-9)
	require.InDelta(t, (18*3+2*0.3)*512/1e6, robin.Price, 1e-9)
	require.Equal(t, 4, robin.Switches)
	require.InDelta(t, 1, stay.Quality, 1e-9)
	require.InDelta(t, 1, stay.Uncached, 1e-9)
	require.InDelta(t, 2, stay.Imbalance, 1e-9)
	require.InDelta(t, 2, stay.Minute, 1e-9)
	require.Zero(t, stay.Switches)
	require.Equal(t, 5, stay.Requests)
	require.Positive(t, stay.Nanos)
}

// With one auth all policies have the same results.
func TestWithOneAuthAllPoliciesAreEqual(t *testing.T) {
	tr, err := trace.Sample()
	require.NoError(t, err)
	tr.Requests = tr.Requests[:400]
	c := config
	c.Auths = 1
	results, err := Run(t, tr, Policies(), c)
	require.NoError(t, err)
	for i, p := range Policies() {
		r := results[i][0]
		require.Equal(t, len(tr.Requests), r.Requests, p.Name)
		require.InDelta(t, 1, r.Quality, 1e-9, p.Name)
		require.InDelta(t, 1, r.Uncached, 1e-9, p.Name)
		require.InDelta(t, 1, r.Imbalance, 1e-9, p.Name)
		require.Zero(t, r.Switches, p.Name)
	}
}

// Two runs of a history have the same results, except the cost of a decision, in whatever order the
// policies are given.
func TestARunCanBeRepeated(t *testing.T) {
	tr, err := trace.Sample()
	require.NoError(t, err)
	tr.Requests = tr.Requests[:400]
	c := config
	c.Auths, c.Histories, c.Identity = 8, 2, ByContent
	run := func(names ...string) map[string][]Result {
		all := policies(t, names...)
		results, err := Run(t, tr, all, c)
		require.NoError(t, err)
		out := map[string][]Result{}
		for i, p := range all {
			for j := range results[i] {
				results[i][j].Nanos = 0
			}
			out[p.Name] = results[i]
		}
		return out
	}
	one := run("roundrobin", "spill", "coldanew")
	require.Equal(t, one, run("coldanew", "spill", "roundrobin"))
	require.NotEqual(t, one["spill"][0].Imbalance, one["spill"][1].Imbalance, "two histories must differ")
}

// A prompt cache holds a block for five minutes after its last use. Only the leading blocks of a
// prompt count.
func TestAPromptCache(t *testing.T) {
	c := newPromptCache(5, 300*time.Second)
	r := func(tokens int, blocks ...int32) *trace.Request { return &trace.Request{Input: tokens, Blocks: blocks} }
	at := func(s int64) int64 { return 1e18 + s*1e9 }
	require.Zero(t, c.send(r(1100, 0, 1, 2), at(0)))
	require.Equal(t, 1100, c.send(r(1100, 0, 1, 2), at(300)), "the whole prompt must be cached, also its last block, which is not full")
	require.Equal(t, 1024, c.send(r(2000, 0, 1, 3, 4), at(600)))
	require.Zero(t, c.send(r(1536, 2, 1, 0), at(601)), "the first block is cold, so those behind it must not count")
	require.Equal(t, 512, c.send(r(1024, 0, 4), at(901)), "block 4 was last used at 600 s, so it must be cold at 901 s")
}

func TestAHostForgetsWhatIsNotRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(2)
		h.send(0, 100)
		time.Sleep(5 * time.Minute)
		h.send(0, 10)
		h.send(1, 1)
		h.forget()
		require.Equal(t, []float64{110, 1}, []float64{h.Recent(0), h.Recent(1)})
		time.Sleep(6 * time.Minute)
		h.forget()
		require.Equal(t, []float64{10, 1}, []float64{h.Recent(0), h.Recent(1)})
		require.InDelta(t, 110, h.Total(0), 0)
	})
}

// An auth gets no request before it is added, and none while it is away. A drained auth gets no new
// sessions.
func TestAuthsComeAndGo(t *testing.T) {
	shape, err := trace.ShapeOf("changes")
	require.NoError(t, err)
	c := config
	c.Auths = 8
	tr := shape.Make(8)
	require.Len(t, tr.Changes, 4)
	results, err := Run(t, tr, policies(t, "roundrobin", "stay", "least"), c)
	require.NoError(t, err)
	for i := range results {
		r := results[i][0]
		require.Zero(t, r.Refused)
		for minute, load := range r.Load {
			// Changes come half a minute later than in the trace, because histories do, too.
			if minute < 20 {
				require.Zero(t, load[7], "minute %d", minute)
			}
			if minute > 40 && minute < 50 {
				require.Zero(t, load[1], "minute %d", minute)
			}
		}
		require.NotZero(t, loadOf(r, 7, 21, 60))
		require.NotZero(t, loadOf(r, 1, 52, 60))
		require.NotZero(t, loadOf(r, 0, 10, 30))
		require.Zero(t, r.Load[len(r.Load)-2][0], "in the end the drained auth must have no more requests")
	}
	require.InDelta(t, 1, results[0][0].Imbalance, 0.1, "an auth that is away for a time must have a smaller fair share")
}

// loadOf returns how many tokens an auth was sent from one minute to another.
func loadOf(r Result, auth, from, to int) (sum float64) {
	for _, load := range r.Load[from:to] {
		sum += load[auth]
	}
	return sum
}

func TestAPolicyThatIsWrongIsAnError(t *testing.T) {
	wrong := policies(t, "spill")[0]
	wrong.Options = loaded(0.5, false)
	_, err := Run(t, oneSession(t), []Policy{wrong}, config)
	require.ErrorContains(t, err, "policy spill: ")
}

func TestMedian(t *testing.T) {
	require.InDelta(t, 2, Median([]float64{3, 1, 2}), 0)
	require.InDelta(t, 2.5, Median([]float64{4, 1, 2, 3}), 0)
}

// Two conversations that begin at the same time with the same words have the same auth, because
// they look like one session until they differ. If the library gets the answers, it distinguishes
// them.
func TestAnswersTellTwinsApart(t *testing.T) {
	var lines []string
	for session := range 2 {
		for turn := range 5 {
			ids := []int{0, 1, 2}
			for i := range turn {
				ids = append(ids, 100*(session+1)+i)
			}
			lines = append(lines, fmt.Sprintf(`{"session":%d,"timestamp":%d,"input_length":%d,"output_length":100,"hash_ids":[%s]}`,
				session, turn*100_000, 512*len(ids), strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")))
		}
	}
	tr := read(t, lines...)
	tr.Shift = time.Second // shorter than an answer
	c := config
	c.Identity = ByContent
	auths := func() int {
		results, err := Run(t, tr, policies(t, "stay"), c)
		require.NoError(t, err)
		last := results[0][0].Load[len(results[0][0].Load)-1]
		n := 0
		for _, load := range last {
			if load > 0 {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, auths())
	c.Answers = true
	require.Equal(t, 2, auths())
}

// When a policy decides, it knows the load of the last ten minutes, and no older load.
func TestAPolicySeesWhatIsRecent(t *testing.T) {
	tr := read(t,
		`{"session":1,"timestamp":0,"input_length":5120,"output_length":1,"hash_ids":[0,1,2,3,4,5,6,7,8,9]}`,
		`{"session":2,"timestamp":300000,"input_length":512,"output_length":1,"hash_ids":[10]}`,
		`{"session":3,"timestamp":720000,"input_length":512,"output_length":1,"hash_ids":[11]}`,
	)
	tr.Shift = time.Second
	results, err := Run(t, tr, policies(t, "least-alone", "least"), config)
	require.NoError(t, err)
	for _, r := range results {
		require.InDelta(t, 5120, loadOf(r[0], 0, 0, 5), 0)
		require.InDelta(t, 512, loadOf(r[0], 1, 4, 6), 0, "auth 0 has got many tokens five minutes ago, so auth 1 must get the second session")
		require.InDelta(t, 512, loadOf(r[0], 0, 11, len(r[0].Load)), 0, "those tokens are twelve minutes old, so auth 0 must get the third session")
	}
}
