package affinity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

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
	// Tried names the auths that this request was sent to already, and that
	// could not serve it. They count as away for it: none is chosen again, and a
	// session that is bound to one takes a detour. Report how each of them went
	// before the next Pick.
	Tried []string
}

// ErrNotCandidate is wrapped by Pick's error when Request.Force names an auth
// that is no candidate.
var ErrNotCandidate = errors.New("affinity: the auth is no candidate")

// Affinity holds the bindings of a gateway's sessions to auths of type T. It
// is safe for concurrent use.
type Affinity[T any] struct {
	name     func(T) string
	conf     atomic.Pointer[settings]
	changing sync.Mutex
	bindings cache.Store
	own      *cache.Memory // bindings, if that is not the caller's
	counts   [outcomes]atomic.Uint64
	lost     atomic.Uint64
	failed   atomic.Uint64
	closed   atomic.Bool
	troubles troubles
	speeds   speeds
	drained  drained
}

// New makes an Affinity. name gives an auth its lasting name: unique over all
// pools, not empty, the same after a restart or reload, safe to log.
func New[T any](name func(T) string, opts *Options) (*Affinity[T], error) {
	if name == nil {
		return nil, fmt.Errorf("%w: no function that names an auth", ErrOptions)
	}
	o, err := settle(opts)
	if err != nil {
		return nil, err
	}
	a := &Affinity[T]{name: name, bindings: o.Store}
	a.conf.Store(o)
	if o.Store == nil {
		if a.own, err = cache.New(cache.Options{TTL: o.TTL, MaxSessions: o.MaxSessions}); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOptions, err)
		}
		a.bindings = a.own
	}
	return a, nil
}

// query is a request on its way through a pick.
type query struct {
	Request
	scope cache.Scope
	model string   // by its one name, also where the scope has none
	avoid *trouble // auths that have failed the session, nil for none
}

// Pick chooses the auth for a request. candidates are the auths that may
// serve it, now or soon: what Options.Eligible says of them decides. A session
// that is bound to a fit one gets that one, and next is not called. Bound to one
// that is away, it takes a detour; to one that is full or slow, this request is
// served elsewhere; to one that is unfit or no candidate any more, it moves. A
// session that is not bound is bound to what next chooses, unless another
// request of it was faster, whose auth is then taken if it can serve, busy or slow
// too. A request without a session goes to next and leaves nothing behind.
//
// next is called at most once, with no lock held and with the candidates that
// are fit; its error is returned as it is, and then nothing was bound. (A session
// that Options.Failback or ColdAnew would move stays then.) When none
// is fit it gets an empty list, and says what the host says then. A result of
// next that is no candidate is taken at its word.
func (a *Affinity[T]) Pick(ctx context.Context, r Request, candidates []T, next selector.Func[T]) (p Pick[T], err error) {
	if next == nil {
		return p, fmt.Errorf("%w: no function that chooses", ErrOptions)
	}
	o := a.conf.Load()
	id := a.identify(o, &r)
	q := a.query(o, &r)
	p.of, p.tenant, p.pool, p.model = a, r.Tenant, q.scope.Pool, q.model
	p.Decision.Signal = id.Signal()
	if len(id.Owners()) > 0 && !r.Off && r.Force == "" {
		auth, name, ok, err := a.owner(ctx, o, &q, &id, candidates)
		if err != nil {
			return Pick[T]{}, err
		}
		if ok {
			a.owned(ctx, o, &q, &id, &p, auth, name)
			return p, nil
		}
	}
	if id.IsZero() || r.Off || r.Force != "" {
		return a.without(ctx, o, &q, p, candidates, next)
	}
	keys := keysOf(&id)
	b, ok, err := a.find(ctx, &q, &keys)
	if err != nil {
		return a.without(ctx, o, &q, p, candidates, next)
	}
	if ok && !o.judge && a.troubles.n.Load() == 0 {
		// The usual case, without anything that the others need.
		if auth, ok := a.candidate(candidates, b.Auth); ok {
			if f := a.fitness(o, &q, b.Auth); f == Fit || f == Busy {
				p.warm = b.Served && b.SinceServed <= o.warm(b.Auth, &q)
				if r.Side {
					b = passing(b, b.Auth)
				}
				a.decide(o, &p, auth, &b, OutcomeHit)
				return p, nil
			}
		}
	}
	v := visit[T]{
		a: a, o: o, ctx: ctx, q: q, key: id.Primary(),
		candidates: candidates, next: next, p: p, b: b,
	}
	if ok {
		if done, err := v.stay(); done {
			return v.p, err
		}
	}
	if !ok && id.Lane() == (sessionid.Key{}) && id.Parent() != (sessionid.Key{}) {
		v.inherit(id.Parent())
	}
	return v.place(keys, len(id.Fallbacks()) >= lostHistory)
}

