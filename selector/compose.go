package selector

import (
	"context"
	"sync"
)

// Tiers lets next choose among the candidates for which tier returns the highest number, as
// affinity.State.Tier does. The other candidates are a reserve for when those are away. tier is
// called once for each candidate.
func Tiers[T any](tier func(T) int, next Selector[T]) Selector[T] {
	need(tier != nil, "Tiers: tier is nil")
	need(next != nil, "Tiers: next is nil")
	var some lists[T]
	return Func[T](func(ctx context.Context, candidates []T) (T, error) {
		list := some.get()
		defer some.put(list)
		first := 0
		for i, c := range candidates {
			t := tier(c)
			if i == 0 || t > first {
				first, *list = t, (*list)[:0]
			}
			if t == first {
				*list = append(*list, c)
			}
		}
		return next.Select(ctx, *list)
	})
}

// Filter lets next choose among the candidates for which keep is true. If there are none, next
// is called with an empty list: the Selectors of this package then return ErrNoCandidates.
// keep is called once for each candidate. HintOf returns what its context knows of the
// request.
func Filter[T any](keep func(ctx context.Context, auth T) bool, next Selector[T]) Selector[T] {
	return filter(keep, next, false)
}

// Prefer is like Filter, but if keep is true for none, next chooses among all.
func Prefer[T any](keep func(ctx context.Context, auth T) bool, next Selector[T]) Selector[T] {
	return filter(keep, next, true)
}

func filter[T any](keep func(context.Context, T) bool, next Selector[T], orAll bool) Selector[T] {
	need(keep != nil, "Filter or Prefer: keep is nil")
	need(next != nil, "Filter or Prefer: next is nil")
	var some lists[T]
	return Func[T](func(ctx context.Context, candidates []T) (T, error) {
		list := some.get()
		defer some.put(list)
		for _, c := range candidates {
			if keep(ctx, c) {
				*list = append(*list, c)
			}
		}
		if len(*list) == 0 && orAll {
			return next.Select(ctx, candidates)
		}
		return next.Select(ctx, *list)
	})
}

// lists holds slices for reuse. No Selector keeps a slice that it was given.
type lists[T any] struct{ pool sync.Pool }

func (l *lists[T]) get() *[]T {
	if list, ok := l.pool.Get().(*[]T); ok {
		return list
	}
	return new([]T)
}

func (l *lists[T]) put(list *[]T) {
	clear((*list)[:cap(*list)])
	*list = (*list)[:0]
	l.pool.Put(list)
}
