package affinity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Request is what Pick needs to know of a request. Nothing in it is changed
// or kept. Tenant, Pool and Model are the scope of a session: the same id in
// two scopes is two sessions.
type Request struct {
	// Tenant is who is calling, as the gateway has authenticated it. Leave it
	// empty only if all callers trust each other: inside one tenant, whoever
	// knows a session's id can use and move its binding.
	Tenant string
	// Pool names the set of auths, such as the provider. Two pools are bound
	// independently.
	Pool string
	// Model is the model or model family: a prompt cache belongs to one.
	Model string
	// Header and Body are the client's. Body is the whole body or nil; a
	// compressed one names nothing.
	Header http.Header
	Body   []byte
	// ID, if it is not nil, is used instead of looking at Header and Body.
	ID *sessionid.ID
	// Side says that the request stands beside the conversation: a token count,
	// a title, a quota probe. It goes where its session is bound, and neither
	// makes, moves nor renews a binding, whatever is reported of it.
	Side bool
	// Off says that this request has no session: the balancer's choice, and
	// nothing is looked up or bound.
	Off bool
	// Force names the auth that serves this request, if it is a candidate;
	// otherwise Pick fails with ErrNotCandidate. Nothing is looked up or bound.
	Force string
}

// ErrNotCandidate is wrapped by Pick's error when Request.Force names an auth
// that is no candidate.
var ErrNotCandidate = errors.New("affinity: the auth is no candidate")

// Options of an Affinity; nil means the zero value, which works.
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
	// Eligible says whether an auth may serve a request now, by the auth's name;
	// nil says that every candidate may. It is asked once for the auth that a
	// session is bound to, and for each candidate when there is a choice to
	// make. It must be quick and must not call the Affinity.
	Eligible func(auth string, r Request) Fitness
	// Warm is how long a provider's prompt cache is worth something after a
	// session was served last; 0 is DefaultWarm. An auth that is away for longer
	// loses the session to its detour.
	Warm time.Duration
	// Away is how long an auth counts as away for a session after a Transient
	// result that does not say for how long; 0 is DefaultAway.
	Away time.Duration
	// Unlisted is after how many Unlisted results in a row a session leaves its
	// auth; 0 is DefaultUnlisted.
	Unlisted int
	// Owners says what becomes of requests that name state which one auth has.
	// To find what stands in the middle of a large body, or behind a session's
	// header, make an Extractor with sessionid.OwnersAlways.
	Owners OwnerPolicy
	// Model makes one name of all names of a model that share a prompt cache,
	// such as "m" of "m(high)"; nil takes Request.Model as it is. It is called
	// once for each request and must always give the same answer.
	Model func(string) string
	// OnDecision, if not nil, is called once for each successful pick, with no
	// lock held, on the caller's goroutine; what it costs, each pick costs.
	OnDecision func(Decision)
}

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
)

// ErrOptions is wrapped by the errors of the constructors.
var ErrOptions = errors.New("affinity: bad options")

// Affinity holds the bindings of a gateway's sessions to auths of type T. It
// is safe for concurrent use.
type Affinity[T any] struct {
	name     func(T) string
	opts     Options
	bindings cache.Store
	counts   [outcomes]atomic.Uint64
	lost     atomic.Uint64
	failed   atomic.Uint64
	closed   atomic.Bool
	troubles troubles
	drained  drained
}

