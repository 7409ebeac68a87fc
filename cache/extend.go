package cache

// extend binds the keys and marks of an answer to the session of b.
func (t *table) extend(b *Binding, end Key, keys, marks []Key) (extended bool, shared uint8, err error) {
	if t.closed.Load() {
		return false, 0, ErrClosed
	}
	o := op{t: t, write: true, now: t.now()}
	if !o.target(b) {
		return false, 0, nil
	}
	o.mix = t.mix(&o.scope)
	for i := range keys[:min(len(keys), MaxAnswer)] {
		o.hold(&o.other[1+i], &keys[i])
	}
	for i := range marks[:min(len(marks), MaxMarks)] {
		o.hold(&o.marks[i], &marks[i])
	}
	extended, shared = o.extend(b.Opening, t.digest(o.mix, &end))
	t.clean(&o.gone)
	return extended, shared, nil
}

// target makes the session of b the one that the operation is about, as if Past had found it.
func (o *op) target(b *Binding) bool {
	home, i := referred(b)
	s := o.t.shard(home)
	s.mu.RLock()
	defer s.mu.RUnlock()
	h := s.refer(home, i)
	if !h.ok() || !h.r.live(o.now) || !o.t.named(h.r, &b.Session) {
		return false
	}
	o.scope, o.past = s.scopeOf(h.r), h.alias()
	o.set.add(s.number)
	return true
}

func (o *op) extend(opening bool, end digest) (extended bool, shared uint8) {
	h := o.acquire()
	defer o.release()
	if !h.ok() || o.t.closed.Load() {
		return false, 0
	}
	e := h.extras()
	latest := end != 0 && e.latest() == end
	if opening && (!latest || e.answered()) {
		return false, 0
	}
	if latest {
		e.set(true, e.asked(), e.served())
	}
	for _, d := range o.also() {
		if d != 0 {
			o.bindOther(h, answers, d)
		}
	}
	for i, d := range o.marks {
		if o.bindMark(h, d) {
			shared |= 1 << i
		}
	}
	return true, shared
}
