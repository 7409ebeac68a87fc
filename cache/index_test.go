package cache

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// entries returns what an index has for a key, by find.
func (x *index) entries(bits uint32) (to []uint32) {
	for n := 0; ; n++ {
		e := x.find(bits, n)
		if e == 0 {
			slices.Sort(to)
			return to
		}
		to = append(to, e)
	}
}

// ordered checks the order of an index: no key is before its place or behind a greater key, and
// there is no gap between a key and its place.
func ordered(t *testing.T, x *index) {
	for _, p := range []*places{x.now.Load(), x.old.Load()} {
		if p == nil {
			continue
		}
		from := 0
		if p == x.old.Load() {
			from = int(x.moved.Load())
		}
		for i, last := from, uint32(0); i < p.len; i++ {
			if p.look(i) == 0 {
				continue
			}
			key := p.look(i) >> p.drop
			require.GreaterOrEqual(t, key, last)
			last = key
			require.LessOrEqual(t, p.from(key), i)
			for j := max(from, p.from(key)); j < i; j++ {
				require.NotZero(t, p.look(j), "there is a gap between the place of a key and the key")
			}
		}
	}
}

// An index knows the same as a map of all entries, whatever the keys are. All of them may have
// one place, or the last one. What they map to may be small for long, and then be great.
func FuzzIndex(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), uint8(0), uint32(0), uint32(200))
	f.Add([]byte{}, uint8(4), ^uint32(0), uint32(1_000_000))
	f.Add([]byte("some more operations on an index"), uint8(13), uint32(1<<31), uint32(50_000_000))
	f.Add([]byte("no bit of a key is kept"), uint8(123), uint32(0), uint32(300))
	f.Add(bytes.Repeat([]byte("many entries"), 20), uint8(96), uint32(0), uint32(2000))
	f.Fuzz(func(t *testing.T, ops []byte, narrow uint8, near, most uint32) {
		var x index
		x.expect(int(most%(1<<25)), 64)
		x.clear()
		x.full %= 1000
		known := map[uint32][]uint32{} // by the bits that the index keeps
		rng := rand.New(rand.NewPCG(uint64(near), uint64(narrow)))
		key := func() uint32 {
			if narrow%3 == 0 {
				return rng.Uint32() >> (narrow % 32)
			}
			return near - rng.Uint32N(1<<(narrow%16))
		}
		number := func(i int) uint32 {
			if narrow&64 == 0 {
				return 1 + rng.Uint32N(5)
			}
			return 1 + rng.Uint32()>>max(31-i/64, 1+int(narrow&7))
		}
		var keys []uint32
		n := 0
		for i := range min(8*len(ops), 4000) {
			op := ops[i%len(ops)] + byte(i/len(ops)*31)
			switch {
			case op%8 < 5 || len(keys) == 0:
				bits, to := key(), number(i)
				x.put(bits, to)
				known[x.keep(bits)] = append(known[x.keep(bits)], to)
				keys = append(keys, bits)
				n++
			default:
				bits := keys[rng.IntN(len(keys))]
				to, key := number(i), x.keep(bits)
				if all := known[key]; len(all) > 0 && op%2 == 0 {
					to = all[rng.IntN(len(all))]
				}
				x.cut(bits, to)
				if at := slices.Index(known[key], to); at >= 0 {
					known[key] = slices.Delete(known[key], at, at+1)
					n--
				}
			}
			require.Equal(t, n, x.n)
			bits := keys[rng.IntN(len(keys))]
			all := known[x.keep(bits)]
			slices.Sort(all)
			require.Equal(t, append([]uint32(nil), all...), x.entries(bits))
			to, sure := x.glimpse(bits, 0)
			require.True(t, sure)
			require.Equal(t, to != 0, len(all) > 0)
		}
		for _, bits := range keys {
			all := known[x.keep(bits)]
			slices.Sort(all)
			require.Equal(t, append([]uint32(nil), all...), x.entries(bits))
		}
		ordered(t, &x)
	})
}

// Keys that select the same place stand one behind another. Each is found, also when one before
// it is gone.
func TestKeysThatSelectTheSamePlaceAreFound(t *testing.T) {
	var x index
	x.clear()
	const some = 6
	for bits := uint32(1); bits < some; bits++ {
		require.Zero(t, x.now.Load().from(bits))
		x.put(bits, bits)
	}
	for gone := uint32(1); gone < some; gone++ {
		for bits := gone; bits < some; bits++ {
			require.Equal(t, bits, x.find(bits, 0))
		}
		x.cut(gone, gone)
		require.Zero(t, x.find(gone, 0))
	}
}

