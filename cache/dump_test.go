package cache

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// Dump is all that a store has, in lines, with times as ages.
func (m *Memory) Dump() (lines []string) {
	for i, t := range m.tables() {
		now := t.now()
		var all []string
		for j := range t.shards {
			s := &t.shards[j]
			for i := uint32(1); i <= s.slab.used; i++ {
				r := s.slab.at(i)
				if !s.holds(i) || !r.live(now) {
					continue
				}
				st := r.load()
				line := fmt.Sprintf("%x %d %d idle %d %q %s %d %d", r.home, r.born, r.gen, now.at-r.used.Load(), s.scopes.at(r.scope).name, t.auths.name(r.auth), st>>30, st.since(now))
				if st.cause() != 0 {
					line += st.cause().String()
				}
				if e := r.more; e != nil {
					line += fmt.Sprintf(" %q %d %d %v", e.memo, e.served.Load(), e.asked, e.answered)
					for _, list := range e.lists() {
						line += " |"
						for _, k := range *list {
							a := t.shard(k).aliases[k]
							line += fmt.Sprintf(" %x %v %v", k, a.home == r.home && a.of(r.born), a.born&dead != 0)
						}
					}
					if w := e.twin; w != nil {
						line += fmt.Sprintf(" twin %d %v %x %d %x %v", w.awaited, w.own, w.key, now.at-w.since, w.taken, w.elder)
					}
				}
				all = append(all, line)
			}
			for _, name := range slices.Sorted(maps.Keys(s.tenants.ids)) {
				line := fmt.Sprintf("order of %q in %d:", name, j)
				s.ofTenant(name, func(_ uint32, r *record) {
					if r.live(now) {
						line += fmt.Sprintf(" %x", r.home)
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

// Strays are aliases that lead to no session, or to one that does not know of them.
func (m *Memory) Strays() (n int) {
	t := &m.sessions
	for i := range t.shards {
		for k, a := range t.shards[i].aliases {
			r := t.shard(a.home).home(a.home)
			if r == nil || !a.of(r.born) || !r.more.has(k) {
				n++
			}
		}
	}
	return n
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
