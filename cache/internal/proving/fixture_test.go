// Package proving checks histories of concurrent operations on cache.Memory. It measures
// cache.Memory under attack, and while it is saved. The comparison with other caches is in
// examples/benchmarks.
package proving

import (
	"context"
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

const ttl = time.Hour

type ctxType = context.Context

var (
	ctx   = context.Background()
	scope = cache.Scope{Tenant: "tenant", Pool: "anthropic", Model: "claude-opus"}
)

func keyOf(i int) (k cache.Key) {
	x := uint64(i+2) * 0x9e3779b97f4a7c15 // never 0: the zero Key names nothing
	for j := range 8 {
		k[j] = byte(x >> (8 * j))
		k[8+j] = byte((x ^ x>>31) * 0xbf58476d1ce4e5b9 >> (8 * j))
	}
	return k
}

func auth(i int) string { return auths[i%len(auths)] }

var auths = func() (names []string) {
	for i := range 1000 {
		names = append(names, fmt.Sprint("account-", i))
	}
	return names
}()
