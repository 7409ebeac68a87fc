package cache

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// A session remembers the end from which other conversations have not continued, however many
// keys it has, and so wherever its extras are.
func TestATwinIsRememberedWhateverElseTheSessionHas(t *testing.T) {
	for also := range 40 {
		m, err := New(nil)
		require.NoError(t, err)
		ctx, scope, table := context.Background(), Scope{}, &m.sessions
		mix := table.mix(&scope)
		n := 0
		next := func(kind string) Key {
			n++
			return testKey(kind, n)
		}
		end := next("end")
		b, _, err := m.Bind(ctx, scope, Keys{End: end}, "A")
		require.NoError(t, err)
		for i := range also { // of all kinds, one after the other
			k := Keys{End: end, Ongoing: true}
			switch {
			case i < recentAlso:
				k.Also[0] = next("also")
			case i < recentAlso+recentMarks:
				k.Marks[0] = next("mark")
			default:
				_, err = m.BindAnswer(ctx, b, Answer{Keys: []Key{next("answer")}})
				require.NoError(t, err)
				continue
			}
			_, ok, err := m.Get(ctx, scope, k)
			require.NoError(t, err)
			require.True(t, ok)
		}
		for range 2 { // two conversations that begin with the same words
			_, current, err := m.Confirm(ctx, b)
			require.NoError(t, err)
			require.True(t, current)
		}
		on, ok, err := m.Get(ctx, scope, Keys{End: next("end"), Fallbacks: []Key{end}})
		require.NoError(t, err)
		require.True(t, ok)
		home, i := referred(&on)
		h := table.shard(home).refer(home, i)
		require.NotNil(t, h.twin(), "with %d keys", also)
		require.Equal(t, table.digest(mix, &end), h.twin().key, "with %d keys", also)
		require.EqualValues(t, 1, h.twin().awaited)
		consistent(t, m)
	}
}