// New makes an Affinity. name gives an auth its lasting name: unique over all
// pools, not empty, the same after a restart or reload, safe to log.
func New[T any](name func(T) string, o *Options) (*Affinity[T], error) {
	if name == nil {
		return nil, fmt.Errorf("%w: no function that names an auth", ErrOptions)
	}
	a := &Affinity[T]{name: name}
	if o != nil {
		a.opts = *o
	}
	if a.opts.Extract == nil {
		a.opts.Extract = sessionid.Extract
	}
	for _, d := range []struct {
		name string
		v    *time.Duration
		or   time.Duration
	}{{"Warm", &a.opts.Warm, DefaultWarm}, {"Away", &a.opts.Away, DefaultAway}} {
		if *d.v < 0 {
			return nil, fmt.Errorf("%w: %s is %v", ErrOptions, d.name, *d.v)
		}
		if *d.v == 0 {
			*d.v = d.or
		}
	}
	if a.opts.Owners > OwnersIgnore {
		return nil, fmt.Errorf("%w: Owners is %d, which is no policy", ErrOptions, a.opts.Owners)
	}
	if a.opts.Unlisted < 0 {
		return nil, fmt.Errorf("%w: Unlisted is %d", ErrOptions, a.opts.Unlisted)
	}
	if a.opts.Unlisted == 0 {
		a.opts.Unlisted = DefaultUnlisted
	}
	if a.bindings = a.opts.Store; a.bindings != nil {
		if a.opts.TTL != 0 || a.opts.MaxSessions != 0 {
			return nil, fmt.Errorf("%w: TTL and MaxSessions belong to the Store that is given", ErrOptions)
		}
		return a, nil
	}
	m, err := cache.New(cache.Options{TTL: a.opts.TTL, MaxSessions: a.opts.MaxSessions})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	a.bindings = m
	return a, nil
}

// Pick chooses the auth for a request. candidates are the auths that may
// serve it, now or soon: what Options.Eligible says of them decides. A session
// that is bound to a fit one gets that one, and next is not called. Bound to one
// that is away, it takes a detour; to one that is full or slow, this request is
// served elsewhere; to one that is unfit or no candidate any more, it moves. A
// session that is not bound is bound to what next chooses, unless another
// request of it was faster, whose auth is then taken if it is fit. A request
// without a session goes to next and leaves nothing behind.
//
// next is called at most once, with no lock held and with the candidates that
// are fit; its error is returned as it is, and then nothing was bound. When none
// is fit it gets an empty list, and says what the host says then. A result of
// next that is no candidate is taken at its word.
func (a *Affinity[T]) Pick(ctx context.Context, r Request, candidates []T, next selector.Func[T]) (Pick[T], error) {
	if next == nil {
		return Pick[T]{}, fmt.Errorf("%w: no function that chooses", ErrOptions)
	}
	id := a.identify(&r)
	if len(id.Owners()) > 0 && !r.Off && r.Force == "" {
		auth, name, ok, err := a.owner(ctx, &r, &id, candidates)
		if err != nil {
			return Pick[T]{}, err
		}
		if ok {
			return a.owned(ctx, &r, &id, auth, name), nil
		}
	}
	if id.IsZero() || r.Off || r.Force != "" {
		return a.without(ctx, r, &id, candidates, next)
	}
	scope, keys := a.scopeOf(&r), keysOf(&id)
	b, ok, err := a.find(ctx, &r, scope, keys)
	if err != nil {
		return a.without(ctx, r, &id, candidates, next)
	}
	if ok && a.troubles.n.Load() == 0 {
		// The usual case, without anything that the others need.
		if auth, ok := a.candidate(candidates, b.Auth); ok && a.fitness(b.Auth, &r) == Fit {
			p := a.pickOf(&r, &id)
			if r.Side {
				b = passing(b, b.Auth)
			}
			a.decide(&p, auth, &b, OutcomeHit)
			return p, nil
		}
	}
	v := visit[T]{a: a, ctx: ctx, r: r, candidates: candidates, next: next, p: a.pickOf(&r, &id), b: b}
	if ok {
		if done, err := v.stay(); done {
			return v.p, err
		}
	}
	if !ok && id.Lane() == (sessionid.Key{}) && id.Parent() != (sessionid.Key{}) {
		v.inherit(scope, id.Parent())
	}
	return v.place(scope, keys, len(id.Fallbacks()) >= lostHistory)
}

