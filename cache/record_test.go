package cache

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGenerationsNeverRepeatAndTheNameStays(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	ctx, scope := context.Background(), Scope{}
	seen := map[uint64]bool{0: true}
	fresh := func(b Binding) Binding {
		require.False(t, seen[b.Gen], "generation %d was there before", b.Gen)
		seen[b.Gen] = true
		return b
	}
	first, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{testKey("s", 0)}}, "A")
	require.NoError(t, err)
	b := fresh(first)
	for round := range 5 {
		for range 1000 {
			now, moved, err := m.Move(ctx, b, "A")
			require.NoError(t, err)
			require.True(t, moved)
			require.Equal(t, first.Session, now.Session)
			b = fresh(now)
		}
		// Sessions that begin meanwhile, by name and by content.
		other, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{testKey("other", round)}}, "A")
		require.NoError(t, err)
		fresh(other)
		other, _, err = m.Bind(ctx, scope, Keys{End: testKey("end", round)}, "A")
		require.NoError(t, err)
		fresh(other)
		m.sessions.count.Add(1 << 24) // as many moves more
	}
	require.Greater(t, b.Gen, uint64(1)<<24)
	_, current, err := m.Confirm(ctx, b)
	require.NoError(t, err)
	require.True(t, current)
	unbound, err := m.Unbind(ctx, b)
	require.NoError(t, err)
	require.True(t, unbound)
	got, ok, err := m.Get(ctx, scope, Keys{Names: [MaxNames]Key{testKey("s", 0)}})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, first.Session, fresh(got).Session)
}

func TestUsesSaturateAndNeverWrap(t *testing.T) {
	var r record
	r.state.Store(uint32(provisional | maxUses - 1))
	require.True(t, r.open().provisional())
	for range 3 {
		s := r.open()
		require.Equal(t, provisional|maxUses, s)
		require.True(t, s.provisional())
		require.Zero(t, s.cause())
		require.False(t, s.served())
	}
	for range 3 {
		require.False(t, r.close(true))
		require.Equal(t, provisional|maxUses, r.load(), "a full count of uses stays full")
	}
	r.serve(moment{at: int64(time.Second)})
	require.True(t, r.load().served())
	require.Equal(t, r.load(), r.open())

	r.state.Store(uint32(provisional))
	require.False(t, r.close(true), "close without an open use returns false")
	require.Equal(t, provisional, r.load())
}

func TestTheTimeOfServiceNeverGoesBackAndNeverOverflows(t *testing.T) {
	var r record
	late, early := moment{at: int64(time.Hour)}, moment{at: int64(time.Minute)}
	r.serve(late)
	r.serve(early) // it was read before, and came later
	require.Zero(t, r.load().since(late))
	for _, years := range []int64{1, 5, 8} {
		now := moment{at: years * 365 * 24 * int64(time.Hour)}
		r.serve(now)
		require.True(t, r.load().served())
		since := r.load().since(moment{at: now.at + int64(time.Hour)})
		require.InDelta(t, time.Hour, since, float64(time.Second))
		require.LessOrEqual(t, since, time.Hour)
	}
	r.serve(moment{at: 1<<63 - 1})
	require.True(t, r.load().served())
}

// An operation that has waited for a lock knows an older time than the last use.
func TestALateUseDoesNotSetTheTimeBack(t *testing.T) {
	var r record
	for _, at := range []int64{5, 3, 9, 8} {
		r.use(moment{at: at})
	}
	require.Equal(t, int64(9), r.used.Load())
}
