package affinity

import (
	"context"
	"errors"

	"github.com/llmaffinity/llmaffinity/cache"
)

// rehearsal is a store for the pick of Explain. It reads the real store, and accepts every
// change without making it.
type rehearsal struct{ cache.Store }

func (s rehearsal) Bind(_ context.Context, _ cache.Scope, _ cache.Keys, auth string) (b cache.Binding, existed bool, err error) {
	return cache.Binding{Auth: auth, Gen: noGeneration}, false, nil
}

func (s rehearsal) Move(_ context.Context, b cache.Binding, auth string) (now cache.Binding, moved bool, err error) {
	return cache.Binding{Session: b.Session, Auth: auth, Gen: noGeneration, Memo: b.Memo}, true, nil
}

func (s rehearsal) Release(context.Context, cache.Binding, bool) (unbound bool, err error) {
	return false, nil
}

func (s rehearsal) Remember(context.Context, cache.Scope, cache.Key, string) error { return nil }

// noGeneration is a generation that no binding has.
const noGeneration = 1<<63 - 1

// errChoice stands for what a balancer would choose.
var errChoice = errors.New("affinity: the balancer would choose")

// wouldChoose is the balancer of a rehearsal.
func wouldChoose[T any](context.Context, []T) (none T, err error) { return none, errChoice }
