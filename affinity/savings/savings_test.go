package savings_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

func meter(t *testing.T, o *savings.Options) *savings.Meter {
	t.Helper()
	m, err := savings.New(o)
	require.NoError(t, err)
	return m
}

// served is the event of a request that an auth has served.
func served(session byte, auth string, u affinity.Usage) affinity.Event {
	d := affinity.Decision{Outcome: affinity.OutcomeHit, Auth: auth, Candidates: 8}
	if session != 0 {
		d.Session = sessionid.Key{session}
	}
	return affinity.Event{Decision: d, Model: "m", Reported: true, Report: affinity.Report{Result: affinity.Served, Usage: u}}
}

// provider is a prompt cache behind each auth.
type provider struct {
	warm time.Duration
	last map[string]struct {
		at     time.Time
		prompt int
	}
}

func (p *provider) cached(auth string, conversation, prompt, shared int) int {
	if p.last == nil {
		p.last = map[string]struct {
			at     time.Time
			prompt int
		}{}
	}
	at := fmt.Sprint(auth, " ", conversation)
	cached := shared
	if was, ok := p.last[at]; ok && time.Since(was.at) <= p.warm {
		cached = max(cached, min(was.prompt, prompt))
	}
	p.last[at] = struct {
		at     time.Time
		prompt int
	}{time.Now(), prompt}
	return cached
}

// The estimate without affinity is what requests find that are spread by chance. The same
// conversations are sent with affinity, which the meter sees, and spread by chance.
func TestTheEstimateIsWhatSpreadingFinds(t *testing.T) {
	for name, c := range map[string]struct {
		pause     time.Duration // the longest between two turns
		shared    int           // tokens that all conversations begin with
		compacted bool          // each tenth turn begins anew
	}{
		"agents":             {20 * time.Second, 0, false},
		"people who think":   {8 * time.Minute, 0, false},
		"a system prompt":    {time.Minute, 20_000, false},
		"compacted at times": {20 * time.Second, 5_000, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const auths, conversations, turns = 8, 60, 40
				m := meter(t, nil)
				rng := rand.New(rand.NewPCG(1, 2))
				with, without := &provider{warm: 5 * time.Minute}, &provider{warm: 5 * time.Minute}
				total, spread := 0, 0
				for i := range conversations {
					prompt := c.shared + 2_000 + rng.IntN(20_000)
					home := fmt.Sprint("auth", rng.IntN(auths))
					for turn := range turns {
						time.Sleep(rand.N(c.pause))
						if prompt += 500 + rng.IntN(4_000); c.compacted && turn%10 == 9 {
							prompt = c.shared + 3_000
							// Nothing but the shared beginning is in any cache.
							for _, p := range []*provider{with, without} {
								for a := range auths {
									delete(p.last, fmt.Sprint("auth", a, " ", i))
								}
							}
						}
						shared := c.shared
						spread += without.cached(fmt.Sprint("auth", rng.IntN(auths)), i, prompt, shared)
						total += prompt
						m.Observe(t.Context(), served(byte(i+1), home, affinity.Usage{Prompt: prompt, Cached: with.cached(home, i, prompt, shared)}))
					}
				}
				s := m.Snapshot()
				require.EqualValues(t, total, s.Total().Prompt)
				want := 100 * float64(spread) / float64(total)
				t.Logf("with affinity %.1f %%, spread %.1f %%, estimated %.1f %%", 100*s.Total().Share(), want, 100*s.ShareWithout())
				require.InDelta(t, want, 100*s.ShareWithout(), 2)
				require.Greater(t, s.Total().Share(), s.ShareWithout())
			})
		})
	}
}

