package selector_test

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/selector"
)

// counted returns a load function that counts how often it was called for each auth.
func counted() (func(*auth) float64, map[string]int) {
	calls := map[string]int{}
	return func(a *auth) float64 {
		calls[a.name]++
		return a.load
	}, calls
}

func TestLeastLoadTakesTheLeast(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 5))
		all := auths(1 + r.IntN(64))
		for range 30 {
			least := math.Inf(1)
			for _, a := range all {
				a.load = float64(r.IntN(20) - 5)
				least = min(least, a.load)
			}
			load, calls := counted()
			now := reloaded(r, all)
			got := taken(t, selector.LeastLoad(load), t.Context(), now)
			require.Equal(t, least, got.load)
			require.Contains(t, now, got)
			require.Len(t, calls, len(all))
			for _, n := range calls {
				require.Equal(t, 1, n)
			}
		}
	}
}

func TestEqualLoadsAreSharedOut(t *testing.T) {
	list := auths(10)
	for i, a := range list {
		a.load = float64(i % 2) // even ones have none
	}
	for name, c := range map[string]struct {
		s    selector.Selector[*auth]
		even float64
		odd  float64
	}{
		"least load": {selector.LeastLoad((*auth).measure), 800, 0},
		// 20 of 90 pairs have no auth with an even number.
		"two choices": {selector.TwoChoices((*auth).measure), 4000. * 7 / 9 / 5, 4000. * 2 / 9 / 5},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]int{}
			for range 4000 {
				got[taken(t, c.s, t.Context(), list).name]++
			}
			for i, a := range list {
				want := c.even
				if i%2 == 1 {
					want = c.odd
				}
				require.InDelta(t, want, got[a.name], 6*math.Sqrt(want)+1)
			}
		})
	}
}

// A thousand candidates: 64 of them are looked at, each as likely as another, none twice.
func TestALongListIsSampled(t *testing.T) {
	const n, rounds = 1000, 3000
	list := auths(n)
	looked := make([]int, n)
	place := map[string]int{}
	for i, a := range list {
		a.load = float64(i) // neighbours are alike: the worst order for a sample
		place[a.name] = i
	}
	good := 0
	for range rounds {
		load, calls := counted()
		got := taken(t, selector.LeastLoad(load), t.Context(), list)
		require.Len(t, calls, 64)
		for name, times := range calls {
			require.Equal(t, 1, times)
			require.GreaterOrEqual(t, list[place[name]].load, got.load, "the least of those that were looked at")
			looked[place[name]]++
		}
		if got.load < n/20 {
			good++
		}
	}
	require.Greater(t, good, rounds*95/100, "the chosen auth is one of the best 5 %")
	for _, times := range looked {
		require.InDelta(t, rounds*64./n, times, 6*math.Sqrt(rounds*64./n))
	}
}

func TestTwoChoicesLooksAtTwoAndTakesTheBetter(t *testing.T) {
	list := auths(30)
	for i, a := range list {
		a.load = float64(i)
	}
	got := make([]int, len(list))
	for range 6000 {
		load, calls := counted()
		a := taken(t, selector.TwoChoices(load), t.Context(), list)
		require.Len(t, calls, 2, "two different auths are looked at")
		for name, times := range calls {
			require.Equal(t, 1, times)
			i, _ := strconv.Atoi(name[len("auth-"):])
			require.GreaterOrEqual(t, list[i].load, a.load)
		}
		got[int(a.load)]++
	}
	// The auth with the least load wins each pair that it is in. The one with the most wins
	// none.
	require.InDelta(t, 400, got[0], 120)
	require.Zero(t, got[29])
	load, calls := counted()
	require.Equal(t, list[3], taken(t, selector.TwoChoices(load), t.Context(), list[3:4]))
	require.Empty(t, calls)
}

// TwoChoices does not send a burst to one auth, even if the loads are not updated meanwhile.
func TestTwoChoicesDoesNotHerd(t *testing.T) {
	list := auths(16)
	list[5].load = -1
	got := map[string]int{}
	for range 1600 {
		got[taken(t, selector.TwoChoices((*auth).measure), t.Context(), list).name]++
	}
	require.InDelta(t, 200, got["auth-5"], 80, "each auth is in 2 of 16 pairs")
	require.Len(t, got, 16)
}

func TestLoadsThatAreNoNumbers(t *testing.T) {
	for name, s := range map[string]selector.Selector[*auth]{
		"least load":  selector.LeastLoad((*auth).measure),
		"two choices": selector.TwoChoices((*auth).measure),
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct{ worse, better float64 }{
				{math.NaN(), 1e300}, {math.Inf(1), 1e300}, {0, -1}, {-1e300, math.Inf(-1)},
			} {
				list := []*auth{{name: "worse", load: c.worse}, {name: "better", load: c.better}}
				for range 40 {
					require.Equal(t, "better", taken(t, s, t.Context(), list).name)
				}
			}
			list := []*auth{{name: "nan", load: math.NaN()}, {name: "inf", load: math.Inf(1)}}
			got := map[string]int{}
			for range 200 {
				got[taken(t, s, t.Context(), list).name]++
			}
			require.InDelta(t, 100, got["nan"], 60)
		})
	}
}

