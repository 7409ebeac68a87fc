package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func saved(t testing.TB, m *cache.Memory) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, m.Save(&b))
	return b.Bytes()
}

func load(t testing.TB, snapshot []byte, o cache.Options) store {
	t.Helper()
	m, err := cache.Load(bytes.NewReader(snapshot), &o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return store{m, t}
}

// furnished returns a store that has data of each kind.
func furnished(t testing.TB) store {
	c := newCache(t, cache.Options{})
	b, _ := c.Bind(scope, named("one", "two", "three"), "A")
	require.True(t, c.Confirm(b))
	c.Amend(b, "memo")
	b, _ = c.Bind(scope, ends("e1"), "B")
	require.True(t, c.Confirm(b))
	require.True(t, c.BindAnswer(b, key("e1"), []cache.Key{key("answer")}, key("mark")))
	b, _ = c.Bind(scope, ends("e2", "e1"), "B")
	require.True(t, c.Confirm(b))
	c.Bind(scope, ends("e1"), "C") // the second takes the end of the first
	b, _ = c.Bind(cache.Scope{Tenant: "another"}, named("lost"), "A")
	require.True(t, c.Unbind(b))
	c.Bind(cache.Scope{Tenant: strings.Repeat("x", 200)}, named("open"), "D")
	k := ends("e9", "e8")
	k.Marks[0], k.Ongoing = key("mark"), true // the mark of another session
	b, _ = c.Bind(scope, k, "A")
	require.NotZero(t, b.Shared)
	c.Remember(scope, key("note"), "A")
	c.Remember(cache.Scope{Tenant: "another"}, key("note"), "B")
	return c
}

func TestWhatWasSavedIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := furnished(t)
		time.Sleep(time.Minute)
		snapshot := saved(t, c.Memory)
		loaded := load(t, snapshot, cache.Options{})
		require.Equal(t, c.Dump(), loaded.Dump())
		require.Zero(t, loaded.Strays())
		require.Greater(t, len(c.Dump()), 12)
		for name, secret := range map[string]string{"a key": "three", "an end": "e2\x00\x00\x00\x00\x00\x00", "a mark": "mark\x00\x00\x00\x00"} {
			require.NotContains(t, string(snapshot), secret, name)
		}
	})
}

// A session is saved once. With one name it takes less than a hundred bytes.
func TestTheSizeOfASnapshot(t *testing.T) {
	c := newCache(t, cache.Options{MaxSessions: 500}) // in one part
	empty := len(saved(t, c.Memory))
	for i := range 400 {
		c.Bind(scope, named(fmt.Sprint(i)), "A")
	}
	require.Less(t, len(saved(t, c.Memory))-empty, 400*100)
	require.Greater(t, len(saved(t, c.Memory))-empty, 400*20)
}

// The new store treats the results of requests that were under way as the old store would.
func TestLateResultsAfterARestart(t *testing.T) {
	c := newCache(t, cache.Options{})
	confirmed, _ := c.Bind(scope, named("confirmed"), "A")
	require.True(t, c.Confirm(confirmed))
	open, _ := c.Bind(scope, named("open"), "A")
	stale, _ := c.Bind(scope, named("stale"), "A")
	moved, ok := c.Move(stale, "B")
	require.True(t, ok)
	gone, _ := c.Bind(scope, named("gone"), "A")
	require.True(t, c.InvalidateSession(scope, named("gone")))

	d := load(t, saved(t, c.Memory), cache.Options{})
	require.NoError(t, c.Close())
	require.True(t, d.Touch(confirmed))
	require.False(t, d.Confirm(stale))
	require.False(t, d.Unbind(stale))
	require.False(t, d.Confirm(gone))
	require.True(t, d.Confirm(moved))
	require.False(t, d.Release(open, true), "Release of an ended use returns false")
	require.Equal(t, "A", at(d, named("open")))
	b, existed := d.Bind(scope, named("open"), "B")
	require.True(t, existed)
	require.True(t, d.Release(b, true), "Release of the only use takes the auth")
	again, ok := d.Get(scope, named("confirmed"))
	require.True(t, ok)
	require.Equal(t, confirmed.Session, again.Session)
	require.Equal(t, confirmed.Gen, again.Gen)
}

// No generation is used twice, even if the process has run on for long after it was saved, and
// is killed and started again and again.
func TestGenerationsAfterARestartAreNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Options{})
		used := map[uint64]bool{}
		names := map[cache.Key]bool{}
		bind := func(c store) {
			for i := range 1000 {
				b, _ := c.Bind(scope, named(fmt.Sprint("s", i)), "A")
				require.False(t, used[b.Gen] || names[b.Session])
				used[b.Gen], names[b.Session] = true, true
			}
		}
		snapshot := saved(t, c.Memory)
		bind(c)
		for range 3 {
			time.Sleep(time.Millisecond)
			bind(load(t, snapshot, cache.Options{}))
		}
		last := load(t, snapshot, cache.Options{})
		time.Sleep(time.Millisecond)
		bind(load(t, saved(t, last.Memory), cache.Options{}))
	})
}