// The meter finds an auth without a prompt cache, and one whose cache lives for a shorter time
// than was assumed.
func TestCachesThatAreNotThereAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, nil)
		for i := range 100 {
			session := byte(i + 1)
			for range 3 {
				for auth, lives := range map[string]time.Duration{"good": 5 * time.Minute, "short": 30 * time.Second, "off": -1} {
					u := affinity.Usage{Prompt: 10_000}
					pause := time.Duration(i%4) * 25 * time.Second
					if pause <= lives {
						u.Cached = 9_000
					}
					e := served(session, auth, u)
					e.Decision.Session[1] = auth[0]
					m.Observe(t.Context(), e)
				}
				time.Sleep(time.Duration(i%4) * 25 * time.Second)
			}
			time.Sleep(time.Hour)
		}
		s := m.Snapshot()
		require.EqualValues(t, 200, s.Auths["good"].Expected)
		require.Zero(t, s.Auths["good"].Missed)
		require.EqualValues(t, 100, s.Auths["short"].Missed)
		require.EqualValues(t, 200, s.Auths["off"].Missed)
		for auth, want := range map[string]time.Duration{"good": 2 * time.Minute, "short": 30 * time.Second, "off": 0} {
			a := s.Auths[auth]
			got, ok := a.Warm()
			require.True(t, ok, auth)
			require.Equal(t, want, got, "%s: %+v", auth, a.Pauses)
		}
		_, ok := new(savings.Auth).Warm()
		require.False(t, ok)
	})
}

func TestMoney(t *testing.T) {
	m := meter(t, &savings.Options{Auths: 2, Prices: func(auth, model string) savings.Prices {
		require.Equal(t, "m", model)
		if auth != "A" {
			return savings.Prices{}
		}
		return savings.Prices{Prompt: 3, Cached: 0.3, CacheWritten: 3.75, Output: 15}
	}})
	m.Observe(t.Context(), served(1, "A", affinity.Usage{Prompt: 1_000_000, CacheWritten: 1_000_000, Output: 100_000}))
	s := m.Snapshot()
	require.InDelta(t, 3.75+1.5, s.Cost, 1e-9)
	require.InDelta(t, s.Cost, s.CostWithout, 1e-9, "the first request of a conversation costs the same without affinity")
	m.Observe(t.Context(), served(1, "A", affinity.Usage{Prompt: 1_100_000, Cached: 1_000_000}))
	s = m.Snapshot()
	require.InDelta(t, 5.25+0.3+0.3, s.Cost, 1e-9)
	require.InDelta(t, 5.25+0.3+0.3+500_000*2.7/1e6, s.CostWithout, 1e-9, "without affinity every second request goes to the other auth")
	require.Equal(t, "prompt cache: 47.6 % of 2100000 prompt tokens, about 23.8 % without affinity; cost 5.85 instead of about 7.20", s.String())
	m.Observe(t.Context(), served(2, "B", affinity.Usage{Prompt: 5}))
	require.InDelta(t, 5.85, m.Snapshot().Cost, 1e-9)
}

// Only served requests with a usage count, and no number causes an error.
func TestWhatCounts(t *testing.T) {
	m := meter(t, nil)
	e := served(1, "A", affinity.Usage{Prompt: 10})
	for _, change := range []func(e *affinity.Event){
		func(e *affinity.Event) { e.Reported = false },
		func(e *affinity.Event) { e.Again = true },
		func(e *affinity.Event) { e.Report.Result = affinity.Transient },
	} {
		other := e
		change(&other)
		m.Observe(t.Context(), other)
	}
	require.Equal(t, savings.Snapshot{Warm: 5 * time.Minute, Auths: map[string]savings.Auth{}}, m.Snapshot())
	require.Contains(t, m.Snapshot().String(), "no answer")
	m.Observe(t.Context(), served(1, "A", affinity.Usage{Output: 3}))
	require.EqualValues(t, 1, m.Snapshot().Unknown)
	m.Observe(t.Context(), served(0, "A", affinity.Usage{Prompt: 10, Cached: 20, CacheWritten: -5, Output: -1}))
	e.Decision.Outcome, e.Decision.Candidates = 99, 0
	m.Observe(t.Context(), e)
	s := m.Snapshot()
	require.Equal(t, savings.Tokens{Requests: 2, Prompt: 20, Cached: 10}, s.Total())
	for range 3 {
		m.Observe(t.Context(), e)
	}

	for want, o := range map[string]savings.Options{"Auths": {Auths: -1}, "Warm": {Warm: -1}, "MaxSessions": {MaxSessions: -1}} {
		_, err := savings.New(&o)
		require.ErrorContains(t, err, "savings: Options."+want)
	}
}

