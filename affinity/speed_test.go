package affinity_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// answers serves a request and reports how long the first token took.
func (h *host) answers(r affinity.Request, took time.Duration) affinity.Decision {
	h.t.Helper()
	p := h.pick(r)
	p.FirstToken(took)
	p.Report(affinity.Served)
	return p.Decision
}

const fast, slow = 500 * time.Millisecond, 5 * time.Second

func slowHost(t *testing.T) *host {
	return newHost(t, affinity.Options[string]{Slow: affinity.SlowPolicy{Above: 4 * time.Second}})
}

func TestASlowAuthIsSkippedAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		h.answers(r, slow)
		h.answers(r, slow)
		h.answers(r, fast)
		h.answers(r, slow)
		require.Equal(t, "A", h.answers(r, slow).Auth, "the slow times were not three in a row, so the session stays")
		require.Equal(t, "A", h.answers(r, slow).Auth, "the third slow time still comes from A")

		first := h.answers(r, fast)
		require.Equal(t, affinity.OutcomeSpill, first.Outcome)
		require.Equal(t, affinity.ReasonSlow, first.Reason)
		for i := range 9 {
			require.NotEqual(t, "A", h.serve(session(fmt.Sprint("new", i))).Auth, "new sessions avoid the slow auth")
			require.Equal(t, first.Auth, h.answers(r, fast).Auth, "all requests of the session go to one auth meanwhile")
			require.Equal(t, "A", look(t, h.Selector, r), "the binding stays")
		}

		// Each half minute one request tries it.
		time.Sleep(30 * time.Second)
		require.Equal(t, "A", h.answers(r, slow).Auth)
		for range 5 {
			require.Equal(t, first.Auth, h.answers(r, fast).Auth)
		}
		time.Sleep(30 * time.Second)
		require.Equal(t, "A", h.answers(r, fast).Auth, "one")
		require.Equal(t, "A", h.answers(r, fast).Auth, "two")
		require.Equal(t, "A", h.answers(r, fast).Auth, "three")
		for range 9 {
			require.Equal(t, "A", h.answers(r, fast).Auth, "A counts as fast again, so the session is back")
		}
		require.Equal(t, affinity.OutcomeHit, h.answers(r, fast).Outcome)
	})
}

// An auth whose times are near the bound does not change between slow and fast all the time.
func TestItDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		for range 3 {
			h.answers(r, slow)
		}
		onA, switches, last := 0, 0, ""
		for i := range 2000 { // for more than half an hour, 3.9 s and 4.1 s
			time.Sleep(time.Second)
			p := h.pick(r)
			if p.Auth == "A" {
				onA++
				p.FirstToken(3900*time.Millisecond + time.Duration(i%2)*200*time.Millisecond)
			} else {
				p.FirstToken(fast)
			}
			p.Report(affinity.Served)
			if last != "" && last != p.Auth {
				switches++
			}
			last = p.Auth
		}
		require.LessOrEqual(t, onA, 2000/30+1, "only probes go to the slow auth")
		require.LessOrEqual(t, switches, 2*(2000/30+1))
	})
}

func TestWhereAllAreSlowSessionsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		h.fitness["B"], h.fitness["C"] = affinity.Slow, affinity.Away
		for range 20 {
			d := h.answers(r, slow)
			require.Equal(t, "A", d.Auth)
			require.Equal(t, affinity.OutcomeHit, d.Outcome)
		}
	})
}

// The first answer of a session, or the first after a pause, is slow because its
// prompt is long. It says nothing about the auth.
func TestAColdPromptMakesNoAuthSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		for i := range 10 {
			time.Sleep(6 * time.Minute)
			require.Equal(t, "A", h.answers(r, slow).Auth)
			h.answers(session(fmt.Sprint("new", i)), slow)
		}
		other := r
		other.Model = "another model"
		for range 3 {
			h.answers(r, slow)
		}
		require.Equal(t, affinity.OutcomeSpill, h.answers(r, fast).Outcome)
		h.fitness["B"], h.fitness["C"] = affinity.Unfit, affinity.Unfit
		h.answers(other, fast)
		clear(h.fitness)
		require.Equal(t, "A", h.answers(other, fast).Auth, "slow with one model is not slow with all")
	})
}

// A slow auth whose sessions have all gone is not slow for ever.
func TestASlowAuthOfWhichNothingIsHeardGetsAChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHost(t)
		r := h.bound("x")
		for range 3 {
			h.answers(r, slow)
		}
		used := func() map[string]bool {
			used := map[string]bool{}
			for i := range 6 {
				used[h.serve(session(fmt.Sprint(time.Now().UnixNano(), i))).Auth] = true
			}
			return used
		}
		require.NotContains(t, used(), "A")
		time.Sleep(11 * 30 * time.Second)
		require.Contains(t, used(), "A")
		require.Equal(t, "A", h.answers(r, fast).Auth)
		time.Sleep(11 * 30 * time.Second)
		require.Equal(t, "A", h.answers(r, slow).Auth, "the probe of long ago is forgotten, and one slow time does not make A slow")
		require.Equal(t, "A", h.answers(r, fast).Auth)
	})
}
