package affinity

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Options of an Affinity; nil means the zero value, which works. Functions are
// called on the goroutine of a pick, with no lock held, from many at once; they
// must be quick and must not call the Affinity.
type Options struct {
	// TTL is how long a session may be idle before its binding is forgotten;
	// 0 is cache.DefaultTTL, one hour.
	TTL time.Duration
	// MaxSessions is how many bindings are held, the least recently used one
	// goes first; 0 is cache.DefaultMaxSessions. A tenant that has more than its
	// share pushes out its own.
	MaxSessions int
	// Store holds the bindings; nil is a cache.Memory of TTL and MaxSessions,
	// which must be 0 beside a Store. It is the caller's: Close does not close
	// it. When it fails, the request goes to the balancer and nothing is bound.
	Store cache.Store

	// Extract finds the session of a request; nil is sessionid.Extract.
	Extract func(http.Header, []byte) sessionid.ID
	// Scope says which pool and model a session belongs to, for a host that has
	// several names for one; nil takes those of the request. The same id in two
	// pools or models is two sessions. The tenant is always the request's.
	Scope func(Request) (pool, model string)
	// Model makes one name of all names of a model that share a prompt cache,
	// such as "m" of "m(high)"; nil takes the name as it is. It must always give
	// the same answer.
	Model func(string) string
	// AllModels keeps a session on one auth over all models, while that can
	// serve them; without it each model of a session has an auth of its own.
	// Between models that no single auth can serve, a session goes back and forth,
	// each time to the auth that it had for the model. It costs a second binding
	// in the Store for each model of a session that was placed anew.
	AllModels bool
	// Owners says what becomes of requests that name state which one auth has.
	// To find what stands in the middle of a large body, or behind a session's
	// header, make an Extractor with sessionid.OwnersAlways.
	Owners OwnerPolicy

	// Eligible says whether an auth may serve a request now, by the auth's name;
	// nil says that every candidate may. It is asked for the auth that a session
	// is bound to, and for each candidate when there is a choice to make; of one
	// pick more than once, if need be.
	Eligible func(auth string, r Request) Fitness
	// Tier says how much an auth is preferred, the highest first: the balancer is
	// given the candidates of the highest tier that has a fit one. A subagent goes
	// where its parent is, whatever the tier and the load. nil is one
	// tier. It is called for each candidate when there is a choice to make, and
	// with another Failback than FailbackStay for each pick.
	Tier func(auth string, r Request) int
	// Failback says when a bound session leaves its auth for a higher tier.
	Failback Failback

	// Load is how much an auth has to do, in any unit that is the same for all
	// candidates, finite and not negative, such as [InFlight.Load] or tokens a minute;
	// nil is not known. It is called for each candidate when there is a choice to
	// make, and with SpillBound for each pick.
	Load func(auth string, r Request) float64
	// LoadBound is how many times the mean load of its fellow candidates an auth
	// may have to be given new sessions; 0 is DefaultLoadBound, otherwise it is
	// at least 1.
	LoadBound float64
	// SpillBound is how many times the mean load an auth may have until requests
	// of its bound sessions go elsewhere as well, which costs their prompt caches
	// each time; 0 never sends them, otherwise it is at least LoadBound: what
	// lies between is room for those that are bound.
	SpillBound float64
	// LoadLeast is a load that is never too much, whatever the mean: where little
	// is going on, a mean says nothing. With [InFlight.Load], some requests.
	LoadLeast float64

	// Warm is how long a provider's prompt cache is worth something after a
	// session was served last; 0 is DefaultWarm. An auth that is away for longer
	// loses the session to its detour.
	Warm time.Duration
	// WarmFor is Warm by auth and request, such as an hour where a provider keeps
	// caches that long; nil or a result of 0 is Warm.
	WarmFor func(auth string, r Request) time.Duration
	// ColdAnew lets the balancer place a session anew whose prompt cache is cold:
	// nothing is lost by it, and load gets balanced. Where it says is among the
	// candidates of the highest tier, whatever Failback is. With Load only those
	// leave whose auth has more than the mean. If it has an error the session stays.
	ColdAnew bool

	// Slow is when an auth counts as slow by the times that [Pick.FirstToken] is
	// told; the zero value is never.
	Slow SlowPolicy

	// Away is how long an auth counts as away for a session after a Transient
	// result that does not say for how long; 0 is DefaultAway.
	Away time.Duration
	// Unlisted is after how many Unlisted results in a row a session leaves its
	// auth; 0 is DefaultUnlisted.
	Unlisted int
	// Classify is asked before ClassifyResponse by [Pick.ReportResponse].
	Classify Classifier

	// OnDecision, if not nil, is called once for each successful pick; what it
	// costs, each pick costs.
	OnDecision func(Decision)
}

// Failback says when a session that is bound to a lower tier, because the
// higher ones were not fit, goes up again.
type Failback uint8

