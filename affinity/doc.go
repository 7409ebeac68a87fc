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
//	pick.Report(affinity.Classify(status, err))
//
// [Wrap] is the same for a host whose balancer is a [selector.Selector]: it
// makes a Selector of a Selector. Sessions are found by package sessionid
// and held by package cache; a host that wants only one of these can use it
// alone.
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
