// Package affinity keeps every conversation on one auth. An auth is whatever a
// gateway chooses among: a credential, an account, a deployment, a replica. The
// package decorates the balancer that the gateway already has. A request of a
// session that is bound goes to the session's auth. All other requests go to the
// balancer, and the session is bound to what the balancer chose.
//
// The primitive is [Affinity.Pick]. It takes the request, the candidates, and the
// function that chooses today:
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
// [Wrap] is the same for a balancer that is a [selector.Selector]. Package affinityhttp
// has the loop around a pick, as an http.RoundTripper. Package
// sessionid finds the session and package cache holds the binding. A host that
// wants only one of these can use it alone.
//
// # When the auth of a session cannot serve
//
// Hand Pick all auths that serve this kind of request, and let Options.State say
// which of them may serve now. The same answer judges the auth that a session is
// bound to and filters what the balancer may choose from:
//
//	Busy            bound sessions stay, new ones go elsewhere
//	Away            a detour: all requests of the session go to one other auth, and
//	                back when its own is back. After Options.Warm the prompt cache
//	                there is cold, and the session moves to the detour. An auth that
//	                is away again soon is left for the same one.
//	Full, Slow      this request goes elsewhere, the session stays
//	Unfit, or gone  the session moves for good
//
// If nobody may serve, Pick returns a [NoAuthError] that says until when, for bound
// and for new sessions alike. The balancer is never called with nobody to choose
// from.
//
// What is reported counts as well. A [Transient] result makes the session leave
// the auth alone, for as long as the auth has said (Retry-After), or else for
// Options.Away. A [Terminal] result takes the auth from the session. This holds for
// every way in which an auth may have served: bound, on a detour, by a spill, as an
// owner, by force. A request that is tried again names in Request.Tried where it
// has been. [Affinity.Back] says that an auth is well again before its time.
//
// An auth that is away for a moment again and again would make its sessions go to
// and fro. So its sessions come back at once after its first absence. After the second
// one the auth must have been there for 30 seconds, and twice as long after each
// further one, up to Options.Warm. Absences are counted for each auth, over all
// sessions, and forgotten when the auth was not away for as long as Options.Warm.
//
// A session remembers up to 64 auths that have failed it.
//
// An auth that asks to be left alone for a second costs its sessions a cold prompt
// elsewhere. A request with Request.Patience waits instead: Pick returns an error that
// says until when.
//
// # Where sessions go
//
// New sessions, and those that move, go where the balancer says: among the
// candidates that are fit, of these among the highest tier, of these among those
// whose load is not far above the mean. A bound session stays. What may move a
// bound session is off by default: Options.Failback to a higher tier, Load.Spill
// when its auth has far too much to do, ColdAnew when its prompt cache is cold
// (which costs nothing), Slow when its auth is slow.
//
// With Options.Balance the Affinity chooses instead of the balancer, by what each auth was
// sent: the prompt tokens of the last seconds and of the last hour. New sessions and cold
// ones go where that is least. A new session whose prompt begins as one that was sent
// lately goes where that went, because a part of it is cached there. BalanceMoving also
// moves sessions whose prompt is short away from auths that have more than their share.
// examples/replay says what each of that is worth on your own traffic.
//
// [Affinity.Drain] lets an auth run dry, [Affinity.RenameAuth] gives it another
// name, [Affinity.Reconfigure] takes other options. Bindings stay. A request that
// names state of one auth (previous_response_id, a container …) goes to that auth,
// if [Pick.Owns] or [Pick.Answered] has told which one it is. A session has an auth
// for each model, or one for all of them with Options.AllModels.
// [Decision.SessionName] is a name of the session for the provider.
//
// # Conversations without an id
//
// Where a client sends no id the conversation itself names its session, as package
// sessionid describes. Two conversations that begin with the same words are one
// session until they part. A host that calls [Pick.Answered] tells them apart from
// their first answer on, and finds a history by what was answered when the client has
// rewritten it. Where it does, and eight requests have begun in the same way without an
// answer, the next ones are taken for conversations of their own.
//
// A fork begins at the auth of the session that it was forked from: Codex says which
// that is. For others a new session with an id looks up whether one session with an id
// has begun as its history does, for its place only, and at most once for each
// beginning. [Decision.LostHistory] says that a conversation goes on of which nothing is
// known. If many conversations have the same ids in their messages, these are not
// believed for an hour in the scope where that is noticed, in this process.
//
// # Promises
//
// A burst of first requests of one session ends on one auth, also if some of them
// fail. A binding is provisional until Report says that its auth has served. Results
// are about the pick that they belong to; a late one changes nothing. Tenants, pools
// and models never share a binding.
//
// The balancer is called with no lock held, and only if the session's binding does not
// settle the matter. Pick retries nothing, never sleeps, never changes the request and starts no
// goroutine.
//
// [Affinity.SaveFile] and [Affinity.LoadFile] make a restart cost nothing: the next process
// goes on with the sessions of this one.
//
// What the client sent as its session is never kept, logged or returned; digests of
// it are. What a session remembers of auths that failed is kept with its binding in
// the Store. Which auth is slow, drained or often away is known in this process
// only, and so is whether the host hands answers back. A snapshot has all of it.
package affinity
