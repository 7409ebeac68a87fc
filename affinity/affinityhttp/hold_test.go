package affinityhttp

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// held returns what is held of a text that comes in pieces.
func held(text string, piece func() int) *hold {
	var h hold
	for len(text) > 0 {
		n := min(len(text), piece())
		h.add([]byte(text[:n]))
		text = text[n:]
	}
	return &h
}

func every(n int) func() int { return func() int { return n } }

// What is left out of a string is replaced by its digest: two long strings stay two, wherever
// they were cut.
func TestLongStringsAreToldApart(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []string{"a", "b"} {
		text := `["` + strings.Repeat(c, 1<<20) + `","` + strings.Repeat("x", 4<<20) + `"]`
		for _, n := range []int{100, longString, len(text)} {
			h := held(text, every(n))
			require.False(t, h.over)
			var both []string
			require.NoError(t, json.Unmarshal(h.text, &both), "%q", h.text)
			require.Less(t, len(h.text), 100)
			if was, ok := seen[c]; ok {
				require.Equal(t, was, both[0])
			}
			seen[c] = both[0]
		}
	}
	require.NotEqual(t, seen["a"], seen["b"])
}

// A value that is long without a long string is not held.
func TestALongValueOfShortStringsIsNotHeld(t *testing.T) {
	text := `["` + strings.Repeat(`a short one","`, 1<<20) + `"]`
	h := held(text, every(10_000))
	require.True(t, h.over)
	require.Empty(t, h.text)
	h.reset()
	require.True(t, h.isEmpty())
	h.add([]byte("{}"))
	require.Equal(t, "{}", string(h.text))
}

// What is held is JSON if the whole is, and all but the long strings is as it was.
func FuzzHold(f *testing.F) {
	f.Add(uint64(1), []byte(`a\\"b`), 50)
	f.Add(uint64(2), []byte(`\\\\`), 3)
	f.Add(uint64(3), []byte("words"), 100_000)
	f.Fuzz(func(t *testing.T, seed uint64, word []byte, times int) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var b bytes.Buffer
		b.WriteString(`{"n":1`)
		for b.Len() < maxWatched+maxWatched/4 {
			part, err := json.Marshal(string(bytes.Repeat(word, rng.IntN(1+min(max(times, 0), 2<<20/(len(word)+1))))))
			require.NoError(t, err)
			b.WriteString(`,"p":`)
			b.Write(part)
			b.WriteString(strings.Repeat(" ", rng.IntN(4<<10)))
		}
		b.WriteString(`,"last":2}`)
		h := held(b.String(), func() int { return 1 + rng.IntN(1<<17) })
		require.LessOrEqual(t, len(h.text), maxWatched)
		if h.over {
			return
		}
		var v struct{ N, Last int }
		require.NoError(t, json.Unmarshal(h.text, &v))
		require.Equal(t, 1, v.N)
		require.Equal(t, 2, v.Last)
	})
}
