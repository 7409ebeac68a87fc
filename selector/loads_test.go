package selector_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/selector"
)

func TestLoadsFadeByHalfInAHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l selector.Loads
		require.Zero(t, l.Of("a"))
		l.Begin("a", 1000, 5)
		require.Equal(t, selector.Load{InFlight: 1, Near: 1000, Recent: 1000, Main: 5, MainShare: 1}, l.Of("a"))
		require.Zero(t, l.Of("b"))
		time.Sleep(selector.NearHalf)
		require.InDelta(t, 500, l.Of("a").Near, 1e-6)
		time.Sleep(selector.RecentHalf - selector.NearHalf)
		got := l.Of("a")
		require.InDelta(t, 500, got.Recent, 1e-6)
		require.InDelta(t, 0.5, got.InFlight, 1e-9, "a request that is never ended counts less and less")
		require.Less(t, got.Near, 1e-6)
		require.Equal(t, 1.0, got.MainShare)
		time.Sleep(20 * selector.RecentHalf)
		require.Less(t, l.Of("a").InFlight, 1e-5)
	})
}

// Reads in between do not change the sum: each part of what was sent fades by its age.
func TestLoadsAreTheSumOfWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 1))
		var l selector.Loads
		type sent struct {
			at     time.Time
			tokens float64
		}
		var all []sent
		for range 500 {
			time.Sleep(time.Duration(r.Int64N(int64(time.Minute))))
			s := sent{time.Now(), math.Floor(1e5 * r.Float64())}
			all = append(all, s)
			l.Begin("a", s.tokens, r.Uint64())
			if r.IntN(2) == 0 {
				continue
			}
			var near, recent float64
			for _, s := range all {
				age := float64(time.Since(s.at))
				near += s.tokens * math.Exp2(-age/float64(selector.NearHalf))
				recent += s.tokens * math.Exp2(-age/float64(selector.RecentHalf))
			}
			require.InEpsilon(t, near, l.Of("a").Near, 1e-9)
			require.InEpsilon(t, recent, l.Of("a").Recent, 1e-9)
		}
	})
}

func TestLoadsAreNeverNegativeAndAlwaysNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(30) {
			r := rand.New(rand.NewPCG(seed, 2))
			var l selector.Loads
			for range 500 {
				tokens := []float64{0, 1e4 * r.Float64(), -1e4 * r.Float64(), -1e9, math.NaN(), math.Inf(1), math.Inf(-1)}[r.IntN(7)]
				key := r.Uint64N(4)
				switch r.IntN(4) {
				case 0:
					l.Begin("a", tokens, key)
				case 1:
					l.End("a")
				case 2:
					l.Add("a", tokens, key)
				case 3:
					time.Sleep(time.Duration(r.Int64N(int64(time.Hour))))
				}
				got := l.Of("a")
				for _, v := range []float64{got.InFlight, got.Near, got.Recent, got.MainShare} {
					require.GreaterOrEqual(t, v, 0.0)
					require.Less(t, v, 1e9)
				}
				require.LessOrEqual(t, got.MainShare, 1.0)
				if got.MainShare == 0 {
					require.Zero(t, got.Main)
				} else {
					require.NotZero(t, got.Main, "0 is no session")
				}
			}
		}
	})
}

// Tokens of several sessions, one of them large at times, are added and taken away again.
// MainShare is never more than the true share.
func TestMainShareNeverSaysTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sure := 0
		for seed := range uint64(300) {
			r := rand.New(rand.NewPCG(seed, 3))
			var l selector.Loads
			of := map[uint64]float64{} // 0: all that are no session
			for range 120 {
				key := uint64(r.IntN(4))
				tokens := math.Exp(8 * r.Float64())
				if key == seed%4 {
					tokens *= 50
				}
				if r.IntN(3) == 0 { // of this or of another session, and no more than it has
					key = uint64(r.IntN(4))
					tokens = -of[key] * min(1, 1.5*r.Float64())
				}
				of[key] += tokens
				l.Add("a", tokens, key)
				d := time.Duration(r.Int64N(int64(20 * time.Minute)))
				time.Sleep(d)
				sum := 0.0
				for k := range of {
					of[k] *= math.Exp2(-float64(d) / float64(selector.RecentHalf))
					sum += of[k]
				}
				got := l.Of("a")
				require.InDelta(t, sum, got.Recent, 1e-6*(1+sum))
				if got.MainShare > 0 {
					own := of[got.Main]
					require.Greater(t, got.MainShare, 0.5)
					require.LessOrEqual(t, got.MainShare*sum, own+1e-6*(1+sum))
				}
				if got.MainShare > 0.95 {
					sure++
				}
			}
		}
		require.Greater(t, sure, 1000, "MainShare is often close to 1")
	})
}

