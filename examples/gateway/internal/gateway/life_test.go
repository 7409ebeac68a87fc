package gateway

import (
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// inside sends requests to a handler in this process, so that a test can have a virtual clock.
type inside struct{ http.Handler }

func (h inside) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil { // the handler has closed the connection
			resp, err = nil, io.ErrUnexpectedEOF
		}
	}()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

// lived has the results of a run.
type lived struct {
	requests, failed, switches int
	prompt, cached             int
	perAuth                    map[string]int
}

func (l *lived) share() float64 { return 100 * float64(l.cached) / float64(l.prompt) }

func (l *lived) most() float64 {
	most := 0
	for _, n := range l.perAuth {
		most = max(most, n)
	}
	return float64(most) * float64(len(l.perAuth)) / float64(l.requests)
}

// live runs conversations with pauses like real ones: half of them are under 18 s, and one in ten
// is above 121 s. If every is not 0, there is a fault each time that it has passed.
func live(t *testing.T, o demoOptions, every time.Duration, seed uint64) *lived {
	l := &lived{perAuth: map[string]int{}}
	synctest.Test(t, func(t *testing.T) {
		auths := o.auths
		sim, keys, err := simulated(auths, simulator.Options{})
		require.NoError(t, err)
		base, err := url.Parse("http://provider")
		require.NoError(t, err)
		pool := &Pool{}
		for i, key := range keys {
			pool.auths = append(pool.auths, &Auth{Name: fmt.Sprint("sim-", i+1), API: APIAny, URL: base, Key: key})
		}
		g, err := NewGateway(GatewayOptions{
			Pool: pool, Affinity: true, DecisionHeader: true, Attempts: auths, Patience: defaultPatience,
			Slow: affinity.SlowPolicy{Above: 30 * time.Second}, Base: inside{sim},
		})
		require.NoError(t, err)
		defer g.Close()
		rng := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		var clients sync.WaitGroup
		for i := range o.conversations {
			c := newConversation(i)
			pauses := rand.New(rand.NewPCG(seed, uint64(i)))
			clients.Go(func() {
				time.Sleep(time.Duration(pauses.IntN(int(10 * time.Minute))))
				for range o.turns {
					time.Sleep(time.Duration(18e9 * math.Exp(pauses.NormFloat64()*1.49)))
					path, header, body := c.ask()
					r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
					r.Header = header
					r.Header.Set("Authorization", "Bearer demo")
					w := httptest.NewRecorder()
					func() {
						defer func() { _ = recover() }() // a stream that ends early makes the handler panic
						g.ServeHTTP(w, r)
					}()
					c.answered(w.Body.Bytes())
					mu.Lock()
					l.requests++
					if w.Code != http.StatusOK || c.turns[len(c.turns)-1].assistant == "" {
						l.failed++
					} else {
						auth := decisionOf(&http.Response{Header: w.Header()})["auth"]
						l.perAuth[auth]++
						if c.auth != "" && c.auth != auth {
							l.switches++
						}
						c.auth = auth
					}
					mu.Unlock()
				}
			})
		}
		done := make(chan struct{})
		var faults sync.WaitGroup
		faults.Go(func() {
			var removed *Auth
			for every > 0 {
				select {
				case <-done:
					return
				case <-time.After(every):
				}
				if removed != nil {
					g.Reload(append(slices.Clone(pool.All()), removed))
					removed = nil
				}
				key := keys[rng.IntN(auths-2)]
				switch n := rng.IntN(40); {
				case n < 8:
					sim.SetFault(key, simulator.Fault{Status: 429, RetryAfter: time.Duration(1+rng.IntN(30)) * time.Second, Times: 1 + rng.IntN(3)})
				case n < 16:
					sim.SetFault(key, simulator.Fault{Status: 503, Times: 1 + rng.IntN(5)})
				case n < 24:
					sim.SetFault(key, simulator.Fault{Status: 529, Times: 1})
				case n < 30:
					sim.SetFault(key, simulator.Fault{HangUp: true, Times: 1 + rng.IntN(3)})
				case n < 36: // an outage of up to three minutes
					sim.SetFault(key, simulator.Fault{Status: 503})
					over := time.Duration(10+rng.IntN(170)) * time.Second
					faults.Go(func() {
						time.Sleep(over)
						sim.SetFault(key, simulator.Fault{})
					})
				case n < 38:
					sim.SetFault(key, simulator.Fault{Status: 401, Times: 1})
				default:
					all := pool.All()
					i := slices.IndexFunc(all, func(a *Auth) bool { return a.Key == key })
					removed = &Auth{Name: all[i].Name, API: all[i].API, URL: all[i].URL, Key: all[i].Key}
					g.Reload(slices.Delete(slices.Clone(all), i, i+1))
				}
			}
		})
		clients.Wait()
		close(done)
		faults.Wait()
		for _, s := range sim.Stats() {
			l.prompt += s.PromptTokens
			l.cached += s.CachedTokens
		}
	})
	return l
}

var lives = flag.Int("lives", 1, "histories of TestRandomFaultsAtTheSpeedOfLife")

// With the pauses of real clients, and with auths that fail at random for seconds or minutes, no
// client gets an error. The cached share is lower only by the cost of the switches.
func TestRandomFaultsAtTheSpeedOfLife(t *testing.T) {
	o := demoOptions{auths: 8, conversations: 200, turns: 20}
	if testing.Short() || thorough > 1 {
		o.conversations, o.turns = 40, 10
	}
	for seed := range uint64(*lives) {
		calm := live(t, o, 0, seed)
		for _, every := range []time.Duration{time.Minute, 15 * time.Second} {
			wild := live(t, o, every, seed)
			for _, l := range []*lived{calm, wild} {
				require.Equal(t, o.conversations*o.turns, l.requests)
				require.Zero(t, l.failed)
			}
			require.Equal(t, calm.prompt, wild.prompt, "both runs must have the same conversations, so the same prompt tokens")
			t.Logf("a fault every %v: cached share %.2f %% (%.2f without), %d switches (%d) of %d requests, max/mean %.2f (%.2f)",
				every, wild.share(), calm.share(), wild.switches, calm.switches, wild.requests, wild.most(), calm.most())
			must := 100 * float64(wild.switches) / float64(wild.requests)
			require.GreaterOrEqual(t, wild.share()+must+3, calm.share())
		}
	}
}
