package affinity

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// core is what picks and their reports share, whatever an auth is: where
// bindings are, and what this process remembers.
type core struct {
	store    cache.Store
	memory   *cache.Memory // the store, if the Affinity has made it
	policy   atomic.Pointer[policy]
	closed   atomic.Bool
	drained  nameSet
	speeds   speeds
	absences absences
	doubts   doubts
	answers  atomic.Bool // the host hands answers back
	loads    selector.Loads
	traffics traffics
	begun    begun
	crowds   crowds
	tickets  tickets

	counts counters
}

// storeTimeout is how long a report waits for a store. A request that is over
// has no deadline of its own.
const storeTimeout = time.Second

// background is the context of a report's operations. The request may be over,
// and its context done: what it has shown is true all the same. Memory waits for
// nothing and needs no deadline.
func (k *core) background() (context.Context, context.CancelFunc) {
	if k.memory != nil {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), storeTimeout)
}

// check counts an operation that the store could not do.
func (k *core) check(err error) bool {
	if err != nil {
		k.counts.failed.Add(1)
	}
	return err == nil
}

// current says that a binding has not changed hands since the caller saw it.
func current(saw, now *cache.Binding) bool { return now.Gen == saw.Gen }

// departed says that the session is not bound any more to the auth that the
// caller saw.
func departed(saw, now *cache.Binding) bool { return now.Lost != 0 || now.Auth != saw.Auth }

// amendments bounds how often amend tries again because others amend the same
// memo. One of them succeeds at each try.
const amendments = 256

// amend changes what a session remembers, as long as still holds between the
// binding that the caller saw and the one that there is. edit gets the binding as
// it is; the auth may have another name by now. amend returns the binding and what
// the session remembers then. If nothing could be changed these are what the caller
// saw.
func (k *core) amend(ctx context.Context, saw cache.Binding, still func(saw, now *cache.Binding) bool, edit func(b *cache.Binding, t *trouble)) (cache.Binding, trouble) {
	b := saw
	for range amendments {
		t := troubleOf(&b)
		edit(&b, &t)
		// Also if nothing seems to change: the memo that the caller saw may be old.
		memo := t.encode()
		now, amended, err := k.store.Amend(ctx, b, memo)
		switch {
		case !k.check(err):
			return saw, troubleOf(&saw)
		case amended:
			b.Memo = memo
			return b, t
		case now.Gen == 0 || !still(&saw, &now):
			return saw, troubleOf(&saw)
		}
		b = now
	}
	k.counts.failed.Add(1)
	return saw, troubleOf(&saw)
}
