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
