package cache

// op is one operation on a session by its keys. It locks the shards of all
// keys that it may have to write, in their order, so that it is atomic and
// waits for none that waits for it.
type op struct {
	t     *table
	scope Scope
	keys  Keys
	mix   uint64
	names [MaxNames]Key      // keys.Names inside the scope
	other [1 + MaxAnswer]Key // End and Also inside the scope, or the keys of an answer
	marks [MaxMarks]Key      // keys.Marks inside the scope
	past  alias              // the session that Past leads to
	by    Key                // the key that leads there
	at    int                // its index in Past
	born  uint64             // of the session that is made, if that has to be known before
	now   moment

	opening bool // the session that was found is Opening

	write bool
	set   lockset
	gone  leavings
}

func (o *op) end() Key    { return o.other[0] }
func (o *op) also() []Key { return o.other[1:] }

// begin prepares an operation on the session that its keys name.
func (o *op) begin() {
	o.mix, o.now = o.t.mix(&o.scope), o.t.now()
	for i, k := range o.keys.Names {
		if k == (Key{}) {
			break
		}
		o.names[i] = in(o.mix, k)
		o.set.add(o.t.at(o.names[i]))
	}
	o.hold(&o.other[0], o.keys.End)
	for i, k := range o.keys.Also {
		o.hold(&o.other[1+i], k)
	}
	if o.write {
		for i, k := range o.keys.Marks {
			o.hold(&o.marks[i], k)
		}
	}
	o.foresee()
}

// hold takes a key that the operation may bind.
func (o *op) hold(at *Key, k Key) {
	if k != (Key{}) {
		*at = in(o.mix, k)
		o.set.add(o.t.at(*at))
	}
}

// foresee looks for the session by Past, one key after the other, each under the
// read locks that it needs.
func (o *op) foresee() {
	if o.names[0] != (Key{}) {
		return
	}
	for i, k := range o.keys.Past {
		if o.at = i; k != (Key{}) && o.leads(in(o.mix, k)) {
			return
		}
	}
}

// leads looks for a live session that has a key.
func (o *op) leads(k Key) bool {
	s := o.t.shard(k)
	s.mu.RLock()
	a, ok := s.aliases[k]
	if !ok {
		if r := s.home(k); o.valid(s, r, 0) {
			o.past = alias{k, r.born}
		}
	}
	s.mu.RUnlock()
	if ok {
		var elder alias
		s = o.t.shard(a.home)
		s.mu.RLock()
		if r := s.home(a.home); o.valid(s, r, a.born) {
			o.past, elder = a, r.more.elder(k)
		}
		s.mu.RUnlock()
		if eldest := o.eldest(elder, k); eldest.born != 0 {
			o.past = eldest
		}
	}
	if o.past.born == 0 {
		return false
	}
	o.by = k
	o.set.add(o.t.at(o.past.home))
	return true
}

// valid reports whether a record is the live session of this scope that was born
// as the given number, 0 for any.
func (o *op) valid(s *shard, r *record, born uint64) bool {
	return r != nil && (born == 0 || r.born == born) && r.live(o.now) && s.scopes.at(r.scope).name == o.scope
}

// acquire locks the shards and finds the session; nil if there is none.
func (o *op) acquire() (s *shard, r *record) {
	for base := o.set; ; {
		o.t.lock(&o.set, o.write)
		s, r = o.find()
		if o.write { // whoever has a key that is to be bound must be known
			for _, k := range o.names {
				o.reach(k)
			}
			for _, k := range o.other {
				o.reach(k)
			}
			for _, k := range o.marks {
				o.reach(k)
			}
		}
		if o.set.more == 0 && !o.set.full {
			return s, r
		}
		o.release()
		if o.set.full { // of homes that were others each time: from the beginning
			o.set = base
		} else {
			o.set.settle()
		}
	}
}

func (o *op) release() { o.t.unlock(&o.set, o.write) }

// find is the order in which keys name a session.
func (o *op) find() (*shard, *record) {
	for _, k := range o.names {
		if s, r := o.owner(k); r != nil {
			return s, r
		}
	}
	if o.opening = o.names[0] == (Key{}); !o.opening {
		return nil, nil
	}
	var s *shard
	var r *record
	if o.past.born != 0 {
		s = o.t.shard(o.past.home)
		if r = s.home(o.past.home); !o.valid(s, r, o.past.born) {
			s, r = nil, nil
		}
	}
	// A retry of what Past leads to anyway is no opening.
	if home, has := o.owner(o.end()); has != nil && has != r && has.more.latest() == o.end() && !has.more.answered {
		return home, has
	}
	o.opening = r == nil
	return s, r
}

// reach notes the shard of whoever may have a key, if it is not locked.
func (o *op) reach(k Key) {
	if k == (Key{}) {
		return
	}
	if a, ok := o.t.shard(k).aliases[k]; ok {
		if i := o.t.at(a.home); !o.set.has(i) {
			o.set.later(i)
		}
	}
}

// owner is the live session that has a key. If the shard of its home is not
// locked, the shard is noted, and the answer is not to be used.
func (o *op) owner(k Key) (*shard, *record) {
	if k == (Key{}) {
		return nil, nil
	}
	s := o.t.shard(k)
	if r := s.home(k); o.valid(s, r, 0) {
		return s, r
	}
	a, ok := s.aliases[k]
	if !ok {
		return nil, nil
	}
	i := o.t.at(a.home)
	if !o.set.has(i) {
		o.set.later(i)
		return nil, nil
	}
	s = &o.t.shards[i]
	if r := s.home(a.home); o.valid(s, r, a.born) {
		return s, r
	}
	return nil, nil
}

// peek finds a session and changes nothing.
func (t *table) peek(scope *Scope, keys *Keys) (Binding, bool, error) {
	o := op{t: t, scope: *scope, keys: *keys}
	o.begin()
	_, r := o.acquire()
	defer o.release()
	if r == nil {
		return Binding{}, false, nil
	}
	b := t.binding(r, r.load(), o.now)
	b.Opening = o.opening
	return b, true, nil
}

// invalidate finds a session and removes it.
func (t *table) invalidate(scope *Scope, keys *Keys) (removed bool) {
	o := op{t: t, scope: *scope, keys: *keys, write: true}
	o.begin()
	if s, r := o.acquire(); r != nil {
		i, _ := s.number(r.home)
		s.remove(i, Invalidated, o.now, &o.gone)
		removed = true
	}
	o.release()
	t.clean(&o.gone)
	return removed
}
