package cache

// op is one operation on a session by its keys. It locks the shards of all keys that it may
// write, in ascending order. So it is atomic, and no two operations wait for each other.
type op struct {
	t        *table
	scope    Scope
	keys     Keys
	mix      uint64
	names    [MaxNames]digest      // of keys.Names
	other    [1 + MaxAnswer]digest // of End and Also, or the keys of an answer
	marks    [MaxMarks]digest      // of keys.Marks
	fallback alias                 // the session that Fallbacks find
	by       digest                // the one of the Fallbacks that finds it
	at       int                   // the index of that key
	born     uint64                // birth number of a new session, if it is needed before the locks
	now      moment

	opening bool // the result is Opening

	write bool
	set   lockset
	gone  leavings
}

// alias identifies the session that a key finds, by its home and its birth number. Zero is
// none.
type alias struct {
	home digest
	born uint64
}

func (o *op) end() digest    { return o.other[0] }
func (o *op) also() []digest { return o.other[1:] }

// begin prepares an operation on the session that o.keys name.
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
}

// hold notes a key that the operation may bind, and its shard. It returns false for the zero
// Key.
func (o *op) hold(at *digest, k *Key) bool {
	d := o.t.digest(o.mix, k)
	if d == 0 {
		return false
	}
	*at = d
	o.set.add(o.t.at(d))
	return true
}

// foresee looks the session up by the Fallbacks, one after another, each under the read locks
// that it needs.
func (o *op) foresee() {
	if o.names[0] != 0 {
		return
	}
	for i := range o.keys.Fallbacks {
		if d := o.t.digest(o.mix, &o.keys.Fallbacks[i]); d != 0 && o.leads(d) {
			o.at = i
			return
		}
	}
}

// leads looks for a live session that has the key d, and notes it. Most Fallbacks find nothing,
// and that takes no lock.
func (o *op) leads(d digest) bool {
	s := o.t.shard(d)
	if to, sure := s.keys.glimpse(d.bits(), 0); to == 0 && sure {
		return false
	}
	for n, version := 0, uint32(0); ; n++ {
		s.mu.RLock()
		if now := s.keys.version.Load(); now != version { // a session may have taken d from another
			n, version = 0, now
		}
		to := s.keys.find(d.bits(), n)
		s.mu.RUnlock()
		if to == 0 {
			return false
		}
		h, elder := o.t.to(to), alias{}
		h.s.mu.RLock()
		if h = o.has(h, d); h.ok() {
			o.fallback, elder = h.alias(), h.elder(d)
		}
		h.s.mu.RUnlock()
		if !h.ok() {
			continue
		}
		if eldest := o.eldest(elder, d); eldest.born != 0 {
			o.fallback = eldest
		}
		o.by = d
		o.set.add(o.t.at(o.fallback.home))
		return true
	}
}

// to returns the record that an index entry stands for.
func (t *table) to(entry uint32) held {
	at, i := t.split(entry)
	return held{&t.shards[at], i, nil}
}

// has returns h with its record, if that is a live session of this scope and d is one of its
// keys and not dead. Otherwise the record is nil. The shard of h is locked.
func (o *op) has(h held, d digest) held {
	h.r = h.s.slab.look(h.i)
	if h.r == nil || !o.valid(h, 0) || h.r.home.Load() != uint64(d) && (!h.extras().has(d) || h.extras().killed(d)) {
		h.r = nil
	}
	return h
}

func (h held) alias() alias { return alias{digest(h.r.home.Load()), h.r.born.Load()} }

// valid reports whether h is a live session of this scope. If born is not 0, it must be the
// session with that birth number.
func (o *op) valid(h held, born uint64) bool {
	return h.ok() && h.r.home.Load() != 0 && (born == 0 || h.r.born.Load() == born) && h.r.live(o.now) && h.s.scopes.at(h.r.scope.Load()).name == o.scope
}

// acquire locks the shards and finds the session; the record is nil if there is none.
func (o *op) acquire() (h held) {
	base := o.set
	o.foresee()
	for {
		o.t.lock(&o.set, o.write)
		h = o.find()
		if o.fallback.born != 0 && !h.ok() { // it was removed since, and another may have the key
			o.release()
			o.set, o.fallback, o.by, o.at = base, alias{}, 0, 0
			o.foresee()
			continue
		}
		if o.write { // the shard of each session that has one of these keys must be locked
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
		if o.set.full { // the homes were different ones each time: start again
			o.set = base
			o.set.add(o.t.at(o.fallback.home))
		} else {
			o.set.settle()
		}
	}
}

func (o *op) release() { o.t.unlock(&o.set, o.write) }

// find finds the session, in the order that Keys describes.
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
	if o.fallback.born != 0 {
		if h = o.t.shard(o.fallback.home).home(o.fallback.home); !o.valid(h, o.fallback.born) {
			h = held{}
		}
	}
	// A retry of a request in the session that Fallbacks find is no opening.
	if has := o.owner(o.end()); has.ok() && has.r != h.r {
		if e := has.extras(); e.latest() == o.end() && !e.answered() {
			return has
		}
	}
	o.opening = !h.ok()
	return h
}

// reach notes the shards of all records that may have d, if they are not locked.
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

// owner returns the live session that has d. If a record that may have it is in a shard that
// is not locked, owner notes the shard, and the caller must not use the result.
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
		return Binding{}, false, t.shut()
	}
	b := h.binding(h.r.load(), o.now)
	b.Opening = o.opening
	return b, true, nil
}

// invalidate finds a session and removes it.
func (t *table) invalidate(scope *Scope, keys *Keys) (removed bool, err error) {
	o := op{t: t, scope: *scope, keys: *keys, write: true}
	o.begin()
	if h := o.acquire(); h.ok() {
		h.s.remove(h, Invalidated, o.now, &o.gone)
		removed = true
	} else {
		err = t.shut()
	}
	o.release()
	t.clean(&o.gone)
	return removed, err
}
