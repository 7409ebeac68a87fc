package selector_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/selector"
)

// given is a Selector that shows what it was given.
func given(to *[]*auth) selector.Selector[*auth] {
	return selector.Func[*auth](func(_ context.Context, candidates []*auth) (*auth, error) {
		*to = slices.Clone(candidates)
		if len(candidates) == 0 {
			return nil, selector.ErrNoCandidates
		}
		return candidates[0], nil
	})
}

func TestTiersOffersTheFirstTierThatHasAny(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	var got []*auth
	asked := 0
	s := selector.Tiers(func(a *auth) int { asked++; return a.tier }, given(&got))
	for range 500 {
		list := auths(1 + r.IntN(12))
		first := -99
		for _, a := range list {
			a.tier = r.IntN(5) - 2
			first = max(first, a.tier)
		}
		before := slices.Clone(list)
		asked = 0
		taken(t, s, t.Context(), list)
		require.Equal(t, before, list, "the Selector must not change the caller's list")
		require.Equal(t, len(list), asked)
		require.Equal(t, slices.DeleteFunc(before, func(a *auth) bool { return a.tier != first }), got)
	}
}

func TestTiersGoesOverAllStrategies(t *testing.T) {
	var loads selector.Loads
	for name, next := range strategies(&loads) {
		t.Run(name, func(t *testing.T) {
			s := selector.Tiers(func(a *auth) int { return a.tier }, next)
			list := auths(6)
			for i, a := range list {
				a.tier = 2 - i/3 // three and three
			}
			for range 50 {
				require.Equal(t, 2, taken(t, s, t.Context(), list).tier)
				require.Equal(t, 1, taken(t, s, t.Context(), list[3:]).tier)
			}
			_, err := s.Select(t.Context(), nil)
			require.ErrorIs(t, err, selector.ErrNoCandidates)
		})
	}
}

func TestFilterAndPrefer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 10))
	light := func(ctx context.Context, a *auth) bool { return selector.HintOf(ctx).Model == "m" && a.load < 1 }
	var filtered, preferred []*auth
	only, wish := selector.Filter(light, given(&filtered)), selector.Prefer(light, given(&preferred))
	for range 500 {
		list := auths(1 + r.IntN(5))
		for _, a := range list {
			a.load = float64(r.IntN(3))
		}
		before := slices.Clone(list)
		want := slices.DeleteFunc(slices.Clone(list), func(a *auth) bool { return a.load >= 1 })
		_, err := only.Select(forModel("m"), list)
		taken(t, wish, forModel("m"), list)
		require.Equal(t, before, list)
		if len(want) > 0 {
			require.NoError(t, err)
			require.Equal(t, want, filtered)
			require.Equal(t, want, preferred)
		} else {
			require.ErrorIs(t, err, selector.ErrNoCandidates)
			require.Empty(t, filtered)
			require.Equal(t, list, preferred)
		}
		taken(t, wish, forModel("another"), list)
		require.Equal(t, list, preferred, "the condition sees the request")
	}
}

func TestFiltersPassErrorsAndPanicsOn(t *testing.T) {
	broken := errors.New("broken")
	fail := selector.Func[*auth](func(context.Context, []*auth) (*auth, error) { return nil, broken })
	for _, s := range []selector.Selector[*auth]{
		selector.Tiers(func(*auth) int { return 0 }, fail), selector.Filter(always, fail), selector.Prefer(always, fail),
	} {
		_, err := s.Select(t.Context(), auths(2))
		require.ErrorIs(t, err, broken)
	}
	bad := true
	s := selector.Filter(always, selector.Func[*auth](func(_ context.Context, all []*auth) (*auth, error) {
		if bad {
			panic("bad")
		}
		return all[len(all)-1], nil
	}))
	require.Panics(t, func() { _, _ = s.Select(t.Context(), auths(3)) })
	bad = false
	list := auths(2)
	require.Equal(t, list[1], taken(t, s, t.Context(), list), "the list of the pick before has no effect")
}

func TestAFilterThatUsesItselfInside(t *testing.T) {
	// next asks the same filter again: the two lists are not mixed up.
	var s selector.Selector[*auth]
	deep := 0
	s = selector.Filter(always, selector.Func[*auth](func(ctx context.Context, all []*auth) (*auth, error) {
		if deep++; deep < 4 {
			if _, err := s.Select(ctx, all[1:]); err != nil {
				return nil, err
			}
		}
		return all[0], nil
	}))
	list := auths(5)
	require.Equal(t, list[0], taken(t, s, t.Context(), list))
}

func TestConstructorsRefuseNil(t *testing.T) {
	var loads selector.Loads
	for name, make := range map[string]func(){
		"weighted round robin": func() { selector.WeightedRoundRobin[*auth](nil, nil) },
		"two choices":          func() { selector.TwoChoices[*auth](nil) },
		"least load":           func() { selector.LeastLoad[*auth](nil) },
		"tokens, no name":      func() { selector.LeastRecentTokens[*auth](nil, &loads) },
		"tokens, no loads":     func() { selector.LeastRecentTokens((*auth).id, nil) },
		"rendezvous":           func() { selector.Rendezvous[*auth](nil, nil) },
		"tiers":                func() { selector.Tiers(nil, selector.Random[*auth]()) },
		"tiers of nothing":     func() { selector.Tiers(func(*auth) int { return 0 }, nil) },
		"filter":               func() { selector.Filter(nil, selector.Random[*auth]()) },
		"prefer of nothing":    func() { selector.Prefer(always, nil) },
	} {
		require.Panics(t, make, name)
	}
}

// strategies are all Selectors of this package.
func strategies(loads *selector.Loads) map[string]selector.Selector[*auth] {
	return map[string]selector.Selector[*auth]{
		"RoundRobin":             selector.RoundRobin[*auth](),
		"WeightedRoundRobin_nil": selector.WeightedRoundRobin((*auth).id, nil),
		"WeightedRoundRobin":     selector.WeightedRoundRobin((*auth).id, (*auth).share),
		"Random":                 selector.Random[*auth](),
		"FillFirst":              selector.FillFirst[*auth](),
		"TwoChoices":             selector.TwoChoices((*auth).measure),
		"LeastLoad":              selector.LeastLoad((*auth).measure),
		"LeastRecentTokens":      selector.LeastRecentTokens((*auth).id, loads),
		"Rendezvous":             selector.Rendezvous((*auth).id, (*auth).share),
	}
}

// Each Selector takes a candidate of the list, leaves the list as it is, and refuses an empty
// list.
func TestEveryStrategyTakesOneOfTheCandidates(t *testing.T) {
	var loads selector.Loads
	for name, s := range strategies(&loads) {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 11))
			all := auths(200)
			for range 300 {
				all[r.IntN(len(all))].weight = float64(r.IntN(3))
				now := reloaded(r, all)[:1+r.IntN(len(all))]
				before := slices.Clone(now)
				a := taken(t, s, forModel(string(rune('a'+r.IntN(3)))), now)
				require.True(t, slices.Contains(now, a))
				require.True(t, slices.Equal(before, now))
				loads.Begin(a.name, 100, r.Uint64())
			}
			_, err := s.Select(t.Context(), nil)
			require.ErrorIs(t, err, selector.ErrNoCandidates)
		})
	}
}
