package cache

import "slices"

// Limits of keys per session; the others' keys are safe from an endless one.
const (
	maxAliases  = 8 // names
	firstEnds   = 2 // kept for histories that fall back to their beginning
	recentEnds  = 6
	recentTails = 4
)

// aliases are the keys of a session but its home.
type aliases struct {
	names []Key
	weak  Key
	ends  []Key // oldest first; the last one is the latest
	tails []Key // oldest first
}

func (a *aliases) has(k Key) bool {
	return a != nil && (a.weak == k || slices.Contains(a.names, k) || slices.Contains(a.ends, k) || slices.Contains(a.tails, k))
}

// forget takes an end or a tail away.
func (a *aliases) forget(k Key) {
	is := func(have Key) bool { return have == k }
	a.ends = slices.DeleteFunc(a.ends, is)
	a.tails = slices.DeleteFunc(a.tails, is)
}

func (a *aliases) each(do func(Key)) {
	for _, list := range [...][]Key{a.names, a.ends, a.tails} {
		for _, k := range list {
			do(k)
		}
	}
	if a.weak != (Key{}) {
		do(a.weak)
	}
}

// op is one operation on a session by its keys. It locks the shards of all
// keys that it may have to write, in their order, so that it is atomic and
// waits for none that waits for it.
type op struct {
	m     *Memory
	scope Scope
	keys  Keys
	mix   uint64
	names [MaxNames]Key // these inside the scope
	weak  Key
	end   Key
	tail  Key
	early alias  // found by Earlier or EarlierTails
	born  uint64 // of the session that is made, if that has to be known before
	now   moment

	write bool
	set   lockset
	gone  leavings
}

// begin prepares an operation on the session that its keys name.
func (t *op) begin() {
	m, keys := t.m, &t.keys
	t.mix, t.now = m.mix(&t.scope), m.now()
	for i, k := range keys.Names {
		if k == (Key{}) {
			break
		}
		t.names[i] = in(t.mix, k)
		t.set.add(m.at(t.names[i]))
	}
	t.weak, t.end, t.tail = in(t.mix, keys.Weak), in(t.mix, keys.End), in(t.mix, keys.Tail)
	for _, k := range [...]Key{t.weak, t.end, t.tail} {
		if k != (Key{}) {
			t.set.add(m.at(k))
		}
	}
	t.foresee()
}

// foresee looks for the session by Earlier and EarlierTails, one key after the
// other, each under the read locks that it needs.
func (t *op) foresee() {
	if t.names[0] != (Key{}) {
		return
	}
	for _, list := range [...][]Key{t.keys.Earlier, t.keys.EarlierTails} {
		for _, k := range list {
			if k = in(t.mix, k); k != (Key{}) && t.leads(k) {
				return
			}
		}
	}
}

// leads looks for an alias that leads to a live session.
func (t *op) leads(k Key) bool {
	s := &t.m.shards[t.m.at(k)]
	s.mu.RLock()
	a, ok := s.aliases[k]
	s.mu.RUnlock()
	if !ok {
		return false
	}
	s = &t.m.shards[t.m.at(a.home)]
	s.mu.RLock()
	ok = t.valid(s, s.home(a.home), a.born)
	s.mu.RUnlock()
	if ok {
		t.early = a
		t.set.add(t.m.at(a.home))
	}
	return ok
}

func (t *op) valid(s *shard, r *record, born uint64) bool {
	return r != nil && (born == 0 || r.born() == born) && r.live(t.now) && s.scopes.at(r.scope).name == t.scope
}

// acquire locks the shards and finds the session; nil if there is none.
func (t *op) acquire() (s *shard, r *record) {
	for base := t.set; ; {
		t.lock()
		s, r = t.find()
		if t.write { // whoever has a key that is to be claimed or taken must be known
			for _, k := range t.names {
				t.reach(k)
			}
			for _, k := range [...]Key{t.weak, t.end, t.tail} {
				t.reach(k)
			}
		}
		if t.set.more == 0 && !t.set.full {
			return s, r
		}
		t.unlock()
		if t.set.full { // of homes that were others each time: from the beginning
			t.set = base
		} else {
			t.set.settle()
		}
	}
}

