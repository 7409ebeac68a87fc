package affinity

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func newCore(t testing.TB) *Affinity[string] {
	a, err := New(func(s string) string { return s }, nil)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

// learned returns an Affinity that has data of each kind.
func learned(t testing.TB) *Affinity[string] {
	a := newCore(t)
	a.answers.Store(true)
	a.Drain("C", true)
	a.Drain("D", true)
	a.absences.failed("A", time.Minute, time.Hour)
	a.absences.away("B", time.Hour)
	a.absences.there("B")
	time.Sleep(time.Second)
	a.absences.away("B", time.Hour)
	p := SlowPolicy{Above: time.Second}
	require.NoError(t, p.complete())
	for range 3 {
		a.speeds.sample(&p, speedKey{"A", "m"}, time.Minute, true)
	}
	a.speeds.sample(&p, speedKey{"B", "m"}, time.Minute, true)
	a.doubts.shared(cache.Scope{Tenant: "t", Model: "m"})
	a.doubts.shared(cache.Scope{Tenant: "t", Model: "m"})
	return a
}

func TestWhatAnAffinityKnowsSurvivesItsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := learned(t)
		var b bytes.Buffer
		require.NoError(t, a.Save(&b))
		later := newCore(t)
		require.NoError(t, later.Load(&b))
		require.Equal(t, a.known(time.Now()), later.known(time.Now()))
		require.NotEqual(t, newCore(t).known(time.Now()), later.known(time.Now()))
		require.True(t, later.answers.Load())
		require.True(t, later.drained.has("D"))
		require.True(t, later.absences.gone.has("A") && later.absences.gone.has("B"))
		require.True(t, later.absences.unsteady("B", time.Hour))
		p := SlowPolicy{Above: time.Second, Probe: time.Minute}
		require.True(t, later.speeds.slow(&p, speedKey{"A", "m"}))
		require.False(t, later.speeds.slow(&p, speedKey{"B", "m"}))
		require.True(t, later.doubts.has(cache.Scope{Tenant: "t", Model: "m"}))

		time.Sleep(2 * time.Hour)
		require.False(t, later.absences.unsteady("B", time.Hour))
		require.False(t, later.doubts.has(cache.Scope{Tenant: "t", Model: "m"}))
	})
}

// What is known of a tenant goes with its sessions, and what is known of others stays.
func TestATenantThatIsForgottenLeavesNoDoubts(t *testing.T) {
	a := newCore(t)
	long := strings.Repeat("long", 100)
	for _, tenant := range []string{"left", long, "stays"} {
		for _, model := range []string{"m", "n"} {
			a.doubts.shared(cache.Scope{Tenant: tenant, Model: model})
			a.doubts.shared(cache.Scope{Tenant: tenant, Model: model})
		}
	}
	for _, tenant := range []string{"left", long} {
		_, err := a.InvalidateTenant(t.Context(), tenant)
		require.NoError(t, err)
		require.False(t, a.doubts.has(cache.Scope{Tenant: tenant, Model: "m"}))
		require.False(t, a.doubts.has(cache.Scope{Tenant: tenant, Model: "n"}))
	}
	require.True(t, a.doubts.has(cache.Scope{Tenant: "stays", Model: "m"}))
	require.Len(t, a.doubts.of, 2)
	_, err := a.InvalidateTenant(t.Context(), "stays")
	require.NoError(t, err)
	require.Empty(t, a.doubts.of)
	require.Zero(t, a.doubts.n.Load(), "picks look no further")
}

// Each bubble begins at the same moment, so that the snapshot is from the future.
func TestWhatIsKnownIsAsOldAsItWasIfTheClockWasSetBack(t *testing.T) {
	var snapshot []byte
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1000 * time.Hour)
		var b bytes.Buffer
		require.NoError(t, learned(t).Save(&b))
		snapshot = b.Bytes()
	})
	synctest.Test(t, func(t *testing.T) {
		a := newCore(t)
		require.NoError(t, a.Load(bytes.NewReader(snapshot)))
		require.True(t, a.doubts.has(cache.Scope{Tenant: "t", Model: "m"}))
		time.Sleep(2 * time.Hour)
		require.False(t, a.doubts.has(cache.Scope{Tenant: "t", Model: "m"}))
		require.False(t, a.absences.unsteady("B", time.Hour))
		a.absences.there("A")
		require.False(t, a.absences.gone.has("A"))
	})
}

// Any text is either refused, or what is read of it is bounded, and stays the same when it is
// written and read again.
func FuzzKnown(f *testing.F) {
	f.Add(string(learned(f).known(time.Now())))
	f.Add(string(newCore(f).known(time.Now())))
	f.Fuzz(func(t *testing.T, text string) {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			k, err := decodeKnown(text, now)
			if err != nil {
				require.ErrorIs(t, err, cache.ErrDamaged)
				require.Zero(t, k)
				return
			}
			a, b := newCore(t), newCore(t)
			a.learn(k)
			again, err := decodeKnown(string(a.known(now)), now)
			require.NoError(t, err)
			b.learn(again)
			require.Equal(t, a.drained.names(), b.drained.names())
			require.Equal(t, a.absences.gone.names(), b.absences.gone.names())
			require.Equal(t, a.doubts.of, b.doubts.of)
			require.LessOrEqual(t, len(a.doubts.of), maxDoubts)
			if l := a.absences.lru; l != nil {
				require.Equal(t, l.Keys(), b.absences.lru.Keys())
			}
			if l := a.speeds.lru; l != nil && l.Len() > 0 {
				require.True(t, slices.Equal(l.Keys(), b.speeds.lru.Keys()))
			}
			a.absences.away("A", time.Minute)
			a.absences.there("A")
		})
	})
}
