package rediscache_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/cachetest"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

// faster is how much faster time passes in those checks of cachetest that sleep. They would take
// minutes, because the server has a real clock.
const faster = 20

// quick is a store in which time passes faster: it has a shorter TTL, and returns longer times.
type quick struct{ *rediscache.Store }

func scaled(b cache.Binding) cache.Binding {
	b.Age *= faster
	b.Idle *= faster
	b.SinceServed *= faster
	return b
}

func (s quick) Get(ctx context.Context, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Store.Get(ctx, sc, k)
	return scaled(b), ok, err
}

func (s quick) Peek(ctx context.Context, sc cache.Scope, k cache.Keys) (cache.Binding, bool, error) {
	b, ok, err := s.Store.Peek(ctx, sc, k)
	return scaled(b), ok, err
}

func (s quick) Bind(ctx context.Context, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	b, existed, err := s.Store.Bind(ctx, sc, k, auth)
	return scaled(b), existed, err
}

func (s quick) Move(ctx context.Context, b cache.Binding, auth string) (cache.Binding, bool, error) {
	now, moved, err := s.Store.Move(ctx, b, auth)
	return scaled(now), moved, err
}

func (s quick) Amend(ctx context.Context, b cache.Binding, memo string) (cache.Binding, bool, error) {
	now, amended, err := s.Store.Amend(ctx, b, memo)
	return scaled(now), amended, err
}

// The Store passes all checks of cachetest, on each kind of server.
func TestContract(t *testing.T) {
	t.Parallel() // with TestFaults: both mostly wait
	single := servers.Redis(t).URL()
	kinds := map[string]struct {
		url string
		o   rediscache.Options
	}{
		"redis":                        {single, rediscache.Options{}},
		"redis, without a near-cache":  {single, rediscache.Options{Lag: -1}},
		"redis, without notifications": {single + "?client_cache=0", rediscache.Options{}},
		"cluster":                      {servers.Cluster(t).URL(), rediscache.Options{}},
	}
	if servers.HasValkey() {
		kinds["valkey"] = struct {
			url string
			o   rediscache.Options
		}{servers.Valkey(t).URL(), rediscache.Options{}}
	}
	var stores atomic.Int64
	open := func(name string, ttl time.Duration) (*rediscache.Store, error) {
		o := kinds[name].o
		o.TTL, o.Prefix, o.MaxPerTenant = ttl, fmt.Sprint("check", stores.Add(1)), 1000
		return rediscache.Open(kinds[name].url, &o)
	}
	// The checks that sleep run at the same time. Most checks do not sleep.
	var asleep sync.WaitGroup
	for name := range kinds {
		for _, c := range cachetest.Checks() {
			sleeps, err := try(c, func(ttl time.Duration) (cache.Store, error) { return open(name, ttl) })
			if !sleeps {
				require.NoError(t, err, name)
				continue
			}
			asleep.Go(func() {
				err := c.Run(cachetest.Harness{
					New: func(ttl time.Duration) (cache.Store, error) {
						s, err := open(name, ttl/faster)
						return quick{s}, err
					},
					Sleep: func(d time.Duration) { time.Sleep(d / faster) },
				})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	asleep.Wait()
}

// try runs a check until it ends, or until it would sleep.
func try(c cachetest.Check, open func(ttl time.Duration) (cache.Store, error)) (sleeps bool, err error) {
	type nap struct{}
	defer func() {
		switch v := recover().(type) {
		case nil:
		case nap:
			sleeps = true
		default:
			panic(v)
		}
	}()
	return false, c.Run(cachetest.Harness{New: open, Sleep: func(time.Duration) { panic(nap{}) }})
}

// A closed store leaves no goroutine behind.
func TestNoGoroutineIsLeft(t *testing.T) {
	for _, url := range []string{servers.Redis(t).URL(), servers.Cluster(t).URL(), "redis://127.0.0.1:1"} {
		for range 3 {
			s, err := rediscache.Open(url, nil)
			require.NoError(t, err)
			_, _, err = s.Bind(t.Context(), scope, named("s"), "A")
			require.Equal(t, strings.HasSuffix(url, ":1"), err != nil, "%v", err)
			require.NoError(t, s.Close())
		}
	}
	require.Empty(t, left(), "a goroutine of a closed store still runs")
}
