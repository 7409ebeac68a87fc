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
	byName   map[cache.Key]*session             // by each stable name that callers may have
	byKey    map[scoped]*session
	notes    *simplelru.LRU[scoped, note]
	pending  map[*session]struct{} // the sessions that remote has to be told of
	untold   map[scoped]struct{}   // the notes that remote has to be told of
	round    uint64                // number of the present run of settle; 0 if there is none
	late     bool                  // remote may have done the operation that runs here, too
}

// scoped is a key inside its scope.
type scoped struct {
	scope cache.Scope
	key   cache.Key
}

// session is one session.
type session struct {
	scope  cache.Scope   // with short names
	given  cache.Scope   // as remote is given it
	b      cache.Binding // as callers see it
	remote cache.Binding // as remote knows it; zero if remote does not
	before []uint64      // earlier generations that callers may have instead of became
	became uint64        // the generation at remote that stands for those; 0 if there is none

	called []cache.Key // the latest stable names that callers may have
	names  []cache.Key // explicit ids
	end    cache.Key   // the latest end
	others []cache.Key // the latest of the earlier ends, Also and keys of answers
	made   time.Time   // when the binding was made
	used   time.Time
	served time.Time

	uses int // the open uses that this process has of b
	held int // the open uses that remote has counted for this process, of the binding remote

	told      time.Time // when remote was last told that the session is used
	round     uint64    // the round in which that was
	touched   bool      // used since told
	confirmed bool      // its auth has served it since told
	keyed     int       // number of ids and ends that are new since told
	doubt     bool      // remote may have done an operation that has failed here

	forgot cache.Binding // as remote knew it before it lost its data
	stale  bool          // the session has lost its auth at remote, or will: see refresh
	ended  bool          // b is lost because the last open use of the binding remote has failed
}

type note struct {
	given cache.Scope // as remote is given it
	auth  string
	used  time.Time
}

// Bounds of the keys of one session.
const (
	maxNames  = 8
	maxOthers = 16
	maxCalled = 8 // of earlier generations, too; requests in flight seldom have older ones
)

func (t *table) init(o *Options) {
	t.ttl = o.TTL
	t.byName, t.byKey = map[cache.Key]*session{}, map[scoped]*session{}
	t.pending, t.untold = map[*session]struct{}{}, map[scoped]struct{}{}
	// The sizes are positive: no errors.
	t.sessions, _ = simplelru.NewLRU(o.MaxSessions, func(s *session, _ struct{}) { t.unlink(s) })
	t.notes, _ = simplelru.NewLRU(o.MaxSessions, func(at scoped, _ note) { delete(t.untold, at) })
}

