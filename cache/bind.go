package cache

// getOrBind finds the session that keys name and uses it. If auth is not empty,
// it binds the session, unless that is bound.
func (t *table) getOrBind(scope *Scope, keys *Keys, auth string) (b Binding, bound bool, err error) {
	o := op{t: t, scope: *scope, keys: *keys, write: true}
	o.begin()
	b, bound, over, err := o.locked(auth)
	if over != nil {
		t.trim(over, t.at(b.Ref), b.Ref, &o.gone)
	}
	t.clean(&o.gone)
	return b, bound, err
}

// locked is what getOrBind does with the locks held. found says that the session
// was there, and bound if auth is not empty. over is the tenant of a new session
// if the table has too many now.
func (o *op) locked(auth string) (b Binding, found bool, over *account, err error) {
	if auth != "" && o.names[0] == (Key{}) {
		o.born = o.t.next()
		o.set.add(o.t.at(o.t.name(o.born)))
	}
	s, r := o.acquire()
	defer o.release()
	switch {
	case o.t.closed.Load():
		return Binding{}, false, nil, ErrClosed
	case r == nil && auth == "":
		return Binding{}, false, nil, nil
	case r == nil:
		var many bool
		if s, r, many = o.create(auth); many {
			over = s.tenantOf(r).account
		}
	case auth != "" && r.load().cause() != 0:
		i, _ := s.number(r.home)
		s.rebind(i, r, auth)
	default:
		found = true
	}
	b = o.t.binding(r, r.open(), o.now)
	b.Opening = o.opening
	for i, k := range o.marks {
		if (o.keys.Ongoing || !o.opening && o.at >= int(o.keys.MarksFrom[i])) && o.bindMark(r, k) {
			b.Shared |= 1 << i
		}
	}
	o.use(s, r)
	if k := o.end(); k != (Key{}) && r.more.latest() == k {
		r.more.asked++
		b.Asked = int(r.more.asked)
	}
	return b, found, over, nil
}

func (o *op) create(auth string) (*shard, *record, bool) {
	home, born := o.names[0], o.born
	if home == (Key{}) {
		home = o.t.name(born)
	} else {
		born = o.t.next()
	}
	o.vacate(home)
	s := o.t.shard(home)
	r, over := s.insert(&o.scope, home, born, auth, o.now, &o.gone)
	return s, r, over
}

// vacate frees a key that no live session of the scope has.
func (o *op) vacate(k Key) {
	s := o.t.shard(k)
	if i, ok := s.lru.Peek(hash(k, s.secret)); ok {
		why := Expired
		if s.slab.at(i).live(o.now) {
			why = Evicted // another key of the same hash, once in 2^64
		}
		s.remove(i, why, o.now, &o.gone)
	}
	delete(s.aliases, k)
}

// use starts the TTL again, and binds the keys that are to be bound.
func (o *op) use(s *shard, r *record) {
	r.used.Store(o.now.at)
	if s.stale(r) {
		s.promote(r)
	}
	for _, k := range o.names {
		o.bindName(r, k)
	}
	o.bindEnd(r, o.end())
	for _, k := range o.also() {
		if k != (Key{}) {
			o.bindOther(r, &r.extras().also, recentAlso, k)
		}
	}
}

// bindName makes a key a name of r, unless another session has it.
func (o *op) bindName(r *record, k Key) {
	if k == (Key{}) || r.hasName(k) || r.more != nil && len(r.more.names) == maxKeptNames-1 {
		return
	}
	switch _, other := o.owner(k); other {
	case nil:
		o.vacate(k)
	case r:
		r.more.forget(k)
	default:
		return
	}
	r.extras().names = append(r.extras().names, k)
	o.lead(k, r)
}

// bindEnd makes a key the latest end of r, unless a session has it as a name.
func (o *op) bindEnd(r *record, k Key) {
	if k == (Key{}) || r.more.latest() == k {
		return
	}
	elder := o.elder(k)
	if !o.take(k) {
		return
	}
	e := r.extras()
	e.goOn(o.by, o.now)
	e.adopt(elder, k)
	e.answered, e.asked = false, 0
	o.push(r, &e.ends, firstEnds, firstEnds+recentEnds, k)
}

// bindOther makes a key the latest of one of r's lists, unless a session has it as a
// name, or r in another list.
func (o *op) bindOther(r *record, list *[]Key, limit int, k Key) {
	if renew(*list, k) {
		return
	}
	if _, other := o.owner(k); other == r && r.more.has(k) || !o.take(k) {
		return
	}
	o.push(r, list, 0, limit, k)
}

// bindMark makes a key the latest mark of r. If another session has it, it leads to
// neither from then on, and bindMark returns true.
func (o *op) bindMark(r *record, k Key) (shared bool) {
	if k == (Key{}) || r.more != nil && renew(r.more.marks, k) {
		return false
	}
	s := o.t.shard(k)
	switch _, other := o.owner(k); {
	case other == nil:
		if a := s.aliases[k]; a.born&dead != 0 {
			at := o.t.shard(a.home)
			if o.valid(at, at.home(a.home), a.born&^dead) {
				return false
			}
		}
		o.vacate(k)
		o.push(r, &r.extras().marks, 0, recentMarks, k)
	case other != r && !other.hasName(k):
		s.aliases[k] = alias{other.home, other.born | dead}
		return true
	}
	return false
}

// take takes a key from whoever has it, unless as a name.
func (o *op) take(k Key) bool {
	_, other := o.owner(k)
	switch {
	case other == nil:
		o.vacate(k)
	case other.hasName(k):
		return false
	case other.more != nil:
		other.more.forget(k)
	}
	return true
}

// push makes k the latest of one of the session's lists of keys. Of a full list
// the oldest key goes that is not among the first kept ones.
func (o *op) push(r *record, list *[]Key, kept, limit int, k Key) {
	if len(*list) == limit {
		o.gone.drop(drop{(*list)[kept], alias{r.home, r.born}})
		*list = append((*list)[:kept], (*list)[kept+1:]...)
	}
	*list = append(*list, k)
	o.lead(k, r)
}

// lead makes a key an alias of r, whoever had it.
func (o *op) lead(k Key, r *record) {
	o.t.shard(k).aliases[k] = alias{r.home, r.born}
}