func TestOfTheLoadOfOneSessionMainShareIsAll(t *testing.T) {
	var l selector.Loads
	for range 20 {
		l.Begin("a", 500, 9)
		require.Equal(t, 1.0, l.Of("a").MainShare)
	}
	require.EqualValues(t, 9, l.Of("a").Main)
	l.Begin("a", 1e6, 0)
	require.Zero(t, l.Of("a").MainShare, "requests without a session make no share")
}

// A session that becomes the largest is found, whatever session was the largest before.
func TestANewMainIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l selector.Loads
		for i := range 40 {
			l.Begin("a", 1000, uint64(1+i%5))
		}
		for range 400 {
			time.Sleep(time.Minute)
			l.Begin("a", 1000, 77)
		}
		require.EqualValues(t, 77, l.Of("a").Main)
		require.Greater(t, l.Of("a").MainShare, 0.95)
	})
}

func TestWhatASessionIsTakenAwayIsNoWinForAnother(t *testing.T) {
	var l selector.Loads
	l.Add("a", 5, 1)
	l.Add("a", 5, 2)
	l.Add("a", 3, 3)
	l.Add("a", -5, 2) // session 1 has 5 of 8
	require.NotEqualValues(t, 3, l.Of("a").Main)
	require.InEpsilon(t, 8, l.Of("a").Recent, 0.01)
}

func TestLoadsKnowABoundedNumberOfAuths(t *testing.T) {
	var l selector.Loads
	held := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	for i := range 8192 {
		l.Begin(strconv.Itoa(i), 100, 1)
	}
	require.Equal(t, 100.0, math.Round(l.Of("0").Recent), "8,192 names have room")
	for i := range 500 {
		l.Begin("more "+strconv.Itoa(i), 100, 1)
	}
	require.Equal(t, 100.0, math.Round(l.Of("more 499").Recent))
	require.Less(t, held()-before, int64(4<<20))
	runtime.KeepAlive(&l)
}

func TestAuthsThatWereSentNothingLatelyMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l selector.Loads
		for i := range 8191 {
			l.Begin(strconv.Itoa(i), 1, 0)
			l.End(strconv.Itoa(i))
		}
		time.Sleep(time.Second)
		l.Begin("busy", 1e6, 0)
		l.Begin("new", 1, 0)
		require.Positive(t, l.Of("busy").Recent, "the idle ones go first")
		require.Zero(t, l.Of("0"))
	})
}

func TestLoadsDoNotKeepTheBodyThatANameWasCutFrom(t *testing.T) {
	var l selector.Loads
	freed := make(chan struct{})
	func() {
		body := strings.Repeat("x", 1<<20) + fmt.Sprint(time.Now())
		runtime.AddCleanup(unsafeBase(body), func(done chan struct{}) { close(done) }, freed)
		l.Begin(body[:4], 1, 0)
	}()
	for range 20 {
		runtime.GC()
		select {
		case <-freed:
			require.Positive(t, l.Of("xxxx").Recent)
			return
		default:
			runtime.Gosched()
		}
	}
	t.Fatal("the body is still there")
}

func TestLoadsUnderConcurrency(t *testing.T) {
	var l selector.Loads
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				name := strconv.Itoa(i % 50)
				l.Begin(name, 100, uint64(i))
				l.Of(strconv.Itoa(i % 7))
				l.Add(name, -50, uint64(i))
				l.End(name)
			}
		})
	}
	wg.Wait()
	for i := range 50 {
		got := l.Of(strconv.Itoa(i))
		require.Zero(t, got.InFlight)
		require.InEpsilon(t, 8*10*50, got.Recent, 0.05)
	}
}

