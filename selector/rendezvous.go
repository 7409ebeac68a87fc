package selector

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"
)

// Rendezvous chooses by the key in the context (highest random weight, Thaler and Ravishankar
// 1998). Each candidate gets a number that depends on the key and the candidate's name, and
// the highest number wins. So replicas that share nothing agree. If an auth is removed, only
// its own keys move. If an auth is added, it gets its share of the keys, and no other keys
// move.
//
// name returns the lasting name of an auth. weight returns its share relative to the others;
// nil is 1 for all. An auth whose weight is 0, negative or NaN is taken only if there is no
// other. A weight above 1e12 counts as 1e12, and one below 1e-12 as 1e-12. Without a key in
// the context Rendezvous uses a random one, so that the weights still count.
func Rendezvous[T any](name func(T) string, weight func(T) float64) Selector[T] {
	need(name != nil, "Rendezvous: name is nil")
	return Func[T](func(ctx context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		key, ok := KeyOf(ctx)
		if !ok {
			key = rand.Uint64()
		}
		best, most := 0, math.Inf(-1)
		for i, c := range candidates {
			w := 1.0
			if weight != nil {
				w = weight(c)
			}
			if score := draw(key, name(c), w); score > most {
				best, most = i, score
			}
		}
		return candidates[best], nil
	})
}

// The bounds of a weight. With others a number of draw could be infinite or 0, and equal to
// those of other auths.
const leastWeight, mostWeight = 1e-12, 1e12

// draw returns the number of an auth for a key. An auth with more weight is likely to get a
// larger number.
func draw(key uint64, name string, weight float64) float64 {
	h := (xxhash.Sum64String(name) ^ key) * 0x9e3779b97f4a7c15
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 29
	u := (float64(h>>11) + 0.5) / (1 << 53) // between 0 and 1, neither of them
	if !(weight > 0) {
		return u - 2 // below all others, and never the same
	}
	return -min(max(weight, leastWeight), mostWeight) / math.Log(u)
}
