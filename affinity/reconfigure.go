package affinity

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Reconfigure replaces the options by o. Bindings and everything that is known of sessions and
// auths stay. Results of requests under way apply to their bindings as before. Options.Store
// must be the same one as before. Without a Store, the memory takes the new limits, see
// [cache.Memory.SetOptions]. After an error nothing has changed.
//
// An auth that was added needs no call. Call InvalidateAuth for one that was removed, and
// RenameAuth for one that has another name.
func (a *Affinity[T]) Reconfigure(o *Options[T]) error {
	s, err := check(o)
	if err != nil {
		return err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	switch {
	case a.memory == nil && !sameStore(s.store, a.store), a.memory != nil && s.store != nil:
		return errors.New("affinity: Reconfigure cannot replace Options.Store, which has the bindings")
	case a.memory != nil && !a.closed.Load():
		memory := a.counting(s.memory)
		if err := a.memory.SetOptions(&memory); err != nil {
			return fmt.Errorf("affinity: Options.Memory: %w", err)
		}
	}
	a.use(s)
	return nil
}

// sameStore compares stores of any type, even of a type that == cannot compare.
func sameStore(a, b cache.Store) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}