func TestIdleTimeGoesOnWhileNobodyRuns(t *testing.T) {
	for _, c := range []struct {
		away, ttl time.Duration
		idle      time.Duration // -1: gone
	}{
		{0, time.Hour, 20 * time.Minute},
		{10 * time.Minute, time.Hour, 30 * time.Minute},
		{39 * time.Minute, time.Hour, 59 * time.Minute},
		{40 * time.Minute, time.Hour, -1},
		{0, 15 * time.Minute, -1},
		{10 * 365 * 24 * time.Hour, time.Hour, -1},
		{5 * 365 * 24 * time.Hour, 20 * 365 * 24 * time.Hour, 5*365*24*time.Hour + 20*time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			old := newCache(t, cache.Options{})
			b, _ := old.Bind(scope, named("s"), "A")
			require.True(t, old.Confirm(b))
			old.Remember(scope, key("n"), "A")
			time.Sleep(20 * time.Minute)
			snapshot := saved(t, old.Memory)
			time.Sleep(c.away)
			m := load(t, snapshot, cache.Options{TTL: c.ttl})
			if c.idle < 0 {
				require.Zero(t, m.Len())
				require.Empty(t, m.Recall(scope, key("n")))
				return
			}
			b, ok := m.Peek(scope, named("s"))
			require.True(t, ok)
			require.Equal(t, c.idle, b.Idle)
			require.Equal(t, "A", m.Recall(scope, key("n")))
			time.Sleep(c.ttl - c.idle - 1)
			require.Equal(t, "A", at(m, named("s")))
			time.Sleep(time.Nanosecond)
			require.Equal(t, "", at(m, named("s")))
		})
	}
}

// Each bubble begins at the same moment of the wall clock. So a snapshot of an older one
// is from the future.
func TestAWallClockThatWasSetBackNeitherKillsNorKeeps(t *testing.T) {
	var snapshot []byte
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1000 * time.Hour)
		c := newCache(t, cache.Options{})
		b, _ := c.Bind(scope, named("s"), "A")
		require.True(t, c.Confirm(b))
		time.Sleep(20 * time.Minute)
		snapshot = saved(t, c.Memory)
	})
	synctest.Test(t, func(t *testing.T) {
		m := load(t, snapshot, cache.Options{})
		b, ok := m.Peek(scope, named("s"))
		require.True(t, ok)
		require.Equal(t, 20*time.Minute, b.Idle)
		require.InDelta(t, 20*time.Minute, b.SinceServed, float64(time.Second))
		time.Sleep(40 * time.Minute)
		require.Equal(t, "", at(m, named("s")))
	})
}

// The wall clock was set back. Earlier generations are not used again, not even those of after
// the snapshot.
func TestGenerationsAreNewAlsoIfTheWallClockWasSetBack(t *testing.T) {
	var snapshot []byte
	var last uint64
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1000 * time.Hour)
		c := newCache(t, cache.Options{})
		c.Bind(scope, named("s"), "A")
		snapshot = saved(t, c.Memory)
		for i := range 10 {
			time.Sleep(time.Minute)
			b, _ := c.Bind(scope, named(fmt.Sprint(i)), "A")
			last = b.Gen
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := load(t, snapshot, cache.Options{})
		b, _ := m.Bind(scope, named("new"), "A")
		require.Greater(t, b.Gen, last)
		require.Zero(t, b.Age, "the age is 0 until the clock has passed the time of the snapshot")
	})
}

// The time at which an auth has last served stays the same over any number of restarts.
func TestWhenAnAuthHasServedIsExactOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(12345678)
		c := newCache(t, cache.Options{TTL: 1e6 * time.Hour})
		b, _ := c.Bind(scope, named("s"), "A")
		time.Sleep(777 * time.Millisecond)
		require.True(t, c.Confirm(b))
		since := func() time.Duration {
			b, ok := c.Peek(scope, named("s"))
			require.True(t, ok)
			return b.SinceServed
		}
		began := time.Now()
		for i := range 50 {
			time.Sleep(time.Duration(i) * 12345 * time.Microsecond)
			c = load(t, saved(t, c.Memory), cache.Options{TTL: 1e6 * time.Hour})
		}
		require.LessOrEqual(t, since(), time.Since(began))
		require.Greater(t, since(), time.Since(began)-300*time.Millisecond)
		time.Sleep(3 * 365 * 24 * time.Hour)
		was := since()
		c = load(t, saved(t, c.Memory), cache.Options{TTL: 1e6 * time.Hour})
		require.Greater(t, since(), 365*24*time.Hour, "a time of more than a year stays more than a year")
		require.LessOrEqual(t, since(), was)
	})
}