// The measure is computed again, for any history of what was sent.
func TestLeastRecentTokensTakesTheLeastOfTheMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(40) {
			r := rand.New(rand.NewPCG(seed, 6))
			var loads selector.Loads
			all := auths(2 + r.IntN(62))
			s := selector.LeastRecentTokens((*auth).id, &loads)
			for range 60 {
				time.Sleep(time.Duration(r.Int64N(int64(time.Minute))))
				for range 3 {
					loads.Begin(all[r.IntN(len(all))].name, 1+r.Float64()*1e5, 0)
				}
				now := reloaded(r, all)
				now = now[:1+r.IntN(len(now))]
				var near, recent float64
				for _, a := range now {
					l := loads.Of(a.name)
					near += l.Near / float64(len(now))
					recent += l.Recent / float64(len(now))
				}
				measure := func(a *auth) (m float64) {
					l := loads.Of(a.name)
					if near > 0 {
						m += l.Near / near
					}
					if recent > 0 {
						m += 4 * l.Recent / recent
					}
					return m
				}
				got := taken(t, s, t.Context(), now)
				require.Contains(t, now, got)
				for _, a := range now {
					require.LessOrEqual(t, measure(got), measure(a)*(1+1e-9))
				}
			}
		}
	})
}

func TestLeastRecentTokensEvensOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 7))
		var loads selector.Loads
		all := auths(8)
		s := selector.LeastRecentTokens((*auth).id, &loads)
		sent, sum := map[string]float64{}, 0.0
		for range 4000 {
			time.Sleep(time.Second)
			tokens := math.Exp(5 + 6*r.Float64()) // most of it is in a few
			a := taken(t, s, t.Context(), reloaded(r, all)).name
			loads.Begin(a, tokens, 0)
			sent[a] += tokens
			sum += tokens
		}
		for _, a := range all {
			require.InDelta(t, 1, sent[a.name]/(sum/8), 0.03)
		}
	})
}

func TestLeastRecentTokensTellsEqualOnesApartByTheKey(t *testing.T) {
	var loads selector.Loads
	loads.Begin("auth-3", 100, 0)
	r := rand.New(rand.NewPCG(1, 8))
	all := auths(9)
	s := selector.LeastRecentTokens((*auth).id, &loads)
	byKey, byChance := map[string]int{}, map[string]int{}
	for key := range uint64(1600) {
		ctx := selector.WithKey(t.Context(), key)
		a := taken(t, s, ctx, reloaded(r, all)).name
		require.Equal(t, a, taken(t, s, ctx, reloaded(r, all)).name)
		byKey[a]++
		byChance[taken(t, s, t.Context(), all).name]++
	}
	for _, a := range all {
		want := 200.
		if a.name == "auth-3" {
			want = 0
		}
		require.InDelta(t, want, byKey[a.name], 90)
		require.InDelta(t, want, byChance[a.name], 90)
	}
}

func TestLeastRecentTokensSamplesALongList(t *testing.T) {
	var loads selector.Loads
	list := auths(1024)
	for i, a := range list {
		loads.Begin(a.name, float64(1000+i), 0)
	}
	asked := map[string]bool{}
	s := selector.LeastRecentTokens(func(a *auth) string {
		asked[a.name] = true
		return a.name
	}, &loads)
	good := 0
	for range 1000 {
		clear(asked)
		a := taken(t, s, t.Context(), list)
		require.Len(t, asked, 64)
		if i, _ := strconv.Atoi(a.name[len("auth-"):]); i < 1024/20 {
			good++
		}
	}
	require.Greater(t, good, 925, "962 are expected")
}

// These Selectors have no state and take no lock, which the race detector checks.
func TestStrategiesByLoadUnderConcurrency(t *testing.T) {
	var loads selector.Loads
	list := auths(100)
	all := map[string]selector.Selector[*auth]{
		"least load":           selector.LeastLoad((*auth).measure),
		"two choices":          selector.TwoChoices((*auth).measure),
		"least recent tokens":  selector.LeastRecentTokens((*auth).id, &loads),
		"tiers":                selector.Tiers(func(a *auth) int { return a.tier }, selector.Random[*auth]()),
		"a filter of a filter": selector.Filter(always, selector.Prefer(always, selector.RoundRobin[*auth]())),
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, s := range all {
				for range 100 {
					a, err := s.Select(context.Background(), list)
					if err != nil {
						t.Error(err)
						return
					}
					loads.Begin(a.name, 10, 1)
					loads.End(a.name)
				}
			}
		})
	}
	wg.Wait()
	var recent float64
	for _, a := range list {
		l := loads.Of(a.name)
		require.Zero(t, l.InFlight)
		recent += l.Recent
	}
	require.InEpsilon(t, 8*len(all)*100*10, recent, 0.05, "the sum is that of what was sent, but for what has faded")
}

func always(context.Context, *auth) bool { return true }
