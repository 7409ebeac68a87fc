// Package proving tests what needs other modules: that the operations of a store over Redis
// are atomic, and what they cost beside plain commands of two clients.
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

// histories is how many are checked; HISTORIES says otherwise.
func histories(t *testing.T) uint64 {
	n, err := 10_000, error(nil)
	if v := os.Getenv("HISTORIES"); v != "" {
		n, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	return uint64(n)
}

// Every concurrent history of four clients is one that could have happened one operation
// after the other. With a near-cache the clients are of one process, which never
// contradicts itself; another process may be behind by Options.Lag.
func TestTheStoreIsLinearizable(t *testing.T) {
	type kind struct {
		name string
		url  string
		o    rediscache.Options
		part uint64 // of the histories
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
				if first%8 == 0 { // it asks 256 buckets
					ops = linear.All
				}
				ok, err := linear.Check(s, first, 4, ops)
				require.NoError(t, err)
				require.True(t, ok, "history %d is not linearizable", first)
			}
		})
	}
}
