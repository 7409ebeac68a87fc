package cache_test

import (
	"bytes"
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

// model is a store as simple as the contract: a list that is searched from its beginning, and a
// clock.
type model struct {
	ttl       time.Duration
	max       int // 0 for no bound
	perTenant int
	clock     int
	sessions  []*modelSession
	grown     map[string]int // tenant -> the clock when a session was added last
	notes     map[modelNote]*modelNoted
	ended     map[cause]int
	by        cache.Key // the one of the Fallbacks that has found a session
	at        int       // its index
}

type modelSession struct {
	scope  cache.Scope
	names  []cache.Key
	ends   []cache.Key
	also   []cache.Key
	marks  []cache.Key
	dead   map[cache.Key]bool // marks that another session came with
	answer []cache.Key
	auth   string
	lost   cause
	served bool
	uses   int
	memo   string
	used   time.Time
	order  int           // of use
	last   time.Time     // served
	more   bool          // it has had more than one name, or a memo
	count  int           // how often its latest end was served
	known  bool          // an answer to its latest end is known
	asked  int           // how many requests ended in its latest end
	waits  int           // how many conversations ended in end, and have not gone on
	own    bool          // one of them is its own
	end    cache.Key     // the end in which they ended
	since  time.Time     // when the first went on
	elder  *modelSession // the session that had the end before
	taken  cache.Key
	store  cache.Binding // what the store has said of it last; Gen is 0 if it is new
}

type modelNote struct {
	scope cache.Scope
	key   cache.Key
}

type modelNoted struct {
	auth string
	used time.Time
}

func (m *model) alive(used time.Time) bool { return used.Add(m.ttl).After(time.Now()) }

func (m *model) live() (out []*modelSession) {
	for _, s := range m.sessions {
		if m.alive(s.used) {
			out = append(out, s)
		}
	}
	return out
}

func (m *model) owner(scope cache.Scope, k cache.Key) *modelSession {
	for _, s := range m.live() {
		if s.scope == scope && k != (cache.Key{}) && !s.dead[k] && slices.Contains(s.keys(), k) {
			return s
		}
	}
	return nil
}

func (s *modelSession) keys() []cache.Key {
	return slices.Concat(s.names, s.ends, s.also, s.marks, s.answer)
}

func (s *modelSession) latest() (k cache.Key) {
	if len(s.ends) > 0 {
		k = s.ends[len(s.ends)-1]
	}
	return k
}

// from returns the session that had an end before.
func (s *modelSession) from(k cache.Key) *modelSession {
	if s.taken != k {
		return nil
	}
	return s.elder
}

func (s *modelSession) awaits(k cache.Key) bool {
	return s.waits > 0 && s.end == k && time.Since(s.since) < 5*time.Minute
}

func (m *model) find(scope cache.Scope, k *cache.Keys) *modelSession {
	s, _ := m.seek(scope, k)
	return s
}

func (m *model) seek(scope cache.Scope, k *cache.Keys) (s *modelSession, opening bool) {
	m.by = cache.Key{}
	for _, n := range k.Names {
		if s := m.owner(scope, n); s != nil {
			return s, false
		}
	}
	if k.Names[0] != (cache.Key{}) || k.IsZero() {
		return nil, false
	}
	m.at = 0
	for i, e := range k.Fallbacks {
		if s = m.owner(scope, e); s != nil {
			m.at = i
			of := s
			for range 8 {
				of = of.from(e)
				if of == nil || !slices.Contains(m.live(), of) {
					break
				}
				if of.awaits(e) {
					s = of
				}
			}
			m.by = e
			break
		}
	}
	if has := m.owner(scope, k.End); has != nil && has != s && has.latest() == k.End && !has.known {
		return has, true
	}
	return s, s == nil
}

// touch is a use of a session.
func (m *model) touch(s *modelSession) {
	m.clock++
	s.used, s.order = time.Now(), m.clock
}

// use is a use of a session by its keys.
func (m *model) use(s *modelSession, k *cache.Keys) {
	m.touch(s)
	for _, n := range k.Names {
		if o := m.owner(s.scope, n); n != (cache.Key{}) && (o == nil || o == s) && !slices.Contains(s.names, n) && len(s.names) < 8 {
			s.forget(n)
			s.names = append(s.names, n)
			s.more = s.more || len(s.names) > 1
		}
	}
	if k.End != (cache.Key{}) && s.latest() != k.End {
		elder := m.owner(s.scope, k.End)
		if elder != nil && elder.latest() == k.End {
			elder.end, elder.waits, elder.own, elder.since, elder.count = k.End, max(1, elder.count), true, time.Now(), 0
		}
		if elder != nil && !elder.awaits(k.End) {
			elder = nil
		}
		if m.take(s, k.End) {
			if s.count > 1 {
				s.end, s.waits, s.own, s.since = s.latest(), s.count-1, false, time.Now()
			} else if s.waits > 0 && (m.by == s.end || s.own) {
				s.waits--
				s.own = false
			}
			if elder != nil {
				s.elder, s.taken = elder, k.End
			}
			s.count, s.known, s.asked, s.more = 0, false, 0, true
			if s.ends = append(s.ends, k.End); len(s.ends) > 8 {
				s.ends = slices.Delete(s.ends, 2, 3)
			}
		}
	}
	for _, a := range k.Also {
		m.other(s, &s.also, 6, a)
	}
	if k.End != (cache.Key{}) && s.latest() == k.End {
		s.asked++
	}
}

// times returns how many requests had the end of a request.
func (s *modelSession) times(k *cache.Keys) int {
	if k.End == (cache.Key{}) || s.latest() != k.End {
		return 0
	}
	return s.asked
}

// other makes a key the latest of a list.
func (m *model) other(s *modelSession, list *[]cache.Key, most int, k cache.Key) {
	if k == (cache.Key{}) {
		return
	}
	s.more = true
	if !slices.Contains(*list, k) && (m.owner(s.scope, k) == s || !m.take(s, k)) {
		return
	}
	*list = append(slices.DeleteFunc(slices.Clone(*list), func(have cache.Key) bool { return have == k }), k)
	if len(*list) > most {
		*list = (*list)[1:]
	}
}

// mark binds marks, and returns which were another session's.
func (m *model) mark(s *modelSession, marks [cache.MaxMarks]cache.Key) (shared uint8) {
	for i, a := range marks {
		o := m.owner(s.scope, a)
		switch {
		case a == (cache.Key{}), o == s && !slices.Contains(s.marks, a):
		case slices.Contains(s.marks, a) || o == nil && !slices.ContainsFunc(m.live(), func(d *modelSession) bool { return d.scope == s.scope && d.dead[a] }):
			s.more = true
			s.marks = append(slices.DeleteFunc(slices.Clone(s.marks), func(have cache.Key) bool { return have == a }), a)
			if len(s.marks) > 8 {
				delete(s.dead, s.marks[0])
				s.marks = s.marks[1:]
			}
		case o != nil && !slices.Contains(o.names, a):
			if o.dead == nil {
				o.dead = map[cache.Key]bool{}
			}
			o.dead[a] = true
			shared |= 1 << i
		}
	}
	return shared
}

// answer binds the keys of an answer.
func (m *model) answer(s *modelSession, opening bool, end cache.Key, keys []cache.Key, marks [cache.MaxMarks]cache.Key) cache.Answered {
	latest := end != (cache.Key{}) && s.latest() == end
	if opening && (!latest || s.known) {
		return cache.Answered{}
	}
	s.more = true
	s.known = s.known || latest
	for _, k := range keys[:min(len(keys), cache.MaxAnswer)] {
		m.other(s, &s.answer, 8, k)
	}
	return cache.Answered{Accepted: true, Shared: m.mark(s, marks)}
}

// take takes a key from the session that has it, unless the key is one of its names.
func (m *model) take(s *modelSession, k cache.Key) bool {
	if o := m.owner(s.scope, k); o != nil {
		if slices.Contains(o.names, k) {
			return false
		}
		o.forget(k)
	}
	return true
}

func (s *modelSession) forget(k cache.Key) {
	is := func(have cache.Key) bool { return have == k }
	for _, list := range []*[]cache.Key{&s.ends, &s.also, &s.marks, &s.answer} {
		*list = slices.DeleteFunc(slices.Clone(*list), is)
	}
	delete(s.dead, k)
}

func (m *model) bind(scope cache.Scope, k *cache.Keys, auth string) (s *modelSession, existed bool, opening bool, shared uint8) {
	s, opening = m.seek(scope, k)
	if s != nil && s.lost == 0 {
		shared = m.get(s, k, opening)
		return s, true, opening, shared
	}
	if s == nil {
		s = &modelSession{scope: scope, store: cache.Binding{}}
		m.sessions = append(m.sessions, s)
		m.clock++
		m.grown[scope.Tenant] = m.clock
	}
	s.rebind(auth)
	shared = m.get(s, k, opening)
	m.trim(s)
	return s, false, opening, shared
}

func (m *model) get(s *modelSession, k *cache.Keys, opening bool) (shared uint8) {
	marks := k.Marks
	for i := range marks {
		if !k.Ongoing && (opening || m.at < int(k.MarksFrom[i])) {
			marks[i] = cache.Key{}
		}
	}
	shared = m.mark(s, marks)
	m.use(s, k)
	s.open()
	return shared
}

func (s *modelSession) open() {
	if s.lost == 0 && !s.served {
		s.uses++
	}
}

func (s *modelSession) rebind(auth string) {
	s.auth, s.lost, s.served, s.uses, s.store.Gen = auth, 0, false, 0, 0
}

func (m *model) lose(s *modelSession, why cause) {
	s.lost, s.served, s.store.Gen = why, false, 0
	m.ended[why]++
}

func (m *model) remove(s *modelSession, why cause) {
	if s.lost == 0 {
		m.ended[why]++
	}
	m.sessions = slices.DeleteFunc(m.sessions, func(o *modelSession) bool { return o == s })
}

// trim evicts sessions after s was added. s is nil if the bounds were changed.
func (m *model) trim(s *modelSession) {
	for {
		counts := map[string]int{}
		for _, o := range m.sessions {
			counts[o.scope.Tenant]++
		}
		most := ""
		for t, n := range counts {
			if most == "" || n > counts[most] || n == counts[most] && m.grown[t] < m.grown[most] {
				most = t
			}
		}
		from, why := "", cache.Evicted
		switch over := m.max > 0 && len(m.sessions) > m.max; {
		case m.perTenant > 0 && s == nil && counts[most] > m.perTenant:
			from, why = most, cache.EvictedByTenant
		case m.perTenant > 0 && s != nil && counts[s.scope.Tenant] > m.perTenant:
			from, why = s.scope.Tenant, cache.EvictedByTenant
		case over && s != nil && counts[s.scope.Tenant] > 1 && float64(counts[s.scope.Tenant]) > float64(m.max)/float64(len(counts)):
			from = s.scope.Tenant
		case over:
			from = most
		default:
			return
		}
		var oldest *modelSession
		for _, o := range m.sessions {
			if o.scope.Tenant == from && o != s && (oldest == nil || o.order < oldest.order) {
				oldest = o
			}
		}
		m.remove(oldest, why)
	}
}

// TestModel runs random histories of every operation on a store and on the
// model, and compares all that they say.
func TestModel(t *testing.T) {
	for seed := range 2000 / thorough {
		synctest.Test(t, func(t *testing.T) {
			h := &history{T: t, seed: uint64(seed), rng: rand.New(rand.NewPCG(uint64(seed), 1))}
			h.run()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type history struct {
	*testing.T
	seed  uint64
	rng   *rand.Rand
	c     store
	m     *model
	known []cache.Binding // of any age
	ended map[cause]int
	what  string

	options cache.Options
}

var (
	modelScopes = []cache.Scope{{Tenant: "a", Model: "m"}, {Tenant: "b", Model: "m"}, {Tenant: "a", Model: "n"}, {Tenant: "c"}}
	modelAuths  = []string{"A", "B", "C"}
)

// In long histories conversations continue. In full ones the store has too little room, and
// nothing expires.
func (h *history) long() bool { return h.seed%4 == 3 }
func (h *history) full() bool { return h.seed%4 == 2 }

func (h *history) run() {
	o := cache.Options{TTL: time.Minute, MaxSessions: []int{500, 100_000}[h.seed%2]} // one part, and many
	h.m = &model{ttl: time.Minute, grown: map[string]int{}, notes: map[modelNote]*modelNoted{}, ended: map[cause]int{}}
	if h.full() {
		o.MaxSessions, o.MaxPerTenant = h.bounds()
	}
	h.ended = map[cause]int{}
	o.OnRemove = func(_ cache.Scope, _ cache.Binding, why cause) { h.ended[why]++ }
	h.options = o
	h.c = newCache(h.T, o)
	defer func() { h.c.Close() }()
	for step := range 60 {
		h.what = fmt.Sprintf("seed %d, step %d", h.seed, step)
		h.step()
		h.whole()
	}
}

func (h *history) bounds() (most, perTenant int) {
	h.m.max, h.m.perTenant = 1+h.rng.IntN(8), h.rng.IntN(5)
	return h.m.max, h.m.perTenant
}

func (h *history) key(kind string, n int) cache.Key { return key(fmt.Sprint(kind, h.rng.IntN(n))) }

func (h *history) request() *cache.Keys {
	k := &cache.Keys{}
	kind := h.rng.IntN(4)
	if h.long() && h.rng.IntN(8) > 0 {
		kind = 3
	}
	switch kind {
	case 0: // several names and other keys
		for i := range 1 + h.rng.IntN(3) {
			k.Names[i] = h.key("name", 14)
		}
		if h.rng.IntN(3) == 0 {
			k.Also[h.rng.IntN(2)] = h.key("also", 3)
		}
		if h.rng.IntN(3) == 0 {
			k.End = h.key("end", 16)
		}
		if h.rng.IntN(5) == 0 {
			k.Fallbacks = append(k.Fallbacks, h.key("end", 16))
		}
	case 1:
		k.Names[0] = h.key("name", 14)
	case 2: // a name that others have as Also
		k.Names[0] = h.key("also", 3)
	default:
		k.End = h.key("end", 16)
		for range h.rng.IntN(4) {
			k.Fallbacks = append(k.Fallbacks, h.key("end", 16))
		}
		if h.rng.IntN(2) == 0 {
			k.Also[0] = h.key("also", 8)
			k.Fallbacks = append(k.Fallbacks, h.key("also", 8))
		}
		if h.rng.IntN(8) == 0 { // keys of another kind
			k.Also[1] = h.key([]string{"end", "name"}[h.rng.IntN(2)], 14)
		}
		if h.rng.IntN(16) == 0 {
			k.End = h.key("name", 14)
		}
		for i := range h.rng.IntN(3) {
			k.Marks[i], k.MarksFrom[i] = h.key("mark", 10), uint16(h.rng.IntN(3))
			k.Fallbacks = append(k.Fallbacks, h.key("mark", 10))
		}
		k.Ongoing = h.rng.IntN(2) == 0
		if h.rng.IntN(3) == 0 {
			k.Fallbacks = append([]cache.Key{h.key("answer", 12)}, k.Fallbacks...)
		}
	}
	return k
}

// held finds the model's session of a binding that the store has given.
func (h *history) held(b cache.Binding) *modelSession {
	for _, s := range h.m.live() {
		if s.store.Session == b.Session && b.Gen != 0 {
			return s
		}
	}
	return nil
}

// same compares a session with what the store says of it, where idle is the time
// since its last use.
func (h *history) same(s *modelSession, b cache.Binding, idle time.Duration) {
	require.Equal(h, s.auth, b.Auth, h.what)
	require.Equal(h, s.lost, b.Lost, h.what)
	require.Equal(h, s.lost == 0, b.Bound(), h.what)
	require.Equal(h, s.served, b.Served, h.what)
	require.Equal(h, s.memo, b.Memo, h.what)
	require.Equal(h, idle, b.Idle, h.what)
	if s.served {
		require.InDelta(h, time.Since(s.last)-100*time.Millisecond, b.SinceServed, float64(101*time.Millisecond+35*time.Millisecond), h.what)
		require.LessOrEqual(h, b.SinceServed, time.Since(s.last), h.what)
	} else {
		require.Zero(h, b.SinceServed, h.what)
	}
	if s.store.Session != (cache.Key{}) {
		require.Equal(h, s.store.Session, b.Session, h.what)
	}
	if s.store.Gen != 0 {
		require.Equal(h, s.store.Gen, b.Gen, h.what)
	} else {
		for _, old := range h.known {
			require.NotEqual(h, old.Gen, b.Gen, h.what)
		}
	}
	s.store = b
	h.known = append(h.known, b)
}

func (h *history) step() {
	m, c, rng := h.m, h.c, h.rng
	scope, auth, k := modelScopes[rng.IntN(4)], modelAuths[rng.IntN(3)], h.request()
	if h.long() {
		scope = modelScopes[0]
		if live := m.live(); len(live) > 0 && len(live[0].ends) > 0 && k.End != (cache.Key{}) {
			k.Fallbacks = append(k.Fallbacks, live[0].ends[len(live[0].ends)-1])
		}
	}
	var b cache.Binding
	if len(h.known) > 0 {
		b = h.known[len(h.known)-1-rng.IntN(min(len(h.known), 6))]
	}
	s := h.held(b)
	current := s != nil && s.store.Gen == b.Gen
	idle := func(s *modelSession) time.Duration {
		if s == nil {
			return 0
		}
		return time.Since(s.used)
	}
	switch op := rng.IntN(28); op {
	case 27:
		h.restart()
	case 25, 26:
		end := h.key("end", 16)
		if s != nil && rng.IntN(3) > 0 {
			end = s.latest()
		}
		var keys []cache.Key
		for range rng.IntN(10) {
			keys = append(keys, h.key("answer", 12))
		}
		if rng.IntN(8) == 0 {
			keys = append(keys, h.key("end", 16), cache.Key{})
		}
		var marks [cache.MaxMarks]cache.Key
		for i := range rng.IntN(3) {
			marks[i] = h.key("mark", 10)
		}
		b.Opening = rng.IntN(2) == 0
		want := cache.Answered{}
		if s != nil {
			want = m.answer(s, b.Opening, end, keys, marks)
		}
		got, err := c.Memory.BindAnswer(h.Context(), b, cache.Answer{End: end, Keys: keys, Marks: marks[:]})
		require.NoError(h, err)
		require.Equal(h, want, got, h.what)
	case 0, 1, 2, 3:
		was := idle(m.find(scope, k))
		want, existed, opening, shared := m.bind(scope, k, auth)
		b, had := c.Bind(scope, k, auth)
		require.Equal(h, existed, had, h.what)
		require.Equal(h, opening, b.Opening, h.what)
		require.Equal(h, shared, b.Shared, h.what)
		require.Equal(h, want.times(k), b.Asked, h.what)
		h.same(want, b, was)
	case 4, 5, 6:
		want, opening := m.seek(scope, k)
		was := idle(want)
		shared := uint8(0)
		if want != nil {
			shared = m.get(want, k, opening)
		}
		b, ok := c.Get(scope, k)
		require.Equal(h, want != nil, ok, h.what)
		if ok {
			require.Equal(h, opening, b.Opening, h.what)
			require.Equal(h, shared, b.Shared, h.what)
			require.Equal(h, want.times(k), b.Asked, h.what)
			h.same(want, b, was)
		} else {
			require.Zero(h, b, h.what)
		}
	case 7:
		want := m.find(scope, k)
		b, ok := c.Peek(scope, k)
		require.Equal(h, want != nil, ok, h.what)
		if ok {
			h.same(want, b, idle(want))
		}
	case 8, 9:
		now, moved := c.Move(b, auth)
		require.Equal(h, current, moved, h.what)
		if moved {
			s.rebind(auth)
		}
		if s != nil {
			s.open()
			h.same(s, now, idle(s))
		} else {
			require.Zero(h, now, h.what)
		}
	case 10, 11:
		memo, ok, err := c.Memory.Confirm(h.Context(), b)
		require.NoError(h, err)
		want := current && s.lost == 0
		require.Equal(h, want, ok, h.what)
		if want {
			require.Equal(h, s.memo, memo, h.what)
			s.served, s.last = true, time.Now()
			if s.more {
				s.count++
			}
			m.touch(s)
		}
	case 12:
		require.Equal(h, current, c.Touch(b), h.what)
		if current {
			m.touch(s)
		}
	case 13:
		want := current && s.lost == 0
		require.Equal(h, want, c.Unbind(b), h.what)
		if want {
			m.lose(s, cache.Unbound)
		}
	case 14, 15, 16:
		failed := rng.IntN(3) > 0
		open := current && s.lost == 0 && !s.served && s.uses > 0
		want := open && failed && s.uses == 1
		require.Equal(h, want, c.Release(b, failed), h.what)
		if want {
			m.lose(s, cache.Released)
		} else if open {
			s.uses--
		}
	case 17:
		memo := fmt.Sprint(rng.IntN(3))
		if rng.IntN(4) == 0 {
			memo = ""
		}
		now, amended := c.Amend(b, memo)
		require.Equal(h, current && s.memo == b.Memo, amended, h.what)
		if amended {
			s.more = s.more || s.memo != memo
			s.memo = memo
		}
		if s != nil {
			h.same(s, now, idle(s))
		} else {
			require.Zero(h, now, h.what)
		}
	case 18:
		if rng.IntN(2) == 0 {
			require.NoError(h, c.EditMemos(h.Context(), func(b cache.Binding) string { return b.Memo + "!" }))
			for _, s := range m.live() {
				if s.memo != "" {
					s.memo += "!"
				}
			}
			break
		}
		want := m.find(scope, k)
		require.Equal(h, want != nil, c.InvalidateSession(scope, k), h.what)
		if want != nil {
			m.remove(want, cache.Invalidated)
		}
	case 19:
		h.invalidate(scope.Tenant, auth)
	case 20:
		if h.full() {
			break // notes have bounds of their own
		}
		n := modelNote{scope, h.key("name", 6)}
		if rng.IntN(2) == 0 {
			c.Remember(scope, n.key, auth)
			m.notes[n] = &modelNoted{auth, time.Now()}
			break
		}
		want := ""
		if have, ok := m.notes[n]; ok && m.alive(have.used) {
			want, have.used = have.auth, time.Now()
		}
		require.Equal(h, want, c.Recall(scope, n.key), h.what)
	case 21:
		if !h.full() {
			time.Sleep(time.Duration(rng.IntN(40)) * time.Second)
		}
	case 22:
		c.Sweep()
		require.Equal(h, len(m.live()), c.Len(), h.what)
	case 23:
		o := cache.Options{TTL: m.ttl}
		if h.full() {
			o.MaxSessions, o.MaxPerTenant = h.bounds()
		} else {
			m.sessions, m.ttl = m.live(), time.Duration(20+rng.IntN(60))*time.Second
			maps.DeleteFunc(m.notes, func(_ modelNote, n *modelNoted) bool { return !n.used.Add(o.TTL).After(time.Now()) })
			o.TTL = m.ttl
		}
		require.NoError(h, c.SetOptions(&o), h.what)
		m.trim(nil)
	case 24:
		h.rename(auth, modelAuths[rng.IntN(3)])
	}
}

// restart saves the store, and goes on with a new one that has loaded the snapshot,
// perhaps later, in other parts and with other bounds.
func (h *history) restart() {
	var snapshot bytes.Buffer
	require.NoError(h, h.c.Save(&snapshot), h.what)
	m, o := h.m, h.options
	m.sessions = m.live()
	maps.DeleteFunc(m.notes, func(_ modelNote, n *modelNoted) bool { return !m.alive(n.used) })
	if h.full() {
		o.MaxSessions, o.MaxPerTenant = h.bounds()
	} else {
		time.Sleep(time.Duration(h.rng.IntN(20)) * time.Second)
		m.ttl = time.Duration(20+h.rng.IntN(60)) * time.Second
		o.TTL, o.MaxSessions = m.ttl, []int{500, 2000, 100_000}[h.rng.IntN(3)]
	}
	loaded, err := cache.Load(&snapshot, &o)
	require.NoError(h, err, h.what)
	require.Zero(h, snapshot.Len(), h.what)
	require.NoError(h, h.c.Close())
	h.c.Memory = loaded
	m.sessions = m.live()
	for _, s := range m.sessions {
		s.uses = 0
	}
	ended := maps.Clone(m.ended)
	m.trim(nil)
	m.ended = ended // nobody is told
	require.Equal(h, len(m.sessions), loaded.Len(), h.what)
}

func (h *history) invalidate(tenant, auth string) {
	n, all := 0, h.rng.IntN(3)
	for _, s := range h.m.live() {
		switch {
		case all == 0 && s.scope.Tenant == tenant: // the tenant's
			h.m.remove(s, cache.Invalidated)
			n++
		case all > 0 && s.lost == 0 && s.auth == auth && (all == 1 || s.scope.Tenant == tenant):
			h.m.lose(s, cache.AuthInvalidated)
			n++
		}
	}
	maps.DeleteFunc(h.m.notes, func(k modelNote, note *modelNoted) bool {
		return (all == 0 || note.auth == auth) && (all == 1 || k.scope.Tenant == tenant)
	})
	switch all {
	case 0:
		require.Equal(h, n, h.c.InvalidateTenant(tenant, ""), h.what)
	case 1:
		require.Equal(h, n, h.c.InvalidateAuth(auth), h.what)
	case 2:
		require.Equal(h, n, h.c.InvalidateTenant(tenant, auth), h.what)
	}
}

func (h *history) rename(from, to string) {
	n := 0
	for _, s := range h.m.live() {
		if s.lost == 0 && s.auth == from && to != from {
			s.auth = to
			n++
		}
	}
	for _, note := range h.m.notes {
		if note.auth == from {
			note.auth = to
		}
	}
	renamed, err := h.c.RenameAuth(h.Context(), from, to)
	require.NoError(h, err, h.what)
	require.Equal(h, n, renamed, h.what)
}

// whole compares the whole store with the model, as far as it can be seen.
func (h *history) whole() {
	seen := map[cache.Key]string{}
	for sc, b := range h.c.All() {
		seen[b.Session] = fmt.Sprint(b.Auth, b.Lost)
		s := h.held(b)
		require.NotNil(h, s, h.what)
		require.Equal(h, s.scope, sc, h.what)
		require.Equal(h, time.Since(s.used), b.Idle, h.what)
		require.Equal(h, s.memo, b.Memo, h.what)
		require.Equal(h, len(s.keys()), h.c.NumKeys(b), h.what)
	}
	want, bound := map[cache.Key]string{}, map[string]int{}
	for _, s := range h.m.live() {
		want[s.store.Session] = fmt.Sprint(s.auth, s.lost)
		if s.lost == 0 {
			bound[s.auth]++
		}
	}
	require.True(h, maps.Equal(want, seen), "%s: %v, want %v", h.what, seen, want)
	for _, auth := range modelAuths {
		n := 0
		for _, b := range h.c.OfAuth(auth) {
			require.Equal(h, auth, b.Auth, h.what)
			n++
		}
		require.Equal(h, bound[auth], n, h.what)
		require.GreaterOrEqual(h, h.c.CountAuth(auth), n, h.what) // expired ones that were not freed
	}
	if h.full() { // nothing expires
		require.Equal(h, len(h.m.sessions), h.c.Len(), h.what)
		require.Equal(h, bound, h.c.CountAuths(), h.what)
		require.Equal(h, h.m.ended, h.ended, h.what)
	}
}

// The order of use is exact in a small store: what is held is what was used
// last.
func TestTheLeastRecentlyUsedSessionGoes(t *testing.T) {
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
			require.True(t, c.Confirm(b))
			j := slices.Index(order, name)
			order = append([]string{name}, slices.Delete(order, j, j+1)...)
		}
	}
}
