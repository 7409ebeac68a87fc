package affinity_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// crowded is a host with a thousand auths, which counts how often it is asked about one.
type crowded struct {
	*affinity.Selector[string]
	t     *testing.T
	auths []string
	state map[string]affinity.State
	asked int
}

func newCrowded(t *testing.T, o affinity.Options[string]) *crowded {
	h := &crowded{t: t, state: map[string]affinity.State{}}
	for i := range 1000 {
		h.auths = append(h.auths, fmt.Sprint("auth-", i))
	}
	o.State = func(auth string, _ affinity.Request) affinity.State {
		h.asked++
		return h.state[auth]
	}
	var err error
	h.Selector, err = affinity.Wrap(selector.Random[string](), same, &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

func (h *crowded) send(name string) string {
	h.t.Helper()
	p := pick(h.t, h.Selector, session(name), h.auths)
	p.Report(affinity.Served)
	return p.Auth
}

// With a thousand auths a pick asks the host about some of them, and about all of them once a
// second.
func TestAPickLooksAtSomeOfManyAuths(t *testing.T) {
	for name, o := range map[string]affinity.Options[string]{
		"the host's loads": {Load: affinity.LoadPolicy{Spill: 2}},
		"balance":          {Balance: affinity.BalanceMoving},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newCrowded(t, o)
				for i, a := range h.auths {
					h.state[a] = affinity.State{Load: float64(i % 10)}
				}
				h.send("first")
				require.GreaterOrEqual(t, h.asked, 1000)
				seen := map[string]bool{}
				h.asked = 0
				for i := range 500 {
					seen[h.send(fmt.Sprint("s", i))] = true
				}
				require.LessOrEqual(t, h.asked, 500*70)
				require.Greater(t, len(seen), 200, "the picks ask about different auths")
				h.asked = 0
				for i := range 500 { // bound ones
					h.send(fmt.Sprint("s", i))
				}
				require.LessOrEqual(t, h.asked, 500*70)
			})
		})
	}
}

func TestManyAuthsOfWhichFewMayServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCrowded(t, affinity.Options[string]{})
		for i, a := range h.auths {
			if i%100 != 7 {
				h.state[a] = affinity.State{Fitness: affinity.Unfit}
			}
		}
		seen := map[string]int{}
		for i := range 400 {
			time.Sleep(10 * time.Millisecond)
			seen[h.send(fmt.Sprint("s", i))]++
		}
		require.Len(t, seen, 10)
		for a, n := range seen {
			require.Greater(t, n, 10, a)
		}
	})
}

func TestAHigherTierOfManyAuthsIsSeenWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCrowded(t, affinity.Options[string]{})
		const top = "auth-500"
		for round := range 8 { // a pick that draws it by chance would see it without looking
			h.state[top] = affinity.State{Tier: 1, Fitness: affinity.Away}
			require.NotEqual(t, top, h.send(fmt.Sprint("another", round)), "an auth that is away gets no pick at all")
			h.state[top] = affinity.State{Tier: 1}
			time.Sleep(time.Second)
			for i := range 50 {
				require.Equal(t, top, h.send(fmt.Sprint(round, "s", i)))
			}
		}
	})
}

func TestManyAuthsGetTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCrowded(t, affinity.Options[string]{Balance: affinity.BalanceNew})
		n := map[string]int{}
		for i := range 10_000 {
			time.Sleep(time.Millisecond)
			n[h.send(fmt.Sprint("s", i))]++
		}
		most := 0
		for _, k := range n {
			most = max(most, k)
		}
		require.Len(t, n, 1000)
		require.LessOrEqual(t, most, 13, "the sessions are spread evenly, ten for each auth")
	})
}

// A failed attempt of one session says nothing about a higher tier to other sessions.
func TestWhatOneRequestHasTriedIsNotOverlookedByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCrowded(t, affinity.Options[string]{})
		const top = "auth-500"
		h.state[top] = affinity.State{Tier: 1}
		for round := range 8 { // see above
			r := session(fmt.Sprint("tried", round))
			r.Tried = []string{top}
			p := pick(t, h.Selector, r, h.auths)
			require.NotEqual(t, top, p.Auth)
			for i := range 50 {
				require.Equal(t, top, h.send(fmt.Sprint(round, "s", i)))
			}
			time.Sleep(time.Second)
		}
	})
}
