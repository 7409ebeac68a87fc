package affinity

import (
	"encoding/binary"
	"slices"

	"github.com/llmaffinity/llmaffinity/cache"
)

// trouble is what a session remembers of auths that were away or have failed
// it. The store keeps it in the binding's memo, so that it lives and is bounded
// as the session is, and so that all processes on one store know it. Times are
// in nanoseconds of the wall clock, because other processes read them.
type trouble struct {
	// These are about one generation of the binding.
	gen    uint64
	auth   string // where the session is bound; not in the memo
	since  int64  // when the trouble began; 0 if it is over and only the detour is left
	until  int64  // auth is away until then, by what was reported
	asked  bool   // auth itself has said so, by Retry-After
	away   bool   // auth was away, and not only full or slow
	failed int    // Unlisted results in a row
	detour string // where the session's requests go meanwhile
	served int64  // when the detour served the session last
	// former is the detour whose prompt cache can be warm, while single requests go
	// somewhere else because it is full, too. Likewise formerServed.
	former       string
	formerServed int64

	// avoid outlives a move.
	avoid []avoided
}

func (t *trouble) isZero() bool { return t.gen == 0 && len(t.avoid) == 0 }

// avoided is an auth that has failed the session and is not its own.
type avoided struct {
	auth  string
	until int64
	asked bool
}

// maxAvoid is how many a session remembers. Beyond it the one whose time is over
// first is forgotten.
const maxAvoid = 64

// troubleOf reads a binding's memo. What it says of an older generation of the
// binding is over.
func troubleOf(b *cache.Binding) trouble {
	if b.Memo == "" {
		return trouble{}
	}
	t := decodeTrouble(b.Memo)
	if t.gen != b.Gen || b.Gen == 0 {
		return trouble{avoid: t.avoid}
	}
	t.auth = b.Auth // which may have been renamed since
	return t
}

// begin makes t about a binding, if it is not yet.
func (t *trouble) begin(b *cache.Binding, now int64) {
	if t.gen != b.Gen {
		*t = trouble{gen: b.Gen, auth: b.Auth, since: now, avoid: t.avoid}
	} else if t.since == 0 {
		t.since = now
	}
}

// leave says until when to leave an auth alone, and whether the auth itself has
// asked for that.
func (t *trouble) leave(auth string, until int64, asked bool) {
	if auth == t.auth {
		t.away, t.failed = true, 0
		if until > t.until {
			t.until, t.asked = until, asked
		}
		return
	}
	t.abandon(auth)
	if at := t.find(auth); at >= 0 {
		if t.avoid[at].until < until {
			t.avoid[at] = avoided{auth, until, asked}
		}
		return
	}
	if len(t.avoid) < maxAvoid {
		t.avoid = append(t.avoid, avoided{auth, until, asked})
		return
	}
	first := 0
	for i, a := range t.avoid {
		if a.until < t.avoid[first].until {
			first = i
		}
	}
	t.avoid[first] = avoided{auth, until, asked}
}

// abandon forgets that an auth is the detour.
func (t *trouble) abandon(auth string) {
	if t.detour == auth {
		t.detour, t.served = "", 0
	}
	if t.former == auth {
		t.former, t.formerServed = "", 0
	}
}

// visit makes an auth the detour, for a session that is away from its own or for one
// request. In that case a detour that can be warm is kept.
func (t *trouble) visit(b *cache.Binding, auth string, away bool, now, warm int64) {
	switch {
	case away:
		t.former, t.formerServed = "", 0
	case t.former == "" && t.gen == b.Gen && t.isWarm(now, warm):
		t.former, t.formerServed = t.detour, t.served
	}
	t.begin(b, now)
	t.away = t.away || away
	t.detour, t.served = auth, 0
}

// resume makes the detour that was kept the detour again, if there is one.
func (t *trouble) resume() {
	if t.former != "" {
		t.detour, t.served, t.away = t.former, t.formerServed, true
		t.former, t.formerServed = "", 0
	}
}

// host is told that an auth has served the session that is not its own.
func (t *trouble) host(auth string, now int64) {
	switch auth {
	case t.detour:
		t.served = now
	case t.former:
		t.formerServed = now
	}
}

// find is the place of an auth that is to be avoided, -1 if it is not.
func (t *trouble) find(auth string) int {
	return slices.IndexFunc(t.avoid, func(a avoided) bool { return a.auth == auth })
}

// left reports until when an auth is to be left alone, 0 if it is not, and
// whether the auth itself said so.
func (t *trouble) left(auth string, now int64) (until int64, asked bool) {
	if auth == t.auth && now < t.until {
		return t.until, t.asked
	}
	if at := t.find(auth); at >= 0 && now < t.avoid[at].until {
		return t.avoid[at].until, t.avoid[at].asked
	}
	return 0, false
}

// calm drops what has been over by now. The trouble of the binding itself is
// kept if keep says so.
func (t *trouble) calm(now int64, keep bool) {
	if !keep {
		*t = trouble{avoid: t.avoid}
	}
	t.avoid = slices.DeleteFunc(t.avoid, func(a avoided) bool { return now >= a.until })
}

