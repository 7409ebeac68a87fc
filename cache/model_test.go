package cache_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

// model is a store that is as plain as the contract: a list that is searched
// from its beginning, and a clock.
type model struct {
	ttl      time.Duration
	sessions []*modelSession
}

type modelSession struct {
	scope  cache.Scope
	names  []cache.Key
	weak   []cache.Key
	ends   []cache.Key
	tails  []cache.Key
	auth   string
	served bool
	used   time.Time
	last   time.Time     // served
	store  cache.Binding // what the store has said of it last
}

func (m *model) live() (out []*modelSession) {
	for _, s := range m.sessions {
		if s.used.Add(m.ttl).After(time.Now()) {
			out = append(out, s)
		}
	}
	return out
}

func (m *model) owner(scope cache.Scope, k cache.Key) *modelSession {
	for _, s := range m.live() {
		if s.scope == scope && k != (cache.Key{}) && slices.Contains(slices.Concat(s.names, s.weak, s.ends, s.tails), k) {
			return s
		}
	}
	return nil
}

func (m *model) find(scope cache.Scope, k *cache.Keys) *modelSession {
	for _, n := range k.Names {
		if s := m.owner(scope, n); s != nil {
			return s
		}
	}
	if k.Names[0] != (cache.Key{}) {
		return nil
	}
	if s := m.owner(scope, k.Weak); s != nil {
		return s
	}
	if s := m.owner(scope, k.End); s != nil && s.ends[len(s.ends)-1] == k.End {
		return s
	}
	for _, e := range slices.Concat(k.Earlier, k.EarlierTails) {
		if s := m.owner(scope, e); s != nil {
			return s
		}
	}
	return nil
}

func (m *model) use(s *modelSession, k *cache.Keys) {
	s.used = time.Now()
	for _, n := range k.Names {
		if n != (cache.Key{}) && m.owner(s.scope, n) == nil && len(s.names) < 8 {
			s.names = append(s.names, n)
		}
	}
	if k.Weak != (cache.Key{}) && m.owner(s.scope, k.Weak) == nil && (len(s.weak) == 0 || len(s.weak) == 1 && len(s.names) == 0 && len(s.ends) == 0) {
		s.weak = append(s.weak, k.Weak)
	}
	if k.End != (cache.Key{}) && (len(s.ends) == 0 || s.ends[len(s.ends)-1] != k.End) {
		s.ends = m.push(s, s.ends, 2, 8, k.End, func(o *modelSession) *[]cache.Key { return &o.ends })
	}
	if k.Tail != (cache.Key{}) && !slices.Contains(s.tails, k.Tail) {
		s.tails = m.push(s, s.tails, 0, 4, k.Tail, func(o *modelSession) *[]cache.Key { return &o.tails })
	}
}

func (m *model) push(s *modelSession, _ []cache.Key, kept, limit int, k cache.Key, of func(*modelSession) *[]cache.Key) []cache.Key {
	if o := m.owner(s.scope, k); o != nil {
		l := of(o)
		*l = slices.DeleteFunc(slices.Clone(*l), func(have cache.Key) bool { return have == k })
	}
	list := slices.Clone(*of(s))
	if len(list) == limit {
		list = slices.Delete(list, kept, kept+1)
	}
	return append(list, k)
}

func (m *model) bind(scope cache.Scope, k *cache.Keys, auth string) (s *modelSession, existed bool) {
	if s = m.find(scope, k); s == nil {
		s = &modelSession{scope: scope, auth: auth, used: time.Now()}
		m.sessions = append(m.sessions, s)
		m.use(s, k)
		return s, false
	}
	m.use(s, k)
	return s, true
}

func (m *model) remove(s *modelSession) {
	m.sessions = slices.DeleteFunc(m.sessions, func(o *modelSession) bool { return o == s })
}

