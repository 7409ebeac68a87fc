package affinity

import (
	"context"
	"errors"
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// OwnerPolicy says what happens to a request that names state which only one
// auth has (previous_response_id, a container …), when it is known which, see
// [Pick.Owns].
type OwnerPolicy uint8

const (
	// OwnersPrefer: the request goes to that auth, before its session's, if it
	// may serve; otherwise it goes on as if it named nothing.
	OwnersPrefer OwnerPolicy = iota
	// OwnersRequire: the request goes to that auth, or Pick fails with ErrOwner.
	OwnersRequire
	// OwnersIgnore: nothing is looked up.
	OwnersIgnore
)

// ErrOwner is wrapped by Pick's error when a request names state of an auth
// that may not serve it, and the policy is OwnersRequire.
var ErrOwner = errors.New("affinity: the auth that holds what the request names may not serve it")

// Owns records that the auth of this pick holds state which a later request
// may name: name and id are those of sessionid.OwnerKey, such as
// "previous_response_id" and the id of the response that came back. It is
// forgotten like a session that is idle, and counts as one in the store. It does
// nothing for an id that is none.
func (p Pick[T]) Owns(ctx context.Context, name, id string) error {
	k := sessionid.OwnerKey(name, id)
	if p.of == nil || k == (sessionid.Key{}) || p.of.conf.Load().Owners == OwnersIgnore {
		return nil
	}
	_, _, err := p.of.bindings.Bind(ctx, ownerScope(p.tenant, p.pool), cache.Keys{Names: [cache.MaxNames]cache.Key{k}}, p.Decision.Auth)
	if err != nil {
		p.of.failed.Add(1)
	}
	return err
}

// ownerScope is where owners are held: beside the sessions, in a model that no
// request can name.
func ownerScope(tenant, pool string) cache.Scope {
	return cache.Scope{Tenant: tenant, Pool: pool, Model: notes + "owner"}
}

// owner looks for the auth that holds what the request names; ok is false if
// nobody is known or the policy lets the request go on.
func (a *Affinity[T]) owner(ctx context.Context, o *settings, q *query, id *sessionid.ID, candidates []T) (auth T, name string, ok bool, err error) {
	if o.Owners == OwnersIgnore {
		return auth, "", false, nil
	}
	for _, state := range id.Owners() {
		at := query{Request: Request{Side: q.Side}, scope: ownerScope(q.Tenant, q.scope.Pool)}
		b, known, _ := a.find(ctx, &at, &cache.Keys{Names: [cache.MaxNames]cache.Key{state.Key}})
		if !known {
			continue
		}
		if auth, ok = a.candidate(candidates, b.Auth); ok {
			if f := a.fitness(o, q, b.Auth); f == Fit || f == Busy || f == Slow {
				return auth, b.Auth, true, nil
			}
		}
		if o.Owners == OwnersRequire {
			return auth, "", false, fmt.Errorf("%w: %s", ErrOwner, state.Name)
		}
	}
	return auth, "", false, nil
}
