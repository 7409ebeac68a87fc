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
	end = in(o.mix, end)
	for i, k := range keys[:min(len(keys), MaxAnswer)] {
		o.hold(&o.other[1+i], k)
	}
	for i, k := range marks[:min(len(marks), MaxMarks)] {
		o.hold(&o.marks[i], k)
	}
	extended, shared = o.extend(b.Opening, end)
	t.clean(&o.gone)
	return extended, shared, nil
}

// target takes the session of a binding for the one that Past leads to.
func (o *op) target(b *Binding) bool {
	s := o.t.shard(b.Ref)
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.home(b.Ref)
	if r == nil || !r.live(o.now) || o.t.name(r.born) != b.Session {
		return false
	}
	o.scope, o.past = s.scopes.at(r.scope).name, alias{r.home, r.born}
	o.set.add(o.t.at(r.home))
	return true
}

func (o *op) extend(opening bool, end Key) (extended bool, shared uint8) {
	_, r := o.acquire()
	defer o.release()
	if r == nil || o.t.closed.Load() {
		return false, 0
	}
	latest := end != (Key{}) && r.more.latest() == end
	if opening && (!latest || r.more.answered) {
		return false, 0
	}
	e := r.extras()
	e.answered = e.answered || latest
	for _, k := range o.also() {
		if k != (Key{}) {
			o.bindOther(r, &e.answers, answerKeys, k)
		}
	}
	for i, k := range o.marks {
		if o.bindMark(r, k) {
			shared |= 1 << i
		}
	}
	return true, shared
}
