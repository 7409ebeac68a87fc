package affinity

import (
	"encoding/binary"
	"slices"

	"github.com/llmaffinity/llmaffinity/cache"
)

// trouble records which auths were away or have failed a session. The store keeps it in the
// binding's memo, so that it lives and is bounded as the session is, and so that all processes
// with the same store know it. Times are in nanoseconds of the wall clock, because other
// processes read them.
type trouble struct {
	// These are about one generation of the binding.
	gen    uint64
	auth   string // the auth that the session is bound to; not in the memo
	since  int64  // when the trouble began; 0 if it is over and only the detour is left
	until  int64  // auth is away until then, by what was reported
	asked  bool   // auth itself has asked for that, by Retry-After
	away   bool   // auth was away, and not only full or slow
	failed int    // Unlisted results in a row
	detour string // the auth that serves the session meanwhile
	served int64  // when the detour served the session last
	// former is the detour whose prompt cache can be warm, while single requests go to a third
	// auth because the detour is full, too. formerServed is when it served last.
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

// maxAvoid bounds avoid. Beyond it the one whose time is over first is forgotten.
const maxAvoid = 64

// troubleOf reads a binding's memo. Fields about an older generation of the binding are
// dropped.
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

// begin makes t describe the binding b, if it describes another one.
func (t *trouble) begin(b *cache.Binding, now int64) {
	if t.gen != b.Gen {
		*t = trouble{gen: b.Gen, auth: b.Auth, since: now, avoid: t.avoid}
	} else if t.since == 0 {
		t.since = now
	}
}

// leave records until when the session avoids an auth, and whether the auth itself has asked
// for that.
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

// visit makes an auth the detour: for a session whose auth is away, or for one request. For
// one request a detour that can be warm is kept as former.
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

// resume makes former the detour again, if there is one.
func (t *trouble) resume() {
	if t.former != "" {
		t.detour, t.served, t.away = t.former, t.formerServed, true
		t.former, t.formerServed = "", 0
	}
}

// host records that an auth has served the session that is not its own.
func (t *trouble) host(auth string, now int64) {
	switch auth {
	case t.detour:
		t.served = now
	case t.former:
		t.formerServed = now
	}
}

// find returns the index of an auth in avoid, -1 if it is not there.
func (t *trouble) find(auth string) int {
	return slices.IndexFunc(t.avoid, func(a avoided) bool { return a.auth == auth })
}

// left returns until when the session avoids an auth, 0 if it does not, and whether the auth
// itself has asked for that.
func (t *trouble) left(auth string, now int64) (until int64, asked bool) {
	if auth == t.auth && now < t.until {
		return t.until, t.asked
	}
	if at := t.find(auth); at >= 0 && now < t.avoid[at].until {
		return t.avoid[at].until, t.avoid[at].asked
	}
	return 0, false
}

// calm drops what is over. With keep the fields about the binding itself are kept.
func (t *trouble) calm(now int64, keep bool) {
	if !keep {
		*t = trouble{avoid: t.avoid}
	}
	t.avoid = slices.DeleteFunc(t.avoid, func(a avoided) bool { return now >= a.until })
}

// relieve records that the auth has served. The detour is kept for as long as the prompt cache
// there can be warm: other processes may learn later that the auth is back, and if the auth is
// soon away again, the session takes the same detour.
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

// isWarm reports whether there was a detour whose prompt cache can be warm. An auth that
// served a single request, because the session's own was full or slow, is no detour here.
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
	case have >= 0 && t.avoid[have].until < t.avoid[old].until: // the longer time counts
		t.avoid[have].until, t.avoid[have].asked = t.avoid[old].until, t.avoid[old].asked
		fallthrough
	case have >= 0:
		t.avoid = slices.Delete(t.avoid, old, old+1)
	default:
		t.avoid[old].auth = to
	}
}

// forgive forgets that the session avoids an auth.
func (t *trouble) forgive(auth string) {
	if t.auth == auth {
		t.until, t.asked, t.failed = 0, false, 0
	}
	if at := t.find(auth); at >= 0 {
		t.avoid = slices.Delete(t.avoid, at, at+1)
	}
}

// carry keeps, for a session that has lost its auth, the detour of the previous generation,
// because the session's other requests are there.
func (t *trouble) carry(b *cache.Binding, before uint64, now int64) {
	if old := decodeTrouble(b.Memo); old.gen == before && old.detour != "" {
		t.begin(b, now)
		t.detour, t.served = old.detour, old.served
	}
}

// The memo's format: a version, then the fields in their order. A memo of another version, or
// a damaged one, is treated as empty.
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

// memoReader takes values from the front of a memo. After the first value that is missing it
// is bad and returns zeros.
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