// While an index grows, it finds what has moved, what has not, and what is new.
func TestAnIndexFindsAllWhileItGrows(t *testing.T) {
	var x index
	x.expect(100, 64)
	x.clear()
	rng := rand.New(rand.NewPCG(5, 6))
	var keys []uint32
	grows := 0
	for i := range uint32(3000) {
		keys = append(keys, rng.Uint32())
		x.put(keys[i], i+1)
		if x.old.Load() == nil {
			continue
		}
		grows++
		for j, bits := range keys {
			if !slices.Contains(x.entries(bits), uint32(j+1)) {
				t.Fatalf("entry %d of %d is not found", j, i)
			}
		}
	}
	require.Greater(t, grows, 100)
}

// The entries of a full store are small. If each session has 22 keys, one entry in four finds
// another one with its bits, however many sessions there are.
func TestAnIndexKeepsAsManyBitsAsItNeeds(t *testing.T) {
	for _, c := range []struct{ sessions, shards, bytes int }{
		{1, 1, 4}, {100, 1, 4}, {10_000, 64, 4}, {40_000, 64, 4}, {100_000, 64, 5}, {700_000, 64, 5}, {1_000_000, 64, 6}, {10_000_000, 64, 6}, {100_000_000, 64, 8},
		{math.MaxInt32, 64, 8}, // no store has more, see withDefaults
	} {
		var x index
		x.expect(c.sessions/c.shards, c.shards)
		require.Equal(t, c.bytes, 4+int(wider(0, x.drop, uint32(c.sessions)))/8, c)
		if c.bytes < 8 { // 8 have all bits of a key
			require.LessOrEqual(t, 22*c.sessions/c.shards*4, 1<<(32-x.drop), c)
		} else {
			require.Zero(t, x.drop)
		}
	}
}

// However many entries there are, a change moves a few.
func TestAnIndexGrowsInSteps(t *testing.T) {
	var x index
	x.clear()
	rng := rand.New(rand.NewPCG(1, 2))
	last, steps := uint32(0), 0
	for i := range 200_000 {
		x.put(rng.Uint32(), uint32(i+1))
		if x.old.Load() != nil {
			moved := x.moved.Load()
			require.LessOrEqual(t, int(moved-min(last, moved)), moveSome)
			last = moved
			steps++
		}
	}
	require.Greater(t, steps, 10_000)
	ordered(t, &x)
	require.Less(t, x.now.Load().len, 2*x.n)
}

// A lookup without a lock, while others change the index, is either unsure or finds an entry
// that is there all the time.
func TestAGlimpseIsRightWhenItIsSure(t *testing.T) {
	var x index
	x.clear()
	var stay []uint32
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		bits := rng.Uint32() | 1
		stay = append(stay, bits)
		x.put(bits, 7)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for range 60 {
			var come []uint32
			for range 400 {
				bits := rng.Uint32() &^ 1 // none of those that stay
				come = append(come, bits)
				x.put(bits, 9)
			}
			for _, bits := range come {
				x.cut(bits, 9)
			}
		}
	})
	sure := 0
	for i := 0; !done.Load() || sure == 0; i++ {
		if to, ok := x.glimpse(stay[i%len(stay)], 0); ok {
			sure++
			if to != 7 {
				t.Error("the lookup was sure, but has not found the entry")
				break
			}
		}
	}
	wg.Wait()
}

// While an entry of a key goes from one record to another, a lookup without a lock that is sure
// finds one of the two.
func TestAGlimpseWhileAnEntryIsReplaced(t *testing.T) {
	var x index
	x.clear()
	x.put(5, 1)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for i := range uint32(1_000_000) {
			x.replace(5, 1+i%2, 2-i%2)
		}
	})
	for !done.Load() {
		if to, sure := x.glimpse(5, 0); sure && to != 1 && to != 2 {
			t.Error("the lookup was sure, but has not found the entry")
			break
		}
	}
	wg.Wait()
	require.Equal(t, []uint32{1}, x.entries(5))
	require.Equal(t, 1, x.n)
}

