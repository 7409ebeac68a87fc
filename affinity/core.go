package affinity

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// core is the part of an Affinity that does not depend on the type of an auth: the store of
// bindings, and what this process remembers.
type core struct {
	store       cache.Store
	memory      *cache.Memory // the store, if the Affinity has made it
	policy      atomic.Pointer[policy]
	closed      atomic.Bool
	drained     nameSet
	speeds      speeds
	absences    absences
	doubts      doubts
	answers     atomic.Bool // the host calls Answered
	loads       selector.Loads
	traffics    traffics
	begun       begun
	crowds      crowds
	tickets     tickets
	whereabouts whereabouts

	counts counters
}

// storeTimeout is how long a report waits for a store. A request that has ended has no
// deadline of its own.
const storeTimeout = time.Second

// background returns the context of a report's operations. It does not depend on the request's
// context, which may be done, because the result is still valid.
func (k *core) background() (context.Context, context.CancelFunc) {
	return k.beyond(context.Background())
}

// beyond returns a context with the values of ctx for operations that are to be done even if
// ctx is done. Memory never waits: it needs no deadline, and no values.
func (k *core) beyond(ctx context.Context) (context.Context, context.CancelFunc) {
	if k.memory != nil {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}

// check counts an operation of the store that has failed.
func (k *core) check(err error) bool {
	if err != nil {
		k.counts.failed.Add(1)
	}
	return err == nil
}

// current reports whether a binding is of the generation that the caller saw.
func current(saw, now *cache.Binding) bool { return now.Gen == saw.Gen }

// departed reports whether the session is no longer bound to the auth that the caller saw.
func departed(saw, now *cache.Binding) bool { return now.Lost != 0 || now.Auth != saw.Auth }

// amendments bounds how often amend tries again because other goroutines amend the same memo.
// At each try one of them succeeds.
const amendments = 256

// amend changes the trouble of a session, as long as still is true for the binding that the
// caller saw and the current one. edit gets the current binding, whose auth may have been
// renamed. amend returns the binding and its trouble after the change, or those that the
// caller saw if nothing could be changed.
func (k *core) amend(ctx context.Context, saw cache.Binding, still func(saw, now *cache.Binding) bool, edit func(b *cache.Binding, t *trouble)) (cache.Binding, trouble) {
	b := saw
	for range amendments {
		t := troubleOf(&b)
		edit(&b, &t)
		// Amend even if nothing seems to change: the memo that the caller saw may be old.
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