// TestModel runs random histories of every operation on a store and on the
// model, and compares all that they say.
func TestModel(t *testing.T) {
	for seed := range 4000 / thorough {
		size := []int{500, 100_000}[seed%2] // one part, and many
		synctest.Test(t, func(t *testing.T) { history(t, uint64(seed), size) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func history(t *testing.T, seed uint64, size int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	removals := map[cache.Cause]int{}
	c := newCache(t, cache.Options{TTL: time.Minute, MaxSessions: size, OnRemove: func(r cache.Removal) { removals[r.Cause]++ }})
	m := &model{ttl: time.Minute}
	scopes := []cache.Scope{{Tenant: "a", Model: "m"}, {Tenant: "b", Model: "m"}, {Tenant: "a", Model: "n"}}
	auths := []string{"A", "B", "C"}
	pickKey := func(kind string, n int) cache.Key { return key(fmt.Sprint(kind, rng.IntN(n))) }
	request := func() *cache.Keys {
		k := &cache.Keys{}
		kind := rng.IntN(4)
		if seed%4 == 3 && rng.IntN(8) > 0 {
			kind = 3 // histories of conversations that go on for long
		}
		switch kind {
		case 0: // explicit
			for i := range 1 + rng.IntN(3) {
				k.Names[i] = pickKey("name", 14)
			}
			if rng.IntN(3) == 0 {
				k.Weak = pickKey("weak", 3)
			}
		case 1:
			k.Names[0] = pickKey("name", 14)
		case 2:
			k.Weak = pickKey("weak", 3)
		default:
			k.End = pickKey("end", 16)
			for range rng.IntN(4) {
				k.Earlier = append(k.Earlier, pickKey("end", 16))
			}
			if rng.IntN(2) == 0 {
				k.Tail = pickKey("tail", 8)
				k.EarlierTails = append(k.EarlierTails, pickKey("tail", 8))
			}
		}
		return k
	}
	var known []cache.Binding // of any age
	// held finds the model's session of a binding that the store has given.
	held := func(b cache.Binding) *modelSession {
		for _, s := range m.live() {
			if s.store.Session == b.Session {
				return s
			}
		}
		return nil
	}
	same := func(what string, s *modelSession, b cache.Binding) {
		require.Equal(t, s.auth, b.Auth, what)
		require.Equal(t, s.served, b.Served, what)
		if s.served {
			require.InDelta(t, time.Since(s.last)-50*time.Millisecond, b.SinceServed, float64(51*time.Millisecond), what) // never too long
		} else {
			require.Zero(t, b.SinceServed, what)
		}
		if s.store.Gen != 0 {
			require.Equal(t, s.store.Session, b.Session, what)
			require.Equal(t, s.store.Gen, b.Gen, what)
		}
		s.store = b
		known = append(known, b)
	}
	for step := range 60 {
		scope, auth, k := scopes[rng.IntN(3)], auths[rng.IntN(3)], request()
		if seed%4 == 3 {
			scope = scopes[0]
			if live := m.live(); len(live) > 0 && len(live[0].ends) > 0 && k.End != (cache.Key{}) {
				k.Earlier = append(k.Earlier, live[0].ends[len(live[0].ends)-1])
			}
		}
		var b cache.Binding
		if len(known) > 0 {
			b = known[len(known)-1-rng.IntN(min(len(known), 6))]
		}
		s := held(b)
		current := s != nil && s.store.Gen == b.Gen
		what := fmt.Sprintf("seed %d, step %d", seed, step)
		switch op := rng.IntN(19); op {
		case 0, 1, 2, 3:
			want, existed := m.bind(scope, k, auth)
			b, had := c.Bind(scope, k, auth)
			require.Equal(t, existed, had, what)
			same(what, want, b)
		case 4, 5, 6:
			want := m.find(scope, k)
			if want != nil {
				m.use(want, k)
			}
			b, ok := c.Get(scope, k)
			require.Equal(t, want != nil, ok, what)
			if ok {
				same(what, want, b)
			}
		case 7:
			want := m.find(scope, k)
			b, ok := c.Peek(scope, k)
			require.Equal(t, want != nil, ok, what)
			if ok {
				same(what, want, b)
			}
		case 8:
			now, swapped := c.Swap(b, auth)
			require.Equal(t, current, swapped, what)
			if swapped {
				s.auth, s.served, s.store.Gen = auth, false, 0
			}
			if s != nil {
				same(what, s, now)
			} else {
				require.Zero(t, now, what)
			}
		case 9:
			require.Equal(t, current, c.Confirm(b), what)
			if current {
				s.served, s.used, s.last = true, time.Now(), time.Now()
			}
		case 10:
			require.Equal(t, current, c.Touch(b), what)
			if current {
				s.used = time.Now()
			}
		case 11:
			require.Equal(t, current, c.Delete(b), what)
			if current {
				m.remove(s)
			}
		case 12:
			want := current && !s.served
			require.Equal(t, want, c.Release(b), what)
			if want {
				m.remove(s)
			}
		case 13:
			want := m.find(scope, k)
			require.Equal(t, want != nil, c.InvalidateSession(scope, k), what)
			if want != nil {
				m.remove(want)
			}
		case 14:
			n := 0
			tenant := ""
			if rng.IntN(2) == 0 {
				tenant = scope.Tenant
			}
			for _, s := range m.live() {
				if s.auth == auth && (tenant == "" || s.scope.Tenant == tenant) {
					m.remove(s)
					n++
				}
			}
			if tenant == "" {
				require.Equal(t, n, c.InvalidateAuth(auth), what)
			} else {
				require.Equal(t, n, c.InvalidateTenant(tenant, auth), what)
			}
		case 15:
			time.Sleep(time.Duration(rng.IntN(40)) * time.Second)
		case 16:
			c.Sweep()
			require.Equal(t, len(m.live()), c.Len(), what)
			want := map[string]int{}
			for _, s := range m.live() {
				want[s.auth]++
			}
			require.Equal(t, want, c.Counts(), what)
		case 17:
			m.sessions, m.ttl = m.live(), time.Duration(20+rng.IntN(60))*time.Second
			require.NoError(t, c.SetTTL(m.ttl), what)
		case 18:
			n, to := 0, auths[rng.IntN(3)]
			for _, s := range m.live() {
				if s.auth == auth && to != auth {
					s.auth = to
					n++
				}
			}
			renamed, err := c.RenameAuth(t.Context(), auth, to)
			require.NoError(t, err, what)
			require.Equal(t, n, renamed, what)
		}
		// What can be seen of the whole.
		seen, onA := map[cache.Key]string{}, 0
		for info := range c.All() {
			seen[info.Binding.Session] = info.Binding.Auth
			s := held(info.Binding)
			require.NotNil(t, s, what)
			require.Equal(t, s.scope, info.Scope, what)
			require.Equal(t, len(s.names)+len(s.weak)+len(s.ends)+len(s.tails), info.Keys, what)
			require.Equal(t, time.Since(s.used), info.Idle, what)
		}
		for range c.OfAuth("A") {
			onA++
		}
		want, wantA := map[cache.Key]string{}, 0
		for _, s := range m.live() {
			want[s.store.Session] = s.auth
			if s.auth == "A" {
				wantA++
			}
		}
		require.True(t, maps.Equal(want, seen), "%s: %v, want %v", what, seen, want)
		require.Equal(t, wantA, onA, what)
	}
}

// The order of use is exact in a small store: what is held is what was used
// last.
func TestTheLeastRecentlyUsedOneGoes(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		size := 1 + rng.IntN(8)
		c := newCache(t, cache.Options{MaxSessions: size})
		var order []string // most recently used first
		for range 200 {
			name := fmt.Sprint(rng.IntN(14))
			i := slices.Index(order, name)
			var b cache.Binding
			if rng.IntN(3) == 0 {
				var ok bool
				b, ok = c.Get(scope, named(name))
				require.Equal(t, i >= 0, ok)
				if !ok {
					continue
				}
			} else {
				var existed bool
				b, existed = c.Bind(scope, named(name), "A")
				require.Equal(t, i >= 0, existed)
			}
			if i >= 0 {
				order = slices.Delete(order, i, i+1)
			}
			order = append([]string{name}, order...)
			order = order[:min(len(order), size)]
			require.Equal(t, len(order), c.Len())
			if rng.IntN(4) == 0 { // a touch of another one
				last := order[len(order)-1]
				p, _ := c.Peek(scope, named(last))
				require.True(t, c.Touch(p))
				order = append([]string{last}, order[:len(order)-1]...)
			}
			require.True(t, c.Confirm(b) || order[0] != name)
			if order[0] != name {
				j := slices.Index(order, name)
				if j >= 0 {
					order = append([]string{name}, slices.Delete(order, j, j+1)...)
				}
			}
		}
	}
}
