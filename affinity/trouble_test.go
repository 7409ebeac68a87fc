package affinity

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func TestTroubleSurvivesItsMemo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		want := trouble{
			gen: rng.Uint64() >> rng.IntN(64), since: rng.Int64(), until: -rng.Int64(), asked: rng.IntN(2) == 0, away: rng.IntN(2) == 0,
			failed: rng.IntN(5), detour: []string{"", "B", "an auth with a longer name"}[rng.IntN(3)], served: rng.Int64N(1000),
		}
		for i := range rng.IntN(6) {
			want.avoid = append(want.avoid, avoided{auth: string(rune('C' + i)), until: rng.Int64(), asked: rng.IntN(2) == 0})
		}
		want.gen = max(want.gen, 1)
		require.Equal(t, want, decodeTrouble(want.encode()))
	}
	require.Empty(t, (&trouble{}).encode())
	require.Empty(t, (&trouble{since: 5, away: true}).encode(), "a record of no binding is empty")
}

func TestTroubleOfAnOlderGenerationIsOver(t *testing.T) {
	b := cache.Binding{Gen: 7, Auth: "A"}
	tr := trouble{}
	tr.begin(&b, 100)
	tr.leave("A", 200, true)
	tr.leave("B", 300, false)
	tr.detour = "C"
	b.Memo = tr.encode()
	require.Equal(t, tr, troubleOf(&b))
	b.Auth = "renamed"
	now := troubleOf(&b)
	until, asked := now.left("renamed", 150)
	require.EqualValues(t, 200, until)
	require.True(t, asked)

	b.Gen = 8
	after := troubleOf(&b)
	require.Equal(t, trouble{avoid: tr.avoid}, after)
	until, asked = after.left("B", 299)
	require.EqualValues(t, 300, until)
	require.False(t, asked)
	until, _ = after.left("B", 300)
	require.Zero(t, until)
	until, _ = after.left("A", 150)
	require.Zero(t, until)
}

// A full list first forgets entries whose time is over.
func TestTheAuthThatIsOverFirstIsForgotten(t *testing.T) {
	var tr trouble
	for i := range 65 {
		tr.leave(string(rune('A'+i)), int64(100+i), false)
	}
	until, _ := tr.left("A", 0)
	require.Zero(t, until)
	for i := 1; i < 65; i++ {
		until, _ = tr.left(string(rune('A'+i)), 0)
		require.EqualValues(t, 100+i, until)
	}
	tr.leave("E", 50, true)
	until, asked := tr.left("E", 0)
	require.EqualValues(t, 104, until, "the longer absence is kept")
	require.False(t, asked)
}

func TestWhatIsKnownOfSpeedsAndAbsencesIsBounded(t *testing.T) {
	var s speeds
	p := SlowPolicy{Above: time.Second}
	require.NoError(t, p.complete())
	for i := range 12_000 {
		s.sample(&p, speedKey{"auth", string(rune('a'+i%26)) + string(rune(i))}, time.Minute, true)
	}
	require.Equal(t, 4096, s.lru.Len())
	var a absences
	for i := range 3000 {
		a.away(string(rune(i+1)), time.Minute)
	}
	require.Equal(t, 1024, a.lru.Len())
	require.Len(t, *a.gone.of.Load(), 1024)
}

// A memo comes from a store that others can write to.
func FuzzMemo(f *testing.F) {
	tr := trouble{gen: 1, since: 5, until: 9, detour: "B", avoid: []avoided{{"C", 7, true}}}
	f.Add(tr.encode(), "B", "C")
	f.Add("\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", "", "")
	f.Add("\x01\x01\xff", "a", "a")
	f.Add("\x0100000\x0100\x01000\x01000", "", "0") // one auth twice
	f.Fuzz(func(t *testing.T, memo, from, to string) {
		got := decodeTrouble(memo)
		if again := decodeTrouble(got.encode()); got.gen != 0 && !reflect.DeepEqual(again.avoid, got.avoid) {
			t.Fatalf("%+v, then %+v", got, again)
		}
		b := cache.Binding{Gen: got.gen, Auth: from, Memo: memo}
		now := troubleOf(&b)
		now.begin(&b, 1)
		now.rename(from, to)
		now.leave(to, 10, true)
		now.forgive(to)
		now.calm(5, true)
		if until, _ := now.left(to, 0); until != 0 && to != from && now.auth != to {
			t.Fatalf("forgiven, and still left alone: %+v", now)
		}
		if len(now.encode()) > len(memo)+3*len(from)+3*len(to)+200 {
			t.Fatalf("the memo has grown to %d bytes, of %d", len(now.encode()), len(memo))
		}
	})
}