// owned serves a request by the auth that holds what it names, whatever else
// happens. A session that is not bound is bound there; one that is bound
// elsewhere stays.
func (a *Affinity[T]) owned(ctx context.Context, o *settings, q *query, id *sessionid.ID, p *Pick[T], auth T, name string) {
	b := cache.Binding{Auth: name}
	if !id.IsZero() {
		keys := keysOf(id)
		found, ok, err := a.find(ctx, q, &keys)
		if err == nil && !ok && !q.Side {
			if found, _, err = a.bindings.Bind(ctx, q.scope, keys, name); err != nil {
				a.failed.Add(1)
			}
		}
		if err == nil {
			b = found
		}
		if q.Side || b.Auth != name {
			b = passing(b, name)
		}
	}
	a.decide(o, p, auth, &b, OutcomeOwner)
}

// without serves a request that has no session, or that is not to use it.
func (a *Affinity[T]) without(ctx context.Context, o *settings, q *query, p Pick[T], candidates []T, next selector.Func[T]) (Pick[T], error) {
	if q.Force != "" {
		auth, ok := a.candidate(candidates, q.Force)
		if !ok {
			return Pick[T]{}, fmt.Errorf("%w: %q", ErrNotCandidate, q.Force)
		}
		a.decide(o, &p, auth, &cache.Binding{Auth: q.Force}, OutcomeForced)
		return p, nil
	}
	auth, name, err := a.choose(ctx, a.fit(o, q, candidates, "").from, next)
	if err != nil {
		return Pick[T]{}, err
	}
	a.decide(o, &p, auth, &cache.Binding{Auth: name}, OutcomeNone)
	return p, nil
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
func (a *Affinity[T]) find(ctx context.Context, q *query, keys *cache.Keys) (b cache.Binding, ok bool, err error) {
	if q.Side {
		b, ok, err = a.bindings.Peek(ctx, q.scope, *keys)
	} else {
		b, ok, err = a.bindings.Get(ctx, q.scope, *keys)
	}
	if err != nil {
		a.failed.Add(1)
	}
	return b, ok, err
}

// Look tells where a request's session is bound, without calling a balancer,
// renewing the binding or changing anything else.
func (a *Affinity[T]) Look(ctx context.Context, r Request) (auth string, ok bool, err error) {
	o := a.conf.Load()
	id := a.identify(o, &r)
	if id.IsZero() {
		return "", false, nil
	}
	b, ok, err := a.bindings.Peek(ctx, a.query(o, &r).scope, keysOf(&id))
	return b.Auth, ok, err
}

// InvalidateSession forgets the binding of the request's session, under all
// of its keys. It returns whether there was one.
func (a *Affinity[T]) InvalidateSession(ctx context.Context, r Request) (bool, error) {
	o := a.conf.Load()
	id := a.identify(o, &r)
	if id.IsZero() {
		return false, nil
	}
	return a.bindings.InvalidateSession(ctx, a.query(o, &r).scope, keysOf(&id))
}

// InvalidateAuth forgets all bindings to an auth, which was removed or has
// lost its credential, and returns how many there were. What Pick.Owns and
// Options.AllModels have recorded are bindings, too.
func (a *Affinity[T]) InvalidateAuth(ctx context.Context, name string) (int, error) {
	return a.bindings.InvalidateAuth(ctx, name)
}

// Close frees the bindings, unless they are in a Store of the caller's. After
// it every request is served by its balancer and nothing is bound. It may be
// called any number of times and returns nil.
func (a *Affinity[T]) Close() error {
	a.closed.Store(true)
	if a.own != nil {
		return a.own.Close()
	}
	return nil
}

// identify says which session the request is part of.
func (a *Affinity[T]) identify(o *settings, r *Request) sessionid.ID {
	if a.closed.Load() {
		return sessionid.ID{}
	}
	if r.ID != nil {
		return *r.ID
	}
	return o.Extract(r.Header, r.Body)
}

// decide completes a pick, counts it, and tells the hook.
func (a *Affinity[T]) decide(o *settings, p *Pick[T], auth T, b *cache.Binding, what Outcome) {
	p.Auth, p.binding = auth, *b
	p.Decision.Outcome, p.Decision.Auth, p.Decision.Session = what, b.Auth, b.Session
	a.counts[what].Add(1)
	if p.Decision.LostHistory {
		a.lost.Add(1)
	}
	if o.OnDecision != nil {
		o.OnDecision(p.Decision)
	}
}

// query puts a request into its scope.
func (a *Affinity[T]) query(o *settings, r *Request) query {
	q := query{Request: *r, scope: cache.Scope{Tenant: r.Tenant, Pool: r.Pool, Model: r.Model}}
	if o.Scope != nil {
		q.scope.Pool, q.scope.Model = o.Scope(*r)
	}
	if o.Model != nil {
		q.scope.Model = o.Model(q.scope.Model)
	}
	q.model = q.scope.Model
	if o.AllModels {
		q.scope.Model = ""
	}
	return q
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