func TestBoundsHoldAfterLoading(t *testing.T) {
	c := newCache(t, cache.Options{})
	for i := range 1000 {
		c.Bind(cache.Scope{Tenant: fmt.Sprint(i % 3)}, named(fmt.Sprint(i)), "A")
		c.Remember(scope, key(fmt.Sprint(i)), "A")
	}
	told := 0
	m := load(t, saved(t, c.Memory), cache.Options{MaxSessions: 90, MaxPerTenant: 20, OnRemove: func(cache.Scope, cache.Binding, cache.Cause) { told++ }})
	require.Equal(t, 60, m.Len())
	require.Zero(t, told)
	for i := range 1000 {
		_, ok := m.Peek(cache.Scope{Tenant: fmt.Sprint(i % 3)}, named(fmt.Sprint(i)))
		require.Equal(t, i >= 940, ok, i)
	}
	notes := 0
	for i := range 1000 {
		if m.Recall(scope, key(fmt.Sprint(i))) != "" {
			notes++
		}
	}
	require.Equal(t, 20, notes)
	require.True(t, m.InvalidateSession(cache.Scope{Tenant: "0"}, named("999")))
	require.Equal(t, 1, told)
}

// nothing says that a store is empty and works.
func nothing(t *testing.T, m *cache.Memory) {
	t.Helper()
	require.NotNil(t, m)
	defer m.Close()
	require.Zero(t, m.Len())
	s := store{m, t}
	require.Empty(t, s.Recall(scope, key("note")))
	_, existed := s.Bind(scope, named("one"), "Z")
	require.False(t, existed)
	require.Equal(t, "Z", at(s, named("one")))
}

func TestASnapshotThatCannotBeLoaded(t *testing.T) {
	whole := saved(t, furnished(t).Memory)
	oneOf := func(err error, of ...error) {
		t.Helper()
		for _, e := range of {
			if errors.Is(err, e) {
				return
			}
		}
		t.Fatalf("%v", err)
	}
	for n := range whole {
		m, err := cache.Load(bytes.NewReader(whole[:n]), nil)
		require.ErrorIs(t, err, cache.ErrTruncated, n)
		if n%16 == 0 {
			nothing(t, m)
		}
		b := bytes.Clone(whole)
		b[n] ^= 1 << (n % 8)
		m, err = cache.Load(bytes.NewReader(b), nil)
		oneOf(err, cache.ErrDamaged, cache.ErrTruncated, cache.ErrForeign, cache.ErrNewer)
		if n%16 == 0 {
			nothing(t, m)
		}
	}
	version := bytes.IndexByte(whole, '\n') + 1
	newer := bytes.Clone(whole)
	newer[version]++
	for _, c := range []struct {
		b    []byte
		want error
	}{
		{[]byte("{}"), cache.ErrForeign},
		{[]byte(strings.Repeat("no snapshot ", 100)), cache.ErrForeign},
		{newer, cache.ErrNewer},
		{cache.Resign(newer), cache.ErrNewer},
		{append(bytes.Clone(whole[:version+1]), make([]byte, 100)...), cache.ErrDamaged},
	} {
		m, err := cache.Load(bytes.NewReader(c.b), nil)
		require.ErrorIs(t, err, c.want)
		nothing(t, m)
	}
	m, err := cache.Load(io.MultiReader(bytes.NewReader(whole[:200]), iotest.ErrReader(io.ErrClosedPipe)), nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	nothing(t, m)
	m, err = cache.Load(bytes.NewReader(whole), &cache.Options{TTL: -1})
	require.ErrorContains(t, err, "TTL")
	require.Nil(t, m)
	rest := bytes.NewReader(append(bytes.Clone(whole), "more"...))
	_, err = cache.Load(iotest.OneByteReader(rest), nil)
	require.NoError(t, err)
	require.Equal(t, 4, rest.Len(), "Load does not read the bytes after the snapshot")
}

// If a snapshot claims to have a billion bytes and has none, no room is reserved for them.
func TestAClaimCostsNothing(t *testing.T) {
	whole := saved(t, newCache(t, cache.Options{}).Memory)
	first := bytes.IndexByte(whole, '\n') + 2
	for _, n := range []byte{0x3f, 0xff} { // less and more than any block may have
		b := append(bytes.Clone(whole[:first]), 1, 0xff, 0xff, 0xff, n, 0, 0, 0, 0)
		b = append(b, "little"...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := cache.Load(bytes.NewReader(b), &cache.Options{MaxSessions: 1})
		runtime.ReadMemStats(&after)
		require.Error(t, err)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	}
}

func TestSavingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // times in a snapshot are as long as they are large
		c := furnished(t)
		size := len(saved(t, c.Memory))
		for n := 0; n < size; n += 7 {
			require.ErrorIs(t, c.Save(&short{n}), io.ErrShortWrite, n)
		}
		require.NoError(t, c.Save(&short{size}))
		require.NoError(t, c.Close())
		require.ErrorIs(t, c.Save(io.Discard), cache.ErrClosed)
	})
}

