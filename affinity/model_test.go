package affinity_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// TestModel runs random histories of picks, reports (late ones too), cooldowns,
// loads, removals, drains, renamings, other configurations and time on an
// Affinity and on the reference, and demands that both decide alike.
func TestModel(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(4000 / thorough) {
		synctest.Test(t, func(t *testing.T) { modelHistory(t, seed, seen) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, what := range []string{
		"new", "hit", "none", "forced", "moved gone", "moved unfit", "moved cold", "moved tier", "moved refused", "moved invalidated",
		"detour away", "spill full", "spill slow", "spill load",
		"refused away", "refused full", "refused unfit", "refused forced", "refused balancer",
	} {
		require.Greater(t, seen[what], 100/thorough, "the histories have too few of this outcome: %v", seen)
	}
}

// modelOptions returns random options, for the Affinity and for the reference.
func modelOptions(rng, shares *rand.Rand, m *reference) *affinity.Options[string] {
	m.o = modelled{
		ttl: []time.Duration{time.Hour, 30 * time.Minute}[rng.IntN(2)], warm: []time.Duration{5 * time.Minute, time.Minute}[rng.IntN(2)],
		tiers: rng.IntN(2) == 0, loads: rng.IntN(2) == 0, shares: shares.IntN(2) == 0,
	}
	o := &m.o
	if o.tiers {
		o.failback = affinity.Failback(rng.IntN(3))
	}
	if o.loads && rng.IntN(2) == 0 {
		o.load = affinity.LoadPolicy{Spill: 1.5, Least: 2}
	}
	o.coldAnew = rng.IntN(3) == 0
	options := &affinity.Options[string]{
		Memory: cache.Options{TTL: o.ttl}, Warm: o.warm, Failback: o.failback, Load: o.load, ColdAnew: o.coldAnew,
		State: func(auth string, _ affinity.Request) affinity.State {
			s := affinity.State{Fitness: m.fitness[auth]}
			if m.o.tiers {
				s.Tier = m.tier[auth]
			}
			if m.o.loads {
				s.Load = m.load[auth]
			}
			if m.o.shares {
				s.Share = m.share[auth]
			}
			return s
		},
	}
	o.load.Bound = 1.25
	return options
}

func modelHistory(t *testing.T, seed uint64, seen map[string]int) {
	rng, shares := rand.New(rand.NewPCG(seed, 7)), rand.New(rand.NewPCG(seed, 8))
	auths := []string{"A", "B", "C", "D"}
	m := &reference{
		fitness: map[string]affinity.Fitness{}, tier: map[string]int{}, load: map[string]float64{}, share: map[string]float64{},
		drained: map[string]bool{}, absent: map[string]*refAbsence{}, sessions: map[string]*refSession{},
	}
	var told affinity.Decision
	options := func() *affinity.Options[string] {
		o := modelOptions(rng, shares, m)
		o.OnEvent = func(_ context.Context, e affinity.Event) {
			if !e.Reported {
				told = e.Decision
			}
		}
		return o
	}
	a, err := affinity.New(same, options())
	require.NoError(t, err)
	defer a.Close()
	type made struct {
		pick affinity.Pick[string]
		ref  *refPick
	}
	var picks []made
	for step := range 120 {
		what := fmt.Sprintf("seed %d, step %d", seed, step)
		switch op := rng.IntN(23); {
		case op < 8:
			r := &refRequest{session: fmt.Sprint("s", rng.IntN(4)), side: rng.IntN(8) == 0}
			for _, c := range auths {
				if rng.IntN(10) > 0 {
					r.candidates = append(r.candidates, c)
				}
				if rng.IntN(16) == 0 {
					r.tried = append(r.tried, c)
				}
			}
			if rng.IntN(20) == 0 {
				r.force = auths[rng.IntN(4)]
			}
			// The balancer's choice is drawn once, for the Affinity and the reference.
			draw := rng.IntN(100)
			r.choose = func(from []string) (string, bool) {
				if draw == 99 {
					return "", false
				}
				return from[draw%len(from)], true
			}
			ref, ok := m.pick(r)
			p, err := a.Pick(t.Context(), affinity.Request{
				Side: r.side, Tried: r.tried, Force: r.force, Header: http.Header{"X-Session-Id": {r.session}},
			}, r.candidates, func(_ context.Context, from []string) (string, error) {
				if auth, ok := r.choose(from); ok {
					return auth, nil
				}
				return "", errBalancer
			})
			how := strings.TrimSpace(told.Outcome.String() + " " + told.Reason.String())
			seen[how]++
			if !ok {
				require.Equal(t, affinity.OutcomeRefused, told.Outcome, what)
				var none *affinity.NoAuthError
				if ref.reason == affinity.ReasonNone {
					ref.reason = affinity.ReasonBalancer
					require.ErrorIs(t, err, errBalancer, what)
				} else {
					require.ErrorAs(t, err, &none, what)
				}
				require.Equal(t, ref.reason.String(), told.Reason.String(), what)
				break
			}
			require.NoError(t, err, what)
			require.Equal(t, told, p.Decision, what)
			require.Equal(t, strings.TrimSpace(ref.outcome.String()+" "+ref.reason.String()), how, what)
			require.Equal(t, ref.auth, p.Auth, what)
			require.Equal(t, ref.before, p.Decision.Before, what)
			if s := ref.of; s != nil && !r.side {
				if s.name == (sessionid.Key{}) {
					s.name = p.Decision.Session
				}
				require.Equal(t, s.name, p.Decision.Session, "%s: the stable name", what)
			}
			picks = append(picks, made{p, &ref})
		case op < 15 && len(picks) > 0:
			p := picks[len(picks)-1-rng.IntN(min(len(picks), 5))]
			result := []affinity.Result{
				affinity.Served, affinity.Served, affinity.Served, affinity.Transient, affinity.Terminal, affinity.Rejected,
				affinity.Cancelled, affinity.Unlisted,
			}[rng.IntN(8)]
			away := time.Duration(rng.IntN(3)) * 2 * time.Minute
			m.report(p.ref, result, away)
			p.pick.ReportAway(result, away)
		case op < 17:
			m.fitness[auths[rng.IntN(4)]] = affinity.Fitness(min(rng.IntN(7), 5)) // Unfit more often
		case op == 17:
			clear(m.fitness)
		case op == 18:
			time.Sleep([]time.Duration{time.Second, time.Minute, 4 * time.Minute, 40 * time.Minute}[rng.IntN(4)])
		case op == 19:
			m.load[auths[rng.IntN(4)]] = float64(rng.IntN(8))
			m.share[auths[shares.IntN(4)]] = []float64{0.5, 1, 2, 0, -1}[shares.IntN(5)]
			m.tier[auths[rng.IntN(4)]] = rng.IntN(4)
		case op == 20:
			for name := range m.sessions {
				m.find(name) // an expired session does not come back
			}
			require.NoError(t, a.Reconfigure(options()), what)
		case op == 21:
			auth := auths[rng.IntN(4)]
			if rng.IntN(3) == 0 {
				m.back(auth)
				require.NoError(t, a.Back(t.Context(), auth), what)
				break
			}
			on := rng.IntN(2) == 0
			m.drained[auth] = on
			a.Drain(auth, on)
		default:
			auth := auths[rng.IntN(4)]
			if rng.IntN(2) == 0 {
				// A gets the name B: both are one account from now on.
				if to := auths[rng.IntN(4)]; auth != to {
					n := m.rename(auth, to)
					renamed, err := a.RenameAuth(t.Context(), auth, to)
					require.NoError(t, err)
					require.Equal(t, n, renamed, what)
				}
				break
			}
			n := m.invalidate(auth)
			removed, err := a.InvalidateAuth(t.Context(), auth)
			require.NoError(t, err)
			require.Equal(t, n, removed, what)
		}
	}
}

var errBalancer = errors.New("the balancer's own error")
