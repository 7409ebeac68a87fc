package cache

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// Dump returns the whole content of a store, a line each, with times as ages.
func (m *Memory) Dump() (lines []string) {
	for i, t := range m.tables() {
		now := t.now()
		var all []string
		for j := range t.shards {
			s := &t.shards[j]
			s.all(func(h held) {
				r := h.r
				if !r.live(now) {
					return
				}
				st := r.load()
				line := fmt.Sprintf("%x %d %d idle %d %q %s %d %d", r.home.Load(), r.born.Load(), r.gen.Load(), now.at-r.used.Load(), s.scopeOf(r), t.auths.name(r.auth.Load()), st>>30, st.since(now))
				if st.cause() != 0 {
					line += st.cause().String()
				}
				line += fmt.Sprintf(" %q", s.memo(h.i, r))
				if e := h.extras(); e != nil {
					line += fmt.Sprintf(" %d %d %v", e.served(), e.asked(), e.answered())
					for k := range kinds {
						line += " |"
						for _, d := range e.keys(k) {
							line += fmt.Sprintf(" %x %d %v", d, leads(t, d, h), e.killed(d))
						}
					}
					if w := h.twin(); w != nil {
						line += fmt.Sprintf(" twin %d %v %x %d %x %v", w.awaited, w.own, w.key, now.at-w.since, w.taken, w.elder)
					}
				}
				all = append(all, line)
			})
			for _, name := range slices.Sorted(maps.Keys(s.tenants.ids)) {
				line := fmt.Sprintf("order of %q in %d:", name, j)
				s.ofTenant(name, func(h held) {
					if h.r.live(now) {
						line += fmt.Sprintf(" %x", h.r.home.Load())
					}
				})
				all = append(all, line)
			}
		}
		slices.Sort(all)
		all = append(all, fmt.Sprint("table ", i, t.spread))
		for _, a := range slices.SortedFunc(slices.Values(t.tenants.most), func(a, b *account) int { return int(a.grown) - int(b.grown) }) {
			all = append(all, fmt.Sprintf("%q has %d", a.name, a.n))
		}
		lines = append(lines, all...)
	}
	return lines
}

// Strays returns the entries that lead to no session, or to a session that does not have them.
func (m *Memory) Strays() (n int) {
	t := &m.sessions
	entries, keys := 0, 0
	for i := range t.shards {
		s := &t.shards[i]
		n += strays(t, s)
		entries += s.keys.n
		s.all(func(h held) { keys += 1 + h.extras().len() })
	}
	return n + max(entries-keys, keys-entries)
}

// Resign gives a snapshot that was changed the checksums that Save would have written.
func Resign(b []byte) []byte {
	b = slices.Clone(b)
	at := min(len(b), len(snapshotMagic)+1)
	sum := crc32.Update(0, castagnoli, b[:at])
	for len(b)-at >= 9 {
		n := int(binary.LittleEndian.Uint32(b[at+1:]))
		if n > len(b)-at-9 {
			break
		}
		sum = crc32.Update(crc32.Update(sum, castagnoli, b[at:at+5]), castagnoli, b[at+9:at+9+n])
		binary.LittleEndian.PutUint32(b[at+5:], sum)
		at += 9 + n
	}
	return b
}
