package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
)

// A process saves its store before it ends, and the next process loads it.
func ExampleLoad() {
	ctx := context.Background()
	scope := cache.Scope{Tenant: "caller", Pool: "anthropic", Model: "claude-opus-4-8"}
	keys := cache.Keys{Names: [cache.MaxNames]cache.Key{{1}}}

	old, err := cache.New(nil)
	if err != nil {
		panic(err)
	}
	was, _, _ := old.Bind(ctx, scope, keys, "account-3")
	var file bytes.Buffer
	if err := old.Save(&file); err != nil {
		panic(err)
	}
	old.Close()

	store, err := cache.Load(&file, nil)
	switch {
	case errors.Is(err, cache.ErrDamaged), errors.Is(err, cache.ErrTruncated):
		fmt.Println("the sessions are lost, and the store is empty:", err)
	case err != nil:
		panic(err)
	}
	defer store.Close()
	now, _, _ := store.Get(ctx, scope, keys)
	fmt.Println(now.Auth, now.Session == was.Session)

	// The request that was under way reports to the new store.
	_, current, _ := store.Confirm(ctx, was)
	fmt.Println(current)
	// Output:
	// account-3 true
	// true
}
