package sessionid

import (
	"bytes"
	"net/http"
)

// reader finds the session that one body names, reading as little of it as
// that takes.
type reader struct {
	e      *Extractor
	limit  int // stages before this one are asked
	header http.Header
	text   []byte
	id     ID
	b      body

	content bool // the content may be the identity
	weak    bool // an end holds an id, and a stronger one may stand in the middle
}

func (r *reader) search() {
	always := r.e.owners == OwnersAlways
	for _, st := range r.e.stages[:r.limit] {
		r.content = r.content || st.kind == KindContent && (r.e.maxContent == 0 || len(r.text) <= r.e.maxContent)
	}
	switch {
	case always:
	case r.onlyClaude():
		r.claudeAtEnd()
		r.own()
		return
	case len(r.text) > small && r.ends():
		r.own()
		return
	}
	// Where an id is likely or the content does not count, nothing is hashed.
	if always || r.weak || !r.content || len(r.text) <= small {
		if r.b.clear(); !r.b.whole(&r.e.members, r.text, nil) {
			r.id = ID{}
			return
		}
		r.own()
		if r.answer(nil) || !r.content {
			return
		}
	}
	var ch chain
	if r.b.clear(); r.b.whole(&r.e.members, r.text, &ch) {
		r.own()
		r.answer(&ch)
	}
}

// answer asks the stages, the strongest first, for what the members that were
// read hold; false if none does, or if the content has to be walked first.
func (r *reader) answer(ch *chain) bool {
	id := &r.id
	id.source, id.n, id.weak = nil, 0, Key{}
	for i := range r.e.stages[:r.limit] {
		st := &r.e.stages[i]
		switch {
		case !st.inBody || st.names&r.b.have == 0 && st.kind != KindContent:
			continue
		case st.kind == KindContent && ch == nil && r.content:
			return false
		case st.kind == KindContent:
			r.conversation(ch)
		case st.kind == KindCacheKey:
			r.cacheKey(st)
		default:
			r.names(st)
		}
		if id.source == nil {
			continue
		}
		if st.kind == KindBody {
			r.besides()
		}
		return true
	}
	return false
}

// names takes the explicit ids of one stage.
func (r *reader) names(st *stage) {
	for i := range st.rows {
		s := &st.rows[i]
		if !r.b.has(s.top) || st.kind == KindGuarded && !s.sureOf(r.header) {
			continue
		}
		var buf scratch
		if v, ok := r.b.value(s, r.e.maxID, &buf); ok {
			r.id.add(s, s.space.key(v))
		}
	}
}

// cacheKey takes prompt_cache_key: as weak, and as a name too where the guard
// says that it is one.
func (r *reader) cacheKey(st *stage) {
	s := &st.rows[0]
	if !r.b.has(s.top) {
		return
	}
	var buf scratch
	v, ok := r.b.value(s, r.e.maxID, &buf)
	if !ok {
		return
	}
	r.id.weak = s.space.key(v)
	switch {
	case r.e.guard.agrees(r.header, v):
		r.id.add(s, r.id.weak)
	case r.id.source == nil:
		r.id.source = s
	}
}

// besides takes prompt_cache_key beside a stronger id, wherever it stands in
// the order.
func (r *reader) besides() {
	for i := range r.e.stages {
		if st := &r.e.stages[i]; st.kind == KindCacheKey {
			r.cacheKey(st)
		}
	}
}

// conversation takes the content as the identity.
func (r *reader) conversation(ch *chain) {
	if ch == nil || ch.n == 0 {
		return
	}
	r.id.source = &contentSource
	r.id.history = ch.history()
	for _, o := range r.id.owners {
		if o.replacesHistory() {
			r.id.history.behind(o.Key)
		}
	}
}

// ends looks at the ends of a large body; the middle is walked only if it
// returns false.
func (r *reader) ends() bool {
	if i := skipSpace(r.text, 0); i == len(r.text) || r.text[i] != '{' {
		return false
	}
	t, ok := newTail(r.text[len(r.text)-tailWindow:])
	if !ok {
		return false // no object: the whole walk will say so
	}
	if r.b.front(r.e, r.text); r.answer(nil) {
		if r.decided() {
			return true
		}
		r.weak = true
	}
	r.b.clear()
	for {
		i, ok := r.b.last(&r.e.members, &t)
		if !ok {
			break
		}
		if r.e.isStrong(i) && r.answer(nil) && r.decided() {
			return true
		}
	}
	r.weak = r.answer(nil) || r.weak
	return false
}

// decided reports whether the id found is one that ends the search. A weak
// one does not: the bodies of one session would be known by it once they are
// large, and by a stronger one in their middle as long as they are small.
func (r *reader) decided() bool {
	switch r.id.source.kind {
	case KindOwn, KindNativeBody, KindBody:
		return true
	}
	return false
}

// onlyClaude: behind a generic header only Claude Code's own id is looked for.
func (r *reader) onlyClaude() bool {
	if r.limit == len(r.e.stages) {
		return false
	}
	for i := range r.e.stages[:r.limit] {
		if st := &r.e.stages[i]; st.inBody && st.kind != KindNativeBody {
			return false
		}
	}
	return true
}

// claudeAtEnd looks for it: in a large body at the end only, where Claude Code
// puts it, so that a header's price does not depend on the body's size.
func (r *reader) claudeAtEnd() {
	end := r.text[max(0, len(r.text)-tailWindow):]
	if len(r.text) <= small {
		end = r.text
	}
	if !bytes.Contains(end, []byte(`metadata"`)) {
		return // the usual case: nothing is walked
	}
	if len(r.text) <= small {
		if !r.b.whole(&r.e.members, r.text, nil) {
			r.b.clear()
			return
		}
	} else if t, ok := newTail(end); ok {
		for {
			i, ok := r.b.last(&r.e.members, &t)
			if !ok || r.e.isStrong(i) && r.answer(nil) {
				return
			}
		}
	}
	r.answer(nil)
}

// own takes the state of auths that the members hold which were read.
func (r *reader) own() { r.id.own(r.e, &r.b) }
