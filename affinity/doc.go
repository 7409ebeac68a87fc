// Package affinity keeps every conversation on one auth. An auth is what the gateway chooses
// among: a credential, an account, a deployment, a replica. The package decorates the balancer
// that the gateway already has. The host is the code of the gateway that calls this package. A
// request of a bound session is served by the session's auth. For any other request the
// balancer chooses an auth, and the session is bound to that auth.
//
// The primitive is [Affinity.Pick]. It takes the request, the candidates, and the gateway's
// own balancer as a function:
//
//	aff, err := affinity.New(func(a *Account) string { return a.ID }, nil)
//	...
//	pick, err := aff.Pick(ctx, affinity.Request{
//		Tenant: caller, Pool: "anthropic", Model: model,
//		Header: r.Header, Body: body,
//	}, accounts, balancer.Choose)
//	...
//	resp, err := send(pick.Auth)
//	pick.ReportResponse(resp, err)
//
// [Wrap] does the same for a balancer that is a [selector.Selector]. Package affinityhttp is
// an http.RoundTripper that picks, sends, retries and reports. Package sessionid finds the
// session, and package cache stores the binding. Each of them can be used alone.
//
// # When the auth of a session cannot serve
//
// Give Pick all auths that serve this kind of request, and let Options.State say which of them
// may serve now. The same answer applies to the auth that a session is bound to and to those
// that the balancer may choose:
//
//	Busy            bound sessions stay, new ones go elsewhere
//	Away            a detour: all requests of the session go to one other auth until
//	                its own is back. After Options.Warm the prompt cache of its own is
//	                cold, and the session moves to the other. If its own is soon away
//	                again, the session takes the same detour.
//	Full, Slow      a spill: this request goes elsewhere, the session stays
//	Unfit, or gone  the session moves for good
//
// If no auth may serve, Pick returns a [NoAuthError] that says until when, for bound and for
// new sessions alike. The balancer is never called without candidates.
//
// Reported results count as well. After a [Transient] result the session avoids the auth for
// as long as the auth has asked for (Retry-After), or else for Options.Away. After a
// [Terminal] result the session loses the auth. This holds however the auth was picked: bound,
// on a detour, by a spill, as an owner, by force. A request that is tried again lists in
// Request.Tried the auths that it was sent to. [Affinity.Back] says that an auth can serve
// again before that time is over.
//
// Sessions of an auth that is away often would switch auths often. So they come back at once
// only after its first absence. After its second they come back when it was available for 30
// seconds, after its third for 60, and so on up to Options.Warm. Absences are counted for each
// auth, over all sessions. They are forgotten after Options.Warm without an absence.
//
// A session remembers up to 64 auths that have failed to serve it.
//
// A detour costs a session a cold prompt, even if its auth is away for only a second. With
// Request.Patience a request waits instead: Pick returns an error that says until when.
//
// # Where sessions go
//
// The balancer chooses the auth of new sessions and of those that move. It chooses among the
// candidates that are fit, of these in the highest tier, of these with a load (State.Load) that
// is not far above the mean. If loads are to be uneven, say so in State.Share. A bound session
// stays. Four options may take it to another auth, and all are off by default: Options.Failback
// for a higher tier, Load.Spill if its auth has far too much load, ColdAnew if its prompt cache
// is cold (which costs nothing), Slow if its auth is slow.
//
// With Options.Balance the Affinity chooses instead of the balancer, by the prompt tokens that
// each auth was sent in the last seconds and in the last hour. New and cold sessions go to the
// auth with the least of them. If the prompt of a new session begins like one that was sent
// lately, the session goes to the auth of that one, because it has a part of the prompt in its
// cache. BalanceMoving also moves sessions with a short prompt away from auths that were sent
// more than their share. examples/replay measures each of these on your own traffic.
//
// [Affinity.Drain] keeps new sessions away from an auth, [Affinity.RenameAuth] gives an auth
// another name, and [Affinity.Reconfigure] sets new options. Bindings stay. A request that
// names state of one auth (previous_response_id, a container …) goes to that auth, if
// [Pick.Owns] or [Pick.Answered] has recorded which one it is. A session has one auth for each
// model, or with Options.AllModels one for all models. [Decision.SessionName] is a name of the
// session that may be sent to the provider.
//
// # Conversations without an id
//
// If a client sends no id, the content of the conversation identifies the session, as package
// sessionid describes. Two conversations that begin with the same words are one session until
// they differ. If the host calls [Pick.Answered], they are told apart from their first answer
// on, and a history that the client has rewritten is found by its answers. If eight requests
// have then begun in the same way without an answer, each further one is a conversation of its
// own.
//
// A fork begins at the auth of the session that it was forked from. Codex names that session.
// For other clients, the history of a new session with an id is compared with the beginnings
// of known sessions with an id. If exactly one is equal, the new session begins at the auth of
// that one, but at most once for each beginning. [Decision.LostHistory] says that a
// conversation has a history, and that nothing is known of it. If many conversations of a
// scope have the same ids in their messages, this process ignores such ids in that scope for
// an hour.
//
// # Promises
//
// A burst of first requests of one session ends on one auth, even if some of them fail. A
// binding is provisional until Report says that its auth has served. A result applies to the
// pick that it was reported for; a late one changes nothing. Tenants, pools and models never
// share a binding.
//
// The balancer is called with no lock held, and only if the session's binding does not decide.
// Pick never retries, never sleeps, never changes the request and starts no goroutine.
//
// [Affinity.SaveFile] and [Affinity.LoadFile] carry the sessions of one process over to the
// next.
//
// A session id that a client sent is never kept, logged or returned; only digests of it are.
// The Store keeps with each binding which auths have failed the session. Only this process
// knows which auths are slow, drained or often away, and whether the host calls Answered. A
// snapshot contains all of this.
package affinity
