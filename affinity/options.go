package affinity

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Options configure an Affinity. The zero value is ready to use, and nil means the zero value.
// Functions are called on the goroutine of a pick or a report, with no lock held, from many
// goroutines at once. They must be quick and must not call the Affinity.
type Options[T any] struct {
	// Where bindings are kept.

	// Memory configures the cache.Memory that the Affinity makes: how long a session may be
	// idle, how many sessions there may be, and how many of one tenant.
	Memory cache.Options
	// Store, if not nil, keeps the bindings instead, and Memory must be zero. The caller
	// closes the Store. While the Store fails, the balancer chooses and nothing is bound. A
	// pick waits for the Store as long as the pick's context allows; a report, Pick.Answered
	// and Pick.Owns wait for at most one second.
	Store cache.Store

	// Which session a request is part of.

	// Extract finds the session in a header and a body. nil is sessionid.Extract.
	Extract func(http.Header, []byte) sessionid.ID
	// Scope returns the pool and the model that a session belongs to, for hosts with several
	// names for one model, such as "m" and "m(high)". nil returns those of the request. The
	// same id in two pools or two models is two sessions.
	Scope func(Request) (pool, model string)
	// AllModels keeps a session on one auth for all models, as long as that auth can serve
	// them. By default a session has one auth for each model. If no auth can serve two models
	// of a session, each request goes to the auth that the session had for its model. The
	// Store holds one more entry for each model of a session.
	AllModels bool
	// RequireOwner is for requests that name state of one auth (previous_response_id, a
	// container …), if Pick.Owns has recorded which auth that is. If that auth cannot serve,
	// Pick fails, and the error says until when. An auth that has just failed is picked all
	// the same, because no other has the state. By default such a request is treated as if it
	// named no state.
	RequireOwner bool

	// What the host knows of its auths.

	// State returns what the host knows of a candidate. With nil every candidate is fit. Pick
	// calls it at most once for each candidate, and only for the session's own auth if that
	// decides.
	State func(auth T, r Request) State

	// When a session leaves an auth that could serve. By default it never does.

	// Failback says when a bound session goes to a higher tier.
	Failback Failback
	// ColdAnew lets the balancer choose anew for a session whose prompt cache is cold. That
	// costs nothing and levels the load. If State returns loads, a session leaves only if the
	// load of its auth is above the mean. If the balancer returns an error, the session stays.
	ColdAnew bool
	// Warm is how long a provider's prompt cache lives after its last use, if State does not
	// say. 0 is 5 minutes, the least that Anthropic and OpenAI document. A session leaves an
	// auth that is away for longer.
	Warm time.Duration
	// WarmOf, if not nil, returns the same for one auth, as it was measured, if State does not
	// say: savings.Meter.Warm can be used. ok is false if it does not know. It is called for
	// each pick of a bound session, and must be quick.
	WarmOf func(auth string) (warm time.Duration, ok bool)
	// Load says how much load, as State returns it, an auth may have.
	Load LoadPolicy
	// Balance says whether the Affinity evens out the load that it measures itself.
	Balance Balance
	// Loads, if not nil, counts what each auth is sent, for State, for selectors and for other
	// Affinities that use the same auths. With Balance, nil means that the Affinity makes its
	// own.
	Loads *selector.Loads
	// Slow says when an auth is slow, by the times that Pick.FirstToken was given.
	Slow SlowPolicy

	// What results mean.

	// Classify returns the Result of an answer, for Pick.ReportResponse. nil is the function
	// Classify. A function of your own should call that one for answers that it does not know.
	Classify func(resp *http.Response, err error) (r Result, away time.Duration)
	// Away is how long a session avoids an auth after a Transient result that does not say for
	// how long. 0 is 5 seconds. A host that knows better says so with the result, or in State.
	Away time.Duration
	// Unlisted is the number of Unlisted results in a row after which a session leaves its
	// auth. 0 is 3.
	Unlisted int

	// OnEvent, if not nil, is called for each pick, even if it was refused, and for each
	// report. ctx has the values of the context that Pick was given, also for a report, which
	// may come much later. ctx is never done. If there was no OnEvent when the pick was made,
	// its reports have context.Background.
	OnEvent func(ctx context.Context, e Event)
}

// Failback says when a session goes back to a higher tier, after it was bound in a lower one
// because no auth of a higher tier was fit.
type Failback uint8

const (
	// FailbackNever: the session stays where it is until it has to leave.
	FailbackNever Failback = iota
	// FailbackAtOnce: it goes back with its next request, and loses its prompt cache.
	FailbackAtOnce
	// FailbackCold: it goes back when its prompt cache is cold, see Options.Warm.
	FailbackCold
)

const (
	defaultWarm     = 5 * time.Minute
	defaultAway     = 5 * time.Second
	defaultUnlisted = 3
)

// settings are checked Options with their defaults.
type settings[T any] struct {
	policy
	state func(auth T, r Request) State
	// store and memory are where bindings are kept, as the Options say.
	store  cache.Store
	memory cache.Options
}

