// Package affinity keeps every conversation on one auth. It decorates the
// balancer that a gateway already has: a request of a session that is bound
// goes back to its auth, anything else goes to the balancer, and what the
// balancer chose is bound.
//
// The primitive is [Affinity.Pick]: hand it the request, the candidates, and
// the function that chooses today.
//
//	aff, err := affinity.New(func(a *Auth) string { return a.ID }, nil)
//	...
//	pick, err := aff.Pick(ctx, affinity.Request{
//		Tenant: caller, Pool: "anthropic", Model: model,
//		Header: r.Header, Body: body,
//	}, candidates, balancer.Choose)
//	...
//	resp, err := send(pick.Auth)
//	pick.ReportResponse(resp, err)
//
// [Wrap] is the same for a host whose balancer is a [selector.Selector]: it
// makes a Selector of a Selector. Sessions are found by package sessionid
// and held by package cache; a host that wants only one of these can use it
// alone.
//
// # When the auth of a session cannot serve
//
// Options.Eligible says whether an auth may serve a request now; the same
// answer judges the auth that a session is bound to and filters what the
// balancer may choose from. Hand Pick all auths that may serve at all, and let it
// say who is away:
//
//	Busy            bound sessions stay, new ones go elsewhere
//	Away            a detour, one for all requests of the session; back when the
//	                auth is, unless its prompt cache is cold by then: after
//	                Options.Warm the detour is the session's auth
//	Full, Slow      this request goes elsewhere, the session stays
//	Unfit, or gone  the session moves for good
//
// A request that is tried again names in Request.Tried where it has been.
//
// # Where sessions go
//
// New ones, and those that move, go where the balancer says, among the
// candidates that are fit; of these only among the highest Options.Tier, and
// without those whose Options.Load is far above the mean. A bound session stays
// through all of this. What may move it is off by default, and says what it
// costs: Options.Failback to a higher tier, Options.SpillBound when its auth has
// far too much to do, Options.ColdAnew when its prompt cache has gone cold (which
// costs nothing), Options.Slow when its auth is slow.
//
// [Affinity.Drain] lets an auth run dry, [Affinity.RenameAuth] gives it another
// name, [Affinity.Reconfigure] takes other options; bindings stay. A request that
// names state which one auth has (previous_response_id, a container …) goes
// there, if [Pick.Owns] was told; Options.Owners says what else. A session has an
// auth for each model, or one for all with Options.AllModels.
// [Decision.SessionName] is a name of the session for the provider.
//
// Without Eligible a candidate is fit, and an auth that is no candidate is gone.
// A Transient result makes the auth count as away for its session, for as long
// as Retry-After or Options.Away says; a Terminal one unbinds it. Detours, and who
// is slow, are known in this process only.
//
// # Promises
//
// A burst of first requests of one session ends on one auth. The host's
// balancer is called with no lock held, and only when there is a choice to
// make. Tenants, pools and models never share a binding. A binding is
// provisional until Report says that it served; results are about the pick
// they belong to, a late one changes nothing. Nothing is retried, nothing
// sleeps, the request is never changed, no goroutine is started.
//
// What the client sent as its session is never kept, logged or returned;
// digests of it are.
package affinity
