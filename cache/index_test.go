package cache

import (
	"fmt"
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
		for i, last := from, uint64(0); i < len(p.at); i++ {
			e := p.at[i].Load()
			if e == 0 {
				continue
			}
			require.GreaterOrEqual(t, e>>32, last>>32)
			last = e
			require.LessOrEqual(t, p.from(uint32(e>>32)), i)
			for j := max(from, p.from(uint32(e>>32))); j < i; j++ {
				require.NotZero(t, p.at[j].Load(), "there is a gap between the place of a key and the key")
			}
		}
	}
}

// An index knows the same as a map of all entries, whatever the keys are. All of them may have
// one place, or the last one.
func FuzzIndex(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), uint8(0), uint32(0))
	f.Add([]byte{}, uint8(4), ^uint32(0))
	f.Fuzz(func(t *testing.T, ops []byte, narrow uint8, near uint32) {
		var x index
		x.clear()
		known := map[uint32][]uint32{}
		rng := rand.New(rand.NewPCG(uint64(near), uint64(narrow)))
		key := func() uint32 {
			if narrow%3 == 0 {
				return rng.Uint32() >> (narrow % 32)
			}
			return near - rng.Uint32N(1<<(narrow%16))
		}
		var keys []uint32
		n := 0
		for i := range min(8*len(ops), 4000) {
			op := ops[i%len(ops)] + byte(i/len(ops)*31)
			switch {
			case op%8 < 5 || len(keys) == 0:
				bits, to := key(), 1+rng.Uint32N(5)
				x.put(bits, to)
				known[bits] = append(known[bits], to)
				keys = append(keys, bits)
				n++
			default:
				bits := keys[rng.IntN(len(keys))]
				to := 1 + rng.Uint32N(5)
				if all := known[bits]; len(all) > 0 && op%2 == 0 {
					to = all[rng.IntN(len(all))]
				}
				x.cut(bits, to)
				if at := slices.Index(known[bits], to); at >= 0 {
					known[bits] = slices.Delete(known[bits], at, at+1)
					n--
				}
			}
			require.Equal(t, n, x.n)
			bits := keys[rng.IntN(len(keys))]
			slices.Sort(known[bits])
			require.Equal(t, append([]uint32(nil), known[bits]...), x.entries(bits))
			to, sure := x.glimpse(bits)
			require.True(t, sure)
			require.Equal(t, to != 0, len(known[bits]) > 0)
		}
		for _, bits := range keys {
			slices.Sort(known[bits])
			require.Equal(t, append([]uint32(nil), known[bits]...), x.entries(bits))
		}
		ordered(t, &x)
	})
}

// Keys that select the same place stand one behind another. Each is found, also when one before
// it is gone.
func TestKeysThatSelectTheSamePlaceAreFound(t *testing.T) {
	var x index
	x.clear()
	for bits := range uint32(5) {
		require.Zero(t, x.now.Load().from(bits))
		x.put(bits, bits+1)
	}
	for gone := range uint32(5) {
		for bits := gone; bits < 5; bits++ {
			require.Equal(t, bits+1, x.find(bits, 0))
		}
		x.cut(gone, gone+1)
		require.Zero(t, x.find(gone, 0))
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
	require.Less(t, len(x.now.Load().at), 2*x.n)
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
		if to, ok := x.glimpse(stay[i%len(stay)]); ok {
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
		if to, sure := x.glimpse(5); sure && to != 1 && to != 2 {
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
		s.init(c, 0, true, 100)
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

// The index of a full store does not grow once more for its last sessions.
func TestTheIndexOfAFullStoreIsNearlyFull(t *testing.T) {
	const size = 64 * 1320
	m, err := New(&Options{MaxSessions: size})
	require.NoError(t, err)
	for i := range size {
		_, _, err := m.Bind(t.Context(), Scope{}, Keys{Names: [MaxNames]Key{testKey("s", i)}}, "A")
		require.NoError(t, err)
	}
	places := 0
	for i := range m.sessions.shards {
		x := &m.sessions.shards[i].keys
		places += len(x.now.Load().at)
		if old := x.old.Load(); old != nil {
			places += len(old.at)
		}
	}
	require.Less(t, float64(places)/size, 1.5)
}
