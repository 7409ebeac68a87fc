package fallback_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

// down is a store over a network that is down.
type down struct{ cache.Store }

func (down) Get(context.Context, cache.Scope, cache.Keys) (cache.Binding, bool, error) {
	return cache.Binding{}, false, errors.New("no route to host")
}

func (down) Peek(context.Context, cache.Scope, cache.Keys) (cache.Binding, bool, error) {
	return cache.Binding{}, false, errors.New("no route to host")
}

// While the store is away, sessions are bound in this process.
func Example() {
	store, err := fallback.New(down{}, nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	ctx := context.Background()
	session := cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}}

	_, ok, err := store.Get(ctx, cache.Scope{}, session)
	fmt.Println(ok, err, store.State())
	b, _, _ := store.Bind(ctx, cache.Scope{}, session, "account-3")
	_, current, _ := store.Confirm(ctx, b)
	fmt.Println(b.Auth, b.Local, current)
	// Output:
	// false <nil> away
	// account-3 true true
}
