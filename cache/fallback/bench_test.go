package fallback_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/fallback"
)

// BenchmarkGet looks up a session by its id: in a store of this process, in the same store
// behind a Store, and in the Store alone while its remote is away.
func BenchmarkGet(b *testing.B) {
	const sessions = 10_000
	m, err := cache.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	l := &link{Memory: m}
	id := "epoch"
	l.epoch.Store(&id)
	front, err := fallback.New(m, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer front.Close()
	away, err := fallback.New(l, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer away.Close()
	ctx := context.Background()
	var keys []cache.Keys
	for i := range sessions {
		k := named(fmt.Sprint(i))
		keys = append(keys, k)
		for _, s := range []cache.Store{front, away} {
			x, _, err := s.Bind(ctx, scope, k, "A")
			if err != nil {
				b.Fatal(err)
			}
			if _, _, err := s.Confirm(ctx, x); err != nil {
				b.Fatal(err)
			}
		}
	}
	l.broken.Store(true)
	for name, s := range map[string]cache.Store{"bare": m, "present": front, "away": away} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, ok, err := s.Get(ctx, scope, keys[i%sessions]); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