// unlink removes all keys and names that find a session.
func (t *table) unlink(s *session) {
	for _, name := range s.called {
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

// live returns s if it was used within the TTL. Otherwise it removes s and returns nil.
func (t *table) live(s *session) *session {
	if s != nil && time.Since(s.used) > t.ttl {
		t.remove(s)
		return nil
	}
	return s
}

// find returns the session that keys name, in the order that cache.Keys describes.
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
	for _, p := range k.Fallbacks {
		if s := at(p); s != nil {
			return s
		}
	}
	return nil
}

// named returns the session of a caller's Binding.
func (t *table) named(b *cache.Binding) *session { return t.live(t.byName[b.Session]) }

// add makes a session in a scope that a caller has given.
func (t *table) add(given cache.Scope, b cache.Binding) *session {
	given = cloned(given)
	s := &session{scope: given.Short(), given: given, b: b, made: time.Now()}
	t.sessions.Add(s, struct{}{})
	t.call(s, b.Session)
	return s
}

// call makes name find s, besides the names that s has had. A session that was made here gets
// another name from remote.
func (t *table) call(s *session, name cache.Key) {
	if slices.Contains(s.called, name) {
		return
	}
	if len(s.called) == maxCalled {
		if t.byName[s.called[0]] == s {
			delete(t.byName, s.called[0])
		}
		s.called = slices.Delete(s.called, 0, 1)
	}
	s.called = append(s.called, name)
	t.byName[name] = s
}

// use notes a request that came with k, and binds these keys to s. It returns how many ids and
// ends are new.
func (t *table) use(s *session, k *cache.Keys) (fresh int) {
	t.touch(s)
	for _, n := range k.Names {
		if n == (cache.Key{}) || slices.Contains(s.names, n) {
			continue
		}
		at := scoped{s.scope, n}
		if other := t.live(t.byKey[at]); other != nil && other != s || len(s.names) == maxNames {
			continue
		}
		s.names = append(s.names, n)
		t.byKey[at] = s
		fresh++
	}
	if k.End != (cache.Key{}) && k.End != s.end {
		if s.end != (cache.Key{}) {
			t.other(s, s.end)
		}
		if t.take(s, k.End) {
			s.end = k.End
			fresh++
		}
	}
	for _, a := range k.Also {
		t.other(s, a)
	}
	return fresh
}

func (t *table) touch(s *session) {
	s.used = time.Now()
	t.sessions.Get(s)
}

// other makes k the latest of the other keys of s.
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

// take binds k to s, unless another session has it as a name.
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
func (t *table) tell(s *session) {
	t.pending[s] = struct{}{}
	s.doubt = s.doubt || t.late
}

// mention is tell for a mere use. It does nothing for a session that was offered in the
// present round: otherwise a busy process would never finish offering.
func (t *table) mention(s *session) {
	if t.round == 0 || s.round != t.round || t.late {
		t.tell(s)
	}
}

// each runs do for each session. do may remove the session.
func (t *table) each(do func(*session)) {
	for _, s := range t.sessions.Keys() {
		do(s)
	}
}

// note keeps a note. Without told, remote has to be told of it.
func (t *table) note(at scoped, n note, told bool) {
	t.notes.Add(at, n)
	if told {
		delete(t.untold, at)
	} else {
		t.untold[at] = struct{}{}
	}
}

// recall returns the auth of a note that has not expired, and starts its TTL again.
func (t *table) recall(at scoped) (auth string, ok bool) {
	n, ok := t.notes.Get(at)
	if !ok || time.Since(n.used) > t.ttl {
		return "", false
	}
	n.used = time.Now()
	t.notes.Add(at, n)
	return n.auth, true
}

// replaced notes that became stands for the generation gen at remote; 0 means that none does.
func (s *session) replaced(gen, became uint64) {
	if became == 0 || gen != s.became {
		s.before = nil
	}
	s.before = append(s.before[max(0, len(s.before)+1-maxCalled):], gen)
	s.became = became
}

// translate returns a caller's binding as remote knows it.
func (s *session) translate(b cache.Binding) cache.Binding {
	there := s.remote
	there.Opening, there.Memo, there.Gen = b.Opening, b.Memo, b.Gen // only this process may know Gen
	if s.became != 0 && slices.Contains(s.before, b.Gen) {
		there.Gen = s.became
	}
	return there
}

// resolve returns a caller's binding as this process knows it.
func (s *session) resolve(b cache.Binding) cache.Binding {
	if t := s.translate(b); s.b.Gen == s.became && t.Gen == s.b.Gen {
		return t
	}
	return b
}

// view returns what a caller sees of a session.
func (t *table) view(s *session) cache.Binding {
	if s.stale {
		t.tell(s) // so that the generation is known when the caller comes back with it
	}
	b := s.b
	b.Local, b.Age, b.Idle, b.SinceServed = true, time.Since(s.made), time.Since(s.used), 0
	b.Opening, b.Asked, b.Shared = false, 0, 0
	if b.Served {
		b.SinceServed = time.Since(s.served)
	}
	return b
}

// provisional reports whether a binding has open uses.
func provisional(b *cache.Binding) bool { return b.Bound() && !b.Served }

// open opens a use of a session if its binding is provisional, and notes that remote has to be
// told.
func (t *table) open(s *session) {
	if provisional(&s.b) {
		s.uses++
		t.tell(s)
	}
}

// rebind binds a session to an auth anew.
func (s *session) rebind(auth string) {
	s.b.Auth, s.b.Gen, s.b.Lost, s.b.Served = strings.Clone(auth), newGen(), 0, false
	s.uses, s.ended, s.confirmed, s.made = 0, false, false, time.Now()
}

// lose takes the auth from a session.
func (s *session) lose(why cache.Cause) {
	s.ended = why == cache.Released && s.b.Gen == s.remote.Gen
	s.b.Gen, s.b.Lost, s.b.Served = newGen(), why, false
	s.uses, s.confirmed, s.made = 0, false, time.Now()
}

// lostThere takes the auth from a session as remote has done. Its new generation at remote is
// not known.
func (s *session) lostThere(why cache.Cause) {
	s.lose(why)
	s.stale, s.ended = true, false
}

// is makes the session what remote has answered.
func (s *session) is(b *cache.Binding) {
	if s.b.Gen != b.Gen || !provisional(b) {
		s.uses, s.held = 0, 0
	}
	s.b, s.remote, s.forgot, s.stale, s.ended = *b, *b, cache.Binding{}, false, false
	s.heard(0)
	s.made, s.served = time.Now().Add(-b.Age), time.Now().Add(-b.SinceServed)
}

// heard notes that remote knows that the session is used, and knows so many of its new keys.
func (s *session) heard(keys int) {
	s.told, s.touched, s.confirmed, s.doubt = time.Now(), false, false, false
	s.keyed -= keys
}

// opened notes that remote has opened a use for this process.
func (s *session) opened() {
	if provisional(&s.b) {
		s.uses++
		s.held++
	}
}

// forgotten notes that remote has lost the session. If it was bound after remote lost its
// data, remote has it all the same.
func (s *session) forgotten() {
	if s.remote.Gen != 0 {
		s.forgot = s.remote
	}
	s.remote, s.stale, s.ended = cache.Binding{}, false, false
}

// local reports whether a generation was made here. The generations of a store are smaller.
func local(gen uint64) bool { return gen>>63 != 0 }

// newGen returns a generation that no store makes.
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
