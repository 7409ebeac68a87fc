package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

func failing(context.Context, []string) (string, error) { return "", errors.New("nobody") }

func TestAReloadKeepsBindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, &affinity.Options[string]{Memory: cache.Options{TTL: time.Hour}})
		where := map[string]string{}
		for i := range 30 {
			id := fmt.Sprint("s", i)
			where[id] = served(t, s, session(id), abc)
		}
		flying := pick(t, s, session("s0"), abc)
		// Another TTL, strategy, weights, and one auth more.
		weighted := selector.Rendezvous(same, func(auth string) float64 { return map[string]float64{"D": 9}[auth] })
		require.NoError(t, s.Reconfigure(weighted, &affinity.Options[string]{Memory: cache.Options{TTL: 2 * time.Hour}}))
		for id, auth := range where {
			p := pick(t, s, session(id), append([]string{"D"}, abc...))
			require.Equal(t, auth, p.Auth)
			require.Equal(t, affinity.OutcomeHit, p.Decision.Outcome)
		}
		require.Equal(t, "D", served(t, s, session("new"), append([]string{"D"}, abc...)), "the new strategy chooses")
		time.Sleep(90 * time.Minute)
		require.Equal(t, where["s1"], look(t, s, session("s1")), "and the new TTL")
		flying.Report(affinity.Terminal)
		require.Empty(t, look(t, s, session("s0")), "the report of a request that was under way unbinds its session")

		// One auth is renamed, and one is removed. Only the bindings to the removed one are
		// cleared.
		n, err := s.RenameAuth(t.Context(), "B", "b2")
		require.NoError(t, err)
		require.Equal(t, 10, n)
		_, err = s.InvalidateAuth(t.Context(), "C")
		require.NoError(t, err)
		for id, auth := range where {
			want := map[string]string{"A": "A", "B": "b2", "C": ""}[auth]
			if id == "s0" {
				want = ""
			}
			require.Equal(t, want, look(t, s, session(id)))
		}
	})
}

func TestReconfigureRefusesWhatWouldLoseBindings(t *testing.T) {
	s := wrap(t, nil)
	first := served(t, s, session("x"), abc)
	m, err := cache.New(nil)
	require.NoError(t, err)
	defer m.Close()
	for name, o := range map[string]*affinity.Options[string]{
		"a store where there was none": {Store: m},
		"bad options":                  {Memory: cache.Options{TTL: -1}},
	} {
		require.Error(t, s.Affinity.Reconfigure(o), name)
	}
	require.Error(t, s.Reconfigure(nil, nil))
	require.NoError(t, s.Reconfigure(selector.FillFirst[string](), nil))
	require.Equal(t, first, look(t, s, session("x")))

	mine, err := affinity.New(same, &affinity.Options[string]{Store: m})
	require.NoError(t, err)
	require.NoError(t, mine.Reconfigure(&affinity.Options[string]{Store: m, Warm: time.Minute}))
	require.ErrorContains(t, mine.Reconfigure(&affinity.Options[string]{}), "Options.Store")
	other, err := cache.New(nil)
	require.NoError(t, err)
	defer other.Close()
	require.ErrorContains(t, mine.Reconfigure(&affinity.Options[string]{Store: other}), "Options.Store")
	require.ErrorContains(t, mine.Reconfigure(&affinity.Options[string]{Store: incomparable{Store: m}}), "Options.Store")
}

type incomparable struct {
	cache.Store
	_ []int
}

// The bubble ends only when all goroutines in it have ended.
func TestAThousandReloadsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, nil)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 250 {
					if err := s.Reconfigure(selector.RoundRobin[string](), &affinity.Options[string]{Memory: cache.Options{TTL: time.Duration(1+i) * time.Minute}}); err != nil {
						t.Error(err)
					}
					p, err := s.Pick(context.Background(), session(fmt.Sprint("s", g)), abc)
					if err != nil {
						t.Error(err)
					}
					p.Report(affinity.Served)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 4, s.Stats().Outcome(affinity.OutcomeNew), "no session was placed again")
		for range 100 {
			wg.Go(func() { s.Close() })
		}
		wg.Wait()
		_, err := s.Pick(t.Context(), session("x"), abc)
		require.NoError(t, err)
		require.NoError(t, s.Reconfigure(selector.RoundRobin[string](), nil), "Reconfigure works after Close, too")
	})
}

// A fifth auth is added. About a fifth of the sessions would be placed elsewhere if they were
// new, but no bound session moves.
func TestConsistentPlacement(t *testing.T) {
	four, five := []string{"A", "B", "C", "D"}, []string{"A", "B", "C", "D", "E"}
	place := func(auths []string) (*affinity.Selector[string], map[string]string) {
		s, err := affinity.Wrap(selector.Rendezvous(same, nil), same, nil)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		where := map[string]string{}
		for i := range 2000 {
			id := fmt.Sprint("s", i)
			where[id] = served(t, s, session(id), auths)
		}
		return s, where
	}
	s, before := place(four)
	_, after := place(five)
	_, again := place(four)
	require.Equal(t, before, again, "a replica without a shared store chooses the same auths")
	changed, perAuth := 0, map[string]int{}
	for id, auth := range before {
		perAuth[auth]++
		if after[id] != auth {
			changed++
			require.Equal(t, "E", after[id], "sessions change only to the auth that was added")
		}
		require.Equal(t, auth, served(t, s, session(id), five), "bound sessions do not move")
	}
	require.InDelta(t, 400, changed, 80)
	for _, auth := range four {
		require.InDelta(t, 500, perAuth[auth], 80)
	}
}
