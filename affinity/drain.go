package affinity

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/llmaffinity/llmaffinity/cache"
)

// drained are the auths that get no new sessions. Replaced, never changed.
type drained struct {
	mu sync.Mutex
	of atomic.Pointer[map[string]bool]
}

func (d *drained) has(name string) bool {
	of := d.of.Load()
	return of != nil && (*of)[name]
}

// Drain says whether an auth is to run dry: it is not handed to the balancer for
// new sessions, moves, detours and requests without a session any more, unless
// there is no other; sessions that are bound to it stay, and what names state that
// it has still goes there. When [Affinity.Bound]
// says 0, or when it has taken long enough, remove it from the candidates and
// call InvalidateAuth.
func (a *Affinity[T]) Drain(name string, on bool) {
	d := &a.drained
	d.mu.Lock()
	defer d.mu.Unlock()
	next := map[string]bool{}
	if of := d.of.Load(); of != nil {
		maps.Copy(next, *of)
	}
	if on {
		next[name] = true
	} else {
		delete(next, name)
	}
	if len(next) == 0 {
		d.of.Store(nil)
		return
	}
	d.of.Store(&next)
}

// Bound is how many sessions are bound to an auth; ok is false if the Store
// cannot tell. A cache.Memory can, at the cost of looking at all of them.
func (a *Affinity[T]) Bound(name string) (n int, ok bool) {
	s, ok := a.bindings.(interface {
		OfAuth(string) iter.Seq[cache.Info]
	})
	if !ok {
		return 0, false
	}
	for b := range s.OfAuth(name) {
		if !strings.HasPrefix(b.Scope.Model, notes) {
			n++
		}
	}
	return n, true
}

// notes is how the models of bindings begin that are no sessions.
const notes = "\x00"

// RenameAuth says that an auth has another name from now on: its sessions stay,
// and so does what is known of it. It returns how many sessions these are; ok is
// false if the Store cannot do it, and then they will be placed anew. A
// cache.Memory can. What is picked meanwhile may be bound to the old name, and
// what is reported of a detour or its speed that was picked under the old name is
// about that.
func (a *Affinity[T]) RenameAuth(ctx context.Context, from, to string) (n int, ok bool, err error) {
	if to == "" {
		return 0, false, fmt.Errorf("%w: a name that is empty", ErrOptions)
	}
	if from == to {
		return 0, true, nil
	}
	a.troubles.rename(from, to)
	a.speeds.rename(from, to)
	if a.drained.has(from) {
		a.Drain(to, true)
		a.Drain(from, false)
	}
	s, ok := a.bindings.(interface {
		RenameAuth(ctx context.Context, from, to string) (int, error)
	})
	if !ok {
		return 0, false, nil
	}
	n, err = s.RenameAuth(ctx, from, to)
	return n, true, err
}