// short has room for some bytes.
type short struct{ n int }

func (w *short) Write(b []byte) (int, error) {
	if w.n -= len(b); w.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// A store that is closed while it is saved has written no snapshot.
func TestClosedWhileItIsSaved(t *testing.T) {
	c := furnished(t)
	require.ErrorIs(t, c.Save(closing{c.Memory}), cache.ErrClosed)
}

type closing struct{ io.Closer }

func (w closing) Write(b []byte) (int, error) { return len(b), w.Close() }

// Whatever happens while a store is saved, the snapshot is consistent: each of its keys leads
// to one of its sessions, and each session was in the store.
func TestSavedWhileItIsUsed(t *testing.T) {
	for _, size := range []int{300, 100_000} {
		c := newCache(t, cache.Options{MaxSessions: size})
		done := make(chan struct{})
		var writers sync.WaitGroup
		for w := range 8 {
			writers.Go(func() {
				ctx := t.Context()
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					turn, who := i%20, fmt.Sprint(w/2, i/20%40) // two goroutines share each
					k := cache.Keys{End: key(fmt.Sprint("e", who, turn))}
					for n := range turn {
						k.Fallbacks = append(k.Fallbacks, key(fmt.Sprint("e", who, turn-1-n)))
					}
					if i%3 == 0 {
						k = cache.Keys{}
						k.Names[0], k.Names[1] = key("n"+who), key("m"+who)
					}
					b, _, _ := c.Memory.Bind(ctx, scope, k, "auth"+who)
					_, _ = c.Memory.BindAnswer(ctx, b, cache.Answer{End: k.End, Keys: []cache.Key{key(fmt.Sprint("a", who, turn))}})
					switch i % 11 {
					case 1:
						_, _, _ = c.Memory.Move(ctx, b, "B")
					case 2:
						_, _ = c.Memory.Unbind(ctx, b)
					case 3:
						_, _, _ = c.Memory.Amend(ctx, b, "memo"+who)
					case 4:
						_, _ = c.Memory.InvalidateSession(ctx, scope, k)
					default:
						_, _, _ = c.Memory.Confirm(ctx, b)
					}
					_ = c.Memory.Remember(ctx, scope, key("n"+who), "auth")
				}
			})
		}
		for range 40 / thorough {
			m, err := cache.Load(bytes.NewReader(saved(t, c.Memory)), &cache.Options{MaxSessions: size})
			require.NoError(t, err)
			require.Zero(t, m.Strays())
			require.LessOrEqual(t, m.Len(), size)
			again := load(t, saved(t, m), cache.Options{MaxSessions: size})
			require.Equal(t, len(m.Dump()), len(again.Dump()))
			n := 0
			for _, b := range m.All() {
				require.True(t, strings.HasPrefix(b.Auth, "auth") || b.Auth == "B")
				n++
			}
			require.Equal(t, n, m.Len())
			require.NoError(t, m.Close())
		}
		close(done)
		writers.Wait()
	}
}

// FuzzLoad loads any bytes. There is either an error and an empty store, or a store that works,
// and that is the same after Save and Load. The checksums of changed snapshots are corrected,
// so that Load reads further.
func FuzzLoad(f *testing.F) {
	f.Add(saved(f, furnished(f).Memory))
	f.Add(saved(f, newCache(f, cache.Options{}).Memory))
	f.Add([]byte("llmaffinity cache snapshot\n\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			o := cache.Options{MaxSessions: 400, MaxPerTenant: 3}
			m, err := cache.Load(bytes.NewReader(cache.Resign(b)), &o)
			require.NotNil(t, m)
			t.Cleanup(func() { m.Close() })
			if err != nil {
				require.Zero(t, m.Len())
				return
			}
			require.Zero(t, m.Strays())
			require.LessOrEqual(t, m.Len(), 400)
			again := load(t, saved(t, m), o)
			require.Equal(t, m.Dump(), again.Dump())
			s := store{m, t}
			for scope, b := range m.All() {
				s.Touch(b)
				s.Bind(scope, ends("e3", "e2", "e1"), "A")
				s.Bind(scope, named("one", "two"), "A")
				s.Move(b, "C")
			}
			s.InvalidateAuth("A")
			s.InvalidateTenant("t", "")
		})
	})
}