func TestAHintStaysWithItsContext(t *testing.T) {
	type other struct{}
	require.Zero(t, selector.HintOf(t.Context()))
	h := selector.Hint{Key: 3, HasKey: true, Pool: "p", Model: "m", Tokens: 12}
	ctx := selector.WithHint(context.WithValue(t.Context(), other{}, 1), h)
	require.Equal(t, h, selector.HintOf(context.WithValue(ctx, other{}, 2)))
	require.Equal(t, 1, ctx.Value(other{}))
	key, ok := selector.KeyOf(ctx)
	require.True(t, ok)
	require.EqualValues(t, 3, key)

	again := selector.WithKey(ctx, 4)
	require.Equal(t, selector.Hint{Key: 4, HasKey: true, Pool: "p", Model: "m", Tokens: 12}, selector.HintOf(again))
	require.Equal(t, h, selector.HintOf(ctx), "the context before is what it was")
	require.Equal(t, selector.Hint{Model: "n"}, selector.HintOf(selector.WithHint(again, selector.Hint{Model: "n"})))
	_, ok = selector.KeyOf(selector.WithHint(again, selector.Hint{}))
	require.False(t, ok)
}

// fiveMinutes is how long the old name of a renamed auth leads to the new one.
const fiveMinutes = 5 * time.Minute

func TestTheOldNameOfARenamedAuthLeadsToItForAWhile(t *testing.T) {
	ends := map[string]func(l *selector.Loads){
		"its time is over":      func(*selector.Loads) { time.Sleep(fiveMinutes) },
		"DropAlias":             func(l *selector.Loads) { l.DropAlias("old") },
		"an auth gets the name": func(l *selector.Loads) { l.Rename("another", "old") },
	}
	for why, end := range ends {
		synctest.Test(t, func(t *testing.T) {
			var l selector.Loads
			l.Begin("old", 1000, 1)
			late := l.Begin("old", 1000, 1)
			l.Rename("old", "new")
			time.Sleep(time.Minute)
			l.Rename("old", "new") // again, as after an error
			l.DropAlias("new")     // which is no alias
			time.Sleep(fiveMinutes - 1)
			flying := l.Of("new").InFlight
			require.Greater(t, flying, 1.5, "two, a little less as they were begun long ago")
			l.End("old")
			require.InDelta(t, flying-1, l.Of("new").InFlight, 1e-6, why)
			require.Equal(t, l.Of("new"), l.Of("old"))
			l.Begin("old", 500, 1)
			require.Equal(t, l.Of("new"), l.Of("old"))

			end(&l)
			time.Sleep(time.Nanosecond)
			require.Zero(t, l.Of("old"), why)
			require.Greater(t, l.Of("new").Recent, 1500.0)
			l.Begin("old", 300, 2)
			require.InDelta(t, 300, l.Of("old").Recent, 1e-6, why)
			before := l.Of("new")
			require.Greater(t, before.InFlight, 1.0)
			late.End()
			late.Add(-1000)
			require.InDelta(t, before.InFlight-1, l.Of("new").InFlight, 1e-6, why)
			require.InDelta(t, before.Recent-1000, l.Of("new").Recent, 1e-6, why)
			require.InDelta(t, 1, l.Of("old").InFlight, 1e-6, "the request of the other auth is under way")
			l.End("old")
			require.Zero(t, l.Of("old").InFlight)
		})
	}
}

func TestAnAuthWithAnOldNameThatWasReadOftenIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l selector.Loads
		l.Rename("never sent anything", "new")
		l.Begin("never sent anything", 100, 0)
		require.InDelta(t, 100, l.Of("new").Recent, 1e-6)
		time.Sleep(fiveMinutes)
		for range 10 {
			require.Zero(t, l.Of("never sent anything"))
			l.End("never sent anything")
		}
		l.Add("never sent anything", 7, 0)
		for range 10 {
			require.InDelta(t, 7, l.Of("never sent anything").Recent, 1e-6)
			require.Zero(t, l.Of("unknown"))
		}
	})
}

func TestARenameToTheNameOfAnAuthAddsTheirLoads(t *testing.T) {
	var l selector.Loads
	a, b := l.Begin("a", 1000, 1), l.Begin("b", 500, 2)
	l.Begin("b", 500, 2)
	l.Rename("a", "b")
	got := l.Of("b")
	require.InDelta(t, 3, got.InFlight, 1e-3)
	require.InDelta(t, 2000, got.Recent, 1)
	require.InDelta(t, 2000, got.Near, 1)
	a.End()
	b.End()
	require.InDelta(t, 1, l.Of("b").InFlight, 1e-3)
	l.DropAlias("a")
	a.Add(700)
	require.InDelta(t, 2700, l.Of("b").Recent, 1)
	require.Zero(t, l.Of("a"))
	selector.Sent{}.End()
	selector.Sent{}.Add(1)
}

