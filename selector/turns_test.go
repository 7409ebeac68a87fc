package selector_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/selector"
)

// auth is an auth like those of hosts: a reload makes a new value with the same name.
type auth struct {
	name   string
	weight float64
	tier   int
	load   float64
}

func (a *auth) id() string       { return a.name }
func (a *auth) share() float64   { return a.weight }
func (a *auth) measure() float64 { return a.load }

func auths(n int) []*auth {
	all := make([]*auth, n)
	for i := range all {
		all[i] = &auth{name: "auth-" + strconv.Itoa(i), weight: 1}
	}
	return all
}

// reloaded returns the same auths as new values, in another order.
func reloaded(r *rand.Rand, all []*auth) []*auth {
	out := make([]*auth, len(all))
	for i, a := range all {
		again := *a
		out[i] = &again
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func forModel(model string) context.Context {
	return selector.WithHint(context.Background(), selector.Hint{Model: model})
}

func taken[T any](t testing.TB, s selector.Selector[T], ctx context.Context, candidates []T) T {
	t.Helper()
	a, err := s.Select(ctx, candidates)
	require.NoError(t, err)
	return a
}

func TestRoundRobinGoesOnBehindTheLastOneWhereverItIs(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		list := []string{"a", "b", "c", "d", "e", "f"}
		s := selector.RoundRobin[string]()
		last := ""
		for range 300 {
			if r.IntN(4) == 0 { // another order, or another place where the list begins
				r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			}
			now := list
			if r.IntN(3) == 0 { // one is away
				i := r.IntN(len(list))
				now = slices.Delete(slices.Clone(list), i, i+1)
			}
			got := taken(t, s, t.Context(), now)
			if i := slices.Index(now, last); i >= 0 {
				require.Equal(t, now[(i+1)%len(now)], got)
			}
			last = got
		}
	}
}

func TestRoundRobinGoesOnAtTheSamePlaceIfTheLastOneIsGone(t *testing.T) {
	s := selector.RoundRobin[string]()
	for _, want := range []string{"a", "b"} {
		require.Equal(t, want, taken(t, s, t.Context(), []string{"a", "b", "c", "d"}))
	}
	require.Equal(t, "c", taken(t, s, t.Context(), []string{"a", "c", "d"}))
	require.Equal(t, "d", taken(t, s, t.Context(), []string{"a", "b", "c", "d"}))
	require.Equal(t, "a", taken(t, s, t.Context(), []string{"a"}), "after the end of the list the turn begins again")
}

func TestRoundRobinTakesValuesThatCannotBeCompared(t *testing.T) {
	slicesOf := selector.RoundRobin[[]int]()
	boxed := selector.RoundRobin[any]()
	for i := range 6 {
		require.Equal(t, []int{i % 3}, taken(t, slicesOf, t.Context(), [][]int{{0}, {1}, {2}}))
	}
	for range 3 { // not the same as themselves: their place counts
		require.Equal(t, any([]int{0}), taken(t, boxed, t.Context(), []any{[]int{0}, []int{1}}))
	}
}

func TestTurnsAreKeptForEachPoolAndModel(t *testing.T) {
	same := func(s string) string { return s }
	two := []string{"a", "b"}
	hints := []selector.Hint{{}, {Model: "m"}, {Pool: "m"}, {Model: "n"}, {Pool: "n"}, {Pool: "n", Model: "m"}, {Pool: "m", Model: "n"}}
	for name, fresh := range map[string]func() selector.Selector[string]{
		"round robin": selector.RoundRobin[string],
		"by name":     func() selector.Selector[string] { return selector.WeightedRoundRobin(same, nil) },
		"weighted": func() selector.Selector[string] {
			return selector.WeightedRoundRobin(same, func(string) float64 { return 1 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			// With one turn for both, each would get the same auth again and again.
			for i, one := range hints {
				for _, other := range hints[:i] {
					s := fresh()
					got := map[string]int{}
					for range 10 {
						got[taken(t, s, selector.WithHint(t.Context(), one), two)]++
						taken(t, s, selector.WithHint(t.Context(), other), two)
					}
					require.Equal(t, map[string]int{"a": 5, "b": 5}, got, "%+v, %+v", one, other)
				}
			}
		})
	}
}

func TestAFloodOfModelsCostsNoMemoryAndSpreads(t *testing.T) {
	list := auths(8)
	for name, s := range map[string]selector.Selector[*auth]{
		"round robin": selector.RoundRobin[*auth](),
		"by name":     selector.WeightedRoundRobin((*auth).id, nil),
		"weighted":    selector.WeightedRoundRobin((*auth).id, (*auth).share),
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]int{}
			flood := func(from, to int) {
				for i := from; i < to; i++ {
					got[taken(t, s, forModel("made up "+strconv.Itoa(i)), list).name]++
				}
			}
			held := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			flood(0, 1024)
			before := held()
			flood(1024, 21024)
			require.Less(t, int64(held())-int64(before), int64(1<<20), "some 8 MB if all were kept")
			for _, a := range list {
				require.InDelta(t, 21024/8, got[a.name], 30)
			}
			runtime.KeepAlive(s)
		})
	}
}

