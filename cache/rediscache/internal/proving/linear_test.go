// Package proving has the tests of rediscache that need other modules. They check that a store's
// operations are atomic, and measure them beside plain commands of two clients.
package proving

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache/internal/proving/linear"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

// histories returns how many histories are checked: 10,000, or the value of HISTORIES.
func histories(t *testing.T) uint64 {
	n, err := 10_000, error(nil)
	if v := os.Getenv("HISTORIES"); v != "" {
		n, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	return uint64(n)
}

// Each history of four concurrent clients could have happened one operation after the other. With
// a near-cache that holds for the clients of one process, as here. Another process may see an
// older state for up to Options.Lag.
func TestTheStoreIsLinearizable(t *testing.T) {
	type kind struct {
		name string
		url  string
		o    rediscache.Options
		part uint64 // it checks one of so many histories
	}
	stores := []kind{
		{"without a near-cache", servers.Redis(t).URL(), rediscache.Options{Lag: -1}, 2},
		{"with a near-cache", servers.Redis(t).URL(), rediscache.Options{}, 4},
		{"on a Cluster", servers.Cluster(t).URL(), rediscache.Options{Lag: -1}, 4},
	}
	if servers.HasValkey() {
		stores = append(stores, kind{"on Valkey", servers.Valkey(t).URL(), rediscache.Options{}, 8})
	}
	first := uint64(0)
	for _, c := range stores {
		t.Run(c.name, func(t *testing.T) {
			s, err := rediscache.Open(c.url, &c.o)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			end := first + histories(t)/c.part
			for ; first < end; first++ {
				ops := linear.Operations
				if first%8 == 0 { // only sometimes, because InvalidateAuth asks 256 buckets
					ops = linear.All
				}
				ok, err := linear.Check(s, first, 4, ops)
				require.NoError(t, err)
				require.True(t, ok, "history %d is not linearizable: no order of its operations gives their results", first)
			}
		})
	}
}
