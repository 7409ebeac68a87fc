package selector_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/selector"
)

var abc = []string{"a", "b", "c"}

func TestEverySelectorRefusesAnEmptyList(t *testing.T) {
	for name, s := range map[string]selector.Selector[string]{
		"round robin": selector.RoundRobin[string](),
		"fill first":  selector.FillFirst[string](),
		"random":      selector.Random[string](),
	} {
		_, err := s.Select(t.Context(), nil)
		require.ErrorIs(t, err, selector.ErrNoCandidates, name)
	}
}

func TestRoundRobinGivesEveryCandidateItsShareUnderConcurrency(t *testing.T) {
	s := selector.RoundRobin[string]()
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			v, err := s.Select(t.Context(), abc)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got[v]++
			mu.Unlock()
		})
	}
	wg.Wait()
	require.Equal(t, map[string]int{"a": 100, "b": 100, "c": 100}, got)
}

func TestRoundRobinSurvivesAShrinkingList(t *testing.T) {
	s := selector.RoundRobin[string]()
	for n := len(abc); n > 0; n-- {
		for range 4 {
			v, err := s.Select(t.Context(), abc[:n])
			require.NoError(t, err)
			require.Contains(t, abc[:n], v)
		}
	}
}

func TestFillFirstStaysOnTheFirst(t *testing.T) {
	s := selector.FillFirst[string]()
	for range 5 {
		v, err := s.Select(t.Context(), abc)
		require.NoError(t, err)
		require.Equal(t, "a", v)
	}
}

func TestRandomReachesAll(t *testing.T) {
	s := selector.Random[string]()
	seen := map[string]bool{}
	for range 1000 { // a miss has probability 3·(2/3)^1000
		v, err := s.Select(t.Context(), abc)
		require.NoError(t, err)
		seen[v] = true
	}
	require.Len(t, seen, 3)
}

func ExampleFunc() {
	// A host's own balancer, as it is.
	longest := selector.Func[string](func(_ context.Context, candidates []string) (string, error) {
		best := ""
		for _, c := range candidates {
			if len(c) > len(best) {
				best = c
			}
		}
		return best, nil
	})
	auth, _ := longest.Select(context.Background(), []string{"key-1", "key-long", "k"})
	fmt.Println(auth)
	// Output: key-long
}

func TestRendezvousPlacesByTheKey(t *testing.T) {
	same := func(s string) string { return s }
	s := selector.Rendezvous(same, nil)
	auths := []string{"A", "B", "C", "D"}
	ctx := func(i int) context.Context {
		return selector.WithKey(context.Background(), uint64(i)*0x9e3779b97f4a7c15)
	}
	got := map[string]int{}
	for i := range 4000 {
		a, err := s.Select(ctx(i), auths)
		require.NoError(t, err)
		got[a]++
		again, err := s.Select(ctx(i), []string{"D", "C", "A", "B"})
		require.NoError(t, err)
		require.Equal(t, a, again, "the choice does not depend on the order")
		without, err := s.Select(ctx(i), []string{"A", "B", "C"})
		require.NoError(t, err)
		if a != "D" {
			require.Equal(t, a, without, "only the keys of the removed auth change their auth")
		}
	}
	for _, a := range auths {
		require.InDelta(t, 1000, got[a], 150)
	}
	_, err := s.Select(ctx(1), nil)
	require.ErrorIs(t, err, selector.ErrNoCandidates)
	seen := map[string]bool{}
	for range 200 {
		a, err := s.Select(context.Background(), auths)
		require.NoError(t, err)
		seen[a] = true
	}
	require.Len(t, seen, 4, "without a key each auth can be chosen")
}

func TestRendezvousKeepsToTheWeights(t *testing.T) {
	weight := map[string]float64{"A": 1, "B": 3, "none": 0, "bad": math.NaN()}
	s := selector.Rendezvous(func(s string) string { return s }, func(s string) float64 { return weight[s] })
	got := map[string]int{}
	for i := range 4000 {
		a, err := s.Select(selector.WithKey(context.Background(), uint64(i)), []string{"none", "A", "B", "bad"})
		require.NoError(t, err)
		got[a]++
	}
	require.InDelta(t, 1000, got["A"], 150)
	require.InDelta(t, 3000, got["B"], 150)
	a, err := s.Select(selector.WithKey(context.Background(), 1), []string{"none"})
	require.NoError(t, err)
	require.Equal(t, "none", a, "an auth of weight 0 is chosen if there is no other")
}

// Auths with equal weights get equally many keys, whatever the weight is.
func TestRendezvousKeepsToWeightsOfAnySize(t *testing.T) {
	for _, w := range []float64{math.SmallestNonzeroFloat64, 1e-300, 1e300, 1e308, math.MaxFloat64, math.Inf(1)} {
		s := selector.Rendezvous(func(s string) string { return s }, func(string) float64 { return w })
		got := map[string]int{}
		for i := range 3000 {
			a, err := s.Select(selector.WithKey(t.Context(), uint64(i)), []string{"A", "B", "C"})
			require.NoError(t, err)
			got[a]++
		}
		for _, a := range []string{"A", "B", "C"} {
			require.InDelta(t, 1000, got[a], 130, "%v: %v", w, got)
		}
	}
}

func TestTheKeyIsThereAndTheRestOfTheContextToo(t *testing.T) {
	type other struct{}
	ctx := selector.WithKey(context.WithValue(context.Background(), other{}, "v"), 7)
	key, ok := selector.KeyOf(ctx)
	require.True(t, ok)
	require.EqualValues(t, 7, key)
	require.Equal(t, "v", ctx.Value(other{}))
	_, ok = selector.KeyOf(context.Background())
	require.False(t, ok)
}

func ExampleRendezvous() {
	next := selector.Rendezvous(func(name string) string { return name }, nil)
	for _, auths := range [][]string{{"key-1", "key-2", "key-3"}, {"key-3", "key-2", "key-1"}} {
		auth, err := next.Select(selector.WithKey(context.Background(), 7), auths)
		fmt.Println(auth, err)
	}
	// Output:
	// key-2 <nil>
	// key-2 <nil>
}

func TestRendezvousWithoutAKeyKeepsToTheWeights(t *testing.T) {
	s := selector.Rendezvous(func(a string) string { return a }, func(a string) float64 { return map[string]float64{"B": 1, "C": 3}[a] })
	got := map[string]int{}
	for range 4000 {
		a, err := s.Select(t.Context(), []string{"A", "B", "C"})
		require.NoError(t, err)
		got[a]++
	}
	require.Zero(t, got["A"], "an auth of weight 0 is not chosen")
	require.InDelta(t, 1000, got["B"], 200)
}
