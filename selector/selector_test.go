package selector_test

import (
	"context"
	"fmt"
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