// find is the order in which keys name a session.
func (t *op) find() (*shard, *record) {
	for _, k := range t.names {
		if s, r := t.owner(k); r != nil {
			return s, r
		}
	}
	if t.names[0] != (Key{}) {
		return nil, nil // a weak key must not pull together what names tell apart
	}
	if s, r := t.owner(t.weak); r != nil {
		return s, r
	}
	if s, r := t.owner(t.end); r != nil && r.more.latest() == t.end {
		return s, r
	}
	if t.early.born != 0 {
		s := &t.m.shards[t.m.at(t.early.home)]
		if r := s.home(t.early.home); t.valid(s, r, t.early.born) {
			return s, r
		}
	}
	return nil, nil
}

func (a *aliases) latest() Key {
	if a == nil || len(a.ends) == 0 {
		return Key{}
	}
	return a.ends[len(a.ends)-1]
}

// reach notes the shard of whoever may have a key, if it is not locked.
func (t *op) reach(k Key) {
	if k == (Key{}) {
		return
	}
	if a, ok := t.m.shards[t.m.at(k)].aliases[k]; ok {
		if i := t.m.at(a.home); !t.set.has(i) {
			t.set.later(i)
		}
	}
}

// owner is the live session that has a key. Where the shard of its home is not
// locked, it is added to the set, and the answer is not to be used.
func (t *op) owner(k Key) (*shard, *record) {
	if k == (Key{}) {
		return nil, nil
	}
	s := &t.m.shards[t.m.at(k)]
	if r := s.home(k); t.valid(s, r, 0) {
		return s, r
	}
	a, ok := s.aliases[k]
	if !ok {
		return nil, nil
	}
	i := t.m.at(a.home)
	if !t.set.has(i) {
		t.set.later(i)
		return nil, nil
	}
	s = &t.m.shards[i]
	if r := s.home(a.home); t.valid(s, r, a.born) {
		return s, r
	}
	return nil, nil
}

// getOrBind finds the session and uses it, or makes it if auth is not empty.
func (t *op) getOrBind(auth string) (b Binding, existed bool, err error) {
	b, existed, err = t.locked(auth)
	t.m.clean(&t.gone)
	return b, existed, err
}

func (t *op) locked(auth string) (b Binding, existed bool, err error) {
	t.write = true
	if auth != "" && t.names[0] == (Key{}) && t.weak == (Key{}) {
		t.born = t.m.born.Add(1)
		t.set.add(t.m.at(t.m.name(t.born)))
	}
	s, r := t.acquire()
	defer t.unlock()
	existed = r != nil
	switch {
	case t.m.closed.Load():
		return Binding{}, false, ErrClosed
	case !existed && auth == "":
		return Binding{}, false, nil
	case !existed:
		s, r = t.create(auth)
	}
	t.use(s, r)
	return t.m.binding(r, t.now), existed, nil
}

func (t *op) create(auth string) (*shard, *record) {
	home := t.names[0]
	if home == (Key{}) {
		home = t.weak
	}
	born := t.born
	if home == (Key{}) {
		home = t.m.name(born)
	} else if born == 0 {
		born = t.m.born.Add(1)
	}
	t.vacate(home)
	s := &t.m.shards[t.m.at(home)]
	return s, s.insert(t.m, &t.scope, home, born<<genBits, auth, t.now, &t.gone)
}

// vacate frees a key that no live session of the scope has.
func (t *op) vacate(k Key) {
	s := &t.m.shards[t.m.at(k)]
	if i, ok := s.lru.Peek(hash(k, s.secret)); ok {
		why := Expired
		if s.slab.at(i).live(t.now) {
			why = Evicted // another key of the same hash, once in 2^64
		}
		s.remove(t.m, i, why, &t.gone)
	}
	delete(s.aliases, k)
}

// use renews the session and binds the keys that it does not have yet.
func (t *op) use(s *shard, r *record) {
	r.used.Store(t.now.at)
	if s.stale(r) {
		s.promote(r)
	}
	for _, k := range t.names {
		if t.claim(r, k) && len(r.more.names) < maxAliases-1 {
			r.more.names = append(r.more.names, k)
			t.lead(k, r)
		}
	}
	if t.claim(r, t.weak) && r.more.weak == (Key{}) {
		r.more.weak = t.weak
		t.lead(t.weak, r)
	}
	if k := t.end; k != (Key{}) && r.more.latest() != k && t.free(k) {
		t.push(r, &r.keys().ends, firstEnds, firstEnds+recentEnds, k)
	}
	if k := t.tail; k != (Key{}) && t.free(k) && !(r.more != nil && slices.Contains(r.more.tails, k)) {
		t.push(r, &r.keys().tails, 0, recentTails, k)
	}
}