func TestAModelThatIsUsedKeepsItsTurnThroughAFlood(t *testing.T) {
	for name, s := range map[string]selector.Selector[string]{
		"round robin": selector.RoundRobin[string](),
		"by name":     selector.WeightedRoundRobin(func(s string) string { return s }, nil),
	} {
		t.Run(name, func(t *testing.T) {
			first := slices.Index(abc, taken(t, s, forModel("used"), abc))
			flood := 0
			for i := range 40 {
				for range 200 {
					taken(t, s, forModel(strconv.Itoa(flood)), abc)
					flood++
				}
				require.Equal(t, abc[(first+i+1)%3], taken(t, s, forModel("used"), abc))
			}
		})
	}
}

func TestRoundRobinByNameTakesTheOneThatHasWaitedLongest(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		all := auths(2 + r.IntN(12))
		s := selector.WeightedRoundRobin((*auth).id, nil)
		last := map[string]int{}
		for call := range 400 {
			now := reloaded(r, all)
			now = now[:1+r.IntN(len(now))]
			got := taken(t, s, t.Context(), now)
			require.Contains(t, now, got, "a value of this list, not an old one")
			for _, a := range now {
				require.LessOrEqual(t, last[got.name], last[a.name])
			}
			last[got.name] = call + 1
		}
	}
}

func TestRoundRobinByNameBeginsInTheOrderOfTheList(t *testing.T) {
	s := selector.WeightedRoundRobin((*auth).id, nil)
	list := auths(5)
	for i := range 12 {
		require.Equal(t, list[i%5].name, taken(t, s, t.Context(), list).name)
	}
	for i := range 12 { // the second model begins one further
		require.Equal(t, list[(i+1)%5].name, taken(t, s, forModel("second"), list).name)
	}
}

func TestWeightedRoundRobinGivesEachItsShareOfAnyRun(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		all := auths(1 + r.IntN(20))
		var sum float64
		for _, a := range all {
			a.weight = math.Exp(6 * r.Float64())
			if r.IntN(3) == 0 {
				a.weight = float64(r.IntN(4))
			}
			sum += a.weight
		}
		if sum == 0 {
			continue
		}
		s := selector.WeightedRoundRobin((*auth).id, (*auth).share)
		ctx := t.Context()
		for range seed % 4 { // models before this one
			taken(t, s, forModel(strconv.Itoa(r.Int())), all)
		}
		highest, lowest, got := map[string]float64{}, map[string]float64{}, map[string]float64{}
		for call := 1; call <= 600; call++ {
			got[taken(t, s, ctx, reloaded(r, all)).name]++
			for _, a := range all {
				lag := float64(call)*a.weight/sum - got[a.name]
				highest[a.name] = max(highest[a.name], lag)
				lowest[a.name] = min(lowest[a.name], lag)
				most := highest[a.name] - lowest[a.name]
				if most >= 2+1e-6 || seed%4 == 0 && math.Abs(lag) >= 1+1e-6 {
					t.Fatalf("seed %d, call %d: %v is off by %v, and in a run by %v", seed, call, a, lag, most)
				}
			}
		}
	}
}

// In any history, the number of picks of an auth stays near the sum of its shares.
func TestWeightedRoundRobinStaysNearTheSharesWhileAllChanges(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 4))
		all := auths(2 + r.IntN(10))
		s := selector.WeightedRoundRobin((*auth).id, (*auth).share)
		due, got, away := map[string]float64{}, map[string]float64{}, map[string]bool{}
		for call := range 2000 {
			if r.IntN(20) == 0 {
				all[r.IntN(len(all))].weight = float64(r.IntN(6))
			}
			if r.IntN(20) == 0 {
				name := all[r.IntN(len(all))].name
				away[name] = !away[name]
			}
			now := slices.DeleteFunc(reloaded(r, all), func(a *auth) bool { return away[a.name] })
			var sum float64
			for _, a := range now {
				sum += a.weight
			}
			if sum == 0 {
				continue
			}
			a := taken(t, s, t.Context(), now)
			require.Positive(t, a.weight)
			got[a.name]++
			for _, a := range now {
				due[a.name] += a.weight / sum
			}
			for _, a := range all {
				if off := got[a.name] - due[a.name]; math.Abs(off) > 2 {
					t.Fatalf("seed %d, call %d: %v is off by %v", seed, call, a, off)
				}
			}
		}
	}
}

