package cache

// getOrBind finds the session that keys name and uses it. If auth is not empty, it binds the
// session, unless the session is bound.
func (t *table) getOrBind(scope *Scope, keys *Keys, auth string) (b Binding, bound bool, err error) {
	o := op{t: t, scope: *scope, keys: *keys, write: true}
	o.begin()
	bound, over, err := o.locked(&b, auth)
	if over != nil {
		home, _ := referred(&b)
		t.trim(over, t.at(home), home, &o.gone)
	}
	t.clean(&o.gone)
	return b, bound, err
}

// locked is the part of getOrBind that runs with the locks held. found says that the session
// existed, and was bound if auth is not empty. over is the tenant of a new session if the
// table now has too many.
func (o *op) locked(b *Binding, auth string) (found bool, over *account, err error) {
	if auth != "" && o.names[0] == 0 {
		o.born = o.t.next(o.now)
		o.set.add(o.t.at(o.t.own(o.born)))
	}
	h, many := o.acquire(), false
	defer o.release()
	switch {
	case o.t.closed.Load():
		return false, nil, ErrClosed
	case !h.ok() && auth == "":
		return false, nil, nil
	case !h.ok():
		h, many = o.create(auth)
	case auth != "" && h.r.load().cause() != 0:
		h.s.rebind(h, auth, o.now)
	default:
		found = true
	}
	*b = h.binding(h.r.open(), o.now)
	b.Opening = o.opening
	for i, d := range o.marks {
		if (o.keys.Ongoing || !o.opening && o.at >= int(o.keys.MarksFrom[i])) && o.bindMark(h, d) {
			b.Shared |= 1 << i
		}
	}
	o.use(h)
	if d := o.end(); d != 0 {
		if e := h.extras(); e.latest() == d {
			b.Asked = int(e.ask())
		}
	}
	if many {
		over = h.s.exchange(h, o.now, &o.gone)
	}
	return found, over, nil
}

func (o *op) create(auth string) (h held, over bool) {
	home, born := o.names[0], o.born
	if home == 0 {
		home = o.t.own(born)
	} else {
		born = o.t.next(o.now)
	}
	o.vacate(home)
	return o.t.shard(home).insert(&o.scope, home, born, auth, o.now, &o.gone)
}

// vacate frees a key that no live session of the scope has.
func (o *op) vacate(d digest) {
	s := o.t.shard(d)
	for n := 0; ; {
		to := s.keys.find(d.bits(), n)
		if to == 0 {
			return
		}
		h := o.t.to(to)
		h.r = h.s.slab.look(h.i)
		switch {
		case !o.set.has(h.s.number):
			n++ // it belongs to another key
		case h.r.home.Load() == uint64(d):
			why := Expired
			if h.r.live(o.now) {
				why = Evicted // another key with the same digest, once in 2^64
			}
			h.s.remove(h, why, o.now, &o.gone)
		case h.r.home.Load() != 0 && h.extras().forget(d):
			s.keys.cut(d.bits(), to)
		default:
			n++ // it was left behind, or belongs to another key
		}
	}
}

// use starts the session's TTL again, and binds the keys of the request to it.
func (o *op) use(h held) {
	h.r.use(o.now)
	if h.s.renewed(h.r) {
		h.s.promote(h.i, h.r)
	}
	for _, d := range o.names {
		o.bindName(h, d)
	}
	o.bindEnd(h, o.end())
	for _, d := range o.also() {
		if d != 0 {
			o.bindOther(h, also, d)
		}
	}
}

// bindName makes d a name of h, unless another session has it.
func (o *op) bindName(h held, d digest) {
	if d == 0 || h.hasName(d) || h.extras().count(names) == most[names] {
		return
	}
	other := o.owner(d)
	if other.ok() && other.r != h.r {
		return
	}
	from, _ := o.take(d, other)
	o.add(h, names, d, from)
}

// bindEnd makes d the latest end of h, unless a session has it as a name.
func (o *op) bindEnd(h held, d digest) {
	if d == 0 || h.extras().latest() == d {
		return
	}
	elder := o.elder(d)
	from, ok := o.take(d, o.owner(d))
	if !ok {
		return
	}
	h.goOn(o.by, o.now)
	h.adopt(elder, d)
	h.s.needExtras(h.r).set(false, 0, 0)
	o.push(h, ends, firstEnds, d, from)
}

// bindOther makes d the latest key in one of h's lists, unless a session has it as a name, or
// h has it in another list.
func (o *op) bindOther(h held, in kind, d digest) {
	if h.extras().renew(in, d) {
		return
	}
	other := o.owner(d)
	if other.r == h.r && h.extras().has(d) {
		return
	}
	if from, ok := o.take(d, other); ok {
		o.push(h, in, 0, d, from)
	}
}

// bindMark makes d the latest mark of h. If another session has d, and not as a name, d finds
// neither session from then on, and bindMark returns true.
func (o *op) bindMark(h held, d digest) (shared bool) {
	if d == 0 || h.extras().renew(marks, d) {
		return false
	}
	switch other := o.owner(d); {
	case !other.ok():
		if o.killed(d) {
			return false
		}
		o.vacate(d)
		o.push(h, marks, 0, d, 0)
	case other.r != h.r && !other.hasName(d):
		other.extras().kill(d)
		return true
	}
	return false
}

// killed reports whether a live session has d as a dead key: one that finds no session.
func (o *op) killed(d digest) bool {
	s := o.t.shard(d)
	for n := 0; ; n++ {
		to := s.keys.find(d.bits(), n)
		if to == 0 {
			return false
		}
		h := o.t.to(to)
		if h.r = h.s.slab.look(h.i); o.valid(h, 0) && h.extras().killed(d) {
			return true
		}
	}
}

// take takes d from its owner, if it has one. It leaves the owner's entry in the index for add to
// replace, and returns it, or 0 if no session has d. ok is false if d is a name of the owner: then
// nothing has happened.
func (o *op) take(d digest, other held) (from uint32, ok bool) {
	if !other.ok() {
		o.vacate(d)
		return 0, true
	}
	if !other.hasName(d) && other.extras().forget(d) {
		return o.t.join(other.s.number, other.i), true
	}
	return 0, false
}

// push makes d the latest key in one of h's lists. If the list is full, it drops the oldest
// key after the first kept ones.
func (o *op) push(h held, in kind, kept int, d digest, from uint32) {
	if e := h.extras(); e.count(in) == most[in] {
		o.gone.drop(e.keys(in)[kept], o.t.join(h.s.number, h.i))
		e.remove(in, kept)
	}
	o.add(h, in, d, from)
}

// add makes d, which no session has, the latest key in one of h's lists. from is what take has
// returned for d.
func (o *op) add(h held, in kind, d digest, from uint32) {
	h.s.give(h.r, in, d)
	keys, to := &o.t.shard(d).keys, o.t.join(h.s.number, h.i)
	switch from {
	case to:
	case 0:
		keys.put(d.bits(), to)
	default: // at once, so that a look-up without a lock finds one of the two
		keys.replace(d.bits(), from, to)
	}
}
