package affinity

import (
	"context"
	"errors"
	"fmt"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// admin returns the store as a cache.Admin.
func (k *core) admin() (cache.Admin, error) {
	if a, ok := k.store.(cache.Admin); ok {
		return a, nil
	}
	return nil, fmt.Errorf("affinity: Options.Store does not implement cache.Admin: %w", errors.ErrUnsupported)
}

// Look returns the auth that a request's session is bound to. It calls no balancer, renews no
// binding and changes nothing else.
//
// Explain looks further, as Pick does, and so may find another session or none: it also
// searches for the session by a summary of the history, and it does not use ids inside the
// messages where several conversations have the same ones.
func (a *Affinity[T]) Look(ctx context.Context, r Request) (auth string, bound bool, err error) {
	o := a.conf.Load()
	var id sessionid.ID
	o.identify(&r, &id)
	if id.IsZero() || a.closed.Load() {
		return "", false, nil
	}
	var at where
	o.locate(&r, &at)
	b, _, err := a.store.Peek(ctx, at.scope, keysOf(&id))
	if err != nil || !b.Bound() {
		return "", false, err
	}
	return b.Auth, true, nil
}

// InvalidateSession forgets the session of the request, under all of its keys.
// It returns whether there was one.
func (a *Affinity[T]) InvalidateSession(ctx context.Context, r Request) (bool, error) {
	o := a.conf.Load()
	var id sessionid.ID
	o.identify(&r, &id)
	if id.IsZero() {
		return false, nil
	}
	store, err := a.admin()
	if err != nil {
		return false, err
	}
	var at where
	o.locate(&r, &at)
	return store.InvalidateSession(ctx, at.scope, keysOf(&id))
}

// InvalidateTenant forgets a tenant: all of its sessions, in all pools and models, and what Owns
// and Answered have recorded for it. It returns how many sessions there were. tenant is the
// Request.Tenant of its requests. An empty one stands for the requests that have none.
//
// If the tenant is to be gone, refuse its requests first, and wait for those under way. Later
// requests begin new sessions. Reports on earlier ones change nothing, but Owns and Answered
// still record.
func (k *core) InvalidateTenant(ctx context.Context, tenant string) (removed int, err error) {
	store, err := k.admin()
	if err != nil {
		return 0, err
	}
	k.doubts.drop(tenant)
	return store.InvalidateTenant(ctx, tenant, "")
}

// InvalidateAuth unbinds all sessions from an auth that was removed or has lost its
// credential, and returns how many there were. Their next requests move. Everything else that
// is known of the auth is forgotten: what Owns has recorded, its speed, that it was drained,
// and that it is a detour of sessions. What it was sent (Options.Loads) stays. If the name is
// the old one of a renamed auth, it is free for a new auth. The call examines all sessions that
// an auth has failed.
func (k *core) InvalidateAuth(ctx context.Context, name string) (int, error) {
	store, err := k.admin()
	if err != nil {
		return 0, err
	}
	k.speeds.forget(name)
	k.absences.forget(name)
	k.drained.set(name, false)
	if loads := k.policy.Load().loads; loads != nil {
		loads.DropAlias(name)
	}
	n, err := store.InvalidateAuth(ctx, name)
	return n, errors.Join(err, store.EditMemos(ctx, func(b cache.Binding) string {
		t := troubleOf(&b)
		t.abandon(name)
		return t.encode()
	}))
}

// Drain says whether an auth is to be drained. Sessions that are bound to it stay, and
// requests that name state of it still go there. All others go elsewhere, unless there is no
// other auth. When [Affinity.Bound] returns 0, or after a time of your choice, remove the auth
// from the candidates and call InvalidateAuth, which also ends the draining.
func (k *core) Drain(name string, on bool) { k.drained.set(name, on) }

// Bound returns how many sessions are bound to an auth.
func (k *core) Bound(ctx context.Context, name string) (int, error) {
	store, err := k.admin()
	if err != nil {
		return 0, err
	}
	return store.CountAuth(ctx, name)
}

// Sessions returns how many sessions are bound to each auth that has any. Expired ones that
// were not freed yet may count. With Options.Store these are the sessions of all processes
// that share it. If the store is no [cache.Admin], the error is errors.ErrUnsupported. After
// Close it is [cache.ErrClosed], unless the bindings are in Options.Store.
func (k *core) Sessions(ctx context.Context) (map[string]int, error) {
	store, err := k.admin()
	if err != nil {
		return nil, err
	}
	return store.CountAuths(ctx)
}

// Back says that an auth can serve again before the time is over for which it was to be
// avoided, for example because a quota was raised or a credential renewed. Sessions that avoid
// the auth because of reported results come back. The call examines all sessions that an auth
// has failed. It does not change what Options.State returns for the auth.
func (k *core) Back(ctx context.Context, name string) error {
	k.speeds.forget(name)
	k.absences.forget(name)
	store, err := k.admin()
	if err != nil {
		return err
	}
	return store.EditMemos(ctx, func(b cache.Binding) string {
		t := troubleOf(&b)
		t.forgive(name)
		return t.encode()
	})
}

// RenameAuth gives an auth another name. Its sessions stay, and so does what is known of it. If
// an auth has that name already, the sessions of both are its own, and what both were sent
// (Options.Loads) is added up. RenameAuth returns how many sessions were bound to the old name.
//
// Remove the old name from the candidates within 5 minutes. Until then Options.Loads counts for
// one auth what is sent under either name, so Options.Balance does not take the old name for a
// new auth. After 5 minutes an auth with the old name is a new one. InvalidateAuth for the old
// name, called when it is no candidate, ends that time.
//
// A pick that is under way may still bind a session to the old name. If a pick was made before
// the rename, its reports on a detour or on a speed are for the old name. What it adds to
// Options.Loads is for the renamed auth.
func (k *core) RenameAuth(ctx context.Context, from, to string) (int, error) {
	if to == "" {
		return 0, errors.New("affinity: RenameAuth: the new name is empty")
	}
	if from == to {
		return k.Bound(ctx, from)
	}
	store, err := k.admin()
	if err != nil {
		return 0, err
	}
	k.speeds.rename(from, to)
	k.absences.rename(from, to)
	k.drained.rename(from, to)
	k.begun.rename(from, to)
	if loads := k.policy.Load().loads; loads != nil {
		loads.Rename(from, to)
	}
	n, err := store.RenameAuth(ctx, from, to)
	// Also after an error: a store that is away does both when it is back.
	return n, errors.Join(err, store.EditMemos(ctx, func(b cache.Binding) string {
		t := troubleOf(&b)
		t.rename(from, to)
		return t.encode()
	}))
}