func TestWeightedRoundRobinSpreadsInTime(t *testing.T) {
	list := []*auth{{name: "a", weight: 5}, {name: "b", weight: 1}, {name: "c", weight: 1}}
	s := selector.WeightedRoundRobin((*auth).id, (*auth).share)
	run, longest := 0, 0
	for range 700 {
		if taken(t, s, t.Context(), list).name == "a" {
			run++
		} else {
			run = 0
		}
		longest = max(longest, run)
	}
	require.LessOrEqual(t, longest, 4, "not five in a row")
}

func TestOneThatWasAwayDoesNotMakeUpForIt(t *testing.T) {
	for _, weight := range []func(*auth) float64{nil, (*auth).share} {
		list := auths(4)
		s := selector.WeightedRoundRobin((*auth).id, weight)
		for range 8 {
			taken(t, s, t.Context(), list)
		}
		for range 500 {
			taken(t, s, t.Context(), list[1:])
		}
		got := 0
		for range 40 {
			if taken(t, s, t.Context(), list).name == list[0].name {
				got++
			}
		}
		require.InDelta(t, 10, got, 1)
	}
}

func TestWeightsThatAreNoWeights(t *testing.T) {
	list := []*auth{
		{name: "none", weight: 0}, {name: "less", weight: -3}, {name: "nan", weight: math.NaN()},
		{name: "one", weight: 1}, {name: "inf", weight: math.Inf(1)},
	}
	s := selector.WeightedRoundRobin((*auth).id, (*auth).share)
	for range 100 {
		require.Equal(t, "inf", taken(t, s, t.Context(), list).name, "an infinite weight counts as 1e12 to 1")
	}
	for range 100 {
		require.Equal(t, "one", taken(t, s, t.Context(), list[:4]).name)
	}
	got := map[string]int{}
	again := []*auth{{name: "one", weight: 1}, {name: "inf", weight: 3}}
	for range 100 {
		got[taken(t, s, t.Context(), again).name]++
	}
	require.InDelta(t, 75, got["inf"], 2, "a weight that was infinite counts as it is now")
	clear(got)
	for range 99 {
		got[taken(t, s, t.Context(), list[:3]).name]++
	}
	require.Equal(t, map[string]int{"none": 33, "less": 33, "nan": 33}, got, "if there is no other")
}

func TestWeightedRoundRobinForgetsAuthsThatAreGone(t *testing.T) {
	s := selector.WeightedRoundRobin(func(s string) string { return s }, nil)
	held := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	round := func(from, to int) {
		for i := from; i < to; i++ {
			list := []string{"stays", fmt.Sprintf("%0200d", i)}
			taken(t, s, t.Context(), list)
		}
	}
	round(0, 10_000)
	before := held()
	round(10_000, 40_000)
	require.Less(t, held()-before, int64(2<<20), "8 MB if all were kept")
	runtime.KeepAlive(s)
}

func TestTurnsUnderConcurrency(t *testing.T) {
	list := auths(5)
	for i, a := range list {
		a.weight = float64(i + 1)
	}
	for name, c := range map[string]struct {
		s    selector.Selector[*auth]
		want []int
	}{
		"round robin": {selector.RoundRobin[*auth](), []int{120, 120, 120, 120, 120}},
		"by name":     {selector.WeightedRoundRobin((*auth).id, nil), []int{120, 120, 120, 120, 120}},
		"weighted":    {selector.WeightedRoundRobin((*auth).id, (*auth).share), []int{40, 80, 120, 160, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			var (
				wg  sync.WaitGroup
				mu  sync.Mutex
				got = map[string]int{}
			)
			for g := range 6 {
				wg.Go(func() {
					for i := range 100 {
						a, err := c.s.Select(context.Background(), list)
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = c.s.Select(forModel(strconv.Itoa(g*100+i)), list)
						mu.Lock()
						got[a.name]++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			for i, a := range list {
				require.InDelta(t, c.want[i], got[a.name], 1.01)
			}
		})
	}
}