// relieve is told that the auth has served. The detour is remembered for as long as the
// prompt cache there can be warm: other processes may know later that the auth is back,
// and an auth that is away again is left for the same one.
func (t *trouble) relieve(b *cache.Binding, now, warm int64) {
	was := *t
	t.failed = 0
	t.calm(now, t.gen == b.Gen && now < t.until)
	if t.gen != 0 || was.gen != b.Gen {
		return
	}
	if was.resume(); was.isWarm(now, warm) {
		t.gen, t.auth, t.detour, t.served = was.gen, was.auth, was.detour, was.served
	}
}

// isWarm reports whether there was a detour whose prompt cache can be warm. Where one
// request was served elsewhere, because the auth was full or slow, was none.
func (t *trouble) isWarm(now, warm int64) bool {
	return t.detour != "" && (t.away || t.since == 0) && t.served != 0 && now-t.served <= warm
}

// rename gives an auth another name.
func (t *trouble) rename(from, to string) {
	if t.detour == from {
		t.detour = to
	}
	if t.former == from {
		t.former = to
	}
	old, have := t.find(from), t.find(to)
	switch {
	case old < 0 || from == to:
		return
	case have >= 0 && t.avoid[have].until < t.avoid[old].until: // what lasts longer counts
		t.avoid[have].until, t.avoid[have].asked = t.avoid[old].until, t.avoid[old].asked
		fallthrough
	case have >= 0:
		t.avoid = slices.Delete(t.avoid, old, old+1)
	default:
		t.avoid[old].auth = to
	}
}

// forgive forgets that an auth is to be left alone.
func (t *trouble) forgive(auth string) {
	if t.auth == auth {
		t.until, t.asked, t.failed = 0, false, 0
	}
	if at := t.find(auth); at >= 0 {
		t.avoid = slices.Delete(t.avoid, at, at+1)
	}
}

// carry takes over, for a session that has lost its auth, the detour that it had on
// the generation before: its other requests are there.
func (t *trouble) carry(b *cache.Binding, before uint64, now int64) {
	if old := decodeTrouble(b.Memo); old.gen == before && old.detour != "" {
		t.begin(b, now)
		t.detour, t.served = old.detour, old.served
	}
}

// The memo's format: a version, then the fields in their order. A memo of another
// version, or a damaged one, says nothing: the session has no trouble then.
const troubleVersion = 2

func (t *trouble) encode() string {
	if t.isZero() {
		return ""
	}
	b := make([]byte, 0, 128)
	b = append(b, troubleVersion)
	b = binary.AppendUvarint(b, t.gen)
	b = binary.AppendVarint(b, t.since)
	b = binary.AppendVarint(b, t.until)
	b = append(b, flag(t.asked)|flag(t.away)<<1)
	b = binary.AppendUvarint(b, uint64(t.failed))
	b = appendString(b, t.detour)
	b = binary.AppendVarint(b, t.served)
	b = appendString(b, t.former)
	b = binary.AppendVarint(b, t.formerServed)
	for _, a := range t.avoid {
		b = appendString(b, a.auth)
		b = binary.AppendVarint(b, a.until)
		b = append(b, flag(a.asked))
	}
	return string(b)
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeTrouble reads what encode has written. The strings share the memo's
// memory.
func decodeTrouble(memo string) (t trouble) {
	m := memoReader{s: memo}
	if m.byte() != troubleVersion {
		return trouble{}
	}
	t.gen = m.uvarint()
	t.since = m.varint()
	t.until = m.varint()
	flags := m.byte()
	t.asked, t.away = flags&1 != 0, flags&2 != 0
	t.failed = int(min(m.uvarint(), 1<<20))
	t.detour = m.string()
	t.served = m.varint()
	t.former = m.string()
	t.formerServed = m.varint()
	for m.s != "" && len(t.avoid) < maxAvoid {
		a := avoided{m.string(), m.varint(), m.byte()&1 != 0}
		if t.find(a.auth) >= 0 { // encode writes no auth twice
			return trouble{}
		}
		t.avoid = append(t.avoid, a)
	}
	if m.bad || m.s != "" {
		return trouble{}
	}
	return t
}

// memoReader takes values from the front of a memo. After the first one that is
// not there it is bad and returns zeros.
type memoReader struct {
	s   string
	bad bool
}

func (m *memoReader) byte() byte {
	if m.s == "" {
		m.bad = true
		return 0
	}
	c := m.s[0]
	m.s = m.s[1:]
	return c
}

func (m *memoReader) uvarint() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		c := m.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	m.bad = true
	return 0
}

func (m *memoReader) varint() int64 {
	u := m.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (m *memoReader) string() string {
	n := m.uvarint()
	if n > uint64(len(m.s)) {
		m.bad = true
		return ""
	}
	s := m.s[:n]
	m.s = m.s[n:]
	return s
}