const (
	// FailbackStay: never. It goes where it is until it has to leave.
	FailbackStay Failback = iota
	// FailbackAtOnce: with its next request, at the price of its prompt cache.
	FailbackAtOnce
	// FailbackCold: when its prompt cache is cold, see Options.Warm.
	FailbackCold
)

const (
	// DefaultWarm is how long providers keep a prompt cache after its last use,
	// if nothing else is agreed (Anthropic's and OpenAI's documentation: 5
	// minutes and more).
	DefaultWarm = 5 * time.Minute
	// DefaultAway is short: a host that knows better says so by Eligible, or
	// with the result.
	DefaultAway = 5 * time.Second
	// DefaultUnlisted is how often something unknown may go wrong in a row.
	DefaultUnlisted = 3
	// DefaultLoadBound is how far above the mean an auth may be to be given new
	// sessions.
	DefaultLoadBound = 1.25
)

// ErrOptions is wrapped by the errors of the constructors.
var ErrOptions = errors.New("affinity: bad options")

// settings are Options that were looked through, with their defaults.
type settings struct {
	Options
	// judge is whether a bound session has to be looked at even if its auth is
	// fit.
	judge bool
}

func settle(o *Options) (*settings, error) {
	s := &settings{}
	if o != nil {
		s.Options = *o
	}
	if s.Extract == nil {
		s.Extract = sessionid.Extract
	}
	bad := func(format string, args ...any) (*settings, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...)
	}
	for _, d := range []struct {
		name string
		v    *time.Duration
		or   time.Duration
	}{{"Warm", &s.Warm, DefaultWarm}, {"Away", &s.Away, DefaultAway}} {
		if *d.v < 0 {
			return bad("%s is %v", d.name, *d.v)
		}
		if *d.v == 0 {
			*d.v = d.or
		}
	}
	if s.Unlisted == 0 {
		s.Unlisted = DefaultUnlisted
	}
	switch {
	case s.TTL < 0:
		return bad("TTL is %v", s.TTL)
	case s.MaxSessions < 0:
		return bad("MaxSessions is %d", s.MaxSessions)
	case s.Store != nil && (s.TTL != 0 || s.MaxSessions != 0):
		return bad("TTL and MaxSessions belong to the Store that is given")
	case s.Owners > OwnersIgnore:
		return bad("Owners is %d, which is no policy", s.Owners)
	case s.Unlisted < 0:
		return bad("Unlisted is %d", s.Unlisted)
	case s.Failback > FailbackCold:
		return bad("Failback is %d, which is no policy", s.Failback)
	case s.Failback != FailbackStay && s.Tier == nil:
		return bad("Failback without Tier")
	case s.Load == nil && (s.LoadBound != 0 || s.SpillBound != 0 || s.LoadLeast != 0):
		return bad("LoadBound, SpillBound or LoadLeast without Load")
	}
	if s.LoadBound == 0 {
		s.LoadBound = DefaultLoadBound
	}
	switch finite := func(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }; {
	case !finite(s.LoadBound) || s.LoadBound < 1:
		return bad("LoadBound is %v, less than the mean", s.LoadBound)
	case s.SpillBound != 0 && !(finite(s.SpillBound) && s.SpillBound >= s.LoadBound):
		return bad("SpillBound is %v, less than LoadBound, %v", s.SpillBound, s.LoadBound)
	case !finite(s.LoadLeast):
		return bad("LoadLeast is %v", s.LoadLeast)
	}
	if err := s.Slow.settle(); err != nil {
		return bad("%w", err)
	}
	s.judge = s.Failback != FailbackStay || s.SpillBound != 0 || s.ColdAnew
	return s, nil
}

// Reconfigure makes o the options from now on. Bindings, detours and what is
// known of slow auths stay, so does what is under way: its results are about the
// bindings as before. With a Store of the caller's it must be the same one;
// without, the memory takes the new TTL and MaxSessions, see
// [cache.Memory.SetTTL]. After an error nothing has changed.
//
// An auth that was added needs nothing. For one that was removed, call
// InvalidateAuth; for one that has another name, RenameAuth.
func (a *Affinity[T]) Reconfigure(o *Options) error {
	s, err := settle(o)
	if err != nil {
		return err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	if a.own == nil {
		if !same(s.Store, a.bindings) {
			return fmt.Errorf("%w: another Store: the bindings are in the one that there was", ErrOptions)
		}
	} else {
		if s.Store != nil {
			return fmt.Errorf("%w: a Store, where there was none: the bindings are in memory", ErrOptions)
		}
		if err := errors.Join(a.own.SetTTL(s.TTL), a.own.SetMaxSessions(s.MaxSessions)); err != nil {
			return fmt.Errorf("%w: %w", ErrOptions, err) // settle has seen both
		}
	}
	a.conf.Store(s)
	return nil
}

// same compares stores of any type, also of one that == cannot compare.
func same(a, b cache.Store) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}
