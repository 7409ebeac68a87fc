package selector

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"
)

// Rendezvous places by the key in the context (highest random weight, Thaler and
// Ravishankar 1998): each candidate draws a number that depends on the key and the
// candidate's name, and the highest number wins. So replicas that share nothing
// agree. If an auth goes, only its own keys change their place. If an auth comes, it
// takes its share of the keys, and no others change.
//
// name is the auth's lasting name. weight is the auth's share relative to the
// others, a finite number; nil is 1 for all. An auth of weight 0 or less is taken
// only if there is no other. Without a key, Rendezvous draws one at random, so that
// weights count there, too.
func Rendezvous[T any](name func(T) string, weight func(T) float64) Selector[T] {
	need(name != nil, "Rendezvous without names")
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

// draw is the number that an auth draws for a key. An auth of more weight is likely
// to draw a larger number.
func draw(key uint64, name string, weight float64) float64 {
	h := (xxhash.Sum64String(name) ^ key) * 0x9e3779b97f4a7c15
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 29
	u := (float64(h>>11) + 0.5) / (1 << 53) // between 0 and 1, neither of them
	if !(weight > 0) {
		return u - 2 // below all others, and never the same
	}
	return -weight / math.Log(u)
}