// policy is the part of the settings that does not depend on what an auth is.
type policy struct {
	extract      func(http.Header, []byte) sessionid.ID // nil for the package sessionid's own
	scopeOf      func(Request) (pool, model string)
	allModels    bool
	requireOwner bool
	failback     Failback
	coldAnew     bool
	warm         time.Duration
	load         LoadPolicy
	balance      Balance
	loads        *selector.Loads // nil if nothing is to be counted
	slow         SlowPolicy
	classify     func(*http.Response, error) (Result, time.Duration)
	away         time.Duration
	unlisted     int
	onEvent      func(context.Context, Event)
	warmOf       func(auth string) (time.Duration, bool)
	// restless says that a session may leave an auth that could serve.
	restless bool
}

func check[T any](o *Options[T]) (*settings[T], error) {
	if o == nil {
		o = &Options[T]{}
	}
	s := &settings[T]{state: o.State, store: o.Store, memory: o.Memory, policy: policy{
		extract: o.Extract, scopeOf: o.Scope, allModels: o.AllModels, requireOwner: o.RequireOwner,
		failback: o.Failback, coldAnew: o.ColdAnew, load: o.Load, slow: o.Slow, classify: o.Classify,
		warm: orDefault(o.Warm, defaultWarm), away: orDefault(o.Away, defaultAway), unlisted: orDefault(o.Unlisted, defaultUnlisted),
		onEvent: o.OnEvent, warmOf: o.WarmOf, balance: o.Balance, loads: o.Loads,
	}}
	if s.classify == nil {
		s.classify = Classify
	}
	m := &o.Memory
	var err error
	switch {
	case isNilPointer(o.Store):
		err = fmt.Errorf("Store is a nil %T", o.Store)
	case o.Store != nil && (m.TTL != 0 || m.MaxSessions != 0 || m.MaxPerTenant != 0 || m.OnRemove != nil):
		err = fmt.Errorf("Memory must be empty with Options.Store: a store has its own limits")
	case o.Failback > FailbackCold:
		err = fmt.Errorf("Failback is %d, want one of the constants of its type", o.Failback)
	case o.Failback != FailbackNever && o.State == nil:
		err = fmt.Errorf("Failback needs Options.State, which says the tiers")
	case o.Load != LoadPolicy{} && o.State == nil:
		err = fmt.Errorf("Load needs Options.State, which returns the loads: also with Options.Loads, as in State{Load: loads.Of(name).InFlight}")
	case o.Balance > BalanceMoving:
		err = fmt.Errorf("Balance is %d, want one of the constants of its type", o.Balance)
	case o.Warm < 0:
		err = fmt.Errorf("Warm is %v, want at least 0", o.Warm)
	case o.Away < 0:
		err = fmt.Errorf("Away is %v, want at least 0", o.Away)
	case o.Unlisted < 0:
		err = fmt.Errorf("Unlisted is %d, want at least 0", o.Unlisted)
	default:
		if err = s.load.complete(); err == nil {
			err = s.slow.complete()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("affinity: Options.%w", err)
	}
	s.coldAnew = s.coldAnew || s.balance != BalanceOff
	s.restless = s.failback != FailbackNever || s.load.Spill != 0 || o.ColdAnew
	return s, nil
}

// isNilPointer reports whether a Store is there and is a nil pointer.
func isNilPointer(s cache.Store) bool {
	v := reflect.ValueOf(s)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

func orDefault[N int | time.Duration](n, otherwise N) N {
	if n == 0 {
		return otherwise
	}
	return n
}

// identify says which session a request is part of, by the names that find it. id is zero.
// An ID is large, so it is made where it is wanted.
func (p *policy) identify(r *Request, id *sessionid.ID) {
	switch {
	case r.ID != nil:
		*id = *r.ID
	case p.extract != nil:
		*id = p.extract(r.Header, r.Body)
	default:
		sessionid.ReadLeading(id, r.Header, r.Body)
	}
	complete(r, id)
}

// names makes id, which identify has made, one with all names: they are to be bound.
func (p *policy) names(r *Request, id *sessionid.ID) {
	if r.Off || r.ID != nil || p.extract != nil || id.Leading() == 0 {
		return
	}
	*id = sessionid.Extract(r.Header, r.Body)
	complete(r, id)
}

// complete adds the conversation that the request's path names, if it names one, and the state
// that only the host knows of.
func complete(r *Request, id *sessionid.ID) {
	if r.Path != "" && r.ID == nil {
		*id = id.WithPath(r.Path)
	}
	for _, o := range r.Owners {
		*id = id.WithOwner(o)
	}
}

// longModel is the length up to which the name of a model is used as it is. The store bounds
// the names of a scope by itself.
const longModel = 128

// locate says where a request belongs. It writes each field where it is wanted: to copy what was
// just put together costs a pick more than all else here.
func (p *policy) locate(r *Request, at *where) {
	at.scope.Tenant, at.scope.Pool, at.scope.Model = r.Tenant, r.Pool, r.Model
	if p.scopeOf != nil {
		at.scope.Pool, at.scope.Model = p.scopeOf(*r)
	}
	at.model = at.scope.Model
	if len(at.model) > longModel {
		at.model = cache.Scope{Model: at.model}.Short().Model
	}
	if p.allModels {
		at.scope.Model = ""
	}
}
