package affinityhttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Transport is an http.RoundTripper that sends each request to the auth of its session. It
// embeds the affinity.Selector that it picks with, for Stats, Drain, Look and the like. Any
// number of goroutines may use it.
type Transport[T any] struct {
	*affinity.Selector[T]
	name    func(T) string
	auths   func(*http.Request, affinity.Request) []T
	prepare func(*http.Request, T) error
	conf    atomic.Pointer[settings[T]]
	own     *http.Transport // the base, if the Transport has made it
	flying  affinity.InFlight
	rests   rests
}

// New makes a Transport that adds session affinity to the balancer next.
//
// name returns the lasting name of an auth: unique over all pools, not empty, the same after a
// restart or a reload, safe to log.
//
// auths returns all auths that serve this kind of request, including those that rest. in is
// the request as it came, and r what is known of it: r.Pool is the API unless Options.Describe
// says otherwise.
//
// prepare changes out into the request to one auth: it sets the address (see [SetURL]) and the
// credential. out has no credential. prepare may change its header. To change its body, for
// example the name of the model, it sets Body, ContentLength and GetBody. [OutboundFrom] returns
// what is known of the request. An error counts as a failure of that auth. out.Context ends when
// the client leaves.
//
// An error names what is wrong.
func New[T any](next selector.Selector[T], name func(auth T) string, auths func(in *http.Request, r affinity.Request) []T, prepare func(out *http.Request, auth T) error, o *Options[T]) (*Transport[T], error) {
	switch {
	case next == nil:
		return nil, errors.New("affinityhttp: the balancer is nil")
	case name == nil:
		return nil, errors.New("affinityhttp: the function that names an auth is nil")
	case auths == nil:
		return nil, errors.New("affinityhttp: the function that returns the auths is nil")
	case prepare == nil:
		return nil, errors.New("affinityhttp: the function that prepares a request is nil")
	}
	s, err := check(o, nil)
	if err != nil {
		return nil, err
	}
	t := &Transport[T]{name: name, auths: auths, prepare: prepare}
	if s.Base == nil {
		t.own = http.DefaultTransport.(*http.Transport).Clone()
		t.own.DisableCompression = true // compressed answers stay compressed
		t.own.MaxIdleConnsPerHost = 64
		t.own.MaxIdleConns = 0
		s.Base = t.own
	}
	s.Affinity.State = t.state
	if t.Selector, err = affinity.Wrap(next, name, &s.Affinity); err != nil {
		return nil, err
	}
	t.conf.Store(s)
	return t, nil
}

// state is the Affinity's State: what the host's State returns, and what the Transport has
// seen.
func (t *Transport[T]) state(auth T, r affinity.Request) (s affinity.State) {
	c, name := t.conf.Load(), t.name(auth)
	if c.state != nil {
		s = c.state(auth, r)
	}
	if c.flying.Load() {
		if s.Load == 0 {
			s.Load = t.flying.Load(name)
		} else {
			c.flying.Store(false) // the host's loads may be of another unit
		}
	}
	until, asked, shaky := t.rests.of(name, r.Model)
	switch {
	case s.Fitness >= affinity.Unfit || s.Fitness == affinity.Full:
		return s
	case until.IsZero():
		if shaky && s.Fitness == affinity.Fit {
			s.Fitness = affinity.Busy // its bound sessions stay
		}
		return s
	}
	if s.Fitness != affinity.Away {
		s.Fitness, s.Until, s.Guess = affinity.Away, until, !asked
		return s
	}
	if asked || s.Guess {
		s.Guess = s.Guess && !asked
		if until.After(s.Until) {
			s.Until = until
		}
	}
	return s
}

// Reconfigure replaces the balancer by next and the options by o. Bindings, rests and requests
// under way stay, see [affinity.Affinity.Reconfigure]. If Options.Base or TenantKey is nil,
// the old one stays. After an error nothing has changed.
func (t *Transport[T]) Reconfigure(next selector.Selector[T], o *Options[T]) error {
	old := t.conf.Load()
	s, err := check(o, old)
	if err != nil {
		return err
	}
	if s.Base == nil {
		s.Base = old.Base
	}
	s.Affinity.State = t.state
	if err := t.Selector.Reconfigure(next, &s.Affinity); err != nil {
		return err
	}
	t.conf.Store(s)
	return nil
}

// Back says that an auth can serve again before its rest is over, see
// [affinity.Affinity.Back].
func (t *Transport[T]) Back(ctx context.Context, name string) error {
	t.rests.forget(name)
	return t.Selector.Back(ctx, name)
}

// InvalidateAuth unbinds all sessions from an auth that was removed, see
// [affinity.Affinity.InvalidateAuth].
func (t *Transport[T]) InvalidateAuth(ctx context.Context, name string) (int, error) {
	t.rests.forget(name)
	return t.Selector.InvalidateAuth(ctx, name)
}

// RenameAuth gives an auth another name, see [affinity.Affinity.RenameAuth]. Its rests stay,
// and its requests in flight count for the new name.
func (t *Transport[T]) RenameAuth(ctx context.Context, from, to string) (int, error) {
	t.flying.Rename(from, to)
	t.rests.rename(from, to)
	return t.Selector.RenameAuth(ctx, from, to)
}

// Save is [affinity.Affinity.Save]. It is an error if a TenantKey that the host has not set has
// named a tenant: the next process has another key, and finds no session of that tenant.
func (t *Transport[T]) Save(w io.Writer) error {
	if err := t.lasting(); err != nil {
		return err
	}
	return t.Selector.Save(w)
}

// SaveFile is [affinity.Affinity.SaveFile]. It is an error whenever Save is one, and then writes
// no file.
func (t *Transport[T]) SaveFile(name string) error {
	if err := t.lasting(); err != nil {
		return err
	}
	return t.Selector.SaveFile(name)
}

// lasting returns an error if the next process cannot find all sessions in a snapshot.
func (t *Transport[T]) lasting() error {
	if f := t.conf.Load().fleeting; f != nil && f.Load() {
		return errors.New("affinityhttp: nothing is saved: Options.TenantKey is not set, so the tenants have other names in the next process, and it would find none of their sessions")
	}
	return nil
}

// RestsUntil returns until when an auth rests for a model, because of its answers. It returns
// the zero time if the auth does not rest. If the auth has not asked for the rest itself, it
// is still used when no other auth is left.
func (t *Transport[T]) RestsUntil(name, model string) time.Time {
	until, _, _ := t.rests.of(name, model)
	return until
}

// InFlight returns how many requests are under way at an auth.
func (t *Transport[T]) InFlight(name string) int { return int(t.flying.Load(name)) }

// CloseIdleConnections closes idle connections to the auths. http.Client calls it.
func (t *Transport[T]) CloseIdleConnections() {
	if c, ok := t.conf.Load().Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Close calls Close of the [affinity.Selector], and closes idle connections of the Transport's
// own base. It does not wait for requests under way.
func (t *Transport[T]) Close() error {
	if t.own != nil {
		t.own.CloseIdleConnections()
	}
	return t.Selector.Close()
}
