package selector

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"
)

type keyKey struct{}

// keyed is a context with a key: one allocation.
type keyed struct {
	context.Context
	key uint64
}

func (k keyed) Value(of any) any {
	if of == (keyKey{}) {
		return k.key
	}
	return k.Context.Value(of)
}

// WithKey says what a choice is for, to selectors that place equal things
// equally. Package affinity says it of every session that it has placed.
func WithKey(ctx context.Context, key uint64) context.Context { return keyed{ctx, key} }

// KeyOf is what WithKey has said.
func KeyOf(ctx context.Context) (key uint64, ok bool) {
	key, ok = ctx.Value(keyKey{}).(uint64)
	return key, ok
}

// Rendezvous takes the candidate that has drawn the highest number for the key
// in the context (highest random weight, Thaler and Ravishankar 1998): replicas
// that share nothing agree, and of all keys only those change their auth whose
// auth goes, or for which one that comes has drawn more. name is the auth's
// lasting name. weight is its share, finite, relative to the others; nil is 1 for all, and
// an auth of weight 0 or less is taken only if there is no other. Without a key
// it takes any candidate, all with the same probability.
func Rendezvous[T any](name func(T) string, weight func(T) float64) Selector[T] {
	return Func[T](func(ctx context.Context, candidates []T) (T, error) {
		if len(candidates) == 0 {
			return none[T]()
		}
		key, ok := KeyOf(ctx)
		if !ok {
			return candidates[rand.IntN(len(candidates))], nil
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

// draw is the number that an auth has drawn for a key: the larger its weight,
// the larger it is likely to be.
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