// Two auths exchange their names, by way of a third name.
func TestAuthsExchangeTheirNames(t *testing.T) {
	var l selector.Loads
	x, y := l.Begin("x", 100, 1), l.Begin("y", 10, 2)
	l.Rename("x", "meanwhile")
	l.Rename("y", "x")
	l.Rename("meanwhile", "y")
	require.InDelta(t, 100, l.Of("y").Recent, 0.1)
	require.InDelta(t, 10, l.Of("x").Recent, 0.1)
	x.End()
	require.InDelta(t, 0, l.Of("y").InFlight, 1e-3)
	require.InDelta(t, 1, l.Of("x").InFlight, 1e-3)
	y.End()
	require.Zero(t, l.Of("x").InFlight)
	l.Rename("meanwhile", "a new auth")
	require.Zero(t, l.Of("a new auth"), "what was sent under the old name is y's")
	l.Begin("meanwhile", 7, 3)
	require.InDelta(t, 7, l.Of("a new auth").Recent, 0.1)
	require.InDelta(t, 100, l.Of("y").Recent, 0.1)
	l.Rename("x", "x")
	require.InDelta(t, 10, l.Of("x").Recent, 0.1)
}

// Whatever is renamed to whatever, each request counts for one auth, and MainShare is never
// more than the true share.
func TestRenamesLoseNothing(t *testing.T) {
	type request struct {
		sent selector.Sent
		at   int // the auth
	}
	synctest.Test(t, func(t *testing.T) {
		merged, sure := 0, 0
		for seed := range uint64(200) {
			r := rand.New(rand.NewPCG(seed, 4))
			var l selector.Loads
			at := map[string]int{"0": 0, "1": 1, "2": 2, "3": 3} // the auths by name
			tokens := [4]map[uint64]float64{{}, {}, {}, {}}
			var flying []request
			for range 100 {
				name := strconv.Itoa(r.IntN(4))
				auth, used := at[name]
				switch r.IntN(8) {
				case 0:
					to := strconv.Itoa(r.IntN(6))
					other, is := at[to]
					if !used || name == to {
						continue
					}
					delete(at, name)
					if at[to] = auth; is {
						merged++
						at[to] = other
						for k, n := range tokens[auth] {
							tokens[other][k] += n
						}
						for i := range flying {
							if flying[i].at == auth {
								flying[i].at = other
							}
						}
					}
					l.Rename(name, to)
				case 1, 2:
					if n := len(flying); n > 0 {
						i := r.IntN(n)
						flying[i].sent.End()
						flying = append(flying[:i], flying[i+1:]...)
					}
				default:
					if used {
						n, key := math.Exp(8*r.Float64()), r.Uint64N(4)
						flying = append(flying, request{l.Begin(name, n, key), auth})
						tokens[auth][key] += n
					}
				}
				for name, auth := range at {
					got, open, sum := l.Of(name), 0.0, 0.0
					for _, f := range flying {
						if f.at == auth {
							open++
						}
					}
					for _, n := range tokens[auth] {
						sum += n
					}
					require.Equal(t, open, got.InFlight)
					require.InDelta(t, sum, got.Recent, 1e-6*(1+sum))
					if got.MainShare > 0 {
						sure++
						own := tokens[auth][got.Main]
						require.LessOrEqual(t, got.MainShare*sum, own+1e-6*(1+sum))
					}
				}
			}
		}
		require.Greater(t, merged, 100)
		require.Greater(t, sure, 1000)
	})
}

func TestRenamesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l selector.Loads
		l.Begin("busy", 1e6, 1)
		for i := range 9000 {
			l.Rename(fmt.Sprint("from-", i), fmt.Sprint("to-", i%100))
		}
		require.Greater(t, l.Of("busy").Recent, 1e5)
		require.LessOrEqual(t, l.Cells(), 8192)
	})
}

func TestLoadsAreRenamedWhileTheyAreUsed(t *testing.T) {
	var (
		l  selector.Loads
		wg sync.WaitGroup
	)
	for range 4 {
		wg.Go(func() {
			for i := range 500 {
				sent := l.Begin(strconv.Itoa(i%3), 1, 1)
				l.Of("1")
				sent.Add(1)
				sent.End()
			}
		})
	}
	wg.Go(func() {
		for i := range 100 {
			l.Rename(strconv.Itoa(i%3), strconv.Itoa((i+1)%3))
			l.DropAlias(strconv.Itoa(i % 3))
		}
	})
	wg.Wait()
	for i := range 3 {
		require.Zero(t, l.Of(strconv.Itoa(i)).InFlight)
	}
}
