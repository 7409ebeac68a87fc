package fallback

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/llmaffinity/llmaffinity/cache"
)

// table is what this process knows. Its methods are called with the Store's lock held.
type table struct {
	ttl      time.Duration
	sessions *simplelru.LRU[*session, struct{}] // in the order of their use
	byName   map[cache.Key]*session             // by each name that callers may have
	byKey    map[scoped]*session
	notes    *simplelru.LRU[scoped, note]
	pending  map[*session]struct{} // those that remote has to be told of
	untold   map[scoped]struct{}   // the notes that it has to be told of
}

// scoped is a key inside its scope.
type scoped struct {
	scope cache.Scope
	key   cache.Key
}

// session is one session.
type session struct {
	scope  cache.Scope
	b      cache.Binding // as callers see it
	remote cache.Binding // as remote knows it; zero if it does not
	before cache.Binding // the one of this process that b has replaced

	names  []cache.Key // explicit ids
	end    cache.Key   // the latest
	others []cache.Key // earlier ends, Also, and keys of answers: the latest ones
	used   time.Time
	served time.Time
	uses   int
}

type note struct {
	auth string
	used time.Time
}

// Bounds of the keys of one session.
const (
	maxNames  = 8
	maxOthers = 16
)

func (t *table) init(o *Options) {
	t.ttl = o.TTL
	t.byName, t.byKey = map[cache.Key]*session{}, map[scoped]*session{}
	t.pending, t.untold = map[*session]struct{}{}, map[scoped]struct{}{}
	// The sizes are positive: no errors.
	t.sessions, _ = simplelru.NewLRU(o.MaxSessions, func(s *session, _ struct{}) { t.unlink(s) })
	t.notes, _ = simplelru.NewLRU(o.MaxSessions, func(at scoped, _ note) { delete(t.untold, at) })
}

// unlink takes a session out of all that leads to it.
func (t *table) unlink(s *session) {
	for _, name := range [...]cache.Key{s.b.Session, s.remote.Session, s.before.Session} {
		if t.byName[name] == s {
			delete(t.byName, name)
		}
	}
	for _, list := range [...][]cache.Key{s.names, s.others, {s.end}} {
		for _, k := range list {
			if at := (scoped{s.scope, k}); t.byKey[at] == s {
				delete(t.byKey, at)
			}
		}
	}
	delete(t.pending, s)
}

func (t *table) remove(s *session) { t.sessions.Remove(s) }

// live is a session that was used within the TTL; one that was not is removed.
func (t *table) live(s *session) *session {
	if s != nil && time.Since(s.used) > t.ttl {
		t.remove(s)
		return nil
	}
	return s
}

// find is the session that keys name, in the order that a Store has.
func (t *table) find(scope cache.Scope, k *cache.Keys) *session {
	at := func(key cache.Key) *session {
		if key == (cache.Key{}) {
			return nil
		}
		return t.live(t.byKey[scoped{scope, key}])
	}
	for _, n := range k.Names {
		if s := at(n); s != nil {
			return s
		}
	}
	if k.Names[0] != (cache.Key{}) {
		return nil
	}
	if s := at(k.End); s != nil && s.end == k.End {
		return s
	}
	for _, p := range k.Past {
		if s := at(p); s != nil {
			return s
		}
	}
	return nil
}

// named is the session that a caller's Binding is about.
func (t *table) named(b *cache.Binding) *session { return t.live(t.byName[b.Session]) }

// add makes a session.
func (t *table) add(scope cache.Scope, b cache.Binding) *session {
	s := &session{scope: cloned(scope), b: b}
	t.byName[b.Session] = s
	t.sessions.Add(s, struct{}{})
	return s
}

