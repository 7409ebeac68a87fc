package fallback

import (
	"context"
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Options of a Store. The zero value works.
type Options struct {
	// Budget is how long an operation waits for remote. 0 means 5 ms. It must not be negative.
	// remote must respect the deadline of a context, as Store demands.
	Budget time.Duration
	// AdminBudget is the budget of the operations of cache.Admin, which may take longer. 0
	// means 2 s. It must not be negative.
	AdminBudget time.Duration
	// TTL is how long this process keeps a session after its last use. It should be remote's
	// TTL. 0 means cache.DefaultTTL. It must not be negative.
	TTL time.Duration
	// MaxSessions is how many sessions this process keeps, how many notes, and the epochs of
	// how many tenants. Beyond it the least recently used one is removed. 0 means 100,000. It
	// must not be negative.
	MaxSessions int
	// OnState is called when remote goes away, and when it is back. It runs on a goroutine of
	// an operation or of the Store, with no lock held, and must not call Close. nil means no
	// call.
	OnState func(State)
}

// State says whether remote answers, or this process.
type State uint8

const (
	// Present: remote answers.
	Present State = iota
	// Away: this process answers from its table.
	Away
)

// String is the state in lower case, fit for a metric label.
func (s State) String() string {
	if s == Away {
		return "away"
	}
	return "present"
}

// Stats has counts since the Store was made.
type Stats struct {
	// Failed counts the operations that remote could not do, or not in time. Local counts
	// those that this process has answered instead, the failed ones included.
	Failed, Local uint64
	// Outages counts how often remote went away.
	Outages uint64
	// Offered counts the sessions that remote was told of when it was back. Adopted counts
	// those of them where another replica's choice counted.
	Offered, Adopted uint64
	// Dropped counts the operations of cache.Admin that were to be repeated, and that failed
	// three times when remote was back, although it answered other operations.
	Dropped uint64
}

// Epoch is what remote may implement besides cache.Store. The method Epoch returns an id of
// the data that the scope's tenant has at remote. Remote makes a new id when that data is new:
// if the id has changed, remote has lost its data. It is asked for once for each tenant, after
// each outage, and when remote does not know a session or a note that it should know.
type Epoch interface {
	Epoch(ctx context.Context, scope cache.Scope) (string, error)
}

const (
	defaultBudget      = 5 * time.Millisecond
	defaultAdminBudget = 2 * time.Second
	defaultMaxSessions = 100_000
	firstPause         = 20 * time.Millisecond
	longestPause       = time.Second
)

func (o *Options) withDefaults() (Options, error) {
	var all Options
	if o != nil {
		all = *o
	}
	switch {
	case all.Budget < 0:
		return all, fmt.Errorf("fallback: Options.Budget is %v, want at least 0", all.Budget)
	case all.AdminBudget < 0:
		return all, fmt.Errorf("fallback: Options.AdminBudget is %v, want at least 0", all.AdminBudget)
	case all.TTL < 0:
		return all, fmt.Errorf("fallback: Options.TTL is %v, want at least 0", all.TTL)
	case all.MaxSessions < 0:
		return all, fmt.Errorf("fallback: Options.MaxSessions is %d, want at least 0", all.MaxSessions)
	}
	if all.Budget == 0 {
		all.Budget = defaultBudget
	}
	if all.AdminBudget == 0 {
		all.AdminBudget = defaultAdminBudget
	}
	if all.TTL == 0 {
		all.TTL = cache.DefaultTTL
	}
	if all.MaxSessions == 0 {
		all.MaxSessions = defaultMaxSessions
	}
	return all, nil
}
