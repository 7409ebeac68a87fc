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
}

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
	// Model makes one name of all names of a model that share a prompt cache,
	// such as "m" of "m(high)"; nil takes Request.Model as it is. It is called
	// once for each request and must always give the same answer.
	Model func(string) string
	// OnDecision, if not nil, is called once for each successful pick, with no
	// lock held, on the caller's goroutine; what it costs, each pick costs.
	OnDecision func(Decision)
}

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
// serve it now. If the request's session is bound to one of them, that one is
// taken and next is not called; otherwise next chooses, and its choice is
// bound unless another request of the session was faster, whose auth is then
// taken if it is a candidate. A request without a session goes to next and
// leaves nothing behind.
//
// next is called at most once, with candidates as they are and no lock held;
// its error is returned as it is, and then nothing was bound. A result of
// next that is no candidate is taken at its word.
func (a *Affinity[T]) Pick(ctx context.Context, r Request, candidates []T, next selector.Func[T]) (Pick[T], error) {
	if next == nil {
		return Pick[T]{}, fmt.Errorf("%w: no function that chooses", ErrOptions)
	}
	id := a.identify(&r)
	p := Pick[T]{Decision: Decision{Signal: id.Signal()}, of: a}
	scope := a.scopeOf(&r)
	keys := keysOf(&id)
	bound := !id.IsZero() // whether the request's session is to be bound
	var before cache.Binding
	if bound {
		b, ok, err := a.find(ctx, &r, scope, keys)
		if ok {
			if auth, ok := a.candidate(candidates, b.Auth); ok {
				if r.Side {
					b = passing(b, b.Auth)
				}
				return a.decide(p, auth, b, OutcomeHit)
			}
			before = b // the binding that the session has to leave
		}
		bound = err == nil && !r.Side
	}
	auth, err := next(ctx, candidates)
	if err != nil {
		return Pick[T]{}, err
	}
	name := a.name(auth)
	if name == "" {
		return Pick[T]{}, errors.New("affinity: the chosen auth has no name")
	}
	if !bound {
		return a.decide(p, auth, cache.Binding{Auth: name}, OutcomeNone)
	}
	b, won, err := a.bind(ctx, scope, keys, before, name)
	switch {
	case err != nil:
		a.failed.Add(1)
		return a.decide(p, auth, cache.Binding{Auth: name}, OutcomeNone)
	case won && before.Gen == 0:
		p.Decision.LostHistory = len(id.Fallbacks()) >= lostHistory
		return a.decide(p, auth, b, OutcomeNew)
	case won:
		return a.decide(p, auth, b, OutcomeMoved)
	}
	// Another request of this session was faster: all go where it went.
	if theirs, ok := a.candidate(candidates, b.Auth); ok {
		return a.decide(p, theirs, b, OutcomeHit)
	}
	// It went where this request may not go: move the session, and if even
	// that is too late, serve this one without touching the binding.
	now, won, err := a.bindings.Swap(ctx, b, name)
	if err != nil {
		a.failed.Add(1)
	}
	if won {
		b = now
	} else {
		b = passing(b, name)
	}
	return a.decide(p, auth, b, OutcomeMoved)
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

// passing is what a request without a say in it has of a binding: results that
// are reported of it concern nobody.
func passing(b cache.Binding, auth string) cache.Binding {
	return cache.Binding{Auth: auth, Session: b.Session}
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

func (a *Affinity[T]) candidate(candidates []T, name string) (T, bool) {
	for _, c := range candidates {
		if a.name(c) == name {
			return c, true
		}
	}
	var zero T
	return zero, false
}

// decide completes a pick, counts it, and tells the hook.
func (a *Affinity[T]) decide(p Pick[T], auth T, b cache.Binding, o Outcome) (Pick[T], error) {
	p.Auth, p.binding = auth, b
	p.Decision.Outcome, p.Decision.Auth, p.Decision.Session = o, b.Auth, b.Session
	a.counts[o].Add(1)
	if p.Decision.LostHistory {
		a.lost.Add(1)
	}
	if a.opts.OnDecision != nil {
		a.opts.OnDecision(p.Decision)
	}
	return p, nil
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