// lists are what extras must be like: a list for each kind, and the dead keys.
type lists struct {
	keys [kinds][]digest
	dead map[digest]bool
}

func (l *lists) all() (all []digest) {
	for k := range kinds {
		all = append(all, l.keys[k]...)
	}
	return all
}

// Extras behave like plain lists, and give back all the room that they took.
func FuzzExtras(f *testing.F) {
	f.Add([]byte("some operations on the keys of sessions"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		c := &core{}
		c.init(&Options{}, newOrigin())
		s := &shard{}
		s.init(c, 0, 1, 100)
		const some = 3
		var records [some]record
		var want [some]lists
		for i := range want {
			want[i].dead = map[digest]bool{}
		}
		for len(ops) >= 3 {
			i, k, d := int(ops[0])%some, kind(ops[1]%uint8(kinds)), digest(ops[2]%64)+1
			op := ops[0] / some % 8
			ops = ops[3:]
			r, w := &records[i], &want[i]
			has := slices.Contains(w.all(), d)
			switch e := s.extras(r); {
			case op < 4 && !has && len(w.keys[k]) < most[k]:
				s.needExtras(r).add(k, d)
				w.keys[k] = append(w.keys[k], d)
			case op == 4 && has:
				in := slices.IndexFunc(w.keys[:], func(l []digest) bool { return slices.Contains(l, d) })
				require.Equal(t, in != int(names), e.forget(d))
				if in != int(names) {
					w.keys[in] = slices.DeleteFunc(w.keys[in], func(o digest) bool { return o == d })
					delete(w.dead, d)
				}
			case op == 5:
				at := slices.Index(w.keys[k], d)
				require.Equal(t, at >= 0, e.renew(k, d))
				if at >= 0 {
					w.keys[k] = append(slices.Delete(w.keys[k], at, at+1), d)
				}
			case op == 6 && has:
				e.kill(d)
				w.dead[d] = true
			case op == 7 && d == 1:
				s.dropExtras(uint32(i), r)
				*w = lists{dead: map[digest]bool{}}
			}
			for i := range records {
				e := s.extras(&records[i])
				require.Equal(t, len(want[i].all()), e.len())
				for k := range kinds {
					require.Equal(t, fmt.Sprint(want[i].keys[k]), fmt.Sprint([]digest(e.keys(k))))
					for _, d := range want[i].keys[k] {
						require.Equal(t, want[i].dead[d], e.killed(d))
						require.Equal(t, k == names, e.hasName(d))
					}
				}
			}
		}
		for i := range records {
			s.dropExtras(uint32(i), &records[i])
		}
		for size, shelf := range s.shelves {
			free := uint32(0)
			for i := shelf.free; i != 0; i = uint32(shelf.item(i, sizes[size])[0]) {
				for _, rest := range shelf.item(i, sizes[size])[1:] {
					require.Zero(t, rest)
				}
				free++
			}
			require.Equal(t, shelf.used, free)
		}
	})
}

// The index of a full store does not grow once more for its last sessions. A shard in which the
// last growth is not over has two arrays for a while.
func TestTheIndexOfAFullStoreIsNearlyFull(t *testing.T) {
	const size = 64 * 1320
	m, err := New(&Options{MaxSessions: size})
	require.NoError(t, err)
	bound := 0
	bind := func(n int) {
		for ; n > 0; n-- {
			_, _, err := m.Bind(t.Context(), Scope{}, Keys{Names: [MaxNames]Key{testKey("s", bound)}}, "A")
			require.NoError(t, err)
			bound++
		}
	}
	measured := func() (places, bytes float64, foreseen int) {
		for i := range m.sessions.shards {
			x := &m.sessions.shards[i].keys
			now, old := x.now.Load(), x.old.Load()
			if span := int(now.span); span == x.full || span == x.full*11/12 {
				foreseen++
			}
			places += float64(now.len)
			bytes += float64(8 * len(now.words))
			if old != nil {
				places += float64(old.len)
				bytes += float64(8 * len(old.words))
			}
		}
		return places / size, bytes / size, foreseen
	}
	bind(size)
	_, bytes, _ := measured()
	require.Less(t, bytes, 9.0)
	bind(size / 10)
	places, bytes, foreseen := measured()
	require.Less(t, places, 1.5)
	require.Less(t, bytes, 7.5)
	require.Greater(t, foreseen, 56, "of 64 shards, of which a few have far more sessions than others")
}