// use says that a request has come with keys. They lead to the session from now on.
func (t *table) use(s *session, k *cache.Keys) {
	t.touch(s)
	for _, n := range k.Names {
		if n == (cache.Key{}) || slices.Contains(s.names, n) {
			continue
		}
		at := scoped{s.scope, n}
		if other := t.byKey[at]; other != nil && other != s || len(s.names) == maxNames {
			continue
		}
		s.names = append(s.names, n)
		t.byKey[at] = s
	}
	if k.End != (cache.Key{}) && k.End != s.end {
		if s.end != (cache.Key{}) {
			t.other(s, s.end)
		}
		if t.take(s, k.End) {
			s.end = k.End
		}
	}
	for _, a := range k.Also {
		t.other(s, a)
	}
}

func (t *table) touch(s *session) {
	s.used = time.Now()
	t.sessions.Get(s)
}

// other gives a session one of its other keys.
func (t *table) other(s *session, k cache.Key) {
	if k == (cache.Key{}) || !t.take(s, k) {
		return
	}
	if i := slices.Index(s.others, k); i >= 0 {
		s.others = append(slices.Delete(s.others, i, i+1), k)
		return
	}
	if len(s.others) == maxOthers {
		if at := (scoped{s.scope, s.others[0]}); t.byKey[at] == s && s.others[0] != s.end && !slices.Contains(s.names, s.others[0]) {
			delete(t.byKey, at)
		}
		s.others = slices.Delete(s.others, 0, 1)
	}
	s.others = append(s.others, k)
}

// take lets a key lead to a session, unless another one has it as a name.
func (t *table) take(s *session, k cache.Key) bool {
	at := scoped{s.scope, k}
	if other := t.byKey[at]; other != nil && other != s && slices.Contains(other.names, k) {
		return false
	}
	t.byKey[at] = s
	return true
}

func (t *table) isPending(s *session) bool { _, ok := t.pending[s]; return ok }

// tell notes that remote has to be told of a session.
func (t *table) tell(s *session) { t.pending[s] = struct{}{} }

// each runs do for each session, also if do removes it.
func (t *table) each(do func(*session)) {
	for _, s := range t.sessions.Keys() {
		do(s)
	}
}

// note keeps a note. Without told remote has to be told of it.
func (t *table) note(at scoped, n note, told bool) {
	t.notes.Add(at, n)
	if told {
		delete(t.untold, at)
	} else {
		t.untold[at] = struct{}{}
	}
}

// recall is the auth of a note that lives. It starts its TTL again.
func (t *table) recall(at scoped) (auth string, ok bool) {
	n, ok := t.notes.Get(at)
	if !ok || time.Since(n.used) > t.ttl {
		return "", false
	}
	n.used = time.Now()
	t.notes.Add(at, n)
	return n.auth, true
}

// view is what a caller sees of a session.
func (s *session) view() cache.Binding {
	b := s.b
	b.Away, b.Idle, b.SinceServed = true, time.Since(s.used), 0
	b.Opening, b.Asked, b.Shared = false, 0, 0
	if b.Served {
		b.SinceServed = time.Since(s.served)
	}
	return b
}

// open opens a use of a provisional binding.
func (s *session) open() {
	if s.b.Bound() && !s.b.Served {
		s.uses++
	}
}

// rebind binds a session to an auth anew.
func (s *session) rebind(auth string) {
	s.b.Auth, s.b.Gen, s.b.Lost, s.b.Served = strings.Clone(auth), newGen(), 0, false
	s.uses = 0
}

// lose takes the auth from a session.
func (s *session) lose(why cache.Cause) {
	s.b.Gen, s.b.Lost, s.b.Served = newGen(), why, false
	s.uses = 0
}

// local says that a generation was made here. A Store's own are below that.
func local(gen uint64) bool { return gen>>63 != 0 }

// newGen is a generation that no Store makes.
func newGen() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) | 1<<63
}

func newName() (k cache.Key) {
	_, _ = rand.Read(k[:]) // never fails
	return k
}

func cloned(s cache.Scope) cache.Scope {
	return cache.Scope{Tenant: strings.Clone(s.Tenant), Pool: strings.Clone(s.Pool), Model: strings.Clone(s.Model)}
}
