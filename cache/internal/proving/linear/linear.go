// Package linear checks that a store's operations are atomic: each history of concurrent operations
// could have happened one operation after the other.
//
//	ok, err := linear.Check(store, seed, 4, linear.Operations)
//
// The model is the contract of cache.Store, written as a list of sessions without locks and
// without time. The package porcupine looks for an order of the operations that fits the model. An
// auth is what a gateway sends requests with, such as a credential, an account or a replica.
package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Store is a store that can be checked.
type Store interface {
	cache.Store
	cache.Admin
}

func keys(in *input) (k cache.Keys) {
	for i, n := range in.names {
		k.Names[i] = cache.Key{n}
	}
	if in.also != 0 {
		k.Also[0] = cache.Key{in.also}
	}
	return k
}

// do runs an operation.
func do(s Store, scope cache.Scope, in *input) (out output, err error) {
	ctx := context.Background()
	switch in.op {
	case "bind":
		out.b, out.ok, err = s.Bind(ctx, scope, keys(in), in.auth)
	case "get":
		out.b, out.ok, err = s.Get(ctx, scope, keys(in))
	case "peek":
		out.b, out.ok, err = s.Peek(ctx, scope, keys(in))
	case "move":
		out.b, out.ok, err = s.Move(ctx, in.b, in.auth)
	case "confirm":
		out.memo, out.ok, err = s.Confirm(ctx, in.b)
	case "touch":
		out.ok, err = s.Touch(ctx, in.b)
	case "amend":
		out.b, out.ok, err = s.Amend(ctx, in.b, in.auth)
	case "unbind":
		out.ok, err = s.Unbind(ctx, in.b)
	case "release":
		out.ok, err = s.Release(ctx, in.b, in.failed)
	case "invalidate":
		out.ok, err = s.InvalidateSession(ctx, scope, keys(in))
	case "invalidate-auth":
		out.n, err = s.InvalidateAuth(ctx, in.auth)
	}
	return out, err
}

// run lets clients use a store at the same time, and returns the history of their operations.
func run(s Store, seed uint64, clients int, ops []string) (history []porcupine.Operation, failed error) {
	const each = 6
	scope := cache.Scope{Tenant: fmt.Sprint("tenant", seed), Pool: "pool"}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	var begun atomic.Int64
	clock := func() int64 { return begun.Add(1) }
	var last atomic.Pointer[cache.Binding] // a binding that a client has seen lately
	last.Store(&cache.Binding{})
	for c := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(c)))
		wg.Go(func() {
			<-start
			for range each {
				in := &input{op: ops[rng.IntN(len(ops))], auth: fmt.Sprintf("%c%d", "ABC"[rng.IntN(3)], seed), b: *last.Load()}
				for _, i := range rng.Perm(3)[:rng.IntN(3)] {
					in.names = append(in.names, "abc"[i])
				}
				in.failed = rng.IntN(3) > 0
				if rng.IntN(2) == 0 {
					in.also = "aW"[rng.IntN(2)]
				}
				if rng.IntN(6) == 0 {
					in.names = append(in.names, 'W') // a name that is also used as an Also key
				}
				if len(in.names) == 0 {
					in.names = []byte("a")
				}
				op := porcupine.Operation{ClientId: c, Input: in, Call: clock()}
				out, err := do(s, scope, in)
				op.Return, op.Output = clock(), &out
				if out.b.Gen != 0 {
					last.Store(&out.b)
				}
				mu.Lock()
				history = append(history, op)
				failed = errors.Join(failed, err)
				mu.Unlock()
				if rng.IntN(4) == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	close(start)
	wg.Wait()
	return history, failed
}

// Operations are the atomic operations of a store. Those that are listed several times are chosen
// more often.
var Operations = []string{"bind", "bind", "bind", "get", "get", "peek", "move", "confirm", "touch", "amend", "amend", "unbind", "release", "release", "invalidate"}

// All are Operations and InvalidateAuth. A store with several parts does InvalidateAuth part by
// part. So use All only if all sessions of a tenant are in one part.
var All = append(slices.Clone(Operations), "invalidate-auth")

// Check runs one history with six operations for each client, chosen by seed, and reports whether
// it is linearizable. Each seed has sessions and auths of its own, so a store can be used for many
// seeds. An error is an error of the store, or says that the check has not ended in a minute.
func Check(s Store, seed uint64, clients int, ops []string) (bool, error) {
	history, err := run(s, seed, clients, ops)
	if err != nil {
		return false, err
	}
	switch porcupine.CheckOperationsTimeout(contract, history, time.Minute) {
	case porcupine.Ok:
		return true, nil
	case porcupine.Illegal:
		return false, nil
	}
	return false, fmt.Errorf("the check of history %d has not ended in a minute", seed)
}