// keys are the aliases of a record that gets one.
func (r *record) keys() *aliases {
	if r.more == nil {
		r.more = &aliases{}
	}
	return r.more
}

// claim reports whether a key is to be bound to r: nobody has it.
func (t *op) claim(r *record, k Key) bool {
	if k == (Key{}) || k == r.home {
		return false
	}
	if _, other := t.owner(k); other != nil {
		return false
	}
	t.vacate(k)
	r.keys()
	return true
}

// free reports whether a key can be an alias: it is nobody's home.
func (t *op) free(k Key) bool { return t.m.shards[t.m.at(k)].home(k) == nil }

// lead makes a key an alias of r, whoever had it.
func (t *op) lead(k Key, r *record) {
	t.m.shards[t.m.at(k)].aliases[k] = alias{r.home, r.born()}
}

// push makes k the latest of one of the session's lists of keys, from whoever
// has it. Of a full list the oldest one goes that is not among the first kept
// ones.
func (t *op) push(r *record, list *[]Key, kept, limit int, k Key) {
	if _, other := t.owner(k); other != nil {
		other.more.forget(k) // or r itself, which has it already
	}
	if len(*list) == limit {
		t.gone.dropped[t.gone.n] = drop{(*list)[kept], alias{r.home, r.born()}}
		t.gone.n++
		*list = slices.Delete(*list, kept, kept+1)
	}
	*list = append(*list, k)
	t.lead(k, r)
}

// leavings are what an operation has left in shards that it had not locked,
// and whom it has to tell.
type leavings struct {
	removals []Removal
	aliases  []leaving
	dropped  [2]drop
	n        int
}

// leaving are the keys of a session that was removed.
type leaving struct {
	keys *aliases
	born uint64
}

// drop is a key that a live session has let go.
type drop struct {
	key Key
	of  alias
}

// clean is called with no lock held.
func (m *Memory) clean(gone *leavings) {
	for _, l := range gone.aliases {
		l.keys.each(func(k Key) {
			s := &m.shards[m.at(k)]
			s.mu.Lock()
			if s.aliases[k].born == l.born {
				delete(s.aliases, k)
			}
			s.mu.Unlock()
		})
	}
	for _, d := range gone.dropped[:gone.n] {
		m.forget(d)
	}
	for _, r := range gone.removals {
		m.onRemove(r)
	}
}

// forget deletes the alias of a key that a session has let go, unless the
// session has taken it again.
func (m *Memory) forget(d drop) {
	t := op{m: m, write: true}
	t.set.add(m.at(d.key))
	t.set.add(m.at(d.of.home))
	t.lock()
	defer t.unlock()
	s := &m.shards[m.at(d.key)]
	if s.aliases[d.key].born != d.of.born {
		return
	}
	if r := m.shards[m.at(d.of.home)].home(d.of.home); r != nil && r.born() == d.of.born && r.more.has(d.key) {
		return
	}
	delete(s.aliases, d.key)
}

// lockset are the shards that an operation locks, in ascending order, and
// behind them those that it has found to need besides.
type lockset struct {
	n, more int
	full    bool // there was no room for one that is needed
	at      [maxLocked]uint8
}

// maxLocked is room for the shards of all keys of a request (four names, three
// others) and of all homes that these can lead to at one moment, and of some
// more that they have led to before.
const maxLocked = 24

func (l *lockset) has(i int) bool { return slices.Contains(l.at[:l.n], uint8(i)) }

// add adds a shard before the locks are taken.
func (l *lockset) add(i int) {
	l.later(i)
	l.settle()
}

// later notes one while they are held.
func (l *lockset) later(i int) {
	switch {
	case slices.Contains(l.at[:l.n+l.more], uint8(i)):
	case l.n+l.more == len(l.at):
		l.full = true
	default:
		l.at[l.n+l.more] = uint8(i)
		l.more++
	}
}

// settle makes what was noted a part of the set, before it is locked again.
func (l *lockset) settle() {
	l.n += l.more
	l.more = 0
	slices.Sort(l.at[:l.n])
}

func (t *op) lock() {
	for _, i := range t.set.at[:t.set.n] {
		if t.write {
			t.m.shards[i].mu.Lock()
		} else {
			t.m.shards[i].mu.RLock()
		}
	}
}

func (t *op) unlock() {
	for _, i := range t.set.at[:t.set.n] {
		if t.write {
			t.m.shards[i].mu.Unlock()
		} else {
			t.m.shards[i].mu.RUnlock()
		}
	}
}
