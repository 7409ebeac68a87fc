package affinity

import "sync/atomic"

// whereabouts remembers at which index the candidate of a name was found last. Hosts mostly
// hand the same candidates in the same order to each pick, so there it is again. What is
// remembered is only where to look first.
type whereabouts [1 << whereaboutsBits]atomic.Uint32

const whereaboutsBits = 6

// of returns the place of a name. Two names that have one place only cost a search.
func (w *whereabouts) of(name string) *atomic.Uint32 {
	h := uint32(len(name))
	if end := len(name) - 4; end >= 0 { // names mostly differ at their end
		h ^= uint32(name[end]) | uint32(name[end+1])<<8 | uint32(name[end+2])<<16 | uint32(name[end+3])<<24
	} else {
		for i := range len(name) {
			h = h<<8 ^ uint32(name[i])
		}
	}
	return &w[h*0x9e3779b1>>(32-whereaboutsBits)]
}

// own returns the index of the candidate of a name, or -1.
func (a *Affinity[T]) own(name string, candidates []T) int {
	last := a.whereabouts.of(name)
	if i := int(last.Load()); i < len(candidates) && a.name(candidates[i]) == name {
		return i
	}
	for i := range candidates {
		if a.name(candidates[i]) == name {
			last.Store(uint32(i))
			return i
		}
	}
	return -1
}
