package sessionid

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryByteOfAnIDCountsInBothHalvesOfItsKey(t *testing.T) {
	s := newSpace("test")
	for n := 1; n <= 40; n++ {
		id := strings.Repeat("a", n)
		k := s.key(id)
		for i := range n {
			other := s.key(id[:i] + "b" + id[i+1:])
			require.NotEqual(t, k[:8], other[:8], "%d of %d", i, n)
			require.NotEqual(t, k[8:], other[8:], "%d of %d", i, n)
		}
		padded := s.key(id + "\x00")
		require.NotEqual(t, k[8:], padded[8:], "the length counts")
		elsewhere := newSpace("other").key(id)
		require.NotEqual(t, k[:8], elsewhere[:8])
		require.NotEqual(t, k[8:], elsewhere[8:])
	}
}