func (a *Affinity[T]) pickOf(r *Request, id *sessionid.ID) Pick[T] {
	return Pick[T]{Decision: Decision{Signal: id.Signal()}, of: a, tenant: r.Tenant, pool: r.Pool}
}

// owned serves a request by the auth that holds what it names, whatever else
// happens. A session that is not bound is bound there; one that is bound
// elsewhere stays.
func (a *Affinity[T]) owned(ctx context.Context, r *Request, id *sessionid.ID, auth T, name string) Pick[T] {
	p := a.pickOf(r, id)
	b := cache.Binding{Auth: name}
	if !id.IsZero() {
		scope, keys := a.scopeOf(r), keysOf(id)
		found, ok, err := a.find(ctx, r, scope, keys)
		if err == nil && !ok && !r.Side {
			if found, _, err = a.bindings.Bind(ctx, scope, keys, name); err != nil {
				a.failed.Add(1)
			}
		}
		if err == nil {
			b = found
		}
		if r.Side || b.Auth != name {
			b = passing(b, name)
		}
	}
	a.decide(&p, auth, &b, OutcomeOwner)
	return p
}

// without serves a request that has no session, or that is not to use it.
func (a *Affinity[T]) without(ctx context.Context, r Request, id *sessionid.ID, candidates []T, next selector.Func[T]) (Pick[T], error) {
	p := a.pickOf(&r, id)
	if r.Force != "" {
		auth, ok := a.candidate(candidates, r.Force)
		if !ok {
			return Pick[T]{}, fmt.Errorf("%w: %q", ErrNotCandidate, r.Force)
		}
		a.decide(&p, auth, &cache.Binding{Auth: r.Force}, OutcomeForced)
		return p, nil
	}
	auth, name, err := a.choose(ctx, a.fit(candidates, &r, ""), next)
	if err != nil {
		return Pick[T]{}, err
	}
	a.decide(&p, auth, &cache.Binding{Auth: name}, OutcomeNone)
	return p, nil
}

// place lets the balancer choose for a session that is not bound, or that has
// to leave its auth, and binds it.
func (v *visit[T]) place(scope cache.Scope, keys cache.Keys, history bool) (Pick[T], error) {
	a, before := v.a, v.b
	auth, name, err := a.choose(v.ctx, a.fit(v.candidates, &v.r, ""), v.next)
	if err != nil {
		return Pick[T]{}, err
	}
	if v.r.Side {
		return v.decide(auth, cache.Binding{Auth: name}, OutcomeNone), nil
	}
	b, won, err := a.bind(v.ctx, scope, keys, before, name)
	switch {
	case err != nil:
		a.failed.Add(1)
		return v.decide(auth, cache.Binding{Auth: name}, OutcomeNone), nil
	case won && before.Gen == 0 && v.inherited:
		return v.decide(auth, b, OutcomeInherited), nil
	case won && before.Gen == 0:
		v.p.Decision.LostHistory = history
		return v.decide(auth, b, OutcomeNew), nil
	case won:
		return v.decide(auth, b, OutcomeMoved), nil
	}
	// Another request of this session was faster: all go where it went.
	if theirs, ok := v.fitCandidate(b.Auth); ok {
		v.p.Decision.Reason = ReasonNone
		return v.decide(theirs, b, OutcomeHit), nil
	}
	// It went where this request may not go: move the session, and if even
	// that is too late, serve this one without touching the binding.
	now, won, err := a.bindings.Swap(v.ctx, b, name)
	if err != nil {
		a.failed.Add(1)
	}
	if !won {
		now = passing(b, name)
	}
	return v.decide(auth, now, OutcomeMoved), nil
}

// choose asks the balancer.
func (a *Affinity[T]) choose(ctx context.Context, candidates []T, next selector.Func[T]) (auth T, name string, err error) {
	if auth, err = next(ctx, candidates); err != nil {
		return auth, "", err
	}
	if name = a.name(auth); name == "" {
		return auth, "", errors.New("affinity: the chosen auth has no name")
	}
	return auth, name, nil
}

