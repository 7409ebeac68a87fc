package cache

// answer binds the keys and marks of an answer to the session of b.
func (t *table) answer(b *Binding, a *Answer) (done Answered, err error) {
	if t.closed.Load() {
		return Answered{}, ErrClosed
	}
	o := op{t: t, write: true, now: t.now()}
	if !o.target(b) {
		return Answered{}, t.shut()
	}
	o.mix = t.mix(&o.scope)
	for i := range a.Keys[:min(len(a.Keys), MaxAnswer)] {
		o.hold(&o.other[1+i], &a.Keys[i])
	}
	for i := range a.Marks[:min(len(a.Marks), MaxMarks)] {
		o.hold(&o.marks[i], &a.Marks[i])
	}
	done, err = o.answer(b.Opening, t.digest(o.mix, &a.End))
	t.clean(&o.gone)
	return done, err
}

// target makes the session of b the one that the operation is about, as if Fallbacks had found
// it.
func (o *op) target(b *Binding) bool {
	home, i := referred(b)
	s := o.t.shard(home)
	s.mu.RLock()
	defer s.mu.RUnlock()
	h := s.refer(home, i)
	if !h.ok() || !h.r.live(o.now) || !o.t.named(h.r, &b.Session) {
		return false
	}
	o.scope, o.fallback = s.scopeOf(h.r), h.alias()
	o.set.add(s.number)
	return true
}

func (o *op) answer(opening bool, end digest) (done Answered, err error) {
	h := o.acquire()
	defer o.release()
	if !h.ok() || o.t.closed.Load() {
		return done, o.t.shut()
	}
	e := h.extras()
	latest := end != 0 && e.latest() == end
	if opening && (!latest || e.answered()) {
		return done, nil
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
			done.Shared |= 1 << i
		}
	}
	done.Accepted = true
	return done, nil
}
