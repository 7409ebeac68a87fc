package rediscache

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/redis/rueidis"
)

// Options of a Store. The zero value works.
type Options struct {
	// Prefix begins each key, so that several gateways can share a server. Stores with the
	// same prefix share their sessions. It must not contain braces. Empty means "llmaffinity".
	Prefix string
	// TTL is how long a session lives after its last use, and a note after its last Recall. 0
	// means cache.DefaultTTL. It must be at least a second, and the same in all processes.
	TTL time.Duration
	// Lag is how old an answer of the near-cache may be, and how much later than promised a
	// session may expire. A use within Lag of the previous one is not written. So Binding.Idle
	// and Binding.SinceServed may be too long by Lag if another process used the session. 0
	// means 10 s, or a 64th of the TTL if that is less. It must be at most a 16th of the TTL.
	// A negative Lag means none: each operation asks the server, and there is no near-cache.
	Lag time.Duration
	// MaxPerTenant is how many sessions one tenant may have, and how many notes. A tenant with
	// more loses its least recently used session. 0 means the default: 100,000, because the
	// store does not bound all tenants together. A negative number means no bound but the
	// server's memory.
	MaxPerTenant int
	// Timeout is how long an operation of cache.Store waits for the server, if its context
	// does not end sooner. An operation that fails in this way may have been done. 0 means a
	// second. It must not be negative. Operations of cache.Admin are bounded only by their
	// context.
	Timeout time.Duration
	// Near is how many sessions the near-cache of this process holds. 0 means 10,000.
	Near int
}

const (
	defaultPrefix = "llmaffinity"
	defaultNear   = 10_000
	defaultLag    = 10 * time.Second

	defaultMaxPerTenant = 100_000

	defaultTimeout = time.Second
)

func (o *Options) withDefaults() (Options, error) {
	var all Options
	if o != nil {
		all = *o
	}
	if all.Prefix == "" {
		all.Prefix = defaultPrefix
	}
	if all.TTL == 0 {
		all.TTL = cache.DefaultTTL
	}
	switch {
	case all.Lag == 0:
		all.Lag = min(defaultLag, all.TTL/64)
	case all.Lag < 0:
		all.Lag = 0
	}
	if all.MaxPerTenant == 0 {
		all.MaxPerTenant = defaultMaxPerTenant
	}
	if all.Timeout == 0 {
		all.Timeout = defaultTimeout
	}
	if all.Near == 0 {
		all.Near = defaultNear
	}
	switch {
	case strings.ContainsAny(all.Prefix, "{}"):
		return all, fmt.Errorf("rediscache: Options.Prefix is %q, want a prefix without braces", all.Prefix)
	case all.TTL < time.Second:
		return all, fmt.Errorf("rediscache: Options.TTL is %v, want at least a second", all.TTL)
	case all.Lag > all.TTL/16:
		return all, fmt.Errorf("rediscache: Options.Lag is %v, want at most a 16th of the TTL, %v", all.Lag, all.TTL/16)
	case all.Timeout < 0:
		return all, fmt.Errorf("rediscache: Options.Timeout is %v, want at least 0", all.Timeout)
	case all.Near < 0:
		return all, fmt.Errorf("rediscache: Options.Near is %d, want at least 0", all.Near)
	}
	return all, nil
}

// clientOption returns the caller's options with what the store needs.
func clientOption(c rueidis.ClientOption, near *near) (rueidis.ClientOption, error) {
	switch {
	case len(c.InitAddress) == 0:
		return c, errors.New("rediscache: the client's options have no address")
	case c.OnInvalidations != nil || len(c.ClientTrackingOptions) != 0:
		return c, errors.New("rediscache: the client's options must not set up tracking (OnInvalidations, ClientTrackingOptions): the near-cache needs its own")
	}
	if c.ConnWriteTimeout == 0 {
		c.ConnWriteTimeout = time.Second // so that a server that hangs is noticed
	}
	if c.Dialer.Timeout == 0 {
		c.Dialer.Timeout = time.Second
	}
	if c.RingScaleEachConn == 0 {
		c.RingScaleEachConn = ringScale
	}
	if c.ClusterOption.ShardsRefreshInterval == 0 {
		c.ClusterOption.ShardsRefreshInterval = 5 * time.Second
	}
	if c.Sentinel.MasterSet != "" && c.Sentinel.TopologyRefreshInterval == 0 {
		c.Sentinel.TopologyRefreshInterval = 5 * time.Second
	}
	// The store retries nothing by itself: an operation that was sent may have been done.
	c.DisableRetry = true
	if near == nil {
		c.DisableCache = true
		return c, nil
	}
	// The server tracks what scripts read without a command for it. With NOLOOP it does not
	// report this connection's own writes.
	c.ClientTrackingOptions = []string{"NOLOOP"}
	c.OnInvalidations = near.invalidations
	c.CacheSizeEachConn = 1 // the cache of rueidis, which is not used
	return c, nil
}
