package cache

// op is one operation on a session by its keys. It locks the shards of all
// keys that it may have to write, in their order, so that it is atomic and
// waits for none that waits for it.
type op struct {
	t     *table
	scope Scope
	keys  Keys
	mix   uint64
	names [MaxNames]digest      // of keys.Names
	other [1 + MaxAnswer]digest // of End and Also, or the keys of an answer
	marks [MaxMarks]digest      // of keys.Marks
	past  alias                 // the session that Past leads to
	by    digest                // the key that leads there
	at    int                   // its index in Past
	born  uint64                // of the session that is made, if that has to be known before
	now   moment

	opening bool // the session that was found is Opening

	write bool
	set   lockset
	gone  leavings
}

// alias is what a key leads to: the session with a home that was born as the given
// number. Zero is none.
type alias struct {
	home digest
	born uint64
}

func (o *op) end() digest    { return o.other[0] }
func (o *op) also() []digest { return o.other[1:] }

// begin prepares an operation on the session that its keys name.
func (o *op) begin() {
	o.mix, o.now = o.t.mix(&o.scope), o.t.now()
	for i := range o.keys.Names {
		if !o.hold(&o.names[i], &o.keys.Names[i]) {
			break
		}
	}
	o.hold(&o.other[0], &o.keys.End)
	for i := range o.keys.Also {
		o.hold(&o.other[1+i], &o.keys.Also[i])
	}
	if o.write {
		for i := range o.keys.Marks {
			o.hold(&o.marks[i], &o.keys.Marks[i])
		}
	}
	o.foresee()
}

// hold takes a key that the operation may bind. It reports whether there is one.
func (o *op) hold(at *digest, k *Key) bool {
	d := o.t.digest(o.mix, k)
	if d == 0 {
		return false
	}
	*at = d
	o.set.add(o.t.at(d))
	return true
}

// foresee looks for the session by Past, one key after the other, each under the
// read locks that it needs.
func (o *op) foresee() {
	if o.names[0] != 0 {
		return
	}
	for i := range o.keys.Past {
		if d := o.t.digest(o.mix, &o.keys.Past[i]); d != 0 && o.leads(d) {
			o.at = i
			return
		}
	}
}

// leads looks for a live session that has a key. Most keys of a history lead nowhere,
// which takes no lock.
func (o *op) leads(d digest) bool {
	s := o.t.shard(d)
	if to, sure := s.keys.glimpse(d.bits()); to == 0 && sure {
		return false
	}
	for n := 0; ; n++ {
		s.mu.RLock()
		to := s.keys.find(d.bits(), n)
		s.mu.RUnlock()
		if to == 0 {
			return false
		}
		h, elder := o.t.to(to), alias{}
		h.s.mu.RLock()
		if h = o.has(h, d); h.ok() {
			o.past, elder = h.alias(), h.elder(d)
		}
		h.s.mu.RUnlock()
		if !h.ok() {
			continue
		}
		if eldest := o.eldest(elder, d); eldest.born != 0 {
			o.past = eldest
		}
		o.by = d
		o.set.add(o.t.at(o.past.home))
		return true
	}
}

// to is the record that an entry of an index leads to.
func (t *table) to(entry uint32) held {
	at, i := t.split(entry)
	return held{&t.shards[at], i, nil}
}

// has is a record if it is a live session of this scope that has a key, and is not dead to
// it. Otherwise it is none of its shard. The shard is locked.
func (o *op) has(h held, d digest) held {
	h.r = h.s.slab.look(h.i)
	if h.r == nil || !o.valid(h, 0) || h.r.home.Load() != uint64(d) && (!h.extras().has(d) || h.extras().killed(d)) {
		h.r = nil
	}
	return h
}

func (h held) alias() alias { return alias{digest(h.r.home.Load()), h.r.born.Load()} }

// valid reports whether a record is the live session of this scope that was born
// as the given number, 0 for any.
func (o *op) valid(h held, born uint64) bool {
	return h.ok() && h.r.home.Load() != 0 && (born == 0 || h.r.born.Load() == born) && h.r.live(o.now) && h.s.scopes.at(h.r.scope.Load()).name == o.scope
}

// acquire locks the shards and finds the session; nil if there is none.
func (o *op) acquire() (h held) {
	for base := o.set; ; {
		o.t.lock(&o.set, o.write)
		h = o.find()
		if o.write { // whoever has a key that is to be bound must be known
			for _, d := range o.names {
				o.reach(d)
			}
			for _, d := range o.other {
				o.reach(d)
			}
			for _, d := range o.marks {
				o.reach(d)
			}
		}
		if o.set.more == 0 && !o.set.full {
			return h
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
func (o *op) find() held {
	for _, d := range o.names {
		if h := o.owner(d); h.ok() {
			return h
		}
	}
	if o.opening = o.names[0] == 0; !o.opening {
		return held{}
	}
	var h held
	if o.past.born != 0 {
		if h = o.t.shard(o.past.home).home(o.past.home); !o.valid(h, o.past.born) {
			h = held{}
		}
	}
	// A retry of what Past leads to anyway is no opening.
	if has := o.owner(o.end()); has.ok() && has.r != h.r {
		if e := has.extras(); e.latest() == o.end() && !e.answered() {
			return has
		}
	}
	o.opening = !h.ok()
	return h
}

// reach notes the shards of whoever may have a key, if they are not locked.
func (o *op) reach(d digest) {
	if d == 0 {
		return
	}
	s := o.t.shard(d)
	for n := 0; ; n++ {
		to := s.keys.find(d.bits(), n)
		if to == 0 {
			return
		}
		if i, _ := o.t.split(to); !o.set.has(i) {
			o.set.later(i)
		}
	}
}

// owner is the live session that has a key. If the shard of a record that may have it is
// not locked, the shard is noted, and the answer is not to be used.
func (o *op) owner(d digest) held {
	for n := 0; d != 0; n++ {
		to := o.t.shard(d).keys.find(d.bits(), n)
		if to == 0 {
			break
		}
		h := o.t.to(to)
		if !o.set.has(h.s.number) {
			o.set.later(h.s.number)
		} else if h = o.has(h, d); h.ok() {
			return h
		}
	}
	return held{}
}

// peek finds a session and changes nothing.
func (t *table) peek(scope *Scope, keys *Keys) (Binding, bool, error) {
	o := op{t: t, scope: *scope, keys: *keys}
	o.begin()
	h := o.acquire()
	defer o.release()
	if !h.ok() {
		return Binding{}, false, nil
	}
	b := h.binding(h.r.load(), o.now)
	b.Opening = o.opening
	return b, true, nil
}

// invalidate finds a session and removes it.
func (t *table) invalidate(scope *Scope, keys *Keys) (removed bool) {
	o := op{t: t, scope: *scope, keys: *keys, write: true}
	o.begin()
	if h := o.acquire(); h.ok() {
		h.s.remove(h, Invalidated, o.now, &o.gone)
		removed = true
	}
	o.release()
	t.clean(&o.gone)
	return removed
}