// A million forged sessions, models and auths cost no more than their bounds.
func TestTheMeterIsBounded(t *testing.T) {
	m := meter(t, &savings.Options{MaxSessions: 10})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				e := served(byte(i), fmt.Sprint("auth", g, i), affinity.Usage{Prompt: 10})
				e.Model = fmt.Sprint("model", i)
				m.Observe(t.Context(), e)
			}
		})
	}
	wg.Wait()
	s := m.Snapshot()
	require.Len(t, s.Auths, 1024)
	require.EqualValues(t, 20_000, s.Total().Requests)
}

// How long an auth's cache lives is known only after it was seen to expire.
func TestTheMeasuredTimeIsForOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, nil)
		p := provider{warm: time.Minute}
		asks := func(auth string, pause time.Duration, n int) {
			for range n {
				m.Observe(t.Context(), served(1, auth, affinity.Usage{Prompt: 10_000, Cached: p.cached(auth, 1, 10_000, 0)}))
				time.Sleep(pause)
			}
		}
		asks("A", 20*time.Second, 30)
		_, ok := m.Warm("A")
		require.False(t, ok, "nothing is known but that the cache lives for half a minute at least")
		asks("A", 4*time.Minute, 30)
		warm, ok := m.Warm("A")
		require.True(t, ok)
		require.Equal(t, 2*time.Minute, warm, "the cache lives for two minutes at most")
		p.warm = time.Hour
		asks("A", 4*time.Minute, 200)
		_, ok = m.Warm("A")
		require.False(t, ok, "the cache was seen to live longer now")
		p.warm = 0
		asks("B", time.Second, 30)
		warm, ok = m.Warm("B")
		require.Equal(t, []any{time.Second, true}, []any{warm, ok}, "an auth without a cache has the least value, a second")
		require.False(t, func() bool { _, ok := m.Warm("C"); return ok }())
	})
}

// Between a pause after which the cache is still there and one after which it has expired,
// nothing is known. A session is not taken for cold then.
func TestWhatLiesBetweenTwoPausesIsNotCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, nil)
		p := provider{warm: 5 * time.Minute}
		for range 30 {
			for _, pause := range []time.Duration{3 * time.Second, 20 * time.Minute} {
				m.Observe(t.Context(), served(1, "A", affinity.Usage{Prompt: 10_000, Cached: p.cached("A", 1, 10_000, 0)}))
				time.Sleep(pause)
			}
		}
		warm, ok := m.Warm("A")
		require.Equal(t, []any{10 * time.Minute, true}, []any{warm, ok})
		a := m.Snapshot().Auths["A"]
		warm, ok = a.Warm()
		require.Equal(t, []any{10 * time.Second, true}, []any{warm, ok}, "the longest pause after which the cache was found")
	})
}

// An auth that the Meter has forgotten has no measured time, and leaves room for others.
func TestMeasuredTimesAreForgottenWithTheirAuths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, nil)
		for i := range 1100 {
			for range 22 {
				m.Observe(t.Context(), served(byte(1+i%200), fmt.Sprint("auth-", i), affinity.Usage{Prompt: 10_000}))
				time.Sleep(time.Second)
			}
		}
		_, ok := m.Warm("auth-0")
		require.False(t, ok)
		_, ok = m.Warm("auth-1099")
		require.True(t, ok)
	})
}

// A host's numbers are not trusted: none is taken below zero.
func TestUsageBelowZeroCountsAsNone(t *testing.T) {
	m := meter(t, &savings.Options{Auths: 1, Prices: func(string, string) savings.Prices {
		return savings.Prices{Prompt: 3, Cached: 0.3, CacheWritten: 3.75, Output: 15}
	}})
	for range 3 {
		m.Observe(t.Context(), served(1, "A", affinity.Usage{Prompt: 1_000_000, Cached: -5, CacheWritten: -7, Output: -1}))
		m.Observe(t.Context(), served(1, "B", affinity.Usage{Prompt: 1_000_000, CacheWritten: 1}))
	}
	s := m.Snapshot()
	total := s.Total()
	require.Equal(t, []uint64{6_000_000, 0, 3}, []uint64{total.Prompt, total.Cached, total.CacheWritten})
	require.GreaterOrEqual(t, s.CachedWithout, 0.0)
	require.GreaterOrEqual(t, s.CostWithout, 0.0)
	for _, a := range s.Auths {
		for _, p := range a.Pauses {
			require.LessOrEqual(t, p.Expected, uint64(6_000_000))
		}
	}
}