// find looks for the binding of a request's session.
func (a *Affinity[T]) find(ctx context.Context, r *Request, scope cache.Scope, keys cache.Keys) (b cache.Binding, ok bool, err error) {
	if r.Side {
		b, ok, err = a.bindings.Peek(ctx, scope, keys)
	} else {
		b, ok, err = a.bindings.Get(ctx, scope, keys)
	}
	if err != nil {
		a.failed.Add(1)
	}
	return b, ok, err
}

// bind makes the binding or moves it; won is false if somebody else did.
func (a *Affinity[T]) bind(ctx context.Context, scope cache.Scope, keys cache.Keys, before cache.Binding, name string) (b cache.Binding, won bool, err error) {
	if before.Gen != 0 {
		if b, won, err = a.bindings.Swap(ctx, before, name); err != nil || won || b.Gen != 0 {
			return b, won, err
		}
		// It was removed meanwhile: the session starts anew.
	}
	b, existed, err := a.bindings.Bind(ctx, scope, keys, name)
	return b, !existed, err
}

// Look tells where a request's session is bound, without calling a balancer,
// renewing the binding or changing anything else.
func (a *Affinity[T]) Look(ctx context.Context, r Request) (auth string, ok bool, err error) {
	id := a.identify(&r)
	if id.IsZero() {
		return "", false, nil
	}
	b, ok, err := a.bindings.Peek(ctx, a.scopeOf(&r), keysOf(&id))
	return b.Auth, ok, err
}

// InvalidateSession forgets the binding of the request's session, under all
// of its keys. It returns whether there was one.
func (a *Affinity[T]) InvalidateSession(ctx context.Context, r Request) (bool, error) {
	id := a.identify(&r)
	if id.IsZero() {
		return false, nil
	}
	return a.bindings.InvalidateSession(ctx, a.scopeOf(&r), keysOf(&id))
}

// InvalidateAuth forgets all bindings to an auth, which was removed or has
// lost its credential, and returns how many there were.
func (a *Affinity[T]) InvalidateAuth(ctx context.Context, name string) (int, error) {
	return a.bindings.InvalidateAuth(ctx, name)
}

// Close frees the bindings, unless they are in a Store of the caller's. After
// it every request is served by its balancer and nothing is bound. It may be
// called any number of times and returns nil.
func (a *Affinity[T]) Close() error {
	a.closed.Store(true)
	if a.opts.Store == nil {
		return a.bindings.Close()
	}
	return nil
}

// identify says which session the request is part of.
func (a *Affinity[T]) identify(r *Request) sessionid.ID {
	if a.closed.Load() {
		return sessionid.ID{}
	}
	if r.ID != nil {
		return *r.ID
	}
	return a.opts.Extract(r.Header, r.Body)
}

// decide completes a pick, counts it, and tells the hook.
func (a *Affinity[T]) decide(p *Pick[T], auth T, b *cache.Binding, o Outcome) {
	p.Auth, p.binding = auth, *b
	p.Decision.Outcome, p.Decision.Auth, p.Decision.Session = o, b.Auth, b.Session
	a.counts[o].Add(1)
	if p.Decision.LostHistory {
		a.lost.Add(1)
	}
	if a.opts.OnDecision != nil {
		a.opts.OnDecision(p.Decision)
	}
}

func (a *Affinity[T]) scopeOf(r *Request) cache.Scope {
	s := cache.Scope{Tenant: r.Tenant, Pool: r.Pool, Model: r.Model}
	if a.opts.Model != nil {
		s.Model = a.opts.Model(r.Model)
	}
	return s
}

func keysOf(id *sessionid.ID) cache.Keys {
	k := cache.Keys{
		Weak: id.Weak(),
		End:  id.End(), Earlier: id.Fallbacks(),
		Tail: id.Tail(), EarlierTails: id.Tails(),
	}
	copy(k.Names[:], id.Names())
	return k
}
